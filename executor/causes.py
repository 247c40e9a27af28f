"""What Kubernetes' own words mean: its reasons and texts on the left, our causes on the right.

Tables and look-ups only; in which order evidence counts is ``outcome``. Reasons are constants of the Kubernetes
source, named at each table. Texts are prose of the API server's admission chain and may change with any release:
they are matched by the shortest part that says what is meant, and what matches nothing stays without a cause.
"""

import re
from dataclasses import dataclass

from raftsman.executor.podstatus import End
from raftsman.raft.lifecycle import Cause

DEFINITE_PULL_GRACE_MS = 90_000
"""Patience with a registry that says no: it may be about to receive the image (Armada's shipped default)."""

PULL_GRACE_MS = 900_000
"""Patience with any other failed pull: outages and rate limits pass (Armada's shipped default)."""

CONFIG_GRACE_MS = 60_000
"""Patience with a missing Secret or ConfigMap: users apply them beside the submission, in any order."""

CREATE_GRACE_MS = 300_000
"""Patience with a runtime or a volume that fails: the kubelet tries again within two minutes (Armada: 5 min)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What a wait is to be blamed on, and how long it may last before it has failed by itself."""

    cause: Cause | None
    grace_ms: int | None = None  # 0: hopeless. None: until the start timeout.


# --- ends -------------------------------------------------------------------------------------

POD_REASONS: dict[str, Cause] = {
    "Evicted": Cause.EVICTED,  # pkg/kubelet/eviction/helpers.go
    "Preempting": Cause.PREEMPTED,  # pkg/kubelet/preemption/preemption.go, for a critical Pod
    "NodeLost": Cause.NODE_LOST,  # pkg/util/node/node.go
    "Terminated": Cause.NODE_SHUTDOWN,  # pkg/kubelet/nodeshutdown
    "NodeShutdown": Cause.NODE_SHUTDOWN,
    "Shutdown": Cause.NODE_SHUTDOWN,  # Until 1.21.
    "DeadlineExceeded": Cause.TIMEOUT,  # pkg/kubelet/active_deadline.go
    "UnexpectedAdmissionError": Cause.NODE_REJECTED,  # pkg/kubelet/lifecycle/predicate.go and below
    "NodeAffinity": Cause.NODE_REJECTED,
    "NodePorts": Cause.NODE_REJECTED,
    "NodeName": Cause.NODE_REJECTED,
    "NodeUnschedulable": Cause.NODE_REJECTED,
    "TaintToleration": Cause.NODE_REJECTED,
    "AppArmor": Cause.NODE_REJECTED,
    "TopologyAffinityError": Cause.NODE_REJECTED,
    "SMTAlignmentError": Cause.NODE_REJECTED,
    "InvalidNodeInfo": Cause.NODE_REJECTED,
    "PodOSNotSupported": Cause.NODE_REJECTED,
    "PodOSSelectorNodeLabelDoesNotMatch": Cause.NODE_REJECTED,
    "PodFeatureUnsupported": Cause.NODE_REJECTED,
    "SupplementalGroupsPolicyNotSupported": Cause.NODE_REJECTED,
}
"""A Pod's ``status.reason``. The kubelet's ``OutOf<resource>`` is an open set, see ``of_pod_reason``."""

DISRUPTIONS: dict[str, Cause] = {
    "PreemptionByScheduler": Cause.PREEMPTED,
    "EvictionByEvictionAPI": Cause.DRAINED,
    "DeletionByTaintManager": Cause.NODE_LOST,
    "DeletionByPodGC": Cause.NODE_LOST,
    "TerminationByKubelet": Cause.NODE_SHUTDOWN,
}
"""The reason of the condition ``DisruptionTarget``: staging/src/k8s.io/api/core/v1/types.go and pkg/controller."""

TERMINATIONS: dict[str, Cause] = {
    "OOMKilled": Cause.OOM_KILLED,
    "StartError": Cause.COMMAND_NOT_RUNNABLE,  # containerd
    "ContainerCannotRun": Cause.COMMAND_NOT_RUNNABLE,  # dockershim, cri-o
    "ContainerStatusUnknown": Cause.CONTAINER_LOST,  # pkg/kubelet/container/runtime.go
}
"""The reason of a terminated container, when it says more than its exit code."""

# fmt: off
SIGNALS = (
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE",
    "SIGKILL", "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT",
    "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU",
    "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
)
# fmt: on
"""Linux' signals from 1 on; Python's own table is that of the machine that raftsman runs on."""


def of_pod_reason(reason: str) -> Cause | None:
    """Return what a Pod's ``status.reason`` means."""
    return Cause.NODE_REJECTED if reason.startswith("OutOf") else POD_REASONS.get(reason)


def signal_of(end: End) -> int | None:
    """Return the signal that ended the container: the runtime's, or the shell's convention of 128 + n."""
    if end.signal:
        return end.signal
    return end.exit_code - 128 if 128 < end.exit_code <= 128 + len(SIGNALS) else None


def signal_name(signal: int) -> str:
    """Return SIGKILL for 9."""
    return SIGNALS[signal - 1] if 0 < signal <= len(SIGNALS) else f"signal {signal}"


def of_end(end: End) -> Cause:
    """Return what the end of a container that failed means by itself."""
    by_reason = TERMINATIONS.get(end.reason)
    if by_reason:
        return by_reason
    return Cause.SIGNAL if signal_of(end) else Cause.NON_ZERO_EXIT


# --- waits ------------------------------------------------------------------------------------

UNTOLD = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Waiting reasons that say nothing: the Pod's Events know more."""

_PULL = Patience(Cause.IMAGE_PULL, PULL_GRACE_MS)
_CREATE = Patience(Cause.CONTAINER_CREATE, CREATE_GRACE_MS)

WAITS: dict[str, Patience] = {
    # pkg/kubelet/images/types.go
    "InvalidImageName": Patience(Cause.IMAGE_INVALID, 0),
    "ErrImageNeverPull": Patience(Cause.IMAGE_PULL, DEFINITE_PULL_GRACE_MS),
    "ErrImagePull": _PULL,
    "ImagePullBackOff": _PULL,
    "ImageInspectError": _PULL,
    "RegistryUnavailable": _PULL,
    "SignatureValidationFailed": Patience(Cause.IMAGE_PULL, DEFINITE_PULL_GRACE_MS),
    # pkg/kubelet/kuberuntime/kuberuntime_container.go, pkg/kubelet/container/sync_result.go
    "CreateContainerConfigError": Patience(Cause.CONTAINER_CONFIG, CONFIG_GRACE_MS),
    "CreateContainerError": _CREATE,
    "RunContainerError": _CREATE,
    "PreCreateHookError": _CREATE,
    "PreStartHookError": _CREATE,
    "PostStartHookError": _CREATE,
    "CreatePodSandboxError": _CREATE,
    "ConfigPodSandboxError": _CREATE,
}
"""The waiting reason of a container."""

_DEFINITE_PULL = re.compile(
    r"not found|notfound|does not exist|manifest unknown|name unknown|no match for platform"
    r"|denied|forbidden|unauthorized|authentication required|insufficient_scope",
    re.IGNORECASE,
)
_PULL_QPS = "pull QPS exceeded"
"""The kubelet's own brake (pkg/kubelet/images/image_manager.go): nothing is wrong, it will be our turn."""

_MISSING_IN_MOUNT = re.compile(r"\b(?:secret|configmap) \S+ not found|references non-existent", re.IGNORECASE)

POD_EVENTS: dict[str, Cause | None] = {
    "TriggeredScaleUp": None,
    "NotTriggerScaleUp": Cause.UNSCHEDULABLE,
    "FailedScheduling": Cause.UNSCHEDULABLE,
    "SuccessfulAttachVolume": None,
    "FailedAttachVolume": Cause.CONTAINER_CREATE,
    "FailedMount": Cause.CONTAINER_CREATE,
    "FailedMapVolume": Cause.CONTAINER_CREATE,
    "FailedCreatePodSandBox": Cause.CONTAINER_CREATE,
    "NetworkNotReady": Cause.CONTAINER_CREATE,
    "Pulling": None,
    "Pulled": None,
}
"""Events about a Pod that say why it has not started; others are noise there."""

RUN_AS_ROOT = "image will run as root"
"""Of the kubelet's message when ``runAsNonRoot`` meets such an image."""


def of_wait(reason: str, message: str) -> Patience:
    """Return what a container's waiting reason means; an unknown one has no cause and waits."""
    patience = WAITS.get(reason, Patience(None))
    if patience is not _PULL:
        return patience
    if message == _PULL_QPS:
        return Patience(Cause.IMAGE_PULL)
    return Patience(Cause.IMAGE_PULL, DEFINITE_PULL_GRACE_MS) if _DEFINITE_PULL.search(message) else patience


def of_pod_event(reason: str, message: str) -> Patience:
    """Return what one of ``POD_EVENTS`` means."""
    if reason == "FailedMount" and _MISSING_IN_MOUNT.search(message):
        return Patience(Cause.CONTAINER_CONFIG, CREATE_GRACE_MS)
    return Patience(POD_EVENTS.get(reason))


# --- refusals ---------------------------------------------------------------------------------

REFUSALS: tuple[tuple[str, Patience], ...] = (
    (r"exceeded quota", Patience(Cause.QUOTA_EXCEEDED)),  # Room comes back when other work ends.
    (r"failed quota", Patience(Cause.QUOTA_EXCEEDED, 0)),  # "must specify limits.cpu": it never will.
    (r"is being terminated", Patience(Cause.NAMESPACE_TERMINATING, 0)),
    (r"violates PodSecurity|security context constraint", Patience(Cause.POD_SECURITY, 0)),
    (r"(?:maximum|minimum) .* usage|max limit to request ratio", Patience(Cause.LIMIT_RANGE, 0)),
    (r"looking up service account|no PriorityClass|RuntimeClass .* not found", Patience(Cause.REFERENCE_MISSING, 0)),
    (r"failed calling webhook", Patience(Cause.ADMISSION_DENIED)),  # It did not answer; that is no denial.
    (r"admission webhook|ValidatingAdmissionPolicy", Patience(Cause.ADMISSION_DENIED, 0)),
    (r"is invalid: ", Patience(Cause.INVALID_SPEC, 0)),
    (r"cannot create resource", Patience(Cause.FORBIDDEN, 0)),
    (r"is forbidden: ", Patience(Cause.FORBIDDEN)),  # By a policy we do not know: perhaps for now only.
)
"""Texts of a ``FailedCreate`` Event or a refused create, the first match counts."""


def of_refusal(message: str) -> Patience:
    """Return what the API server's refusal to create an object means; an unknown one has no cause and waits."""
    return next((patience for pattern, patience in REFUSALS if re.search(pattern, message)), Patience(None))
