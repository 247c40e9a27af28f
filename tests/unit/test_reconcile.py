"""What to do next about an attempt: one table row, one look, one action."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raftsman.executor.actions import Clear, Conclude, Confirm, Create, Delete, FindPods, Notes, Release, Sight, Tell
from raftsman.executor.jobs import ANNOTATION_SEQUENCE, LABEL_CLUSTER, Json
from raftsman.executor.outcome import Outcome
from raftsman.executor.reconcile import (
    BLIND_MS,
    EVIDENCE_MS,
    NO_ADAPTER,
    STEADY_MS,
    decide,
    output_source,
)
from raftsman.executor.waits import Waiting
from raftsman.raft.lifecycle import Cause, Signal, State, StopKind
from raftsman.raft.records import Instant, JobCounts, Task
from raftsman.raft.task_rules import stop_reason
from tests.unit.attempts import (
    BACK_OFF,
    BOUND,
    CLUSTER,
    CREATING,
    EXITED_0,
    EXITED_3,
    NOT_FOUND,
    REFUSED_POD,
    RUNNING,
    RUNS,
    SECOND,
    STOPPING,
    T0,
    UNPLACED,
    action,
    at,
    concluded,
    job,
    step,
    task,
    told,
)
from tests.unit.kubernetes_objects import container, pod

# --- create and adopt -------------------------------------------------------------------------


def test_a_job_is_created_when_none_is_there_and_none_was_ever_seen() -> None:
    assert action(task(), Sight()) == Create()


@pytest.mark.parametrize(
    ("row", "notes"),
    [
        (task(stop=StopKind.CANCEL), Notes()),
        (BOUND, Notes()),
        (RUNNING, Notes()),
        (STOPPING, Notes()),
        (task(), Notes(seen="u")),
    ],
    ids=["stopping", "bound", "running", "bound and stopping", "seen"],
)
def test_an_absent_job_that_was_there_or_is_unwanted_is_confirmed_and_never_created(row: Task, notes: Notes) -> None:
    assert row.attempt is not None
    assert action(row, Sight(), notes) == Confirm(row.attempt.job_uid or notes.seen)


def test_a_job_that_is_there_is_adopted_by_reporting_its_uid() -> None:
    report = told(task(), Sight(job=job("u", active=1)))
    assert (report.signal, report.job_name, report.job_uid) == (Signal.OBSERVE, "task-t-1", "u")
    assert report.job == JobCounts(active=1)


def test_a_job_that_runs_already_is_adopted_and_started_in_one_report() -> None:
    report = told(task(), Sight(job=job(), pods=[RUNS]))
    assert (report.signal, report.job_uid, report.started_at) == (Signal.START, "u", T0 + SECOND)


def test_a_job_that_was_seen_is_the_only_one_although_the_row_does_not_know_it_yet() -> None:
    _, notes = step(task(), Sight(job=job("u")))
    assert notes.seen == "u"
    assert action(task(), Sight(job=job("v")), notes) == Confirm("u")


def test_a_foreign_job_under_the_name_is_left_alone_and_ends_the_attempt() -> None:
    report = concluded(task(), Sight(job=job(ours=False)))
    assert (report.signal, report.cause, report.job_uid) == (Signal.FAIL, Cause.JOB_NAME_CONFLICT, "")
    assert "namespace batch" in report.message


def test_a_foreign_job_under_the_name_proves_that_a_stopped_attempt_has_none() -> None:
    report = concluded(task(stop=StopKind.CANCEL), Sight(job=job(ours=False)))
    assert (report.signal, report.job_uid) == (Signal.GONE, "")


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("row", [BOUND, STOPPING], ids=["bound", "stopping"])
def test_another_job_in_the_place_of_the_bound_one_means_that_one_is_absent(row: Task, ours: bool) -> None:
    sight = Sight(job=job("other", ours=ours))
    assert action(row, sight) == Confirm("u")
    assert isinstance(action(row, sight, Notes(absent=True, ended_since=at(0)), EVIDENCE_MS), Conclude)


def test_the_bound_job_is_ours_whatever_somebody_did_to_its_labels() -> None:
    assert told(BOUND, Sight(job=job(ours=False), pods=[RUNS])).signal is Signal.START


# --- refused creates --------------------------------------------------------------------------

QUOTA = Waiting(cause=Cause.QUOTA_EXCEEDED, message="exceeded quota: jobs", grace_ms=None)
INVALID = Outcome(succeeded=False, exit_code=-1, cause=Cause.INVALID_SPEC, message="no", error="no")


def test_a_refused_create_says_why_and_is_tried_again_later() -> None:
    notes = Notes(refusal=QUOTA, retry_at=at(5_000))
    report = told(task(), Sight(), notes, 4_999)
    assert (report.signal, report.cause, report.reason) == (Signal.OBSERVE, Cause.QUOTA_EXCEEDED, QUOTA.message)
    assert action(task(), Sight(), notes, 5_000) == Create()


def test_a_create_that_was_not_answered_waits_for_its_next_try() -> None:
    assert action(task(), Sight(), Notes(retry_at=at(1_000)), 999) is None
    assert action(task(), Sight(), Notes(retry_at=at(1_000)), 1_000) == Create()


def test_a_create_that_is_refused_for_good_ends_the_attempt() -> None:
    report = concluded(task(), Sight(), Notes(refusal=INVALID, retry_at=at(5_000)))
    assert (report.signal, report.cause) == (Signal.FAIL, Cause.INVALID_SPEC)


def test_a_refusal_is_forgotten_when_the_job_is_there_after_all() -> None:
    _, notes = step(task(), Sight(job=job()), Notes(refusal=INVALID, retry_at=at(5_000), absent=True))
    assert (notes.refusal, notes.retry_at, notes.absent) == (None, None, False)


# --- blindness --------------------------------------------------------------------------------


def test_a_short_gap_says_nothing_and_a_long_one_makes_the_attempt_unreachable() -> None:
    blind = Sight(error="connection refused")
    done, notes = step(RUNNING, blind, Notes())
    assert done is None
    assert action(RUNNING, blind, notes, BLIND_MS - 1) is None
    report = told(RUNNING, blind, notes, BLIND_MS)
    assert (report.signal, report.unreachable) == (Signal.OBSERVE, True)
    assert report.reason == "context c is out of reach: connection refused"


def test_what_is_unreachable_is_not_said_again() -> None:
    row = task(State.RUNNING, uid="u", unreachable=True, reason="context c is out of reach: still")
    assert action(row, Sight(error="still"), Notes(blind_since=at(0)), 60_000) is None


def test_another_reason_for_being_unreachable_is_said_when_it_has_stood_for_a_while() -> None:
    row = task(State.RUNNING, uid="u", unreachable=True, reason="context c is out of reach: refused")
    another = Sight(error="its credentials are not accepted")
    _, notes = step(row, another, Notes(blind_since=at(-60_000)))
    assert action(row, another, notes, STEADY_MS - 1) is None
    assert told(row, another, notes, STEADY_MS).reason == f"context c is out of reach: {another.error}"
    _, notes = step(row, Sight(error="refused"), notes, STEADY_MS - 1)
    assert action(row, another, notes, STEADY_MS) is None


def test_a_stop_says_that_its_context_is_out_of_reach() -> None:
    report = told(STOPPING, Sight(error="connection refused"), Notes(blind_since=at(0)), BLIND_MS)
    assert (report.unreachable, report.message) == (True, "context c is out of reach: connection refused")


def test_a_gap_that_ends_is_counted_from_its_own_beginning() -> None:
    _, notes = step(RUNNING, Sight(error="gone"), Notes())
    _, notes = step(RUNNING, Sight(job=job(), pods=[RUNS]), notes, 3_000)
    _, notes = step(RUNNING, Sight(error="gone again"), notes, 4_000)
    assert action(RUNNING, Sight(error="gone again"), notes, 8_999) is None


def test_an_unreachable_attempt_that_is_seen_again_says_so() -> None:
    row = task(State.RUNNING, uid="u", unreachable=True, reason="context c does not answer", job=JobCounts(active=1))
    report = told(row, Sight(job=job(active=1), pods=[RUNS]), Notes(blind_since=at(0)), 60_000)
    assert (report.unreachable, report.reason) == (False, "")


def test_unreachable_keeps_what_a_start_timeout_is_to_be_blamed_on() -> None:
    row = task(uid="u", pending_cause=Cause.IMAGE_PULL)
    assert told(row, Sight(error="gone"), Notes(blind_since=at(0)), BLIND_MS).cause is Cause.IMAGE_PULL


# --- no adapter -------------------------------------------------------------------------------


def test_an_attempt_without_a_job_ends_when_its_node_has_lost_the_context() -> None:
    report = concluded(task(), Sight(configured=False))
    assert (report.signal, report.cause) == (Signal.FAIL, Cause.CONTEXT_UNREACHABLE)
    assert report.error == NO_ADAPTER == "Kubernetes adapter not available"


@pytest.mark.parametrize("row", [BOUND, RUNNING, STOPPING], ids=["bound", "running", "stopping"])
def test_an_attempt_with_a_job_is_only_unreachable_when_its_node_has_lost_the_context(row: Task) -> None:
    report = told(row, Sight(configured=False))
    assert (report.signal, report.unreachable) == (Signal.OBSERVE, True)
    assert NO_ADAPTER in report.reason
    reason = stop_reason(row, row.stop, report.message) if row.stop else report.reason
    assert action(msgspec.structs.replace(row, unreachable=True, reason=reason), Sight(configured=False)) is None


# --- ends -------------------------------------------------------------------------------------


def test_a_complete_job_ends_the_attempt_with_success() -> None:
    report = concluded(RUNNING, Sight(job=job(ended_as="Complete", succeeded=1), pods=[EXITED_0]))
    assert (report.signal, report.exit_code, report.cause) == (Signal.SUCCEED, 0, None)
    assert report.job == JobCounts(succeeded=1)


def test_a_failed_job_ends_the_attempt_with_its_pods_cause() -> None:
    report = concluded(RUNNING, Sight(job=job(ended_as="Failed", failed=1), pods=[EXITED_3]))
    assert (report.signal, report.exit_code, report.cause) == (Signal.FAIL, 3, Cause.NON_ZERO_EXIT)


def test_a_job_whose_end_is_shown_before_its_pods_waits_for_the_exit_code() -> None:
    failed = job(ended_as="Failed")
    done, notes = step(RUNNING, Sight(job=failed, pods=[RUNS]))
    assert done is None
    assert concluded(RUNNING, Sight(job=failed, pods=[EXITED_3]), notes, 1).exit_code == 3
    assert action(RUNNING, Sight(job=failed, pods=[RUNS]), notes, EVIDENCE_MS - 1) is None
    assert action(RUNNING, Sight(job=failed, pods=[RUNS]), notes, EVIDENCE_MS) == FindPods("u")
    notes = replace(notes, found=())
    assert concluded(RUNNING, Sight(job=failed, pods=[RUNS]), notes, EVIDENCE_MS).cause is Cause.RESULT_UNKNOWN


def test_a_job_that_failed_is_told_by_the_pod_that_lost_its_labels() -> None:
    failed = job(ended_as="Failed")
    notes = Notes(ended_since=at(0))
    assert action(RUNNING, Sight(job=failed), notes, EVIDENCE_MS) == FindPods("u")
    report = concluded(RUNNING, Sight(job=failed), replace(notes, found=(EXITED_3,)), EVIDENCE_MS)
    assert (report.cause, report.exit_code) == (Cause.NON_ZERO_EXIT, 3)


def test_a_job_that_ended_between_two_looks_needs_no_start_of_its_own() -> None:
    report = concluded(task(), Sight(job=job(ended_as="Complete"), pods=[EXITED_0]))
    assert (report.signal, report.job_uid) == (Signal.SUCCEED, "u")


# --- stops ------------------------------------------------------------------------------------

DELETED = "2026-01-01T00:00:10Z"


def test_a_stop_deletes_waits_confirms_and_is_gone() -> None:
    sight = Sight(job=job(), pods=[RUNS])
    done, notes = step(STOPPING, sight)
    assert done == Delete("u")
    notes = replace(notes, deletion=job(deleted=DELETED))
    assert action(STOPPING, sight, notes) is None, "the watch shows the deletion a moment later"
    done, notes = step(STOPPING, Sight(job=job(deleted=DELETED), pods=[RUNS]), notes)
    assert not isinstance(done, Delete | Create | Conclude)
    done, notes = step(STOPPING, Sight(), notes)
    assert done == Confirm("u")
    report = concluded(STOPPING, Sight(), replace(notes, absent=True))
    assert (report.signal, report.job_uid) == (Signal.GONE, "u")


@pytest.mark.parametrize("kind", list(StopKind))
def test_every_kind_of_stop_deletes_the_job_of_an_attempt_that_has_not_started(kind: StopKind) -> None:
    assert action(task(stop=kind), Sight(job=job(), pods=[CREATING])) == Delete("u")


def test_a_deletion_that_found_no_job_is_confirmed_although_the_mirror_still_shows_it() -> None:
    assert action(STOPPING, Sight(job=job(), pods=[RUNS]), Notes(seen="u", vanished=True)) == Confirm("u")


def test_a_deletion_of_another_node_is_not_repeated() -> None:
    done = action(STOPPING, Sight(job=job(deleted=DELETED), pods=[RUNS]))
    assert not isinstance(done, Delete)


@pytest.mark.parametrize(
    ("end", "signal"), [("Complete", Signal.SUCCEED), ("Failed", Signal.FAIL)], ids=["success", "failure"]
)
def test_an_end_that_came_before_the_stop_could_delete_the_job_counts(end: str, signal: Signal) -> None:
    assert concluded(STOPPING, Sight(job=job(ended_as=end), pods=[EXITED_3])).signal is signal


@pytest.mark.parametrize(
    ("ended_at", "counts"),
    [("2026-01-01T00:00:09Z", True), (DELETED, False), ("2026-01-01T00:00:12Z", False), ("", False)],
)
def test_an_end_that_the_watch_shows_counts_only_before_the_second_of_the_deletion(ended_at: str, counts: bool) -> None:
    sight = Sight(job=job(deleted=DELETED, ended_as="Failed", ended_at=ended_at), pods=[EXITED_3])
    assert isinstance(action(STOPPING, sight), Conclude) is counts


@pytest.mark.parametrize(
    ("ended_at", "signal"),
    [
        ("2026-01-01T00:00:09Z", Signal.FAIL),
        (DELETED, Signal.FAIL),
        ("2026-01-01T00:00:11Z", Signal.GONE),
    ],
    ids=["before", "in the same second", "after: a deletion that was said twice"],
)
def test_an_end_in_the_deletions_answer_counts_unless_the_deletion_caused_it(ended_at: str, signal: Signal) -> None:
    answer = job(deleted=DELETED, ended_as="Failed", ended_at=ended_at)
    notes = Notes(seen="u", deletion=answer, absent=True)
    assert concluded(STOPPING, Sight(departed=[EXITED_3]), notes).signal is signal


def test_a_stop_without_a_job_needs_only_the_proof_that_there_is_none() -> None:
    row = task(stop=StopKind.CANCEL)
    assert action(row, Sight()) == Confirm("")
    assert concluded(row, Sight(), Notes(absent=True)).signal is Signal.GONE


def test_a_job_that_comes_late_is_deleted_although_its_absence_was_confirmed() -> None:
    done, notes = step(task(stop=StopKind.CANCEL), Sight(job=job()), Notes(absent=True))
    assert done == Delete("u")
    assert not notes.absent


# --- absent bound Jobs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("departed", "signal", "cause"),
    [
        ([], Signal.FAIL, Cause.RESULT_UNKNOWN),
        ([RUNS], Signal.FAIL, Cause.JOB_DELETED),
        ([EXITED_0], Signal.SUCCEED, None),
        ([EXITED_3], Signal.FAIL, Cause.NON_ZERO_EXIT),
    ],
    ids=["nothing was seen", "it was running", "it had succeeded", "it had failed"],
)
def test_a_job_proved_to_be_gone_ends_its_attempt_as_its_pods_were_last_seen(
    departed: list[Json], signal: Signal, cause: Cause | None
) -> None:
    sight = Sight(departed=departed)
    assert action(RUNNING, sight) == Confirm("u")
    _, notes = step(RUNNING, sight, Notes(absent=True))
    report = concluded(RUNNING, sight, notes, EVIDENCE_MS)
    assert (report.signal, report.cause, report.job_uid) == (signal, cause, "u")


# --- what else is asked of a look -------------------------------------------------------------


def test_the_output_is_that_of_the_newest_pod_that_has_started() -> None:
    assert output_source(Sight()) is None
    assert output_source(Sight(pods=[CREATING])) is None
    assert output_source(Sight(pods=[RUNS, CREATING])) is RUNS
    assert output_source(Sight(pods=[EXITED_3])) is EXITED_3


@pytest.mark.parametrize(
    ("assigned_ms", "told_ms"),
    [(-500, 0), (0, 0), (1, 1), (999, 999), (1_000, 0), (60_000, 0)],
    ids=["before", "the same", "", "at most a second", "clocks differ", "and by much"],
)
def test_stamps_that_kubernetes_has_cut_to_the_second_are_not_before_the_assignment(
    assigned_ms: int, told_ms: int
) -> None:
    def assigned(row: Task) -> Task:
        assert row.attempt is not None
        attempt = msgspec.structs.replace(row.attempt, assigned_at=Instant(T0 + assigned_ms))
        return msgspec.structs.replace(row, attempt=attempt)

    state = {"startedAt": "2026-01-01T00:00:00Z"}
    runs = pod(container("running", **state), phase="Running")
    assert told(assigned(BOUND), Sight(job=job(), pods=[runs])).started_at == T0 + told_ms
    over = pod(container("terminated", exitCode=0, finishedAt="2026-01-01T00:00:00Z", **state), phase="Succeeded")
    report = concluded(assigned(RUNNING), Sight(job=job(ended_as="Complete"), pods=[over]))
    assert (report.started_at, report.ended_at) == (T0 + told_ms, T0 + told_ms)


# --- anything at all --------------------------------------------------------------------------

instants = st.none() | st.integers(-10_000, 1_000_000).map(at)
stamps = st.sampled_from(["", "2026-01-01T00:00:09Z", DELETED, "2026-01-01T00:00:11Z"])
some_jobs = st.none() | st.builds(
    job,
    st.sampled_from(["u", "v", ""]),
    ours=st.booleans(),
    sequence=st.integers(0, 2),
    deleted=stamps,
    ended_as=st.sampled_from(["", "Complete", "Failed", "FailureTarget"]),
    ended_at=stamps,
    suspended=st.booleans(),
    active=st.integers(0, 1),
)
some_pods = st.lists(
    st.sampled_from([RUNS, CREATING, NOT_FOUND, BACK_OFF, UNPLACED, EXITED_0, EXITED_3, {}]), max_size=2
)
sights = st.builds(
    Sight,
    configured=st.booleans(),
    error=st.sampled_from(["", "", "gone"]),
    refused=st.booleans(),
    job=some_jobs,
    pods=some_pods,
    departed=some_pods,
    events=st.lists(st.sampled_from([REFUSED_POD, {}]), max_size=2),
)
notes_of_all_kinds = st.builds(
    Notes,
    blind_since=instants,
    waits_since=instants,
    wait=st.none() | st.tuples(st.sampled_from([None, Cause.IMAGE_PULL, Cause.POD_SECURITY]), instants),
    reported_at=instants,
    events_at=instants,
    refusal=st.sampled_from([None, QUOTA, INVALID]),
    retry_at=instants,
    release_at=instants,
    held=st.sampled_from([None, QUOTA]),
    seen=st.sampled_from(["", "u", "v"]),
    cleared=st.sampled_from(["", "u"]),
    vanished=st.booleans(),
    absent=st.booleans(),
    orphans=some_pods.map(tuple),
    deletion=some_jobs,
    ended_since=instants,
)
rows = st.builds(
    task,
    st.sampled_from([State.ASSIGNED, State.RUNNING]),
    uid=st.sampled_from(["", "u"]),
    stop=st.none() | st.sampled_from(list(StopKind)),
    unreachable=st.booleans(),
    reason=st.sampled_from(["", QUOTA.message]),
    pending_cause=st.sampled_from([None, Cause.QUOTA_EXCEEDED]),
)


@example(task(), Sight(configured=True, job=job()), Notes(vanished=True), 0)
@given(rows, sights, notes_of_all_kinds, st.integers(0, 1_000_000))
def test_no_look_creates_what_may_exist_or_releases_or_deletes_what_is_not_the_attempts(
    row: Task, sight: Sight, notes: Notes, ms: int
) -> None:
    assert row.attempt is not None
    done, _ = decide(row, sight, notes, at(ms), cluster=CLUSTER)
    match done:
        case Create():
            assert row.stop is None
            assert row.attempt.job_uid == ""
            assert notes.seen == ""
            assert sight.job is None
        case Release(uid):
            assert row.stop is None
            assert sight.job is not None
            assert uid == row.attempt.job_uid == sight.job["metadata"]["uid"] != ""
            assert sight.job["metadata"]["labels"][LABEL_CLUSTER] == CLUSTER
            assert sight.job["spec"] == {"suspend": True}
        case Delete(uid):
            assert row.stop is not None
            assert sight.job is not None
            assert sight.job["metadata"]["uid"] == uid
            bound = row.attempt.job_uid or notes.seen
            assert uid == bound if bound else sight.job["metadata"]["labels"][LABEL_CLUSTER] == CLUSTER
        case Clear(uid):
            assert row.stop is None
            assert (row.attempt.job_uid, notes.seen) == ("", "")
            assert sight.job is not None
            metadata = sight.job["metadata"]
            assert (metadata["uid"], metadata["labels"][LABEL_CLUSTER]) == (uid, CLUSTER)
            assert metadata["annotations"][ANNOTATION_SEQUENCE] == "0"
        case Tell(report) | Conclude(report):
            assert (report.task_id, report.attempt, report.node) == ("t", 1, "alpha")
            assert isinstance(done, Conclude) == (report.signal in {Signal.SUCCEED, Signal.FAIL, Signal.GONE}), (
                "what ends the attempt, and nothing else, is concluded"
            )
            assert row.stop is not None or report.signal is not Signal.GONE
            assert report.job_uid in ("", row.attempt.job_uid) if row.attempt.job_uid else True


@given(rows, sights, notes_of_all_kinds, st.integers(0, 1_000_000))
def test_what_cannot_be_seen_neither_ends_nor_changes_anything(row: Task, sight: Sight, notes: Notes, ms: int) -> None:
    blind = replace(sight, configured=True, error="gone", refused=False)
    done, _ = decide(row, blind, notes, at(ms), cluster=CLUSTER)
    assert done is None or (isinstance(done, Tell) and done.report.unreachable)
