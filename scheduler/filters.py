"""Hard conditions of placement: one function per condition, each names why it excludes.

A filter looks at one member (and the task's wishes); a load filter also at what the member has to do already; a
context filter looks at one context over all members; a move filter at a member that would take an attempt over. To add
a rule: write the function and put it into ``NODE_FILTERS``, ``LOAD_FILTERS``, ``CONTEXT_FILTERS`` or ``MOVE_FILTERS``.
Preferences among what is left are ``scores``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raftsman.raft.records import BOUND_TYPES, Member, NodeId, Task


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a node or a context cannot take a task: a code for programs, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLoad:
    """A context over all nodes: how many Jobs of ours it has and may have."""

    name: str
    jobs: int
    max_jobs: int


def present(_task: Task, member: Member) -> Exclusion | None:
    """The node answers the leader."""
    if member.lost_at is None:
        return None
    return Exclusion("member-lost", f"node {member.node} does not answer")


def runs_type(task: Task, member: Member) -> Exclusion | None:
    """The node runs tasks of this type: shell tasks only where its settings allow them."""
    if task.type not in BOUND_TYPES or member.slots:
        return None
    return Exclusion("type-not-allowed", f"node {member.node} runs no {task.type} tasks (executor.allow_shell)")


def has_free_slot(task: Task, member: Member, bound: Mapping[NodeId, int]) -> Exclusion | None:
    """The node carries out fewer attempts of its own than it has slots."""
    used = bound.get(member.node, 0)
    if task.type not in BOUND_TYPES or used < member.slots:
        return None
    return Exclusion("slots-full", f"node {member.node} has all its {member.slots} slots in use")


def reaches_context(task: Task, member: Member) -> Exclusion | None:
    """The node has the task's context, and the context answers it."""
    if not task.context:
        return None
    context = member.context(task.context)
    if context is None:
        return Exclusion("context-missing", f"node {member.node} does not have the context {task.context}")
    if context.reachable:
        return None
    return Exclusion("context-unreachable", f"node {member.node} cannot reach {task.context}: {context.error}")


def allowed(task: Task, member: Member) -> Exclusion | None:
    """The task's constraints allow the node."""
    nodes = task.placement.allowed_nodes
    if not nodes or member.node in nodes:
        return None
    return Exclusion("not-allowed", f"the task allows {', '.join(nodes)} only")


def not_excluded(task: Task, member: Member) -> Exclusion | None:
    """The task's constraints do not exclude the node."""
    if member.node not in task.placement.excluded_nodes:
        return None
    return Exclusion("excluded", f"the task excludes node {member.node}")


def targeted(task: Task, member: Member) -> Exclusion | None:
    """The node is one of the task's targets, if it names any."""
    nodes = task.placement.target_nodes
    if not nodes or member.node in nodes:
        return None
    return Exclusion("not-targeted", f"the task targets {', '.join(nodes)}")


def below_max_jobs(load: ContextLoad) -> Exclusion | None:
    """The context may have one more Job of ours."""
    if load.jobs < load.max_jobs:
        return None
    return Exclusion("context-full", f"context {load.name} has {load.jobs} Jobs of at most {load.max_jobs}")


def same_cluster(task: Task, member: Member) -> Exclusion | None:
    """The node's context of that name is not known to be another cluster than the one that the attempt is in."""
    context = member.context(task.context)
    if context is None or task.attempt is None or not context.is_elsewhere(task.attempt):
        return None
    message = f"node {member.node} reaches another cluster under the name {task.context}"
    return Exclusion("other-cluster", message)


NodeFilter = Callable[[Task, Member], Exclusion | None]
LoadFilter = Callable[[Task, Member, Mapping[NodeId, int]], Exclusion | None]
ContextFilter = Callable[[ContextLoad], Exclusion | None]

NODE_FILTERS: tuple[NodeFilter, ...] = (present, allowed, not_excluded, targeted, runs_type, reaches_context)
LOAD_FILTERS: tuple[LoadFilter, ...] = (has_free_slot,)
CONTEXT_FILTERS: tuple[ContextFilter, ...] = (below_max_jobs,)
MOVE_FILTERS: tuple[NodeFilter, ...] = (*NODE_FILTERS, same_cluster)
