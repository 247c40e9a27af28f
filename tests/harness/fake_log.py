"""A log in memory that several nodes apply to task tables of their own: the executor's view of ``raft``.

The tables are the real ones. What a log can do to a proposer is here: no leader, an answer that is lost before or
after the entry was committed, a node that is cut off and sees an old table.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from raftsman.raft.commands import Command, Entry, Verdict
from raftsman.raft.lifecycle import RANK
from raftsman.raft.records import NodeId, Task
from raftsman.raft.replica import Applied, NotLeader, Outcome, Unknown
from raftsman.raft.table import TaskTable
from tests.harness.virtual_time import now

T = TypeVar("T")

COMMIT_S = 0.004
DEADLINE_S = 1.0  # Shorter than the real one, so that a schedule of a few seconds meets several.


class Trouble(Enum):
    """What becomes of a proposal."""

    NOT_LEADER = "not in the log"
    LOST = "not in the log, but its proposer cannot know"
    COMMITTED_UNHEARD = "in the log, but its proposer hears nothing"


class FakeLog:
    """The entries, and the table that they make."""

    def __init__(self) -> None:
        self.table = TaskTable()
        self.entries: list[tuple[Entry, Verdict]] = []
        self.replicas: dict[str, FakeReplica] = {}
        self.broken: list[str] = []
        """Every change that no task may make, in a sentence."""

    def append(self, command: Command) -> Verdict:
        """Commit *command*; the replicas that are not cut off apply it at once."""
        entry = Entry(command_id=str(len(self.entries)), command=command, at=now())
        before = self.table.copy()
        verdict, changes = self.table.apply(entry, len(self.entries) + 1)
        for change in changes:
            self._check(before.task(change.task_id), self.table.task(change.task_id))
        self.entries.append((entry, verdict))
        for replica in self.replicas.values():
            replica.catch_up()
        return verdict

    def replica(self, node: str, wakeup: asyncio.Event) -> "FakeReplica":
        """Return a new replica for *node*, as after a restart: it has applied everything."""
        replica = FakeReplica(self, NodeId(node), wakeup)
        self.replicas[node] = replica
        replica.catch_up()
        return replica

    def _check(self, before: Task | None, after: Task | None) -> None:
        if before is None or after is None:
            return
        if before.ended:
            self.broken.append(f"{before.task_id} had ended as {before.state} and is {after.state}")
        if _progress(after) < _progress(before):
            self.broken.append(f"{before.task_id} went back from {before.state} to {after.state}")


def _progress(task: Task) -> tuple[int, int]:
    return (task.attempt.number if task.attempt else 0, RANK[task.state])


class FakeReplica:
    """One node's table and its way to the log."""

    def __init__(self, log: FakeLog, node: NodeId, wakeup: asyncio.Event) -> None:
        self.node = node
        self.table = TaskTable()
        self.troubles: deque[Trouble] = deque()
        """What the next proposals meet, in this order."""
        self.chance: Callable[[], Trouble | None] = lambda: None
        self.delay_s = 0.0
        self._log = log
        self._wakeup = wakeup
        self._cut_off = False

    def cut_off(self, value: bool = True) -> None:
        """Separate this node from the log, or bring it back."""
        self._cut_off = value
        self.catch_up()

    def catch_up(self) -> None:
        """Apply what is new, unless this node is cut off."""
        if self._cut_off or self.table.index == len(self._log.entries):
            return
        for index in range(self.table.index, len(self._log.entries)):
            self.table.apply(self._log.entries[index][0], index + 1)
        self._wakeup.set()

    def forget_since(self, index: int) -> None:
        """Be a node that has just started and applied its log up to *index* only."""
        self.table = TaskTable()
        for place in range(index):
            self.table.apply(self._log.entries[place][0], place + 1)

    def read(self, look: Callable[[TaskTable], T]) -> T:
        """Return ``look(table)``."""
        return look(self.table)

    async def propose(self, command: Command) -> Outcome:
        """Propose as ``Replica.propose`` does."""
        trouble = self.troubles.popleft() if self.troubles else self.chance()
        await asyncio.sleep(COMMIT_S + self.delay_s)
        if trouble is Trouble.NOT_LEADER:
            return NotLeader(None)
        if self._cut_off or trouble is Trouble.LOST:
            await asyncio.sleep(DEADLINE_S)
            return Unknown()
        verdict = self._log.append(command)
        index = len(self._log.entries)
        if trouble is Trouble.COMMITTED_UNHEARD:
            await asyncio.sleep(DEADLINE_S)
            return Unknown()
        await asyncio.sleep(COMMIT_S)
        return Applied(verdict, index)
