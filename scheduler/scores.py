"""Preferences of placement: one function per preference, the first one that differs decides.

A score is a number, higher is better. To add a preference: write the function and put it into ``SCORES``
where its weight belongs. What is forbidden rather than unwanted is a filter.
"""

from collections.abc import Callable, Mapping

from raftsman.raft.records import Member, NodeId, Task

Load = Mapping[NodeId, int]
"""Attempts that each node looks after."""


def local(task: Task, member: Member, _load: Load) -> int:
    """The node that received the submission, when the task prefers it (``constraints.preferLocal``)."""
    return int(task.placement.prefer_local and member.node == task.submitter_node)


def least_loaded(_task: Task, member: Member, load: Load) -> int:
    """The node that looks after the fewest attempts."""
    return -load.get(member.node, 0)


Score = Callable[[Task, Member, Load], int]

SCORES: tuple[Score, ...] = (local, least_loaded)
