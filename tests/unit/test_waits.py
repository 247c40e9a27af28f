"""What an attempt waits for, by its Job, Pods and Events."""

import pytest

from raftsman.executor.jobs import ANNOTATION_RELEASED, Json
from raftsman.executor.waits import Waiting, grace_ms, lag, waiting
from raftsman.raft.lifecycle import Cause
from tests.unit.kubernetes_objects import container, ended, event, pod, recorded


def waiting_of(case: Json) -> Waiting | None:
    return waiting(case["job"], case["pods"], case["events"])


# --- waits: what real Kubernetes says -----------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "cause", "grace_ms", "words"),
    [
        ("nopull", Cause.IMAGE_PULL, 90_000, 'ImagePullBackOff: Back-off pulling image "busybox:nope"'),
        ("neverpull", Cause.IMAGE_PULL, 90_000, 'ErrImageNeverPull: Container image "busybox:nope2" is not present'),
        ("badimage", Cause.IMAGE_INVALID, 0, "InvalidImageName: Failed to apply default image tag"),
        ("noconfigmap", Cause.CONTAINER_CONFIG, 60_000, 'CreateContainerConfigError: configmap "nosuch" not found'),
        ("rootimage", Cause.CONTAINER_CONFIG, 60_000, "podSecurity: baseline allows that"),
        ("nosecretvolume", Cause.CONTAINER_CONFIG, 300_000, 'secret "nosuch" not found'),
        ("toobig", Cause.UNSCHEDULABLE, None, "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."),
        ("gated", None, None, "held by the scheduling gates example.com/hold"),
        ("noaccount", Cause.REFERENCE_MISSING, 0, 'serviceaccount "nobody" not found'),
        ("nopriority", Cause.REFERENCE_MISSING, 0, "no PriorityClass with name nosuch was found"),
        ("runtimeclass", Cause.REFERENCE_MISSING, 0, 'RuntimeClass "nosuch" not found'),
        ("over", Cause.QUOTA_EXCEEDED, None, "exceeded quota: compute, requested: limits.cpu=1"),
        ("unspecified", Cause.QUOTA_EXCEEDED, 0, "failed quota: compute: must specify limits.cpu"),
        ("psa", Cause.POD_SECURITY, 0, 'violates PodSecurity "restricted:latest"'),
        ("limit", Cause.LIMIT_RANGE, 0, "maximum cpu usage per Container is 100m, but limit is 1"),
    ],
)
def test_a_job_that_does_not_start_says_why_and_how_long_that_may_last(
    case: str, cause: Cause | None, grace_ms: int | None, words: str
) -> None:
    wait = waiting_of(recorded(case))
    assert wait is not None
    assert (wait.cause, wait.grace_ms) == (cause, grace_ms)
    assert words in wait.message


@pytest.mark.parametrize("case", ["completed", "exit3", "starterror", "deadline", "initfails"])
def test_what_has_ended_waits_for_nothing(case: str) -> None:
    assert waiting_of(recorded(case)) is None


# --- waits: the rest ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "message", "cause", "grace_ms"),
    [
        ("ErrImagePull", "pull access denied, repository does not exist", Cause.IMAGE_PULL, 90_000),
        ("ErrImagePull", "401 Unauthorized", Cause.IMAGE_PULL, 90_000),
        ("ErrImagePull", "manifest unknown", Cause.IMAGE_PULL, 90_000),
        ("ErrImagePull", "dial tcp: i/o timeout", Cause.IMAGE_PULL, 900_000),
        ("ErrImagePull", "toomanyrequests: your unauthenticated pull rate limit", Cause.IMAGE_PULL, 900_000),
        ("ErrImagePull", "pull QPS exceeded", Cause.IMAGE_PULL, None),
        ("ImagePullBackOff", 'Back-off pulling image "x"', Cause.IMAGE_PULL, 900_000),
        ("ImageInspectError", "", Cause.IMAGE_PULL, 900_000),
        ("CreateContainerError", "", Cause.CONTAINER_CREATE, 300_000),
        ("RunContainerError", "", Cause.CONTAINER_CREATE, 300_000),
        ("PreStartHookError", "", Cause.CONTAINER_CREATE, 300_000),
        ("PostStartHookError", "", Cause.CONTAINER_CREATE, 300_000),
        ("CreatePodSandboxError", "", Cause.CONTAINER_CREATE, 300_000),
        ("SomethingNew", "", None, None),
    ],
)
def test_a_waiting_reason_has_its_cause_and_its_patience(
    reason: str, message: str, cause: Cause | None, grace_ms: int | None
) -> None:
    waits = pod(container("waiting", reason=reason, message=message), phase="Pending")
    wait = waiting({}, [waits], [])
    assert wait == Waiting(cause=cause, message=f"{reason}: {message}" if message else reason, grace_ms=grace_ms)


def test_an_init_container_that_waits_is_named() -> None:
    stuck = container("waiting", name="fetch", reason="ErrImagePull", message="not found")
    waits = pod(container("waiting", reason="PodInitializing"), init=(stuck,), phase="Pending")
    wait = waiting({}, [waits], [])
    assert wait is not None
    assert wait.message == "container fetch: ErrImagePull: not found"


def test_a_job_that_somebody_suspended_says_so() -> None:
    released = {"annotations": {ANNOTATION_RELEASED: "true"}}
    wait = waiting({"metadata": released, "spec": {"suspend": True}}, [], [])
    assert wait == Waiting(cause=None, message="the Job was suspended by somebody else", grace_ms=None)


def test_a_job_that_was_not_released_yet_says_so() -> None:
    wait = waiting({"spec": {"suspend": True}}, [], [])
    assert wait == Waiting(cause=None, message="its Job is about to be released", grace_ms=None)


@pytest.mark.parametrize(
    ("message", "cause", "grace_ms"),
    [
        ('admission webhook "policy.example.com" denied the request: no', Cause.ADMISSION_DENIED, 0),
        ('failed calling webhook "policy.example.com": connection refused', Cause.ADMISSION_DENIED, None),
        ("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", Cause.ADMISSION_DENIED, 0),
        ("pods is forbidden: unable to validate against any security context constraint", Cause.POD_SECURITY, 0),
        ('pods "x" is forbidden: because it is being terminated', Cause.NAMESPACE_TERMINATING, 0),
        ('Pod "x" is invalid: spec: Invalid value', Cause.INVALID_SPEC, 0),
        ('pods "x" is forbidden: by a policy of our own', Cause.FORBIDDEN, None),
        ("etcdserver: request timed out", None, None),
    ],
)
def test_a_refused_pod_is_told_by_the_jobs_events(message: str, cause: Cause | None, grace_ms: int | None) -> None:
    events = [event("Job", "FailedCreate", "old news"), event("Job", "FailedCreate", f"Error creating: {message}")]
    wait = waiting({}, [], [*events, event("Pod", "Pulling", "no news")])
    assert wait == Waiting(cause=cause, message=f"Error creating: {message}", grace_ms=grace_ms)


def test_a_job_that_nobody_refused_anything_waits_without_a_word() -> None:
    assert waiting({}, [], [event("Job", "SuccessfulCreate", "Created pod: x")]) is None


def test_a_pod_that_only_creates_its_container_tells_its_newest_telling_event() -> None:
    creating = pod(container("waiting", reason="ContainerCreating"), phase="Pending")
    events = [
        event("Pod", "Scheduled", "to worker-1"),
        event("Pod", "Pulling", 'Pulling image "busybox"'),
        event("Pod", "MissingClusterDNS", "noise"),
        event("Job", "SuccessfulCreate", "Created pod"),
    ]
    wait = waiting({}, [creating], events)
    assert wait == Waiting(cause=None, message='Pulling: Pulling image "busybox"', grace_ms=None)
    assert waiting({}, [creating], []) is None


def test_a_running_pod_on_a_silent_node_says_so() -> None:
    lowered = ({"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"})
    running = pod(container("running", startedAt="2026-01-01T00:00:00Z"), conditions=lowered, phase="Running")
    wait = waiting({}, [running], [])
    assert wait == Waiting(cause=None, message="the Kubernetes node worker-1 does not answer", grace_ms=None)


def test_a_running_pod_that_is_merely_not_ready_waits_for_nothing() -> None:
    lowered = ({"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "False"})
    running = pod(container("running", startedAt="2026-01-01T00:00:00Z"), conditions=lowered, phase="Running")
    assert waiting({}, [running], []) is None


# --- lags -----------------------------------------------------------------------------------------

DELETED: Json = {"metadata": {"name": "j", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
HELD: Json = {"metadata": {**DELETED["metadata"], "finalizers": ["foregroundDeletion", "example.com/hold"]}}
FRESH = pod(phase="Pending")
BEGUN = pod(phase="Pending", startTime="2026-01-01T00:00:00Z")
RUNNING = pod(container("running", startedAt="2026-01-01T00:00:00Z"), phase="Running")
OVER = pod(ended(3))


def told_to_go(which: Json, **metadata: object) -> Json:
    return {**which, "metadata": {**which["metadata"], "deletionTimestamp": "2026-01-01T00:00:30Z", **metadata}}


@pytest.mark.parametrize(
    ("job", "pods", "words"),
    [
        ({}, [], "Kubernetes has not made a Pod of its Job yet"),
        ({"spec": {"suspend": True}}, [], ""),
        ({"status": {"active": 1}}, [], "its Pod is not seen any more, and Kubernetes has not ended its Job yet"),
        ({"status": {"terminating": 1}}, [], "its Pod is not seen any more, and Kubernetes has not ended its Job yet"),
        ({}, [{**FRESH, "spec": {}}], "the scheduler of Kubernetes has not looked at its Pod yet"),
        ({}, [FRESH], "the Kubernetes node worker-1 has not begun with its Pod yet"),
        ({}, [BEGUN], "the Kubernetes node worker-1 prepares its Pod"),
        ({}, [RUNNING], ""),
        ({}, [OVER], "its Pod has ended, and Kubernetes has not ended its Job yet"),
        (DELETED, [RUNNING], "Kubernetes has not told its Pod to end yet"),
        (DELETED, [told_to_go(RUNNING)], "the Kubernetes node worker-1 has not ended its Pod yet"),
        (DELETED, [told_to_go(FRESH)], "the Kubernetes node worker-1 has not ended its Pod yet"),
        (DELETED, [told_to_go({**FRESH, "spec": {}})], "Kubernetes has not ended its Pod yet"),
        (DELETED, [told_to_go(OVER)], "Kubernetes has not removed its Pod yet"),
        (DELETED, [told_to_go(OVER, finalizers=["x/y"])], "its Pod p-1 is kept by the finalizer x/y"),
        (DELETED, [], "Kubernetes has not removed its Job yet"),
        (HELD, [], "its Job j is kept by the finalizer example.com/hold"),
    ],
)
def test_what_kubernetes_has_yet_to_do_is_known_by_what_is_missing(job: Json, pods: list[Json], words: str) -> None:
    assert lag(job, pods) == words


def test_only_containers_that_run_have_a_grace_period() -> None:
    assert grace_ms([]) == grace_ms([RUNNING]) == 0
    assert grace_ms([told_to_go(FRESH, deletionGracePeriodSeconds=30)]) == 0
    assert grace_ms([RUNNING, told_to_go(RUNNING, deletionGracePeriodSeconds=30)]) == 30_000
