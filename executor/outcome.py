"""How an attempt ended, by its Job and the Pods that were seen; and what a refused create means.

Reads plain dictionaries and talks to nobody. ``podstatus`` reads single facts out of them, ``causes`` holds what
Kubernetes' words mean, ``waits`` says what an attempt waits for; here is the order in which evidence counts. What
to do about the answer is ``reconcile``. A stop that the table asked for comes before all of it; the table sees to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from raftsman.executor import causes, podstatus
from raftsman.executor.causes import Patience
from raftsman.executor.jobs import AlreadyExists, Conflict, Json, KubernetesError, Unreachable
from raftsman.executor.podstatus import End, running_since
from raftsman.executor.waits import Waiting, pod_wait, wait_of
from raftsman.raft.lifecycle import Cause
from raftsman.raft.limits import clip
from raftsman.raft.records import Instant

UNKNOWN_EXIT = -1
"""The exit code of an attempt whose container's own was never seen."""

JOB_FAILED = "Job failed"
"""The error of a failed attempt when Kubernetes gives no message."""

TIMED_OUT = "Job timed out"
"""The error of every timeout, ours or Kubernetes'."""

REMOVAL_MS = 5_000
"""How soon a killed Pod's removal means that its deletion killed it: the kubelet takes 1–2 s (see ``_was_deleted``)."""

LAST_WORDS_BYTES = 800
"""Of a container's output in a message: leaves room in ``limits.REASON_BYTES`` for what is said about it."""

SIGTERM, SIGKILL = 15, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    succeeded: bool
    exit_code: int | None  # Of the container that decided; UNKNOWN_EXIT when that was not seen.
    signal: int | None = None
    cause: Cause | None = None  # None exactly when it succeeded.
    message: str = ""  # What went wrong, in a sentence, with the end of the container's output.
    error: str = ""  # Kubernetes' own words about the Job.
    note: str = ""  # What is worth knowing about a success.
    started_at: Instant | None = None
    finished_at: Instant | None = None


# --- ends -------------------------------------------------------------------------------------


def job_outcome(job: Json, pods: Sequence[Json], departed: Sequence[Json] = ()) -> Outcome | None:
    """Return how the Job ended, or None while it has not.

    *departed* are the last states of Pods that exist no more. Only the conditions ``Complete`` and ``Failed`` end
    a Job: they come when no Pod of it runs any more, which ``FailureTarget`` and the counts do not promise.
    """
    if podstatus.condition(job, "Complete") is not None:
        return _success(job, [*departed, *pods])
    failed = podstatus.condition(job, "Failed")
    return None if failed is None else _failure(failed, pods, departed)


def absent_outcome(departed: Sequence[Json]) -> Outcome:
    """Return what the attempt came to when its Job has vanished, by the last states of its Pods.

    Only for a Job that is proved to be gone when no Pod of it works any more: an orphaned one may still do so. Absence
    alone is neither success nor failure, so without a Pod that ended the result is unknown or the Job deleted.
    """
    ended = next((pod for pod in reversed(departed) if podstatus.is_over(pod)), None)
    if ended is not None and podstatus.phase(ended) == "Succeeded":
        return replace(_success({}, [ended]), note="its Job was deleted, but its Pod had ended")
    outcome = _end_evidence(ended) if ended is not None else None
    if outcome is not None and outcome.cause is not Cause.POD_DELETED:
        return replace(outcome, error=JOB_FAILED)
    if not departed:
        unknown = "the Job has vanished, and nobody saw how it ended"
        return _failed(Cause.RESULT_UNKNOWN, unknown, error=JOB_FAILED)
    message = "the Job was deleted by somebody else before it had ended"
    if outcome is not None:
        return replace(outcome, cause=Cause.JOB_DELETED, message=message, error=JOB_FAILED)
    return _failed(Cause.JOB_DELETED, message, error=JOB_FAILED, started_at=running_since(departed))


def _success(job: Json, pods: Sequence[Json]) -> Outcome:
    """Return a success. Kubernetes completes a Job when all containers of a Pod exited 0, so 0 is known without it."""
    status = podstatus.part(job, "status")
    last = next((pod for pod in reversed(pods) if podstatus.phase(pod) == "Succeeded"), {})
    finished = [end.finished_at for end in podstatus.ends(last) if end.finished_at]
    return Outcome(
        succeeded=True,
        exit_code=0,
        note=_survived(last),
        started_at=podstatus.started_at(last) or podstatus.instant(status.get("startTime")),
        finished_at=max(finished, default=podstatus.instant(status.get("completionTime"))),
    )


def _survived(pod: Json) -> str:
    """Return the note of a Pod that ended well although it was told to go."""
    status = podstatus.part(pod, "status")
    disruption = podstatus.condition(pod, "DisruptionTarget") or {}
    reason = podstatus.text(status, "reason") or podstatus.text(disruption, "reason")
    return clip(f"completed although its Pod was disrupted ({reason})") if reason else ""


def _failure(failed: Json, pods: Sequence[Json], departed: Sequence[Json]) -> Outcome:
    """Return a failure with the best evidence there is, never just the Job's word for it."""
    seen = [*departed, *pods]
    error = _job_words(failed)
    if podstatus.text(failed, "reason") == "DeadlineExceeded":
        # First: Kubernetes killed the containers for it, so their exit codes say nothing about the program.
        return _failed(Cause.TIMEOUT, _deadline_message(failed, seen), error=TIMED_OUT, started_at=running_since(seen))
    found = [outcome for pod in _likely_first(seen) if (outcome := _evidence(pod)) is not None]
    outcome = found[0] if found else _without_evidence(pods, departed)
    ended = outcome.finished_at or podstatus.instant(failed.get("lastTransitionTime"))
    return replace(outcome, error=TIMED_OUT if outcome.cause is Cause.TIMEOUT else error, finished_at=ended)


def _job_words(failed: Json) -> str:
    words = (podstatus.text(failed, "reason"), podstatus.text(failed, "message"))
    return clip(": ".join(word for word in words if word)) or JOB_FAILED


def _deadline_message(failed: Json, pods: Sequence[Json]) -> str:
    words = podstatus.text(failed, "message") or "the Job's deadline passed"
    wait = pod_wait(pods[-1]) if pods and running_since(pods) is None else None
    return clip(f"{words}; it never ran: {wait.message}" if wait else words)


def _likely_first(pods: Sequence[Json]) -> list[Json]:
    """Return the Pods that failed before those that something else became of; usually there is one Pod."""
    return sorted(pods, key=lambda pod: podstatus.phase(pod) != "Failed")


def _without_evidence(pods: Sequence[Json], departed: Sequence[Json]) -> Outcome:
    deleted = [*departed, *(pod for pod in pods if podstatus.deletion_asked_at(pod) is not None)]
    if deleted:
        gone = f"the Pod {podstatus.name(deleted[-1])} was deleted, and nobody saw how it ended"
        return _failed(Cause.POD_DELETED, gone, started_at=running_since(deleted))
    silent = f"the Pod {podstatus.name(pods[-1])} does not say why" if pods else "nobody saw its Pod"
    return _failed(Cause.RESULT_UNKNOWN, f"the Job failed, and {silent}", started_at=running_since(pods))


# --- one Pod's evidence -----------------------------------------------------------------------


def _evidence(pod: Json) -> Outcome | None:
    """Return how the Pod failed, else what it waited for when it went; None when it says neither."""
    outcome = _end_evidence(pod)
    wait = pod_wait(pod) if outcome is None else None
    return outcome if wait is None or wait.cause is None else _failed(wait.cause, wait.message)


def _end_evidence(pod: Json) -> Outcome | None:
    """Return how the Pod failed; the first of these that speaks counts.

    What happened to the Pod as a whole; whoever deleted it, before what a container made of that; a container.
    """
    failures = [end for end in podstatus.ends(pod) if end.exit_code]
    first = failures[0] if failures else None
    whole = _pod_level(pod)
    if whole is not None:
        cause, message = whole
        return _ended(cause, message, None if cause is Cause.TIMEOUT else first, pod)
    if first is None:
        return None
    if _was_deleted(pod, first):
        return _ended(Cause.POD_DELETED, f"the Pod {podstatus.name(pod)} was deleted while it ran", first, pod)
    return _ended(causes.of_end(first), _end_message(pod, first), first, pod)


def _pod_level(pod: Json) -> tuple[Cause, str] | None:
    """Return the cause and message of what happened to the Pod as a whole."""
    status = podstatus.part(pod, "status")
    reason = podstatus.text(status, "reason")
    disruption = podstatus.condition(pod, "DisruptionTarget") or {}
    kind = podstatus.text(disruption, "reason")
    if cause := causes.of_pod_reason(reason):
        return cause, _placed(pod, reason, podstatus.text(status, "message"))
    if disrupted := causes.DISRUPTIONS.get(kind):
        return disrupted, _placed(pod, kind, podstatus.text(disruption, "message"))
    return None


def _placed(pod: Json, reason: str, message: str) -> str:
    node = podstatus.text(podstatus.part(pod, "spec"), "nodeName")
    words = f"{reason}: {message}" if message else reason
    return f"{words} (node {node})" if node else words


def _was_deleted(pod: Json, end: End) -> bool:
    """Return whether somebody's deletion of the Pod ended the container.

    It did when the container ended after the deletion was asked for. The last state before a Pod is gone does not
    tell any more when that was; there a SIGTERM or SIGKILL shortly before its removal is taken for the deletion.
    """
    asked = podstatus.deletion_asked_at(pod)
    if asked is None or end.finished_at is None or end.reason in causes.TERMINATIONS:
        return False
    killed = causes.signal_of(end) in {SIGTERM, SIGKILL}
    return end.finished_at >= asked - (REMOVAL_MS if killed else 0)


def _end_message(pod: Json, end: End) -> str:
    """Return the sentence about a failed container, with its last words; its name when there are several."""
    whose = f"container {end.container}: " if podstatus.has_several_containers(pod) else ""
    last_words = f": {_tail(end.message)}" if end.message else ""
    return f"{whose}{_end_words(pod, end)}{last_words}"


def _tail(output: str) -> str:
    """Return the last line of a container's output, where programs say what went wrong."""
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    raw = last.encode(errors="replace")
    return raw.decode() if len(raw) <= LAST_WORDS_BYTES else "…" + raw[-LAST_WORDS_BYTES:].decode(errors="ignore")


def _end_words(pod: Json, end: End) -> str:
    signal = causes.signal_of(end)
    match causes.of_end(end):
        case Cause.OOM_KILLED:
            limit = podstatus.memory_limit(pod, end.container)
            return f"out of memory (limit {limit})" if limit else "out of memory"
        case Cause.COMMAND_NOT_RUNNABLE:
            return "the command cannot be run"
        case Cause.CONTAINER_LOST:
            return "the container was lost"
        case Cause.SIGNAL if signal:
            return f"killed by {causes.signal_name(signal)}"
        case _:
            hint = {126: " (a command that was not executable?)", 127: " (a command that was not found?)"}
            return f"exit code {end.exit_code}{hint.get(end.exit_code, '')}"


def _ended(cause: Cause, message: str, end: End | None, pod: Json) -> Outcome:
    """Return the failure with what is known of the container that decided, if one did."""
    # The kubelet writes 137 for a container that it could not find any more; nobody saw that code.
    seen = end if end is not None and end.reason != "ContainerStatusUnknown" else None
    return _failed(
        cause,
        message,
        exit_code=seen.exit_code if seen else UNKNOWN_EXIT,
        signal=causes.signal_of(seen) if seen else None,
        started_at=podstatus.started_at(pod),
        finished_at=end.finished_at if end else None,
    )


def _failed(
    cause: Cause,
    message: str,
    *,
    error: str = "",
    exit_code: int = UNKNOWN_EXIT,
    signal: int | None = None,
    started_at: Instant | None = None,
    finished_at: Instant | None = None,
) -> Outcome:
    return Outcome(
        succeeded=False,
        exit_code=exit_code,
        signal=signal,
        cause=cause,
        message=clip(message),
        error=clip(error),
        started_at=started_at,
        finished_at=finished_at,
    )


# --- Jobs that are never made --------------------------------------------------------------------


def unbuildable() -> Outcome:
    """Return the end of an attempt whose Job this program cannot build: no node and no other try would do better."""
    message = (
        "raftsman cannot build a Job of this specification, which is a fault of raftsman; its node's log says more"
    )
    return _failed(Cause.INTERNAL, message, error=message)


# --- refusals ---------------------------------------------------------------------------------


def create_refusal(error: KubernetesError) -> Outcome | Waiting | None:
    """Return what a failed create means: the attempt's end, a wait to be tried again, or None when that is open.

    Open are answers that do not say whether a Job exists (``Unreachable``) and the one that says it does
    (``AlreadyExists``).
    """
    if isinstance(error, Unreachable | AlreadyExists):
        return None
    patience = _refusal_patience(error)
    if patience.grace_ms == 0 and patience.cause is not None:
        return _failed(patience.cause, error.message, error=error.message or JOB_FAILED)
    return wait_of(patience, error.message)


def release_refusal(error: KubernetesError) -> Waiting:
    """Return what an attempt waits for whose Job may not be released; without any patience where that is for good."""
    return wait_of(_refusal_patience(error), f"its Job may not be released: {error.message}")


def _refusal_patience(error: KubernetesError) -> Patience:
    found = causes.of_refusal(error.message)
    if found.cause is Cause.ADMISSION_DENIED:
        return found  # First: a policy or webhook answers with the code that its author likes, policies with 422.
    if isinstance(error, Conflict):
        return Patience(None)  # "Operation cannot be fulfilled on resourcequotas": two creates at a time.
    match error.status:
        case 400 | 413 | 422:
            return Patience(Cause.INVALID_SPEC, 0)
        case 404 if error.message.startswith("namespaces "):
            return Patience(Cause.NAMESPACE_MISSING, 0)
        case 403:
            return Patience(Cause.FORBIDDEN, 0) if found.cause in {None, Cause.FORBIDDEN} else found
        case _:
            return Patience(None)
