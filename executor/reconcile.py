"""What to do next about an attempt, given its row and what Kubernetes shows: the executor's decisions.

A function from values to one action: nothing here talks to anybody. The action is safe to repeat, for it is
decided again from scratch after every change. ``worker`` looks and carries out; ``outcome`` and ``waits`` say
what the objects mean. The order of the checks below is the order in which facts count.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from raftsman.executor import podstatus
from raftsman.executor.actions import (
    Action,
    Clear,
    Conclude,
    Confirm,
    Create,
    Delete,
    DeletePod,
    FindPods,
    Notes,
    ReadEvents,
    Release,
    Sight,
    Tell,
)
from raftsman.executor.jobs import Json
from raftsman.executor.manifest import awaits_release, is_earlier, is_ours, is_superseded, job_name
from raftsman.executor.moments import Moment
from raftsman.executor.outcome import UNKNOWN_EXIT, Outcome, absent_outcome, job_outcome
from raftsman.executor.waits import Waiting, deletion_lag, grace_ms, lag, silent_node, waiting
from raftsman.raft.commands import Report
from raftsman.raft.lifecycle import Cause, Signal, State
from raftsman.raft.limits import clip
from raftsman.raft.records import Attempt, Instant, Task
from raftsman.raft.task_rules import stop_reason

NO_ADAPTER = "Kubernetes adapter not available"
"""What a task is told whose node has lost the context from its settings."""

ORPHAN_MS = 10_000
"""A Job that still works so long after its task has ended is not just shown late: nobody waits for it."""
BLIND_MS = 5_000
"""A context that cannot be seen for so long makes its attempts unreachable; shorter gaps happen at every reconnect."""
TELL_AFTER_MS = 2_000
"""A Pod that waits longer says why; most start within a second, and their passing reasons would only be noise."""
EVIDENCE_MS = 2_000
"""An end without an exit code waits so long for one: Jobs and Pods are watched apart, and the Job's can come first."""
STEADY_MS = 30_000
"""Another reason why an attempt is out of sight is told when it has stood so long: there may be thousands of attempts,
each with room for a few changes, and the words of a server that struggles alternate."""
REPORT_EVERY_MS = 1_000
"""Reports of one attempt that change no state are at least so far apart."""
OBSTACLE_BYTES = 400
"""Of a refusal in the reason of a stopping task: leaves room in ``limits.REASON_BYTES`` for what is said before it."""
WHOLE_SECOND_MS = 1_000
"""Kubernetes' stamps are whole seconds, cut off."""
EVENTS_EVERY_MS = 2_000
"""While an attempt waits, its Events are read so often: they alone know why a Job makes no Pod."""


def decide(task: Task, sight: Sight, notes: Notes, now: Moment, *, cluster: str) -> tuple[Action | None, Notes]:
    """Return the next action about the task's current attempt, and what to remember. None: nothing to do now."""
    assert task.attempt is not None
    if not sight.configured:
        return _without_adapter(task, task.attempt), notes
    if sight.error:
        if sight.refused and not known_uid(task.attempt, notes):
            return _shut_out(task, task.attempt, sight, notes, now)
        return _blind(task, task.attempt, sight, notes, now)
    notes = replace(notes, blind_since=None)
    bound = known_uid(task.attempt, notes)
    is_deleted = notes.vanished and task.stop is not None  # Only a stop deletes, and after it nothing is created.
    if sight.job is None or is_deleted or bound not in ("", _uid(sight.job)):
        return _absent(task, task.attempt, sight, notes, now)
    if not bound and is_earlier(sight.job, task, cluster=cluster):
        return _occupied(task, task.attempt, sight, notes, now)
    notes = replace(notes, absent=False, refusal=None, retry_at=None)
    if not (bound or is_ours(sight.job, task, cluster=cluster)):
        return _foreign(task, task.attempt), notes
    return _present(task, task.attempt, sight, replace(notes, seen=_uid(sight.job)), now, cluster=cluster)


def known_uid(attempt: Attempt, notes: Notes) -> str:
    """Return the UID of the attempt's Job: the row's, else that of the Job seen; "" while none is known."""
    return attempt.job_uid or notes.seen


def output_source(sight: Sight) -> Json | None:
    """Return the Pod whose output is the attempt's: the newest one that has started; None while there is none."""
    started = [pod for pod in sight.pods if podstatus.started_at(pod) is not None or podstatus.ends(pod)]
    return started[-1] if started else None


def wants_ttl(job: Json, ttl_s: int) -> bool:
    """Whether a Job whose outcome is in the log still has to be told when to leave Kubernetes."""
    ended = podstatus.condition(job, "Complete") or podstatus.condition(job, "Failed")
    told = podstatus.part(job, "spec").get("ttlSecondsAfterFinished")
    return ended is not None and podstatus.deletion_asked_at(job) is None and told != ttl_s


def is_orphan(job: Json, task: Task, now: Instant, *, cluster: str) -> bool:
    """Whether the Job works for an attempt that is over: a create had its effect after its sender had given it up.

    That can come after the proof that there is no Job, for a create under way is in no list. Such a Job may have
    another UID than the attempt's own, which is gone. It waits for its release for ever.
    """
    if is_ours(job, task, cluster=cluster):
        over_since = task.completed_at
    elif task.attempt is not None and is_superseded(job, task, cluster=cluster):
        over_since = task.attempt.assigned_at
    else:
        return False
    return works(job) and over_since is not None and now - over_since >= ORPHAN_MS


def is_second(job: Json, task: Task, *, cluster: str) -> bool:
    """Whether the Job says that it is the attempt's and may run, and the log knows another one as the attempt's."""
    attempt = task.attempt
    if attempt is None or attempt.job_uid in ("", _uid(job)) or awaits_release(job):
        return False
    return is_ours(job, task, cluster=cluster)


def works(job: Json) -> bool:
    """Whether the Job has neither ended nor been told to go; one that awaits its release works, too."""
    ended = podstatus.condition(job, "Complete") or podstatus.condition(job, "Failed")
    return ended is None and podstatus.deletion_asked_at(job) is None


# --- nothing can be seen -------------------------------------------------------------------------


def _without_adapter(task: Task, attempt: Attempt) -> Action | None:
    if attempt.job_uid:  # A Job may be running where this node cannot look any more.
        return _tell_unreachable(
            task, attempt, f"{NO_ADAPTER}: node {attempt.node} has lost the context {attempt.context}"
        )
    outcome = Outcome(
        succeeded=False, exit_code=None, cause=Cause.CONTEXT_UNREACHABLE, message=NO_ADAPTER, error=NO_ADAPTER
    )
    return Conclude(_final(task, attempt, outcome))


def _blind(task: Task, attempt: Attempt, sight: Sight, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    """Say that the attempt is unreachable: silence is not failure."""
    notes = _count_blindness(notes, now)
    reason = sight.error if sight.elsewhere else f"context {attempt.context} is out of reach: {sight.error}"
    notes = _count_lag(notes, reason, now, STEADY_MS - TELL_AFTER_MS)
    if not _is_blind(notes, now) or (task.unreachable and not _lag(notes, now)):
        return None, notes
    return _tell_unreachable(task, attempt, reason), notes


def _shut_out(task: Task, attempt: Attempt, sight: Sight, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    """End an attempt without a Job where this account may not look: rights that come by themselves come soon."""
    notes = _count_blindness(notes, now)
    if task.stop is not None:
        return Conclude(_report(task, attempt, Signal.GONE)), notes
    if not _is_blind(notes, now):
        return None, notes
    refused = Outcome(
        succeeded=False, exit_code=None, cause=Cause.FORBIDDEN, message=clip(sight.error), error=clip(sight.error)
    )
    return Conclude(_final(task, attempt, refused)), notes


def _count_blindness(notes: Notes, now: Moment) -> Notes:
    return replace(notes, blind_since=now) if notes.blind_since is None else notes


def _is_blind(notes: Notes, now: Moment) -> bool:
    return notes.blind_since is not None and now - notes.blind_since >= BLIND_MS


def _tell_unreachable(task: Task, attempt: Attempt, reason: str) -> Action | None:
    report = _report(task, attempt, Signal.OBSERVE)
    obstacle = clip(reason, OBSTACLE_BYTES) if task.stop else ""
    report = _with(report, unreachable=True, reason=clip(reason), message=obstacle, cause=task.pending_cause)
    return Tell(report) if _says_something_new(task, report) else None


# --- no Job is there ------------------------------------------------------------------------------


def _absent(task: Task, attempt: Attempt, sight: Sight, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    bound = known_uid(attempt, notes)
    if task.stop is not None or bound:
        if not notes.absent:
            return _orphaned(task, attempt, sight, notes, now) if notes.orphans else (Confirm(bound), notes)
        if task.stop is not None:
            return _gone(task, attempt, sight, notes, now)
        return _end(task, attempt, absent_outcome([*sight.departed, *notes.orphans]), notes, now)
    if isinstance(notes.refusal, Outcome):
        return Conclude(_final(task, attempt, notes.refusal)), notes
    if notes.retry_at is None or now >= notes.retry_at:
        return Create(), notes
    return _tell_refusal(task, attempt, notes, now)


def _occupied(task: Task, attempt: Attempt, sight: Sight, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    """Make room under the attempt's name: a Job has it whose task had this id, ended, and was forgotten."""
    if task.stop is not None:
        return _absent(task, attempt, sight, notes, now)
    assert sight.job is not None
    reason = f"waiting until the Job of an earlier task of this id is gone from namespace {attempt.namespace}"
    telling, notes = _tell(task, _with(_report(task, attempt, Signal.OBSERVE), reason=reason), notes, now)
    uid = _uid(sight.job)
    return telling or (Clear(uid) if notes.cleared != uid else None), notes


def _orphaned(task: Task, attempt: Attempt, sight: Sight, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    """Go on with Pods that outlive their Job: somebody deleted it without them, the API's own default."""
    bound = known_uid(attempt, notes)
    if task.stop is not None:
        left = [pod for pod in notes.orphans if not podstatus.is_over(pod) and _goes_on(pod)]
        if left:
            return DeletePod(podstatus.name(left[0]), _uid(left[0])), notes
        notes = _count_lag(notes, deletion_lag({}, notes.orphans), now, grace_ms(notes.orphans))
        held = _with(_report(task, attempt, Signal.OBSERVE), message=_obstacle(notes.orphans, notes, now))
        telling, notes = _tell(task, _with(held, cause=task.pending_cause), notes, now)
        return telling or Confirm(bound), notes
    working = [pod for pod in sight.pods if not podstatus.is_over(pod)]
    pods = working or notes.orphans
    since = podstatus.running_since(pods)
    reason = f"its Job was deleted, its Pod {'goes on' if any(map(_goes_on, pods)) else 'is being deleted'}"
    report = _with(
        _report(task, attempt, Signal.OBSERVE if since is None else Signal.START),
        job_name=job_name(task.task_id, attempt.number),
        job_uid=bound,
        started_at=_exact(since, attempt),
        reason=reason,
        cause=task.pending_cause,
    )
    telling, notes = _tell(task, report, notes, now)
    return telling or (None if working else Confirm(bound)), notes


def _goes_on(pod: Json) -> bool:
    return podstatus.deletion_asked_at(pod) is None


def _gone(task: Task, attempt: Attempt, sight: Sight, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    """Conclude a stop, unless Job or Pod had ended by itself before our deletion: what came first counts."""
    ended = [pod for pod in notes.orphans if _goes_on(pod)]
    if ended:
        return _end(task, attempt, absent_outcome(ended), notes, now)
    if notes.deletion is not None and _ended_before_deletion(notes.deletion, within_its_second=True):
        outcome = job_outcome(notes.deletion, [], sight.departed)
        if outcome is not None:
            return _end(task, attempt, outcome, notes, now)
    return Conclude(_report(task, attempt, Signal.GONE)), notes


def _tell_refusal(task: Task, attempt: Attempt, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    wait = notes.refusal
    if not isinstance(wait, Waiting):
        return None, notes
    report = _with(_report(task, attempt, Signal.OBSERVE), reason=wait.message, cause=wait.cause)
    return _tell(task, report, notes, now)


# --- a Job is there -------------------------------------------------------------------------------


def _foreign(task: Task, attempt: Attempt) -> Action:
    """Give up on a name that belongs to somebody else: a foreign Job is never touched."""
    if task.stop is not None:
        return Conclude(_report(task, attempt, Signal.GONE))
    message = f"a Job that is not this attempt's has its name in namespace {attempt.namespace}"
    outcome = Outcome(succeeded=False, exit_code=None, cause=Cause.JOB_NAME_CONFLICT, message=message, error=message)
    return Conclude(_final(task, attempt, outcome))


def _present(
    task: Task, attempt: Attempt, sight: Sight, notes: Notes, now: Moment, *, cluster: str
) -> tuple[Action | None, Notes]:
    job = sight.job
    assert job is not None
    outcome = job_outcome(job, [*(notes.found or ()), *sight.pods], sight.departed)
    if outcome is not None and _ended_before_deletion(job):
        return _end(task, attempt, outcome, notes, now, job=job)
    if task.stop is not None and podstatus.deletion_asked_at(job) is None:
        asked = notes.deletion is not None and _uid(notes.deletion) == _uid(job)
        return None if asked else Delete(_uid(job)), notes  # The watch shows a deletion a moment after its answer.
    release = _release(task, attempt, job, notes, now, cluster=cluster)
    if release is not None:
        return release, notes
    return _watch(task, attempt, sight, notes, now)


def _end(
    task: Task, attempt: Attempt, outcome: Outcome, notes: Notes, now: Moment, *, job: Json | None = None
) -> tuple[Action | None, Notes]:
    """Conclude the attempt, as soon as its evidence is as good as it gets."""
    since = notes.ended_since if notes.ended_since is not None else now
    if outcome.exit_code == UNKNOWN_EXIT and now - since < EVIDENCE_MS:
        return None, replace(notes, ended_since=since)
    if outcome.cause is Cause.RESULT_UNKNOWN and job is not None and notes.found is None:
        return FindPods(_uid(job)), notes  # A mirror shows what has our labels, and labels can be taken away.
    return Conclude(_final(task, attempt, outcome, job)), notes


def _ended_before_deletion(job: Json, *, within_its_second: bool = False) -> bool:
    """Whether the Job's end came by itself: Kubernetes fails a Job whose Pods a foreground deletion kills.

    Its stamps are whole seconds. *within_its_second*: an end in that of the deletion came first, as it did in what a
    deletion answers, for killing a Pod takes longer than that answer.
    """
    deleted_at = podstatus.deletion_asked_at(job)
    if deleted_at is None:
        return True
    conditions = [podstatus.condition(job, kind) for kind in ("Complete", "Failed")]
    ended_at = [podstatus.instant(each.get("lastTransitionTime")) for each in conditions if each]
    limit = deleted_at + (1 if within_its_second else 0)
    return any(at is not None and at < limit for at in ended_at)


def _release(task: Task, attempt: Attempt, job: Json, notes: Notes, now: Moment, *, cluster: str) -> Release | None:
    """Let the Job begin, once the log has its UID: then every other Job of this attempt is refused and never begins.

    A node that slept through its own replacement can still make a Job, and cannot have it begin.
    """
    begins = not awaits_release(job) or podstatus.deletion_asked_at(job) is not None
    if begins or attempt.job_uid != _uid(job) or not is_ours(job, task, cluster=cluster):
        return None
    return Release(_uid(job)) if notes.release_at is None or now >= notes.release_at else None


def _watch(task: Task, attempt: Attempt, sight: Sight, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    """Tell what the attempt does: that it runs, or what it waits for."""
    job = sight.job
    assert job is not None
    running_since = podstatus.running_since(sight.pods)
    starting = running_since is None and task.state is not State.RUNNING
    # What once kept it from starting says nothing about an attempt that has run, even when its Pod is gone.
    wait = (notes.held if awaits_release(job) else None) or waiting(job, sight.pods, sight.events if starting else ())
    notes = _count_lag(notes, lag(job, sight.pods), now, grace_ms(sight.pods))
    if starting and task.stop is None:
        notes = _count_wait(notes, wait, now)
        if _must_read_events(notes, now):
            return ReadEvents(_about(job, sight.pods)), replace(notes, events_at=now)
        if wait is not None and _is_hopeless(notes, now):
            return Tell(
                _with(_report(task, attempt, Signal.GIVE_UP, job), cause=wait.cause, message=wait.message)
            ), notes
    report = _report(task, attempt, Signal.OBSERVE if running_since is None else Signal.START, job)
    report = _with(report, started_at=_exact(running_since, attempt))
    told = wait if not starting or _is_telling(notes, now) else None
    if task.stop is not None:
        report = _with(report, message=_obstacle(sight.pods, notes, now), cause=task.pending_cause)
    else:
        reason = told.message if told else _foreign_words(job, notes, now)
        report = _with(report, reason=reason, cause=told.cause if told else None)
    return _tell(task, report, notes, now)


def _count_lag(notes: Notes, lacking: str, now: Moment, grace: int) -> Notes:
    if notes.lag is not None and notes.lag[0] == lacking:
        return notes
    return replace(notes, lag=(lacking, now + grace + TELL_AFTER_MS) if lacking else None)


def _lag(notes: Notes, now: Moment) -> str:
    """Return what Kubernetes should have done by now, had all of it worked."""
    return notes.lag[0] if notes.lag is not None and now >= notes.lag[1] else ""


def _obstacle(pods: Sequence[Json], notes: Notes, now: Moment) -> str:
    """Return what keeps a stop from its end: it can last for ever, and only a user can do something about it."""
    silent = next((wait.message for pod in pods if (wait := silent_node(pod)) is not None), "")
    return clip(silent or _lag(notes, now), OBSTACLE_BYTES)


def _count_wait(notes: Notes, wait: Waiting | None, now: Moment) -> Notes:
    since = notes.waits_since if notes.waits_since is not None else now
    if wait is None:
        return replace(notes, waits_since=since, wait=None)
    ends = [] if wait.grace_ms is None else [now + wait.grace_ms]
    if notes.wait is not None and notes.wait[0] == wait.cause and notes.wait[1] is not None:
        ends.append(notes.wait[1])  # One cause has several wordings, and the least patience with any of them counts.
    return replace(notes, waits_since=since, wait=(wait.cause, min(ends, default=None)))


def _must_read_events(notes: Notes, now: Moment) -> bool:
    waited = now - (notes.waits_since if notes.waits_since is not None else now)
    return waited >= TELL_AFTER_MS and (notes.events_at is None or now - notes.events_at >= EVENTS_EVERY_MS)


def _is_hopeless(notes: Notes, now: Moment) -> bool:
    return notes.wait is not None and notes.wait[1] is not None and now >= notes.wait[1]


def _is_telling(notes: Notes, now: Moment) -> bool:
    return notes.waits_since is not None and now - notes.waits_since >= TELL_AFTER_MS


def _foreign_words(job: Json, notes: Notes, now: Moment) -> str:
    """Return what is worth knowing of an attempt that waits for nothing it could name itself."""
    foreign = podstatus.deletion_asked_at(job) is not None
    words = ("its Job is being deleted, and not by raftsman" if foreign else "", _lag(notes, now))
    return "; ".join(word for word in words if word)


def _about(job: Json, pods: Sequence[Json]) -> tuple[str, ...]:
    return (_uid(job), *(_uid(pod) for pod in pods[-1:]))


# --- reports --------------------------------------------------------------------------------------


def _tell(task: Task, report: Report, notes: Notes, now: Moment) -> tuple[Action | None, Notes]:
    """Tell what differs from the row, not too often; a change of state is told at once."""
    if not _says_something_new(task, report):
        return None, notes
    starts = report.signal is Signal.START and task.state is not State.RUNNING
    binds = bool(report.job_uid) and task.attempt is not None and not task.attempt.job_uid
    soon = notes.reported_at is not None and now - notes.reported_at < REPORT_EVERY_MS
    if soon and not starts and not binds:
        return None, notes
    return Tell(report), replace(notes, reported_at=now)


def _says_something_new(task: Task, report: Report) -> bool:
    attempt = task.attempt
    assert attempt is not None
    if report.signal is Signal.START and task.state is State.ASSIGNED:
        return True
    reason = stop_reason(task, task.stop, report.message) if task.stop else report.reason
    told = (report.job_uid, reason, report.cause, report.unreachable, report.job or task.job)
    return told != (attempt.job_uid, task.reason, task.pending_cause, task.unreachable, task.job)


def _report(task: Task, attempt: Attempt, signal: Signal, job: Json | None = None) -> Report:
    return Report(
        task_id=task.task_id,
        attempt=attempt.number,
        node=attempt.node,
        signal=signal,
        sequence=task.sequence,
        job_name=podstatus.name(job) if job else attempt.job_name,
        job_uid=_uid(job) if job else attempt.job_uid,
        job=podstatus.job_counts(job) if job else None,
    )


def _final(task: Task, attempt: Attempt, outcome: Outcome, job: Json | None = None) -> Report:
    return _with(
        _report(task, attempt, Signal.SUCCEED if outcome.succeeded else Signal.FAIL, job),
        started_at=_exact(outcome.started_at, attempt),
        ended_at=_exact(outcome.finished_at, attempt),
        exit_code=outcome.exit_code,
        killed_by=outcome.signal,
        cause=outcome.cause,
        error=outcome.error,
        message=outcome.message,
        reason=outcome.note,
    )


def _exact(stamp: Instant | None, attempt: Attempt) -> Instant | None:
    """Return the instant, which Kubernetes has cut to the second: nothing of an attempt was before its assignment."""
    if stamp is None or not 0 < attempt.assigned_at - stamp < WHOLE_SECOND_MS:
        return stamp
    return attempt.assigned_at


def obstacle(task: Task, refusal: str) -> Report | None:
    """Return the report that Kubernetes refuses what would stop the attempt; None when its row says so."""
    message = clip(refusal, OBSTACLE_BYTES)
    if task.stop is None or task.attempt is None or message in task.reason:
        return None
    told = _report(task, task.attempt, Signal.OBSERVE)
    return _with(told, message=message, cause=task.pending_cause, unreachable=task.unreachable)


def _with(report: Report, **fields: object) -> Report:
    return msgspec.structs.replace(report, **fields)


def _uid(thing: Json) -> str:
    return podstatus.text(podstatus.part(thing, "metadata"), "uid")
