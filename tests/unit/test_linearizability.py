"""The search for an order that explains all answers: it finds one where there is one, and none where there is none."""

from collections.abc import Sequence
from itertools import combinations, permutations
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness import linearizability
from tests.harness.history import Answer, Done, Kind, NotDone, Operation, Place, Seen, Unknown
from tests.harness.linearizability import Call, has_order, unexplained

QUEUED: Place = (0, "queued")
CANCELLED: Place = (0, "cancelled")
ASSIGNED: Place = (1, "assigned")
RUNNING: Place = (1, "running")
COMPLETED: Place = (1, "completed")
CREATED = Done(1)
THERE = Done(1, replayed=True)
LOST = Unknown("cut")
NOWHERE = NotDone("task-not-found")


def submit(answer: Answer, called_at: float, returned_at: float) -> Operation:
    return operation(Kind.SUBMIT, answer, called_at, returned_at)


def cancel(answer: Answer, called_at: float, returned_at: float) -> Operation:
    return operation(Kind.CANCEL, answer, called_at, returned_at)


def read(place: Place | None, called_at: float, returned_at: float) -> Operation:
    return operation(Kind.CONSISTENT_READ, Seen(None, place), called_at, returned_at)


def operation(kind: Kind, answer: Answer, called_at: float, returned_at: float, task_id: str = "a") -> Operation:
    return Operation(kind=kind, task_id=task_id, called_at=called_at, returned_at=returned_at, answer=answer)


EXPLAINED = {
    "one after the other": [submit(CREATED, 1, 2), read(QUEUED, 3, 4), cancel(CREATED, 5, 6), read(CANCELLED, 7, 8)],
    "a read beside a write sees the old": [submit(CREATED, 1, 4), read(None, 2, 3)],
    "or the new": [submit(CREATED, 1, 4), read(QUEUED, 2, 3)],
    "the old and then the new": [submit(CREATED, 1, 9), read(None, 2, 3), read(QUEUED, 4, 5)],
    "what is unknown was done": [submit(LOST, 1, 2), read(QUEUED, 3, 4)],
    "or was not": [submit(LOST, 1, 2), read(None, 3, 4)],
    "or is done later": [submit(LOST, 1, 2), read(None, 3, 4), read(QUEUED, 5, 6)],
    "a repetition finds it there": [submit(LOST, 1, 2), submit(THERE, 3, 4), read(QUEUED, 5, 6)],
    "or is the first": [submit(LOST, 1, 2), submit(CREATED, 3, 4)],
    "a cancellation may be repeated": [submit(CREATED, 1, 2), cancel(LOST, 3, 4), cancel(CREATED, 5, 6)],
    "a node carries it out": [submit(CREATED, 1, 2), read(ASSIGNED, 3, 4), read(COMPLETED, 5, 6)],
    "what runs ends after its cancellation": [
        submit(CREATED, 1, 2),
        read(RUNNING, 3, 4),
        cancel(CREATED, 5, 6),
        read(RUNNING, 7, 8),
        read((1, "cancelled"), 9, 10),
    ],
    "it is not there yet": [cancel(NOWHERE, 1, 4), submit(CREATED, 2, 3)],
    "another one has the id": [submit(CREATED, 1, 2), submit(NotDone("task-exists"), 3, 4)],
    "a refusal that says nothing": [submit(NotDone("no-leader"), 1, 2), read(None, 3, 4)],
    "a read that promises nothing": [submit(CREATED, 1, 2), operation(Kind.READ, Seen(None, None), 3, 4)],
}

UNEXPLAINED = {
    "a stale read": [submit(CREATED, 1, 2), read(None, 3, 4)],
    "a stale read after a cancellation": [submit(CREATED, 1, 2), cancel(CREATED, 3, 4), read(QUEUED, 5, 6)],
    "the new and then the old": [submit(CREATED, 1, 9), read(QUEUED, 2, 3), read(None, 4, 5)],
    "of what is unknown, too": [submit(LOST, 1, 2), read(QUEUED, 3, 4), read(None, 5, 6)],
    "it was seen before anybody asked": [read(QUEUED, 1, 2), submit(CREATED, 3, 4)],
    "created twice": [submit(CREATED, 1, 4), submit(CREATED, 2, 3)],
    "there before it was created": [submit(THERE, 1, 2), submit(CREATED, 3, 4)],
    "cancelled by nobody": [submit(CREATED, 1, 2), read(CANCELLED, 3, 4)],
    "cancelled before it was created": [cancel(CREATED, 1, 2), submit(CREATED, 3, 4)],
    "it goes back": [submit(CREATED, 1, 2), read(RUNNING, 3, 4), read(ASSIGNED, 5, 6)],
    "ended, and then otherwise": [submit(CREATED, 1, 2), read(COMPLETED, 3, 4), read((1, "failed"), 5, 6)],
    "an ended one is cancelled": [submit(CREATED, 1, 2), read(COMPLETED, 3, 4), cancel(CREATED, 5, 6)],
    "it is said not to be there": [submit(CREATED, 1, 2), cancel(NOWHERE, 3, 4)],
    "it is said to be there": [submit(NotDone("task-exists"), 1, 2)],
}


@pytest.mark.parametrize("history", EXPLAINED.values(), ids=EXPLAINED)
def test_answers_that_an_order_explains_pass(history: Sequence[Operation]) -> None:
    assert list(unexplained(history)) == []


@pytest.mark.parametrize("history", UNEXPLAINED.values(), ids=UNEXPLAINED)
def test_answers_that_no_order_explains_are_found(history: Sequence[Operation]) -> None:
    (fault,) = unexplained(history)
    assert fault.promise == "unordered"
    assert " a " in fault.text


def test_tasks_are_searched_by_themselves() -> None:
    other = operation(Kind.CONSISTENT_READ, Seen(None, None), 3, 4, "b")
    assert list(unexplained([submit(CREATED, 1, 2), other])) == []


def test_a_search_without_an_end_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizability, "MOST_TRIED", 100)
    crowd = [submit(LOST, 1, 2)] * 12
    with pytest.raises(AssertionError, match="too many orders"):
        list(unexplained([*crowd, read(CANCELLED, 3, 4)]))


# --- against every order there is ---------------------------------------------------------------

ANSWERS: list[tuple[Kind, Answer]] = [
    *[(Kind.SUBMIT, answer) for answer in (CREATED, THERE, LOST, NotDone("task-exists"))],
    *[(Kind.CANCEL, answer) for answer in (CREATED, LOST, NOWHERE)],
    *[(Kind.CONSISTENT_READ, Seen(None, place)) for place in (None, QUEUED, CANCELLED)],
]


def made(asked: tuple[Kind, Answer], called_at: int, lasted: int) -> Call:
    kind, answer = asked
    return Call(kind, answer, called_at, inf if isinstance(answer, Unknown) else called_at + lasted)


calls = st.builds(made, st.sampled_from(ANSWERS), st.integers(0, 8), st.integers(1, 6))


@settings(max_examples=300)
@given(st.lists(calls, max_size=5))
def test_the_search_agrees_with_trying_every_order(some: list[Call]) -> None:
    assert has_order(some) == tried_every_order(some)


def tried_every_order(some: list[Call]) -> bool:
    needed = [call for call in some if not call.optional]
    perhaps = [call for call in some if call.optional]
    done = (list(each) for count in range(len(perhaps) + 1) for each in combinations(perhaps, count))
    return any(explains(order) for each in done for order in permutations(needed + each))


def explains(order: Sequence[Call]) -> bool:
    """Whether nothing comes before what had returned when it was called, and every answer is what it would be."""
    if any(later.returned_at < earlier.called_at for earlier, later in combinations(order, 2)):
        return False
    place: Place | None = None
    for call in order:
        told, place = answered(place, call)
        if not told:
            return False
    return True


def answered(place: Place | None, call: Call) -> tuple[bool, Place | None]:
    """Return whether a task at *place* gives this answer, and where it is then. Said once more, in other words."""
    match call.kind, call.answer:
        case Kind.CONSISTENT_READ, Seen(place=seen):
            return seen == place, place
        case _, NotDone(code="task-not-found"):
            return place is None, place
        case _, NotDone():
            return place is not None, place
        case Kind.SUBMIT, Done(replayed=True):
            return place is not None, place
        case Kind.SUBMIT, Done():
            return place is None, QUEUED
        case Kind.SUBMIT, _:
            return True, place or QUEUED
        case _:
            return place is not None, CANCELLED
