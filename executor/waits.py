"""What an attempt waits for before its container runs, and how long that may last.

``causes`` says what Kubernetes' words mean; here is where they are looked for, the most telling place first. Only
whoever watches knows how long the same wait has lasted: that is ``reconcile``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from raftsman.executor import causes, podstatus
from raftsman.executor.causes import Patience
from raftsman.executor.jobs import Json
from raftsman.executor.manifest import awaits_release
from raftsman.raft.lifecycle import Cause
from raftsman.raft.limits import clip


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What an attempt waits for."""

    cause: Cause | None  # What a start timeout is to be blamed on; None when waiting is all there is to say.
    message: str
    grace_ms: int | None  # How long this may last before it has failed by itself; 0: hopeless, None: no end.


def waiting(job: Json, pods: Sequence[Json], events: Sequence[Json]) -> Waiting | None:
    """Return what the attempt waits for, or None when it runs or has ended.

    *events* are those about the Job and its Pods, the newest last; without them a Job that makes no Pod looks like
    one that is about to. A running Pod waits only when its Kubernetes node has gone silent.
    """
    if not pods:
        return _suspension(job) or _refused_pod(events)
    newest = pods[-1]
    if podstatus.is_over(newest):
        return None
    if podstatus.started_at(newest) is not None:
        return silent_node(newest)
    return pod_wait(newest) or _pod_event(events)


def lag(job: Json, pods: Sequence[Json]) -> str:
    """Return the step that Kubernetes itself has yet to do for the attempt, in a sentence; "" when it is not its turn.

    Each of them takes less than a second beyond its ``grace_ms`` as long as controllers, scheduler and kubelets work,
    and nothing in the objects says so when one of them does not: only that the step does not come.
    """
    if podstatus.deletion_asked_at(job) is not None:
        return deletion_lag(job, pods)
    if not pods:
        if podstatus.part(job, "spec").get("suspend") is True:
            return ""
        status = podstatus.part(job, "status")
        had_one = any(podstatus.number(status, count) for count in ("active", "terminating", "succeeded", "failed"))
        words = f"its Pod is not seen any more{_JOB_GOES_ON}"
        return words if had_one else "Kubernetes has not made a Pod of its Job yet"
    newest = pods[-1]
    return f"its Pod has ended{_JOB_GOES_ON}" if podstatus.is_over(newest) else _start_lag(newest)


def grace_ms(pods: Sequence[Json]) -> int:
    """Return how long the containers may still take that were told to end; 0 while none was."""
    asked = [
        pod for pod in pods if podstatus.deletion_asked_at(pod) is not None and podstatus.started_at(pod) is not None
    ]
    periods = [podstatus.number(podstatus.part(pod, "metadata"), "deletionGracePeriodSeconds") for pod in asked]
    return 1000 * max(periods, default=0)


_JOB_GOES_ON = ", and Kubernetes has not ended its Job yet"
_OWN_FINALIZERS = frozenset({"foregroundDeletion", "orphan", "batch.kubernetes.io/job-tracking"})
"""Those of the garbage collector and the Job controller; what another one waits for, only its owner knows."""


def deletion_lag(job: Json, pods: Sequence[Json]) -> str:
    """Return the same of a Job that was told to go, or of Pods that were told to go without one."""
    working = [pod for pod in pods if not podstatus.is_over(pod)]
    if working:
        newest = working[-1]
        if podstatus.deletion_asked_at(newest) is None:
            return "Kubernetes has not told its Pod to end yet"
        return f"{_where(newest)} has not ended its Pod yet"
    for kind, thing in [*(("Pod", pod) for pod in pods), ("Job", job)]:
        foreign = [each for each in podstatus.finalizers(thing) if each not in _OWN_FINALIZERS]
        if foreign:
            return f"its {kind} {podstatus.name(thing)} is kept by the finalizer {foreign[0]}"
    return f"Kubernetes has not removed its {'Pod' if pods else 'Job'} yet"


def _start_lag(pod: Json) -> str:
    """Return who has not begun with a Pod that has not started: the scheduler, or its Kubernetes node."""
    if podstatus.started_at(pod) is not None:
        return ""
    if not podstatus.text(podstatus.part(pod, "spec"), "nodeName"):
        return "the scheduler of Kubernetes has not looked at its Pod yet"
    begun = podstatus.text(podstatus.part(pod, "status"), "startTime")
    return f"{_where(pod)} prepares its Pod" if begun else f"{_where(pod)} has not begun with its Pod yet"


def _where(pod: Json) -> str:
    node = podstatus.text(podstatus.part(pod, "spec"), "nodeName")
    return f"the Kubernetes node {node}" if node else "Kubernetes"


def pod_wait(pod: Json) -> Waiting | None:
    """Return what the Pod's own status says it waits for: a container's reason, else the scheduler's."""
    return _container_wait(pod) or _schedule_wait(pod)


def wait_of(patience: Patience, message: str) -> Waiting:
    """Return the wait that *message* tells of."""
    return Waiting(cause=patience.cause, message=clip(message), grace_ms=patience.grace_ms)


def _suspension(job: Json) -> Waiting | None:
    if podstatus.part(job, "spec").get("suspend") is not True:
        return None
    message = "its Job is about to be released" if awaits_release(job) else "the Job was suspended by somebody else"
    return Waiting(cause=None, message=message, grace_ms=None)


def _refused_pod(events: Sequence[Json]) -> Waiting | None:
    """Return why the Job controller may not create the Pod: only its Events know."""
    refusals = [event for event in podstatus.about(events, "Job") if event.get("reason") == "FailedCreate"]
    if not refusals:
        return None
    message = podstatus.text(refusals[-1], "message")
    return wait_of(causes.of_refusal(message), message)


def silent_node(pod: Json) -> Waiting | None:
    """Return the wait for a Kubernetes node that does not answer: then Ready alone is lowered, by the control plane."""
    lowered = podstatus.condition(pod, "Ready", status="False")
    if lowered is None or podstatus.condition(pod, "ContainersReady") is None:
        return None
    if podstatus.text(lowered, "reason") == "ReadinessGatesNotReady":
        return None
    node = podstatus.text(podstatus.part(pod, "spec"), "nodeName")
    return Waiting(cause=None, message=f"the Kubernetes node {node or 'of the Pod'} does not answer", grace_ms=None)


def _container_wait(pod: Json) -> Waiting | None:
    told = [halt for halt in podstatus.halts(pod) if halt.reason not in causes.UNTOLD]
    if not told:
        return None
    first = told[0]
    whose = f"container {first.container}: " if podstatus.has_several_containers(pod) else ""
    words = f"{first.reason}: {first.message}" if first.message else first.reason
    hint = "; podSecurity: baseline allows that" if causes.RUN_AS_ROOT in first.message else ""
    return wait_of(causes.of_wait(first.reason, first.message), f"{whose}{words}{hint}")


def _schedule_wait(pod: Json) -> Waiting | None:
    unscheduled = podstatus.condition(pod, "PodScheduled", status="False")
    if unscheduled is None:
        return None
    reason, message = podstatus.text(unscheduled, "reason"), podstatus.text(unscheduled, "message")
    if reason == "SchedulingGated":
        gates = [podstatus.text(gate, "name") for gate in podstatus.parts(pod, "spec", "schedulingGates")]
        held = f"held by the scheduling gates {', '.join(gates)}" if gates else message
        return wait_of(Patience(None), held or reason)
    words = f"{reason}: {message}" if message else reason
    return wait_of(Patience(Cause.UNSCHEDULABLE), words or "not scheduled yet")


def _pod_event(events: Sequence[Json]) -> Waiting | None:
    told = [event for event in podstatus.about(events, "Pod") if podstatus.text(event, "reason") in causes.POD_EVENTS]
    if not told:
        return None
    reason, message = podstatus.text(told[-1], "reason"), podstatus.text(told[-1], "message")
    return wait_of(causes.of_pod_event(reason, message), f"{reason}: {message}" if message else reason)
