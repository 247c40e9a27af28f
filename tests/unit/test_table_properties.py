"""What holds of the table after any log whatsoever."""

from collections.abc import Iterable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from raftsman.raft import limits
from raftsman.raft.codec import decode, encode, pack_row
from raftsman.raft.commands import KINDS, Accepted, Assign, Command, Entry, Forget, MemberJoined, Refused, Submit
from raftsman.raft.lifecycle import RANK, Signal, State
from raftsman.raft.records import Instant, K8sJobSpec, Member, MemberContext, Row, Task, TaskId, TaskSpec
from raftsman.raft.table import TaskTable, pack_spec
from tests.harness.arbitrary import ATTEMPTS, NODES, PLAIN, REPORTS, TASKS, commands, entries, rows_of
