"""A Job begins when the log has it as the attempt's, and no other Job of that attempt ever begins."""

from dataclasses import replace

import pytest

from raftsman.executor.actions import Create, Delete, Notes, Release, Sight, Tell
from raftsman.executor.reconcile import TELL_AFTER_MS, is_second
from raftsman.executor.waits import Waiting
from raftsman.raft.lifecycle import Cause, Signal, State, StopKind
from tests.unit.attempts import BOUND, CLUSTER, STOPPING, action, at, job, step, task, told

MADE = job(suspended=True)
FORBIDDEN = Waiting(cause=Cause.FORBIDDEN, message="its Job may not be released: no", grace_ms=0)


def test_the_uid_is_in_the_log_before_the_job_is_released() -> None:
    assert action(task(), Sight()) == Create()
    report = told(task(), Sight(job=MADE))
    assert (report.signal, report.job_uid) == (Signal.OBSERVE, "u")
    assert action(BOUND, Sight(job=MADE)) == Release("u")


def test_a_node_that_takes_over_releases_what_its_predecessor_has_bound() -> None:
    assert action(BOUND, Sight(job=MADE), Notes()) == Release("u")


@pytest.mark.parametrize(
    "found",
    [
        job("other", suspended=True),
        job(deleted="2026-01-01T00:00:05Z", suspended=True),
        job(sequence=0, suspended=True),
    ],
    ids=["another UID", "being deleted", "an earlier task's"],
)
def test_no_other_job_is_released(found: object) -> None:
    assert isinstance(found, dict)
    assert not isinstance(action(BOUND, Sight(job=found)), Release)


def test_a_job_that_is_to_be_stopped_is_deleted_and_not_released() -> None:
    assert action(STOPPING, Sight(job=MADE)) == Delete("u")
    assert action(task(stop=StopKind.CANCEL), Sight(job=MADE)) == Delete("u")


def test_a_job_that_was_released_is_not_released_again_at_once() -> None:
    notes = Notes(release_at=at(10_000))
    assert action(BOUND, Sight(job=MADE), notes, ms=9_999) != Release("u")
    assert action(BOUND, Sight(job=MADE), notes, ms=10_000) == Release("u")


def test_an_attempt_whose_job_may_not_be_released_is_given_up_and_says_why() -> None:
    _, notes = step(BOUND, Sight(job=MADE), Notes(release_at=at(5_000), held=FORBIDDEN))
    report = told(BOUND, Sight(job=MADE), notes)
    assert (report.signal, report.cause, report.message) == (Signal.GIVE_UP, Cause.FORBIDDEN, FORBIDDEN.message)


def test_a_release_that_may_come_yet_is_waited_for_and_told() -> None:
    held = replace(FORBIDDEN, cause=None, grace_ms=None)
    _, notes = step(BOUND, Sight(job=MADE), Notes(release_at=at(5_000), held=held, events_at=at(0)))
    done, _ = step(BOUND, Sight(job=MADE), replace(notes, events_at=at(TELL_AFTER_MS)), ms=TELL_AFTER_MS)
    assert isinstance(done, Tell)
    assert (done.report.signal, done.report.reason) == (Signal.OBSERVE, held.message)


def test_what_held_a_release_is_forgotten_when_the_job_has_begun() -> None:
    report = action(BOUND, Sight(job=job()), Notes(held=FORBIDDEN, events_at=at(0)), ms=60_000)
    assert not isinstance(report, Tell)


def test_a_second_job_that_never_begins_breaks_no_promise() -> None:
    row = task(State.RUNNING, uid="u")
    assert is_second(job("v"), row, cluster=CLUSTER)
    assert not is_second(job("v", suspended=True), row, cluster=CLUSTER)
