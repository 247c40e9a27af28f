"""Who is next: the order in which queued tasks are looked at."""

from collections.abc import Iterable

from raftsman.raft.lifecycle import State
from raftsman.raft.records import Task


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """Return the queued ones among *tasks*: the higher priority first, then first come, first served."""
    queued = [task for task in tasks if task.state is State.QUEUED]
    return sorted(queued, key=lambda task: (-task.priority, task.sequence))
