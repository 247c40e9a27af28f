"""Which node carries out which task, and why the rest waits: a function of the table.

Nothing here changes the table or promises anything: the leader proposes what a plan says, and the table
checks it again while applying it. Conditions are ``filters``, preferences ``scores``, order ``queues``.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from raftsman.raft.commands import Assign, Reassign
from raftsman.raft.lifecycle import State
from raftsman.raft.records import BOUND_TYPES, Attempt, Instant, Member, NodeId, Placement, Task
from raftsman.raft.table import TaskTable
from raftsman.scheduler.filters import (
    CONTEXT_FILTERS,
    LOAD_FILTERS,
    MOVE_FILTERS,
    NODE_FILTERS,
    ContextLoad,
    Exclusion,
    NodeFilter,
)
from raftsman.scheduler.queues import in_order
from raftsman.scheduler.scores import SCORES

MAX_ASSIGNMENTS = 500
"""Assignments of one plan: the next plan sees what became of them, and a burst does not hold up cancels and reports."""


Exclusions = tuple[tuple[str, Exclusion], ...]
"""Nodes or contexts that are excluded, by name, each with the reason."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a task cannot be placed now."""

    code: str
    message: str
    nodes: Exclusions = ()
    contexts: Exclusions = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to propose. Queued tasks that *assignments* does not name wait for *waiting*, or for the next plan."""

    assignments: tuple[Assign, ...]
    reassignments: tuple[Reassign, ...]
    waiting: dict[str, Waiting]


MOVE_AFTER_MS = 30_000
"""A node that answers is given so long to reach a context again, and so long an attempt that was moved stays."""

Wish = tuple[str, str, Placement]
"""What placing a task depends on: its type, its context, and which nodes it wants."""


@dataclass(slots=True)
class Board:
    """What is kept count of while tasks are placed one after the other."""

    members: list[Member]
    node_load: Counter[NodeId]
    context_load: Counter[str]
    bound_load: Counter[NodeId]  # Attempts that live in the node's own process.
    candidates: dict[Wish, tuple[list[Member], Exclusions]] = field(default_factory=dict)
    takers: dict[tuple[Wish, str], tuple[list[Member], Exclusions]] = field(default_factory=dict)
    kept: dict[tuple[NodeId, str, str], bool] = field(default_factory=dict)
    """Whether a node answers and reaches a cluster: by node, context and the cluster's fingerprint."""
    unmet: dict[Wish, Waiting] = field(default_factory=dict)
    """What cannot be had any more: while tasks are placed, room only shrinks."""

    @classmethod
    def of(cls, table: TaskTable, *, without: Task | None = None) -> "Board":
        """Return the board that *table* shows, or would show if nobody looked after the task *without*."""
        members = sorted(table.members.values(), key=lambda member: member.node)
        board = cls(members, Counter(), Counter(), Counter())
        for task in table.live.values():
            if task.attempt is not None and task != without:
                board.count(task, task.attempt.node)
        return board

    def able(self, task: Task) -> tuple[list[Member], Exclusions]:
        """Return the members that may take *task*, and why the others may not, nodes that it names in vain among them.

        Equal wishes are looked at once.
        """
        key = wish_of(task)
        if key not in self.candidates:
            able, excluded = self._parted(task, NODE_FILTERS)
            self.candidates[key] = able, (*self._strangers(task.placement), *excluded)
        return self.candidates[key]

    def able_to_take_over(self, task: Task) -> tuple[list[Member], Exclusions]:
        """Return the members that may look after the attempt of *task* from now on, and why the others may not.

        Of an attempt that is being stopped nothing is left to run: whoever reaches its cluster may prove it gone.
        """
        attempt = task.attempt
        assert attempt is not None
        asked = task if task.stop is None else msgspec.structs.replace(task, placement=Placement())
        key = wish_of(asked), attempt.server
        if key not in self.takers:
            self.takers[key] = self._parted(asked, MOVE_FILTERS)
        return self.takers[key]

    def no_takers(self, task: Task) -> Iterable[tuple[str, Exclusion]]:
        """Yield who cannot take the attempt of *task* over, if that has to move: its node is lost or cut off."""
        assert task.attempt is not None
        if self.keeps(task.attempt) or _must_stay(task):
            return
        able, excluded = self.able_to_take_over(task)
        _, full = self.free(task, able)
        yield from (each for each in (*excluded, *full) if each[0] != task.attempt.node)

    def _strangers(self, wanted: Placement) -> Iterable[tuple[str, Exclusion]]:
        """Yield the nodes that *wanted* names and nobody has heard of: misspelt, or yet to join."""
        known = [member.node for member in self.members]
        for name in dict.fromkeys((*wanted.allowed_nodes, *wanted.target_nodes)):
            if known and name not in known:
                yield name, Exclusion("unknown-node", f"there is no node {name}; there are {', '.join(known)}")

    def keeps(self, attempt: Attempt) -> bool:
        """Whether the node of *attempt* answers, and reaches the cluster that it is in."""
        key = attempt.node, attempt.context, attempt.server
        if key not in self.kept:
            holder = next((member for member in self.members if member.node == attempt.node), None)
            self.kept[key] = holder is not None and holder.lost_at is None and not holder.cut_off(attempt)
        return self.kept[key]

    def _parted(self, task: Task, rules: tuple[NodeFilter, ...]) -> tuple[list[Member], Exclusions]:
        able: list[Member] = []
        excluded: list[tuple[str, Exclusion]] = []
        for member in self.members:
            exclusion = next((no for no in (rule(task, member) for rule in rules) if no), None)
            if exclusion is None:
                able.append(member)
            else:
                excluded.append((member.node, exclusion))
        return able, tuple(excluded)

    def closed(self, context: str) -> Exclusion | None:
        """Return why the context takes no further Job now, if it does not."""
        views = [view for member in self.members if (view := member.context(context))]
        limit = min((view.max_jobs for view in views), default=0)
        load = ContextLoad(name=context, jobs=self.context_load[context], max_jobs=limit)
        return next((no for no in (rule(load) for rule in CONTEXT_FILTERS) if no), None)

    def best(self, task: Task, able: Iterable[Member]) -> Member:
        """Return the member that the scores prefer; the name decides between equals, so that plans are repeatable."""
        return max(able, key=lambda member: [score(task, member, self.node_load) for score in SCORES])

    def free(self, task: Task, able: Iterable[Member]) -> tuple[list[Member], Exclusions]:
        """Return those of *able* that have room for *task*, and why the others have none."""
        free, full = [], []
        for member in able:
            exclusion = next((no for no in (rule(task, member, self.bound_load) for rule in LOAD_FILTERS) if no), None)
            if exclusion is None:
                free.append(member)
            else:
                full.append((str(member.node), exclusion))
        return free, tuple(full)

    def count(self, task: Task, node: NodeId) -> None:
        """Take note that *node* looks after an attempt of *task*."""
        self.node_load[node] += 1
        self.context_load[task.context] += 1
        self.bound_load[node] += task.type in BOUND_TYPES


def wish_of(task: Task) -> Wish:
    """Return what placing *task* depends on."""
    return task.type, task.context, task.placement


def plan(table: TaskTable, now: Instant, *, limit: int = MAX_ASSIGNMENTS) -> Plan:
    """Return what to assign and to move now. A task that cannot be placed never holds up those behind it."""
    board = Board.of(table)
    assignments: list[Assign] = []
    waiting: dict[str, Waiting] = {}
    for task in in_order(table.live.values()):
        verdict = place(board, task)
        if isinstance(verdict, Waiting):
            waiting[task.task_id] = verdict
        elif len(assignments) < limit:
            assignments.append(_assignment(task, verdict))
            board.count(task, verdict.node)
    return Plan(tuple(assignments), tuple(_moves(table, board, now, limit)), waiting)


def explain(table: TaskTable, task: Task) -> Waiting | None:
    """Return why the queued *task* cannot be placed now; None when a node would take it."""
    verdict = place(Board.of(table), task)
    return verdict if isinstance(verdict, Waiting) else None


def explain_all(table: TaskTable, tasks: Iterable[Task]) -> dict[str, Waiting]:
    """Return ``explain`` for each of *tasks* that waits, counting the table once."""
    board = Board.of(table)
    verdicts = {task.task_id: place(board, task) for task in tasks}
    return {task_id: verdict for task_id, verdict in verdicts.items() if isinstance(verdict, Waiting)}


def place(board: Board, task: Task) -> Member | Waiting:
    """Return the member that should carry the queued *task* out, or why none can now. Equal wishes are judged once."""
    wish = wish_of(task)
    unmet = board.unmet.get(wish)
    if unmet is not None:
        return unmet
    verdict = _judge(board, task)
    if isinstance(verdict, Waiting):
        board.unmet[wish] = verdict
    return verdict


def _judge(board: Board, task: Task) -> Member | Waiting:
    able, excluded = board.able(task)
    if not able:
        return Waiting("no-node", _no_node(excluded), nodes=excluded)
    free, full = board.free(task, able)
    if not free:
        return Waiting("no-slot", _no_node(full), nodes=(*excluded, *full))
    closed = board.closed(task.context) if task.context else None
    if closed is not None:
        return Waiting(closed.code, closed.message, nodes=excluded, contexts=((task.context, closed),))
    return board.best(task, free)


def _no_node(excluded: Exclusions) -> str:
    if not excluded:
        return "no node has joined the cluster yet"
    reasons = dict.fromkeys(exclusion.message for _, exclusion in excluded)
    return "no node can take it: " + "; ".join(reasons)


def _assignment(task: Task, member: Member) -> Assign:
    view = member.context(task.context)
    return Assign(
        task_id=task.task_id,
        attempt=task.attempt.number + 1 if task.attempt else 1,
        node=member.node,
        namespace=view.namespace if view else "",
    )


def _moves(table: TaskTable, board: Board, now: Instant, limit: int) -> Iterable[Reassign]:
    """Yield a move for each attempt whose node is lost or cut off, and whose cluster another node reaches."""
    moved = 0
    for task in table.live.values():
        if task.attempt is None or board.keeps(task.attempt) or moved >= limit or _must_stay(task):
            continue
        if not _is_due(table.members.get(task.attempt.node), task.attempt, now):
            continue
        able, _ = board.able_to_take_over(task)
        free, _ = board.free(task, able)
        if not free:
            continue
        member = board.best(task, free)
        board.count(task, member.node)
        moved += 1
        yield Reassign(task_id=task.task_id, attempt=task.attempt.number, from_node=task.attempt.node, node=member.node)


def _must_stay(task: Task) -> bool:
    """Whether the attempt lives in the process of its node: once it has started, it cannot be anywhere else."""
    return task.type in BOUND_TYPES and task.state is not State.ASSIGNED


def _is_due(holder: Member | None, attempt: Attempt, now: Instant) -> bool:
    """Whether to take the attempt from a node that is lost, at once, or cut off, after a while."""
    if holder is None or holder.lost_at is not None:
        return True
    view = holder.context(attempt.context)
    if view is not None and not view.reachable and not _is_past(view.since, now):
        return False
    return attempt.moved_at is None or _is_past(attempt.moved_at, now)


def _is_past(since: Instant, now: Instant) -> bool:
    """Whether *since* is ``MOVE_AFTER_MS`` ago; it may be another node's clock that said it.

    An instant that lies further ahead than that is no reason to wait for it: clocks that differ much make a move come
    at once, others make it come at most twice as late. Neither does harm: the new node finds the same Job.
    """
    return abs(now - since) >= MOVE_AFTER_MS
