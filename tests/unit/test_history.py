"""The check of histories: one that a log explains passes, and one for each way in which it could not is refused."""

from dataclasses import replace

import pytest

from tests.harness.history import (
    Answer,
    Done,
    Kind,
    NotDone,
    Operation,
    Place,
    Seen,
    Step,
    Story,
    Unknown,
    faults_of,
)

QUEUED: Place = (0, "queued")
CANCELLED: Place = (0, "cancelled")
RUNNING: Place = (1, "running")


class History:
    """Operations that follow one another; ``at`` lets one begin earlier."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.now = 0.0

    def add(self, kind: Kind, task_id: str, answer: Answer, *, called_at: float | None = None) -> "History":
        self.now += 1
        self.operations.append(
            Operation(
                kind=kind,
                task_id=task_id,
                called_at=self.now - 0.5 if called_at is None else called_at,
                returned_at=self.now,
                answer=answer,
            )
        )
        return self

    def submit(self, task_id: str, answer: Answer) -> "History":
        return self.add(Kind.SUBMIT, task_id, answer)

    def cancel(self, task_id: str, answer: Answer) -> "History":
        return self.add(Kind.CANCEL, task_id, answer)

    def read(self, task_id: str, index: int | None, place: Place | None, **more: float) -> "History":
        return self.add(Kind.READ, task_id, Seen(index, place), **more)

    def consistent_read(self, task_id: str, index: int, place: Place | None, **more: float) -> "History":
        return self.add(Kind.CONSISTENT_READ, task_id, Seen(index, place), **more)

    def promises_broken_by(self, **stories: Story) -> list[str]:
        return [fault.promise for fault in faults_of(self.operations, stories)]


@pytest.fixture
def history() -> History:
    return History()


def created(index: int) -> Step:
    return Step(index, QUEUED, created=True)


def cancelled(index: int) -> Step:
    return Step(index, CANCELLED)


def test_a_history_that_the_log_explains_passes(history: History) -> None:
    history.submit("a", Unknown("cut")).submit("a", Done(4, replayed=True))
    history.read("a", 2, None).consistent_read("a", 4, QUEUED).submit("b", NotDone("no-leader"))
    history.submit("c", Done(6)).cancel("c", Unknown("cut")).cancel("c", Done(8))
    history.consistent_read("c", 9, CANCELLED).read("c", 6, QUEUED).read("b", 5, None)
    assert history.promises_broken_by(a=[created(3)], c=[created(6), cancelled(7)]) == []


def test_what_stays_unknown_may_have_happened_or_not(history: History) -> None:
    history.submit("a", Unknown("cut")).submit("b", Unknown("cut")).submit("c", Done(3)).cancel("c", Unknown("cut"))
    assert history.promises_broken_by(a=[created(2)], c=[created(3)]) == []


# --- writes -----------------------------------------------------------------------------------


def test_an_acknowledged_task_that_is_not_there_is_lost(history: History) -> None:
    assert history.submit("a", Done(3)).promises_broken_by() == ["lost"]


def test_a_task_that_was_created_twice_is_doubled(history: History) -> None:
    assert history.submit("a", Done(3)).promises_broken_by(a=[created(3), created(5)]) == ["doubled"]


def test_two_clients_cannot_both_have_created_a_task(history: History) -> None:
    history.submit("a", Done(3)).submit("a", Done(4))
    assert history.promises_broken_by(a=[created(3)]) == ["doubled"]


def test_a_task_is_created_at_the_entry_that_its_client_was_told(history: History) -> None:
    assert history.submit("a", Done(3)).promises_broken_by(a=[created(4)]) == ["order"]


def test_a_repetition_follows_the_creation(history: History) -> None:
    history.submit("a", Unknown("cut")).submit("a", Done(3, replayed=True))
    assert history.promises_broken_by(a=[created(4)]) == ["order"]


def test_writes_that_follow_one_another_have_growing_indexes(history: History) -> None:
    history.submit("a", Done(4)).submit("b", Done(3))
    assert history.promises_broken_by(a=[created(4)], b=[created(3)]) == ["order"]


def test_writes_at_the_same_time_may_come_in_any_order(history: History) -> None:
    history.submit("a", Done(4)).add(Kind.SUBMIT, "b", Done(3), called_at=0.1)
    assert history.promises_broken_by(a=[created(4)], b=[created(3)]) == []


def test_two_writes_are_not_one_entry(history: History) -> None:
    history.submit("a", Done(3)).add(Kind.CANCEL, "a", Done(3), called_at=0.1)
    assert "order" in history.promises_broken_by(a=[created(3), cancelled(3)])


def test_a_cancellation_that_is_not_in_force_is_lost(history: History) -> None:
    assert history.submit("a", Done(3)).cancel("a", Done(4)).promises_broken_by(a=[created(3)]) == ["lost"]


def test_a_cancellation_that_came_into_force_too_late_was_not_in_force_when_it_was_acknowledged(
    history: History,
) -> None:
    history.submit("a", Done(3)).cancel("a", Done(4)).cancel("a", Done(6))
    assert history.promises_broken_by(a=[created(3), cancelled(6)]) == ["lost"]


def test_a_cancellation_that_nobody_was_told_is_not_explained_by_another(history: History) -> None:
    history.submit("a", Done(3)).cancel("a", Done(6))
    assert history.promises_broken_by(a=[created(3), cancelled(5)]) == ["order"]


def test_what_was_refused_every_time_must_not_be_there(history: History) -> None:
    history.submit("a", NotDone("no-leader")).submit("a", NotDone("disk-full"))
    assert history.promises_broken_by(a=[created(3)]) == ["refused"]


def test_a_cancellation_that_was_refused_must_not_come_into_force(history: History) -> None:
    history.submit("a", Done(3)).cancel("a", NotDone("no-leader"))
    assert "refused" in history.promises_broken_by(a=[created(3), cancelled(4)])


def test_a_task_that_nobody_submitted_is_invented(history: History) -> None:
    assert history.promises_broken_by(a=[created(3)]) == ["invented"]


# --- reads ------------------------------------------------------------------------------------


def test_a_consistent_read_sees_what_was_acknowledged_before_it_began(history: History) -> None:
    history.submit("a", Done(3)).consistent_read("a", 2, None)
    assert history.promises_broken_by(a=[created(3)]) == ["stale"]


def test_a_consistent_read_of_one_task_holds_the_writes_to_all_others(history: History) -> None:
    history.submit("a", Done(3)).submit("b", Done(4)).consistent_read("a", 3, QUEUED)
    assert history.promises_broken_by(a=[created(3)], b=[created(4)]) == ["stale"]


def test_a_consistent_read_may_miss_what_was_acknowledged_after_it_began(history: History) -> None:
    history.submit("a", Done(3)).consistent_read("a", 2, None, called_at=0.9)
    assert history.promises_broken_by(a=[created(3)]) == []


def test_a_read_is_of_no_older_entry_than_it_asked_for(history: History) -> None:
    history.submit("a", Done(3)).read("a", 2, None)
    history.operations[-1] = replace(history.operations[-1], min_index=2)
    assert history.promises_broken_by(a=[created(3)]) == []
    history.operations[-1] = replace(history.operations[-1], min_index=3)
    assert history.promises_broken_by(a=[created(3)]) == ["stale"]


def test_a_stale_read_may_be_old_but_not_of_another_entry_than_it_says(history: History) -> None:
    history.submit("a", Done(3)).cancel("a", Done(5)).read("a", 4, QUEUED).read("a", 2, None)
    stories = {"a": [created(3), cancelled(5)]}
    assert history.promises_broken_by(**stories) == []
    assert history.read("a", 5, QUEUED).promises_broken_by(**stories) == ["stale"]


def test_a_read_must_say_of_which_entry_it_is(history: History) -> None:
    history.submit("a", Done(3)).read("a", None, QUEUED)
    assert history.promises_broken_by(a=[created(3)]) == ["stale"]


def test_a_task_that_is_said_not_to_be_there_must_not_have_been(history: History) -> None:
    history.submit("a", Done(3)).read("a", 3, None)
    assert history.promises_broken_by(a=[created(3)]) == ["stale"]


def test_a_consistent_read_is_no_older_than_what_was_read_before_it(history: History) -> None:
    history.submit("a", Unknown("cut")).submit("b", Done(2)).read("a", 4, QUEUED).consistent_read("a", 3, None)
    assert history.promises_broken_by(a=[created(4)], b=[created(2)]) == ["stale"]


def test_a_write_comes_behind_what_was_read_before_it(history: History) -> None:
    history.submit("a", Done(2)).read("a", 4, QUEUED).submit("b", Done(3))
    assert history.promises_broken_by(a=[created(2)], b=[created(3)]) == ["order"]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [(RUNNING, QUEUED), ((2, "assigned"), RUNNING), ((1, "completed"), (1, "failed")), (CANCELLED, QUEUED)],
)
def test_what_was_seen_of_a_task_never_goes_back(history: History, earlier: Place, later: Place) -> None:
    history.submit("a", Done(3)).read("a", 4, earlier).read("a", 5, later)
    assert history.promises_broken_by(a=[created(3), Step(4, earlier), Step(5, later)]) == ["back"]


def test_two_reads_of_one_entry_see_the_same(history: History) -> None:
    history.submit("a", Done(3)).read("a", 4, QUEUED).read("a", 4, RUNNING)
    assert "back" in history.promises_broken_by(a=[created(3), Step(4, RUNNING)])


def test_nobody_sees_a_task_before_it_was_submitted(history: History) -> None:
    history.read("a", 3, QUEUED).submit("a", Done(4, replayed=True))
    assert history.promises_broken_by(a=[created(3)]) == ["invented"]
