"""What is told of an attempt that waits or runs, how often, and when waiting is hopeless."""

from dataclasses import replace

import msgspec
import pytest

from raftsman.executor.actions import Notes, ReadEvents, Sight, Tell
from raftsman.executor.jobs import Json
from raftsman.executor.reconcile import EVENTS_EVERY_MS, REPORT_EVERY_MS, TELL_AFTER_MS
from raftsman.raft.lifecycle import Cause, Signal, StopKind
from raftsman.raft.records import JobCounts, Task
from raftsman.raft.task_rules import stop_reason
from tests.unit.attempts import (
    BACK_OFF,
    BOUND,
    CREATING,
    EXITED_3,
    LONG_AGO,
    NOT_FOUND,
    REFUSED_POD,
    RUNNING,
    RUNS,
    SECOND,
    STOPPING,
    UNPLACED,
    action,
    at,
    job,
    step,
    task,
    told,
)
from tests.unit.kubernetes_objects import container, pod

# --- waiting ----------------------------------------------------------------------------------


def test_a_pod_that_waits_says_why_after_two_seconds() -> None:
    sight = Sight(job=job(), pods=[UNPLACED])
    done, notes = step(BOUND, sight)
    assert done is None
    done, notes = step(BOUND, sight, notes, TELL_AFTER_MS - 1)
    assert done is None
    done, notes = step(BOUND, sight, notes, TELL_AFTER_MS)
    assert isinstance(done, ReadEvents)
    report = told(BOUND, sight, notes, TELL_AFTER_MS)
    assert (report.cause, report.reason) == (Cause.UNSCHEDULABLE, "Unschedulable: 0/3 nodes are available")


def test_events_are_read_every_two_seconds_while_an_attempt_waits() -> None:
    sight, notes, read_at = Sight(job=job("u"), pods=[CREATING]), Notes(), []
    for ms in range(0, 7_000, 100):
        done, notes = step(BOUND, sight, notes, ms)
        if isinstance(done, ReadEvents):
            assert done.uids == ("u", "")
            read_at.append(ms)
    assert read_at == [TELL_AFTER_MS + n * EVENTS_EVERY_MS for n in range(3)]


def test_a_job_that_makes_no_pod_is_given_up_by_what_its_events_say() -> None:
    report = told(BOUND, Sight(job=job(), events=[REFUSED_POD]), LONG_AGO)
    assert (report.signal, report.cause) == (Signal.GIVE_UP, Cause.POD_SECURITY)
    assert "restricted:latest" in report.message


def test_nothing_is_read_or_given_up_once_it_runs() -> None:
    row = msgspec.structs.replace(RUNNING, job=JobCounts())
    assert action(row, Sight(job=job(), pods=[RUNS], events=[REFUSED_POD]), LONG_AGO, 60_000) is None


def test_an_attempt_that_has_run_is_not_given_up_for_what_once_kept_its_pod_away() -> None:
    row = msgspec.structs.replace(RUNNING, job=JobCounts())
    assert action(row, Sight(job=job(), events=[REFUSED_POD]), LONG_AGO, 60_000) is None


def given_up_at(*looks: tuple[int, Json]) -> int | None:
    """Return when the Pods seen at those milliseconds make the attempt hopeless."""
    notes = replace(LONG_AGO, events_at=at(10**9))
    for ms, waits in looks:
        done, notes = step(BOUND, Sight(job=job(), pods=[waits]), notes, ms)
        if isinstance(done, Tell) and done.report.signal is Signal.GIVE_UP:
            return ms
    return None


def test_a_hopeless_wait_is_given_up_when_its_grace_is_over() -> None:
    assert given_up_at(*((ms, NOT_FOUND) for ms in range(0, 100_000, SECOND))) == 90_000
    assert given_up_at(*((ms, BACK_OFF) for ms in range(0, 1_000_000, SECOND))) == 900_000


def test_the_least_patience_counts_when_one_cause_has_several_wordings() -> None:
    looks = [(ms, BACK_OFF if ms % 20_000 else NOT_FOUND) for ms in range(0, 200_000, SECOND)]
    assert given_up_at(*looks) == 90_000
    assert given_up_at((0, NOT_FOUND), *((ms, BACK_OFF) for ms in range(SECOND, 200_000, SECOND))) == 90_000


def test_another_cause_has_a_patience_of_its_own() -> None:
    looks = [(0, NOT_FOUND), (60_000, UNPLACED), *((ms, NOT_FOUND) for ms in range(61_000, 200_000, SECOND))]
    assert given_up_at(*looks) == 151_000


def test_a_stopping_attempt_is_not_given_up() -> None:
    row = task(uid="u", stop=StopKind.START_TIMEOUT)
    sight = Sight(job=job(deleted="2026-01-01T00:00:00Z"), events=[REFUSED_POD])
    done = action(row, sight, LONG_AGO, 60_000)
    assert not (isinstance(done, Tell) and done.report.signal is Signal.GIVE_UP)


# --- reports ----------------------------------------------------------------------------------


def test_nothing_new_is_not_told() -> None:
    row = msgspec.structs.replace(RUNNING, job=JobCounts(active=1))
    assert action(row, Sight(job=job(active=1), pods=[RUNS])) is None


def test_reports_of_one_attempt_are_a_second_apart() -> None:
    sight, notes = Sight(job=job(active=1), pods=[RUNS]), Notes(reported_at=at(0))
    assert action(RUNNING, sight, notes, REPORT_EVERY_MS - 1) is None
    assert told(RUNNING, sight, notes, REPORT_EVERY_MS).job == JobCounts(active=1)


@pytest.mark.parametrize(
    ("row", "pods", "signal"),
    [(task(), [], Signal.OBSERVE), (BOUND, [RUNS], Signal.START)],
    ids=["binds", "starts"],
)
def test_what_binds_or_starts_is_told_at_once(row: Task, pods: list[Json], signal: Signal) -> None:
    assert told(row, Sight(job=job(), pods=pods), Notes(reported_at=at(0)), 1).signal is signal


def test_a_job_that_somebody_else_deletes_says_so() -> None:
    sight = Sight(job=job(deleted="2026-01-01T00:00:00Z"), pods=[RUNS])
    assert told(RUNNING, sight).reason == "its Job is being deleted, and not by raftsman"


# --- what Kubernetes itself has yet to do -----------------------------------------------------------

FAR = 10 * SECOND
READ = Notes(waits_since=at(0), events_at=at(FAR), seen="u")
STOPPING_UNSAID = msgspec.structs.replace(
    STOPPING, reason="cancelled; waiting until its Job and Pods are gone", job=JobCounts()
)


def said_after(row: Task, sight: Sight) -> tuple[str, str]:
    """Return reason and obstacle that are told of what has looked like that for two seconds, and nothing before."""
    done, notes = step(row, sight, READ)
    row = msgspec.structs.replace(row, job=JobCounts()) if done is None else row
    assert not isinstance(done, Tell) or (done.report.reason, done.report.message) == ("", "")
    report = told(row, sight, notes, TELL_AFTER_MS)
    return report.reason, report.message


def test_a_job_of_which_no_pod_is_made_says_so() -> None:
    assert said_after(BOUND, Sight(job=job())) == ("Kubernetes has not made a Pod of its Job yet", "")


def test_a_pod_that_nobody_schedules_says_so() -> None:
    fresh = {**pod(phase="Pending"), "spec": {}}
    assert said_after(BOUND, Sight(job=job(), pods=[fresh]))[0].startswith("the scheduler of Kubernetes has not")


def test_an_attempt_whose_pod_has_ended_says_that_its_job_has_not() -> None:
    reason, _ = said_after(RUNNING, Sight(job=job(), pods=[EXITED_3]))
    assert reason == "its Pod has ended, and Kubernetes has not ended its Job yet"


def test_a_job_that_somebody_else_deletes_says_what_keeps_it() -> None:
    held = job(deleted="2026-01-01T00:00:00Z")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    first = "its Job is being deleted, and not by raftsman"
    _, notes = step(RUNNING, Sight(job=held), READ)
    report = told(RUNNING, Sight(job=held), notes, TELL_AFTER_MS)
    assert report.reason == f"{first}; its Job task-t-1 is kept by the finalizer example.com/hold"


def test_a_stop_says_what_keeps_its_job() -> None:
    held = job(deleted="2026-01-01T00:00:00Z")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    assert said_after(STOPPING_UNSAID, Sight(job=held)) == (
        "",
        "its Job task-t-1 is kept by the finalizer example.com/hold",
    )


def test_a_stop_says_that_the_kubernetes_node_is_silent_and_takes_it_back() -> None:
    lowered = ({"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"})
    silent = pod(container("running", startedAt="2026-01-01T00:00:01Z"), conditions=lowered, phase="Running")
    deleted = job(deleted="2026-01-01T00:00:00Z")
    words = "the Kubernetes node worker-1 does not answer"
    assert told(STOPPING_UNSAID, Sight(job=deleted, pods=[silent]), READ).message == words
    assert STOPPING.stop is not None
    row = msgspec.structs.replace(STOPPING_UNSAID, reason=stop_reason(STOPPING, STOPPING.stop, words))
    assert action(row, Sight(job=deleted, pods=[silent]), READ) is None
    assert told(row, Sight(job=deleted, pods=[RUNS]), READ).message == ""


def test_what_kept_an_attempt_from_starting_is_no_obstacle_to_its_stop() -> None:
    waits = {**NOT_FOUND, "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:30Z"}}
    row = msgspec.structs.replace(task(uid="u", stop=StopKind.CANCEL), reason=STOPPING_UNSAID.reason, job=JobCounts())
    sight = Sight(job=job(deleted="2026-01-01T00:00:00Z"), pods=[waits])
    assert said_after(row, sight) == ("", "the Kubernetes node worker-1 has not ended its Pod yet")


def test_a_container_that_outlives_its_grace_period_keeps_a_stop() -> None:
    metadata = {"name": "p", "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
    sight = Sight(job=job(deleted="2026-01-01T00:00:00Z"), pods=[{**RUNS, "metadata": metadata}])
    _, notes = step(STOPPING_UNSAID, sight, READ)
    late_ms = 30_000 + TELL_AFTER_MS
    assert action(STOPPING_UNSAID, sight, notes, late_ms - 1) is None
    assert (
        told(STOPPING_UNSAID, sight, notes, late_ms).message == "the Kubernetes node worker-1 has not ended its Pod yet"
    )
