"""What a Job's status becomes, and what is to be done for it: the Job controller's decision.

Pure: a Job, its Pods and an instant in, a ``Decision`` out. The order of conditions and counters is that of
``pkg/controller/job/job_controller.go`` 1.34: a Pod's end is first noted as uncounted, with the condition it leads to,
then the Pod is released, then it is counted; ``Complete`` and ``Failed`` come when nothing runs or terminates any more.
Who carries the decision out: ``jobcontroller``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.clock import stamp, unix

TRACKING = "batch.kubernetes.io/job-tracking"
BACKOFF_S = 10.0
MOST_BACKOFF_S = 600.0

_CRITERION = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}
_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
_BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do for a Job now. ``status`` takes for granted that all Pods to create will be."""

    status: Json
    create: int = 0
    delete: tuple[str, ...] = ()  # Names of Pods.
    release: tuple[str, ...] = ()  # Names of Pods that lose the finalizer once the status is kept.
    events: tuple[tuple[str, str, str], ...] = ()  # Type, reason, message.
    again_s: float | None = None


@dataclass(slots=True)
class _Books:
    """The Pods of a Job, sorted, and what has been counted."""

    succeeded: int
    failed: int
    uncounted_succeeded: list[str]
    uncounted_failed: list[str]
    active: list[Json] = field(default_factory=list)
    terminating: list[Json] = field(default_factory=list)
    failures: list[Json] = field(default_factory=list)

    @property
    def all_succeeded(self) -> int:
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.uncounted_failed)

    @property
    def settled(self) -> bool:
        """Whether everything that ended is counted and nothing else is left."""
        return not (self.uncounted_succeeded or self.uncounted_failed or self.active or self.terminating)


def is_finished(job: Json) -> bool:
    """Return whether the Job is over."""
    return any(each["type"] in _CRITERION.values() and each["status"] == "True" for each in _conditions(job))


def decide(job: Json, pods: Sequence[Json], now: float) -> Decision:
    """Return what to do for a Job whose Pods are *pods* at the Unix time *now*."""
    if is_finished(job):
        return Decision(status=job["status"], release=_tracked_names(pods))
    deleting = "deletionTimestamp" in job["metadata"]
    books = _count(job, pods, takes_notes=not deleting)
    if deleting:
        return Decision(status=_status(job, books, _conditions(job), _start(job)), release=_tracked_names(pods))
    conditions = [dict(each) for each in _conditions(job)]
    criterion = _criterion(conditions) or _new_criterion(job, books, now)
    if criterion is not None:
        return _finish(job, pods, books, _with(conditions, criterion), now)
    if job["spec"]["suspend"]:
        return _suspend(job, books, conditions, now)
    return _go_on(job, pods, books, conditions, now)


# --- the four ways on ---------------------------------------------------------------------------------


def _finish(job: Json, pods: Sequence[Json], books: _Books, conditions: list[Json], now: float) -> Decision:
    """Stop what still runs; say the final word when nothing does."""
    criterion = _criterion(conditions)
    assert criterion is not None, "a Job finishes for a reason"
    if criterion["type"] == "FailureTarget":
        _give_up(books, pods)
    final = _CRITERION[criterion["type"]]
    completed_at, events = "", []
    if books.settled:
        conditions = _with(conditions, _condition(final, "True", (criterion["reason"], criterion["message"]), now))
        completed_at = stamp(now) if final == "Complete" else ""
        word = ("Normal", "Completed", "Job completed")
        events = [word if completed_at else ("Warning", criterion["reason"], criterion["message"])]
    deleted = tuple(pod["metadata"]["name"] for pod in books.active)
    books.terminating += books.active
    books.active = []
    status = _status(job, books, conditions, _start(job))
    if completed_at:
        status["completionTime"] = completed_at
    release = _ended_names(pods, books)
    return Decision(status=status, delete=deleted, release=release, events=tuple(events))


def _give_up(books: _Books, pods: Sequence[Json]) -> None:
    """Count what still runs as failed."""
    known = {*books.uncounted_failed, *books.uncounted_succeeded}
    books.uncounted_failed += [
        pod["metadata"]["uid"] for pod in pods if _is_tracked(pod) and pod["metadata"]["uid"] not in known
    ]


def _suspend(job: Json, books: _Books, conditions: list[Json], now: float) -> Decision:
    names = tuple(pod["metadata"]["name"] for pod in books.active)
    books.terminating += books.active
    books.active = []
    events: tuple[tuple[str, str, str], ...] = ()
    if not _is_suspended(conditions):
        events = (("Normal", "Suspended", "Job suspended"),)
        conditions = _with(conditions, _condition("Suspended", "True", ("JobSuspended", "Job suspended"), now))
    # Released before they are deleted: a Pod that a suspension ended is no failure.
    status = _status(job, books, conditions, _start(job))
    return Decision(status=status, delete=names, release=names, events=events)


def _go_on(job: Json, pods: Sequence[Json], books: _Books, conditions: list[Json], now: float) -> Decision:
    start, events = _start(job), []
    if _is_suspended(conditions):
        conditions = _with(conditions, _condition("Suspended", "False", ("JobResumed", "Job resumed"), now))
        events = [("Normal", "Resumed", "Job resumed")]
        start = ""
    start = start or stamp(now)
    wanted = _wanted(job, books)
    wait_s = _backoff_s(books, now)
    create = max(wanted, 0) if wait_s <= 0 else 0
    surplus = books.active[:-wanted] if wanted < 0 else []
    status = _status(job, books, conditions, start, created=create)
    return Decision(
        status=status,
        create=create,
        delete=tuple(pod["metadata"]["name"] for pod in surplus),
        release=_ended_names(pods, books),
        events=tuple(events),
        again_s=_next_s(job, start, now, wait_s if wanted > 0 else 0.0),
    )


# --- counting -----------------------------------------------------------------------------------------


def _count(job: Json, pods: Sequence[Json], *, takes_notes: bool) -> _Books:
    status = job["status"]
    noted = status.get("uncountedTerminatedPods") or {}
    books = _Books(status.get("succeeded", 0), status.get("failed", 0), [], [])
    tracked = {pod["metadata"]["uid"] for pod in pods if _is_tracked(pod)}
    for uid in noted.get("succeeded") or []:
        books.uncounted_succeeded += [uid] if uid in tracked else []
        books.succeeded += uid not in tracked
    for uid in noted.get("failed") or []:
        books.uncounted_failed += [uid] if uid in tracked else []
        books.failed += uid not in tracked
    for pod in sorted(pods, key=lambda each: str(each["metadata"]["creationTimestamp"])):
        going = "deletionTimestamp" in pod["metadata"]
        if pod["status"].get("phase") not in ("Succeeded", "Failed"):
            (books.terminating if going else books.active).append(pod)
        if _has_failed(pod, waits_for_end=job["spec"]["podReplacementPolicy"] == "Failed"):
            books.failures.append(pod)
        if takes_notes:
            _note(books, pod)
    return books


def _has_failed(pod: Json, *, waits_for_end: bool) -> bool:
    """A Pod that is being deleted counts as failed at once, unless the Job wants to see its end."""
    phase = pod["status"].get("phase")
    return phase == "Failed" or ("deletionTimestamp" in pod["metadata"] and phase != "Succeeded" and not waits_for_end)


def _note(books: _Books, pod: Json) -> None:
    uid = pod["metadata"]["uid"]
    if not _is_tracked(pod) or uid in books.uncounted_succeeded or uid in books.uncounted_failed:
        return
    if pod["status"].get("phase") == "Succeeded":
        books.uncounted_succeeded.append(uid)
    elif pod in books.failures:
        books.uncounted_failed.append(uid)


def _wanted(job: Json, books: _Books) -> int:
    """Return how many Pods are missing, negative when there are too many."""
    spec = job["spec"]
    completions = spec.get("completions")
    if completions is None:  # A work queue: nobody new once one has ended well.
        wanted = len(books.active) if books.all_succeeded else spec["parallelism"]
    else:
        wanted = min(spec["parallelism"], completions - books.all_succeeded)
    waiting = len(books.terminating) if spec["podReplacementPolicy"] == "Failed" else 0
    return int(wanted) - len(books.active) - waiting


def _backoff_s(books: _Books, now: float) -> float:
    """Return how long the next Pod has to wait: 10 s after one failure, twice as long after each further one."""
    if not books.all_failed or not books.failures:
        return 0.0
    last = max(_ended_at(pod) for pod in books.failures)
    pause_s = min(BACKOFF_S * 2.0 ** (books.all_failed - 1), MOST_BACKOFF_S)
    return last + pause_s - now


def _ended_at(pod: Json) -> float:
    states = [each.get("state", {}).get("terminated") for each in pod["status"].get("containerStatuses") or []]
    ends = [unix(state.get("finishedAt") or "") for state in states if state]
    return max([*ends, unix(pod["metadata"]["creationTimestamp"])])


def _next_s(job: Json, start: str, now: float, wait_s: float) -> float | None:
    """Return when the Job has to be looked at though nothing happens."""
    deadline_s = job["spec"].get("activeDeadlineSeconds")
    times = [unix(start) + deadline_s - now] if deadline_s is not None else []
    times += [wait_s] if wait_s > 0 else []
    return min(times) if times else None


# --- conditions ---------------------------------------------------------------------------------------


def _new_criterion(job: Json, books: _Books, now: float) -> Json | None:
    spec, start = job["spec"], _start(job)
    if books.all_failed > spec["backoffLimit"]:
        return _condition("FailureTarget", "True", _BACKOFF, now)
    deadline_s = spec.get("activeDeadlineSeconds")
    if deadline_s is not None and start and not spec["suspend"] and unix(start) + deadline_s <= now:
        return _condition("FailureTarget", "True", _DEADLINE, now)
    completions = spec.get("completions")
    if completions is None:
        complete = books.all_succeeded > 0 and not books.active
    else:
        complete = books.all_succeeded >= completions
    return _condition("SuccessCriteriaMet", "True", _REACHED, now) if complete and not spec["suspend"] else None


def _criterion(conditions: Sequence[Json]) -> Json | None:
    return next((each for each in conditions if each["type"] in _CRITERION and each["status"] == "True"), None)


def _is_suspended(conditions: Sequence[Json]) -> bool:
    return any(each["type"] == "Suspended" and each["status"] == "True" for each in conditions)


def _condition(type_: str, status: str, why: tuple[str, str], now: float) -> Json:
    at = stamp(now)
    return {
        "type": type_,
        "status": status,
        "lastProbeTime": at,
        "lastTransitionTime": at,
        "reason": why[0],
        "message": why[1],
    }


def _with(conditions: Sequence[Json], new: Json) -> list[Json]:
    """Return the conditions with *new* in the place of the one of its type."""
    if any(each["type"] == new["type"] for each in conditions):
        return [new if each["type"] == new["type"] else each for each in conditions]
    return [*conditions, new]


# --- the parts of an answer ---------------------------------------------------------------------------


def _status(job: Json, books: _Books, conditions: Sequence[Json], start: str, *, created: int = 0) -> Json:
    uncounted = {"succeeded": books.uncounted_succeeded, "failed": books.uncounted_failed}
    counts = {
        "conditions": list(conditions),
        "startTime": start,
        "completionTime": job["status"].get("completionTime", ""),
        "active": len(books.active) + created,
        "succeeded": books.succeeded,
        "failed": books.failed,
    }
    return {
        **{name: value for name, value in counts.items() if value},
        "terminating": len(books.terminating),
        "uncountedTerminatedPods": {name: uids for name, uids in uncounted.items() if uids},
        "ready": sum(_is_ready(pod) for pod in books.active),
    }


def _ended_names(pods: Sequence[Json], books: _Books) -> tuple[str, ...]:
    noted = {*books.uncounted_succeeded, *books.uncounted_failed}
    return tuple(pod["metadata"]["name"] for pod in pods if pod["metadata"]["uid"] in noted)


def _tracked_names(pods: Sequence[Json]) -> tuple[str, ...]:
    return tuple(pod["metadata"]["name"] for pod in pods if _is_tracked(pod))


def _is_tracked(pod: Json) -> bool:
    return TRACKING in (pod["metadata"].get("finalizers") or [])


def _is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _conditions(job: Json) -> list[Json]:
    found: list[Json] = job["status"].get("conditions") or []
    return found


def _start(job: Json) -> str:
    start: str = job["status"].get("startTime", "")
    return start
