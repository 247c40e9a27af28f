"""What the table holds, and what may be asked of it; how it changes is ``table`` and the rules.

``Edits`` is what a rule wants changed. Rows are frozen, so whoever got one may keep it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from raftsman.raft.commands import Command, CommandResult, Entry, Refused
from raftsman.raft.records import KeyUse, Member, NodeId, Row, Task, TaskId


class Rows:
    """Tasks, members, idempotency keys and newest results, as the log up to ``index`` says they are."""

    def __init__(self) -> None:
        self.cluster_uuid = ""
        self.index = 0
        self.members: dict[NodeId, Member] = {}
        self.live: dict[TaskId, Task] = {}
        self.ended: dict[TaskId, Task] = {}  # In the order they ended.
        self.keys: dict[bytes, KeyUse] = {}  # By their fingerprints, in the order of their use.
        self.results: dict[str, CommandResult] = {}  # By the command's id, in the order of the log.

    def task(self, task_id: str) -> Task | None:
        """Return the task, or None when there is none (or it was forgotten)."""
        key = TaskId(task_id)
        return self.live.get(key) or self.ended.get(key)

    def member(self, node: str) -> Member | None:
        """Return the member, or None when it never joined."""
        return self.members.get(NodeId(node))

    def tasks(self) -> Iterable[Task]:
        """Yield every task, the ended ones first."""
        yield from self.ended.values()
        yield from self.live.values()


class Edits(Row, frozen=True, kw_only=True):
    """What a rule wants changed. Tasks are whole new rows; ``table`` adds index and history."""

    tasks: tuple[Task, ...] = ()
    members: tuple[Member, ...] = ()
    forget: tuple[TaskId, ...] = ()
    keys: tuple[KeyUse, ...] = ()
    dropped_keys: tuple[bytes, ...] = ()
    cluster_uuid: str = ""
    repeated: bool = False
    found: TaskId = TaskId("")  # See ``commands.Accepted``.


NOTHING = Edits(repeated=True)
"""The answer to a command that is in force already."""

Rule = Callable[[Rows, Entry, Any], Edits | Refused]
"""A function from the table, an entry and its command to what shall change, or why nothing may. It changes nothing."""

Rules = dict[type[Command], Rule]
