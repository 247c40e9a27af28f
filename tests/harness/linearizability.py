"""Whether answers can be put in one order that explains them all: no log, no index and no table is asked. Pure.

The search is Wing's and Gong's (J. Parallel Distrib. Comput. 17, 1993) with Lowe's memory of what was tried
(Concurrency Comput. Pract. Exp. 29, 2017). Tasks do not influence one another, and linearizability is local (Herlihy,
Wing, 1990), so each is searched by itself. Of the reads, those that promise to be consistent count.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from tests.harness.history import (
    RANK,
    Answer,
    Fault,
    Kind,
    NotDone,
    Operation,
    Place,
    Seen,
    Unknown,
)

MOST_TRIED = 1_000_000
"""Orders of one task: more would take all memory, and tests keep histories far smaller."""

_TELLING = ("task-not-found", "task-exists")
"""Refusals that tell whether there is a task; the others could be given to anybody."""

CREATED: Place = (0, "queued")
CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Call:
    """One request that says something: its place in the order lies between two instants, or it has none at all."""

    kind: Kind
    answer: Answer
    called_at: float
    returned_at: float
    """When it was over; without end while it may still come to be done."""

    @property
    def optional(self) -> bool:
        """Whether it may never have happened."""
        return isinstance(self.answer, Unknown)


def unexplained(history: Iterable[Operation]) -> Iterator[Fault]:
    """Yield the tasks whose answers no order explains.

    Raises AssertionError when a task has so many requests at a time that the search does not come to an end.
    """
    by_task: defaultdict[str, list[Call]] = defaultdict(list)
    for operation in history:
        if (call := _call_of(operation)) is not None:
            by_task[operation.task_id].append(call)
    for task_id, calls in by_task.items():
        if not has_order(calls):
            yield Fault("unordered", f"no order of {len(calls)} requests about {task_id} explains their answers")


def has_order(calls: Sequence[Call]) -> bool:
    """Whether the calls about one task, which did not exist before, have an order that explains every answer."""
    needed = sum(1 << number for number, call in enumerate(calls) if not call.optional)
    tried: set[tuple[int, Place | None]] = {(0, None)}
    stack: list[tuple[int, Place | None]] = [(0, None)]
    while stack:
        done, place = stack.pop()
        if done & needed == needed:
            return True
        steps = {
            (done | 1 << number, after)
            for number in _next_ones(calls, done)
            for after in _places_after(place, calls[number])
        }
        stack.extend(steps - tried)
        tried |= steps
        assert len(tried) <= MOST_TRIED, f"{len(calls)} requests have too many orders"
    return False


def _next_ones(calls: Sequence[Call], done: int) -> list[int]:
    """Return which calls can come next: what was called after another one had returned does not come before it."""
    left = [number for number in range(len(calls)) if not done >> number & 1]
    horizon = min(calls[number].returned_at for number in left)
    return [number for number in left if calls[number].called_at <= horizon]


def _call_of(operation: Operation) -> Call | None:
    """Return what the operation says about its task, None when it says nothing."""
    answer = operation.answer
    if operation.kind is Kind.READ:
        return None
    if operation.kind is Kind.CONSISTENT_READ and not isinstance(answer, Seen):
        return None
    if isinstance(answer, NotDone) and answer.code not in _TELLING:
        return None
    returned_at = inf if isinstance(answer, Unknown) else operation.returned_at
    return Call(operation.kind, answer, operation.called_at, returned_at)


def _places_after(place: Place | None, call: Call) -> Iterator[Place | None]:
    """Yield where a task at *place* is after *call*, if that can have been answered as it was."""
    answer = call.answer
    if isinstance(answer, NotDone):
        if (place is None) == (answer.code == "task-not-found"):
            yield place
    elif isinstance(answer, Seen):
        if answer.place == place or (place is not None and answer.place is not None and _moves(place, answer.place)):
            yield answer.place
    elif call.kind is Kind.SUBMIT:
        if isinstance(answer, Unknown) or answer.replayed == (place is not None):
            yield place or CREATED
    elif place is not None and place[1] not in ("completed", "failed"):
        # What runs ends a little later.
        yield (place[0], CANCELLED) if place[1] == "queued" else place


def _moves(place: Place, later: Place) -> bool:
    """Whether the task can have come from *place* to *later* without its clients: nodes carry it out meanwhile."""
    if RANK[place[1]] == RANK[CANCELLED] or (place[1] == "queued" and later[1] == CANCELLED):
        return False
    return (place[0], RANK[place[1]]) < (later[0], RANK[later[1]])
