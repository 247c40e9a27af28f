"""What a task that is being stopped says it waits for: what stands for its attempt outside."""

import msgspec
import pytest

from raftsman.raft.commands import Assign, Cancel, MemberJoined
from raftsman.raft.records import NodeId, ShellSpec, TaskId, TaskSpec
from tests.harness.tables import find, member, spec, submit, table_of

SHELL = TaskSpec(type="shell", shell=ShellSpec(command="sleep 60"))


@pytest.mark.parametrize(("of", "what"), [(spec(), "its Job and Pods are gone"), (SHELL, "its processes are gone")])
def test_a_stop_waits_for_what_its_attempt_is_outside(of: TaskSpec, what: str) -> None:
    table = table_of(
        MemberJoined(member=msgspec.structs.replace(member("alpha"), slots=1)),
        submit("t", of),
        Assign(task_id=TaskId("t"), attempt=1, node=NodeId("alpha")),
        Cancel(task_id=TaskId("t")),
    )
    assert find(table, "t").reason == f"cancelled; waiting until {what}"
