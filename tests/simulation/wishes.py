"""What people and nodes want of the table: every kind of command, as what the table shows gives cause for it.

How they ask for it, and how often, is ``clients``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from raftsman.raft import codec
from raftsman.raft.commands import (
    Assign,
    Barrier,
    Cancel,
    Command,
    Expire,
    Forget,
    FoundCluster,
    MemberBack,
    MemberJoined,
    MemberLost,
    MemberUpdated,
    Reassign,
    Report,
    Retry,
    Submit,
)
from raftsman.raft.lifecycle import Signal, State, StopKind
from raftsman.raft.records import (
    ContextName,
    K8sJobSpec,
    Member,
    MemberContext,
    NodeId,
    Task,
    TaskId,
    TaskSpec,
)
from raftsman.raft.table import TaskTable

CONTEXT = ContextName("prod")
SPECS = 6
KEYED = 0.2
"""So many submissions carry a key; each try of theirs comes with an id of its own, as nodes make them."""


@dataclass(slots=True, kw_only=True)
class Wishes:
    """Makes commands by chance. *forgotten*: every task that somebody may have asked to forget."""

    random: Random
    nodes: Sequence[str]
    forgotten: set[str]
    doubtful: set[str] = field(default_factory=set)
    """Ids of tasks of which a late try may still come."""
    keys: dict[str, str] = field(default_factory=dict)
    """By task: the key that it was submitted with."""
    _count: int = 0
    _specs: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._specs = [_spec(self.random) for _ in range(SPECS)]

    def first(self) -> list[Command]:
        """Return what a cluster begins with."""
        return [FoundCluster(uuid="c-1"), *(MemberJoined(member=_member(name)) for name in self.nodes)]

    def submission(self) -> Submit:
        """Return a new task."""
        task_id, spec = self._new_id(), self.random.choice(self._specs)
        if self.random.random() >= KEYED:
            return Submit(task_id=task_id, spec=spec)
        key = self.keys[task_id] = f"key-{self._count}"
        return Submit(task_id=task_id, spec=spec, key=key, id_made=True)

    def again(self, command: Command) -> Command:
        """Return what asks for the same once more: under a key, with another id for the task."""
        if not isinstance(command, Submit) or not command.key:
            return command
        task_id = self._new_id()
        self.keys[task_id] = command.key
        return msgspec.structs.replace(command, task_id=task_id)

    def command(self, table: TaskTable) -> Command | None:
        """Return something to do with what *table* shows, None for a submission."""
        drawn = self.random.random()
        if drawn < 0.5:
            return None
        if drawn < 0.55:
            return Barrier()
        if drawn < 0.62:
            return self._of_a_member()
        if drawn < 0.68 and table.ended:
            return self._of_the_ended(table)
        if not table.live:
            return None
        task = self.random.choice(list(table.live.values())[:20])
        return Cancel(task_id=task.task_id) if drawn < 0.73 else self._progress(task, table)

    def _new_id(self) -> TaskId:
        self._count += 1
        return TaskId(f"t-{self._count}")

    def _node(self) -> NodeId:
        return NodeId(self.random.choice(self.nodes))

    def _of_a_member(self) -> Command:
        node, drawn = self._node(), self.random.random()
        if drawn < 0.4:
            return MemberLost(node=node)
        if drawn < 0.8:
            return MemberBack(node=node)
        labels = (("drawn", str(self.random.randrange(3))),)
        return MemberUpdated(member=msgspec.structs.replace(_member(node), labels=labels))

    def _of_the_ended(self, table: TaskTable) -> Command | None:
        if self.random.random() < 0.4:
            return Retry(task_id=self._new_id(), retry_of=self.random.choice(list(table.ended)))
        over = [each for each in list(table.ended)[:3] if each not in self.doubtful]
        self.forgotten.update(over)
        return Forget(task_ids=tuple(over)) if over else None

    def _progress(self, task: Task, table: TaskTable) -> Command:
        if task.attempt is None:
            return Assign(task_id=task.task_id, attempt=1, node=self._node())
        number, holder = task.attempt.number, table.members.get(task.attempt.node)
        if holder is not None and holder.lost_at is not None and self.random.random() < 0.5:
            return Reassign(task_id=task.task_id, attempt=number, from_node=holder.node, node=self._node())
        if self.random.random() < 0.1:
            kind = self.random.choice((StopKind.TIMEOUT, StopKind.START_TIMEOUT))
            return Expire(task_id=task.task_id, attempt=number, kind=kind)
        return self._report(task, number, task.attempt.node)

    def _report(self, task: Task, number: int, node: NodeId) -> Report:
        signal = Signal.GONE if task.stop else Signal.START
        if task.state is State.RUNNING and not task.stop:
            signal = self.random.choice((Signal.SUCCEED, Signal.FAIL, Signal.OBSERVE))
        return Report(
            task_id=task.task_id,
            attempt=number,
            node=node,
            signal=signal,
            exit_code=0 if signal is Signal.SUCCEED else None,
            reason=f"seen {self.random.randrange(1000)} times" if signal is Signal.OBSERVE else "",
        )


def _member(name: str) -> Member:
    context = MemberContext(name=CONTEXT, reachable=True)
    return Member(node=NodeId(name), url=f"http://{name}", contexts=(context,))


def _spec(random: Random) -> bytes:
    words = tuple("x" * random.randint(1, 60) for _ in range(random.randint(0, 8)))
    return codec.pack_spec(TaskSpec(type="k8s_job", k8s_job=K8sJobSpec(context=CONTEXT, image="busybox", args=words)))
