"""Where a task would run, what is excluded and why, and what would help: for whoever asks, before or after submitting.

The same conditions as in a plan (``filters``, by way of ``planner``), told in full: ``planner`` stops looking at what
it does not need. Nothing here is a promise; the next change of the table may make it untrue.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from raftsman.raft.records import Member, MemberContext, Task
from raftsman.raft.table import TaskTable
from raftsman.scheduler.admission import unknown_context
from raftsman.scheduler.filters import Exclusion
from raftsman.scheduler.planner import Board, Waiting, place

HELP: Mapping[str, str] = {
    "member-lost": "start the node again, or wait until it answers (raftsman get nodes)",
    "unknown-node": "correct the name in constraints.allowedNodes or targetNodes, or start a node of that name",
    "not-allowed": "allow the node in constraints.allowedNodes",
    "excluded": "take the node out of constraints.excludedNodes",
    "not-targeted": "name the node in targetNodes",
    "type-not-allowed": "allow tasks of this type on a node (its setting executor.allow_shell)",
    "slots-full": "wait until an attempt ends there, or raise the node's executor.slots",
    "context-missing": "give the node the context, in its settings or its kubeconfig",
    "context-unreachable": "see why the context does not answer, and mend that (raftsman get contexts)",
    "other-cluster": "give the node a kubeconfig of the attempt's cluster: the same address and certificate authority",
    "context-full": "wait until a Job of ours ends there, or raise the context's max_jobs",
    "unknown-context": "name a context that a node has (raftsman get contexts)",
}
"""What a user can do about an exclusion, by its code. Naming another context than the task does is no fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a task would run (*node*, None: nowhere now), and what is excluded with the reason."""

    node: str | None
    context: str
    waiting: Waiting | None  # Why nowhere.
    nodes: tuple[tuple[str, Exclusion], ...] = ()
    contexts: tuple[tuple[str, Exclusion], ...] = ()
    no_takers: tuple[tuple[str, Exclusion], ...] = ()
    """Who cannot take its attempt over, when that has to move."""

    @property
    def help(self) -> tuple[str, ...]:
        """What would help, when the task cannot be placed or its attempt cannot move; each advice once."""
        in_the_way = () if self.waiting is None else (*self.contexts, *self.nodes)
        codes = [exclusion.code for _, exclusion in (*self.no_takers, *in_the_way)]
        return tuple(dict.fromkeys(HELP[code] for code in codes if code in HELP))


def explain_in_turn(table: TaskTable, tasks: Iterable[Task]) -> list[Explanation]:
    """Return where each of *tasks* would run if they came one after the other: each takes its room from the next.

    A task that a node looks after already, or that has ended, is explained as if it were tried again now.
    """
    board = Board.of(table)
    return [_explain_again(table, task) if _is_held(task) else _explain(board, task) for task in tasks]


def _is_held(task: Task) -> bool:
    return task.attempt is not None and not task.ended


def _explain_again(table: TaskTable, task: Task) -> Explanation:
    """Explain a task that has an attempt: another one would have the room of that."""
    board = Board.of(table, without=task)
    return replace(_explain(board, task), no_takers=tuple(board.no_takers(task)))


def _explain(board: Board, task: Task) -> Explanation:
    able, excluded = board.able(task)
    _, full = board.free(task, able)
    verdict = place(board, task)
    if isinstance(verdict, Member):
        board.count(task, verdict.node)
    return Explanation(
        node=verdict.node if isinstance(verdict, Member) else None,
        context=task.context,
        waiting=verdict if isinstance(verdict, Waiting) else None,
        nodes=(*excluded, *full),
        contexts=tuple(_contexts(board, task)) if task.context else (),
    )


def _contexts(board: Board, task: Task) -> Iterable[tuple[str, Exclusion]]:
    known = {view.name for member in board.members for view in member.contexts}
    for name in sorted({*known, task.context}):
        if name != task.context:
            yield name, Exclusion("not-requested", f"the task names the context {task.context}")
        elif name not in known:
            yield name, Exclusion("unknown-context", unknown_context(name, sorted(known)))
        elif exclusion := _unreached(board, name) or board.closed(name):
            yield name, exclusion


def _unreached(board: Board, name: str) -> Exclusion | None:
    """Return why no node reaches the context; None when one does."""
    views: list[tuple[Member, MemberContext]] = [
        (member, view) for member in board.members if member.lost_at is None and (view := member.context(name))
    ]
    if any(view.reachable for _, view in views):
        return None
    errors = "; ".join(dict.fromkeys(f"{member.node}: {view.error}" for member, view in views))
    return Exclusion("context-unreachable", f"no node reaches {name}: {errors or 'those that have it do not answer'}")
