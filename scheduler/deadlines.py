"""What is overdue: a function of the table and an instant. The leader proposes it; nobody sleeps for it."""

from collections.abc import Mapping

from raftsman.raft import limits
from raftsman.raft.commands import Expire, Forget, MemberBack, MemberLost
from raftsman.raft.lifecycle import State, StopKind
from raftsman.raft.records import Instant, Task, TaskId
from raftsman.raft.table import TaskTable

MEMBER_SILENCE_S = 5.0
"""A member that has been silent for so long is lost: ten times the pause that an election may take."""


def overdue(table: TaskTable, now: Instant) -> list[Expire]:
    """Return an ``Expire`` for each attempt that should have started, or ended, by *now*."""
    found = []
    for task in table.live.values():
        kind = _passed(task, now)
        if kind is not None and task.attempt is not None:
            found.append(Expire(task_id=task.task_id, attempt=task.attempt.number, kind=kind))
    return found


def _passed(task: Task, now: Instant) -> StopKind | None:
    attempt = task.attempt
    if attempt is None or task.stop is not None:
        return None
    if task.state is State.ASSIGNED:
        return StopKind.START_TIMEOUT if 0 < task.start_timeout_ms <= now - attempt.assigned_at else None
    started = attempt.assigned_at if attempt.running_since is None else attempt.running_since
    return StopKind.TIMEOUT if 0 < task.timeout_ms <= now - started else None


def membership(table: TaskTable, silent_for_s: Mapping[str, float]) -> list[MemberLost | MemberBack]:
    """Return who is lost and who is back, given how long each node has been silent. Unlisted nodes are present."""
    found: list[MemberLost | MemberBack] = []
    for member in table.members.values():
        silent = silent_for_s.get(member.node, 0.0) > MEMBER_SILENCE_S
        if silent and member.lost_at is None:
            found.append(MemberLost(node=member.node))
        elif not silent and member.lost_at is not None:
            found.append(MemberBack(node=member.node))
    return found


def forgettable(table: TaskTable, now: Instant, *, keep_ms: int, keep_count: int) -> Forget | None:
    """Return the finished tasks to drop: the oldest, when they are too old or too many. None: nothing to do."""
    surplus = len(table.ended) - keep_count
    old: list[TaskId] = []
    for place, task in enumerate(table.ended.values()):  # In the order in which they ended.
        expired = task.completed_at is not None and now - task.completed_at > keep_ms
        if (place >= surplus and not expired) or len(old) >= limits.FORGET_PER_COMMAND:
            break
        old.append(task.task_id)
    return Forget(task_ids=tuple(old)) if old else None
