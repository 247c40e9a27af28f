"""What to do about an attempt when others had a hand in it: names that are taken, Jobs and rights that went away."""

from dataclasses import replace

import msgspec
import pytest

from raftsman.executor.actions import Clear, Confirm, Create, DeletePod, Notes, Sight, Tell
from raftsman.executor.jobs import Json
from raftsman.executor.reconcile import BLIND_MS, TELL_AFTER_MS, obstacle
from raftsman.raft.lifecycle import Cause, Signal, State, StopKind
from raftsman.raft.records import Task
from raftsman.raft.task_rules import stop_reason
from tests.unit.attempts import (
    BOUND,
    CREATING,
    EXITED_0,
    EXITED_3,
    RUNNING,
    RUNS,
    SECOND,
    STOPPING,
    T0,
    action,
    at,
    concluded,
    job,
    step,
    task,
    told,
)

# --- an id that is used again -------------------------------------------------------------------


def test_the_job_of_an_earlier_task_of_the_id_is_told_of_deleted_once_and_waited_for() -> None:
    row, sight = task(sequence=2), Sight(job=job("old", ended_as="Complete"), pods=[EXITED_0])
    done, notes = step(row, sight)
    assert isinstance(done, Tell)
    assert done.report.reason == "waiting until the Job of an earlier task of this id is gone from namespace batch"
    assert done.report.job_uid == ""
    row = msgspec.structs.replace(row, reason=done.report.reason)
    assert action(row, sight, notes) == Clear("old")
    notes = replace(notes, cleared="old")
    assert action(row, sight, notes) is None
    assert action(row, Sight(), notes) == Create()


def test_the_job_of_an_earlier_task_of_the_id_does_not_keep_a_stop_waiting() -> None:
    row, sight = task(sequence=2, stop=StopKind.CANCEL), Sight(job=job("old"))
    assert action(row, sight) == Confirm("")
    assert concluded(row, sight, Notes(absent=True)).signal is Signal.GONE


def test_the_job_of_a_later_task_of_the_id_is_left_alone() -> None:
    assert concluded(task(), Sight(job=job(sequence=2))).cause is Cause.JOB_NAME_CONFLICT


# --- a Job that was deleted without its Pod -----------------------------------------------------

GOES_ON = "its Job was deleted, its Pod goes on"


def going(pod: Json) -> Json:
    """Return the Pod as somebody has asked for its deletion."""
    asked = {"deletionTimestamp": "2026-01-01T00:00:40Z", "deletionGracePeriodSeconds": 30}
    return {**pod, "metadata": {**pod["metadata"], "uid": "pod-u", **asked}}


def test_a_pod_that_outlives_its_job_is_followed_and_said_to() -> None:
    notes = Notes(orphans=(RUNS,))
    report = told(RUNNING, Sight(pods=[RUNS]), notes)
    assert (report.signal, report.reason, report.job_uid) == (Signal.START, GOES_ON, "u")
    row = msgspec.structs.replace(RUNNING, reason=GOES_ON)
    assert action(row, Sight(pods=[RUNS]), notes) is None
    assert action(row, Sight(pods=[EXITED_0]), notes) == Confirm("u")
    assert action(row, Sight(), notes) == Confirm("u"), "the watch shows its end before, or not at all"


def test_a_pod_that_starts_without_its_job_starts_the_attempt_of_that_job() -> None:
    notes = Notes(seen="u", orphans=(CREATING,))
    report = told(task(), Sight(pods=[CREATING]), notes)
    assert (report.signal, report.job_uid, report.job_name) == (Signal.OBSERVE, "u", "task-t-1")
    report = told(BOUND, Sight(pods=[RUNS]), notes)
    assert (report.signal, report.started_at) == (Signal.START, T0 + SECOND)


def test_a_pod_that_goes_after_its_job_is_said_to_go() -> None:
    pod = going(RUNS)
    assert (
        told(RUNNING, Sight(pods=[pod]), Notes(orphans=(RUNS,))).reason
        == "its Job was deleted, its Pod is being deleted"
    )


@pytest.mark.parametrize("row", [RUNNING, STOPPING], ids=["running", "stopping"])
@pytest.mark.parametrize(("pod", "signal"), [(EXITED_0, Signal.SUCCEED), (EXITED_3, Signal.FAIL)])
def test_a_pod_that_has_ended_by_itself_without_its_job_decides(row: Task, pod: Json, signal: Signal) -> None:
    assert concluded(row, Sight(pods=[pod]), Notes(absent=True, orphans=(pod,))).signal is signal


def test_a_stop_deletes_the_pod_that_outlives_its_job_and_waits_for_its_end() -> None:
    pod = {**RUNS, "metadata": {**RUNS["metadata"], "uid": "pod-u"}}
    row = msgspec.structs.replace(STOPPING, reason="cancelled; waiting until its Job and Pods are gone")
    assert action(row, Sight(pods=[pod]), Notes(orphans=(pod,))) == DeletePod("p-1", "pod-u")
    assert action(row, Sight(pods=[pod]), Notes(orphans=(going(pod),))) == Confirm("u")
    ended = going(EXITED_0)
    assert concluded(STOPPING, Sight(pods=[ended]), Notes(absent=True, orphans=(ended,))).signal is Signal.GONE


def test_what_kubernetes_refuses_to_a_stop_is_told_once() -> None:
    report = obstacle(STOPPING, 'pods "p" is forbidden')
    assert report is not None
    assert (report.signal, report.message) == (Signal.OBSERVE, 'pods "p" is forbidden')
    row = msgspec.structs.replace(STOPPING, reason=f"cancelled; {report.message}")
    assert obstacle(row, report.message) is None
    assert obstacle(task(State.RUNNING, uid="u"), "no") is None


# --- a place that this account may not see ------------------------------------------------------

SHUT = Sight(error="this account may not list jobs in namespace batch: no", refused=True)


def test_an_attempt_without_a_job_ends_where_its_account_may_not_look() -> None:
    done, notes = step(task(), SHUT)
    assert done is None, "rights that were just given take a moment"
    assert action(task(), SHUT, notes, BLIND_MS - 1) is None
    report = concluded(task(), SHUT, notes, BLIND_MS)
    assert (report.signal, report.cause, report.message) == (Signal.FAIL, Cause.FORBIDDEN, SHUT.error)


@pytest.mark.parametrize("kind", list(StopKind))
def test_a_stop_without_a_job_ends_at_once_where_its_account_may_not_look(kind: StopKind) -> None:
    assert concluded(task(stop=kind), SHUT).signal is Signal.GONE


@pytest.mark.parametrize(
    ("row", "notes"),
    [(BOUND, Notes()), (RUNNING, Notes()), (STOPPING, Notes()), (task(), Notes(seen="u"))],
    ids=["bound", "running", "stopping", "seen"],
)
def test_an_attempt_with_a_job_is_unreachable_where_its_account_may_not_look(row: Task, notes: Notes) -> None:
    report = told(row, SHUT, replace(notes, blind_since=at(0)), BLIND_MS)
    assert (report.unreachable, SHUT.error in report.reason) == (True, True)


def test_a_stop_says_that_a_pod_without_its_job_does_not_end() -> None:
    assert STOPPING.stop is not None
    row = msgspec.structs.replace(STOPPING, reason=stop_reason(STOPPING, STOPPING.stop))
    told_to_go = {"name": "p", "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
    pod = {**RUNS, "metadata": told_to_go}
    done, notes = step(row, Sight(), Notes(orphans=(pod,)))
    assert done == Confirm("u")
    late_ms = 30 * SECOND + TELL_AFTER_MS
    assert action(row, Sight(), notes, late_ms - 1) == Confirm("u")
    words = "the Kubernetes node worker-1 has not ended its Pod yet"
    assert told(row, Sight(), notes, late_ms).message == words
    row = msgspec.structs.replace(row, reason=stop_reason(STOPPING, STOPPING.stop, words))
    assert action(row, Sight(), notes, late_ms) == Confirm("u")
