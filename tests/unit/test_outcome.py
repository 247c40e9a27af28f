"""How an attempt ended, by its Job and Pods, and what a refused create means."""

import pytest

from raftsman.executor.jobs import (
    AlreadyExists,
    Conflict,
    Denied,
    Json,
    KubernetesError,
    NotFound,
    Unauthorized,
    Unreachable,
)
from raftsman.executor.outcome import Outcome, absent_outcome, create_refusal, job_outcome
from raftsman.executor.podstatus import instant
from raftsman.executor.waits import Waiting
from raftsman.raft.lifecycle import Cause
from raftsman.raft.limits import REASON_BYTES
from tests.unit.kubernetes_objects import COMPLETE, container, disrupted, ended, failed_job, pod, recorded, unscheduled

BACKOFF = "BackoffLimitExceeded: Job has reached the specified backoff limit"


def outcome_of(case: Json) -> Outcome | None:
    return job_outcome(case["job"], case["pods"], case["departed"])


# --- ends: what real Kubernetes says ----------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "cause", "exit_code", "signal", "message"),
    [
        ("exit3", Cause.NON_ZERO_EXIT, 3, None, "exit code 3: the model diverged"),
        (
            "exit127",
            Cause.NON_ZERO_EXIT,
            127,
            None,
            "exit code 127 (a command that was not found?): sh: nosuchcommand: not found",
        ),
        ("killed", Cause.SIGNAL, 137, 9, "killed by SIGKILL"),
        ("oom", Cause.OOM_KILLED, 137, 9, "out of memory (limit 32Mi)"),
        ("initfails", Cause.NON_ZERO_EXIT, 4, None, "container fetch: exit code 4: no such bucket"),
        ("helperfails", Cause.NON_ZERO_EXIT, 5, None, "container helper: exit code 5: helper broke"),
        (
            "ephemeral",
            Cause.EVICTED,
            137,
            9,
            "Evicted: Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. (node 127.0.0.1)",
        ),
        ("evicted", Cause.DRAINED, 137, 9, "EvictionByEvictionAPI: Eviction API: evicting (node 127.0.0.1)"),
        ("deleted", Cause.POD_DELETED, 137, 9, "the Pod deleted-kwmcw was deleted while it ran"),
    ],
)
def test_a_failed_job_says_its_pods_cause(
    case: str, cause: Cause, exit_code: int, signal: int | None, message: str
) -> None:
    outcome = outcome_of(recorded(case))
    assert outcome is not None
    assert not outcome.succeeded
    assert (outcome.cause, outcome.exit_code, outcome.signal) == (cause, exit_code, signal)
    assert outcome.message == message
    assert outcome.error == BACKOFF


@pytest.mark.parametrize("case", ["starterror", "workdir"])
def test_a_command_that_cannot_be_started_never_ran(case: str) -> None:
    outcome = outcome_of(recorded(case))
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code) == (Cause.COMMAND_NOT_RUNNABLE, 128)
    assert outcome.message.startswith("the command cannot be run: failed to create containerd task")
    assert outcome.started_at is None, "containerd says that it started in 1970"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("deadline", "Job was active longer than specified deadline"),
        (
            "poddeadline",
            "DeadlineExceeded: Pod was active on the node longer than the specified deadline (node 127.0.0.1)",
        ),
    ],
)
def test_a_deadline_is_a_timeout_and_the_kill_is_not_its_exit_code(case: str, message: str) -> None:
    outcome = outcome_of(recorded(case))
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code, outcome.signal) == (Cause.TIMEOUT, -1, None)
    assert (outcome.message, outcome.error) == (message, "Job timed out")
    assert outcome.started_at is not None


def test_a_completed_job_succeeds_with_its_containers_times() -> None:
    assert outcome_of(recorded("completed")) == Outcome(
        succeeded=True,
        exit_code=0,
        started_at=instant("2026-11-26T02:36:42Z"),
        finished_at=instant("2026-11-26T02:36:42Z"),
    )


@pytest.mark.parametrize("case", ["nopull", "noaccount", "gated", "over", "noconfigmap"])
def test_a_job_without_a_terminal_condition_has_not_ended(case: str) -> None:
    assert outcome_of(recorded(case)) is None


@pytest.mark.parametrize("condition", ["FailureTarget", "SuccessCriteriaMet", "Suspended"])
def test_other_conditions_and_counts_end_no_job(condition: str) -> None:
    status = {"conditions": [{"type": condition, "status": "True"}], "failed": 1, "succeeded": 1}
    assert job_outcome({"status": status}, [pod(ended(1))], []) is None


def test_a_condition_that_is_false_ends_no_job() -> None:
    assert job_outcome({"status": {"conditions": [{"type": "Failed", "status": "False"}]}}, [], []) is None


# --- ends: the rest of the evidence -------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("Evicted", Cause.EVICTED),
        ("Preempting", Cause.PREEMPTED),
        ("NodeLost", Cause.NODE_LOST),
        ("Terminated", Cause.NODE_SHUTDOWN),
        ("NodeShutdown", Cause.NODE_SHUTDOWN),
        ("UnexpectedAdmissionError", Cause.NODE_REJECTED),
        ("OutOfcpu", Cause.NODE_REJECTED),
        ("OutOfmemory", Cause.NODE_REJECTED),
        ("OutOfnvidia.com/gpu", Cause.NODE_REJECTED),
        ("NodeAffinity", Cause.NODE_REJECTED),
        ("AppArmor", Cause.NODE_REJECTED),
    ],
)
def test_the_pods_own_reason_comes_first(reason: str, cause: Cause) -> None:
    torn = pod(ended(1), conditions=(disrupted("TerminationByKubelet"),), reason=reason)
    outcome = job_outcome(failed_job(), [torn], [])
    assert outcome is not None
    assert outcome.cause is cause
    assert outcome.message == f"{reason} (node worker-1)"


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("PreemptionByScheduler", Cause.PREEMPTED),
        ("EvictionByEvictionAPI", Cause.DRAINED),
        ("DeletionByTaintManager", Cause.NODE_LOST),
        ("DeletionByPodGC", Cause.NODE_LOST),
        ("TerminationByKubelet", Cause.NODE_SHUTDOWN),
    ],
)
def test_a_disruption_comes_before_what_the_containers_made_of_it(reason: str, cause: Cause) -> None:
    outcome = job_outcome(failed_job(), [], [pod(ended(143), conditions=(disrupted(reason),))])
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code) == (cause, 143)


@pytest.mark.parametrize(
    ("code", "reason", "cause", "signal"),
    [
        (1, "Error", Cause.NON_ZERO_EXIT, None),
        (126, "Error", Cause.NON_ZERO_EXIT, None),
        (128, "Error", Cause.NON_ZERO_EXIT, None),
        (129, "Error", Cause.SIGNAL, 1),
        (143, "Error", Cause.SIGNAL, 15),
        (139, "Error", Cause.SIGNAL, 11),
        (159, "Error", Cause.SIGNAL, 31),
        (160, "Error", Cause.NON_ZERO_EXIT, None),
        (255, "Error", Cause.NON_ZERO_EXIT, None),
        (137, "OOMKilled", Cause.OOM_KILLED, 9),
        (127, "ContainerCannotRun", Cause.COMMAND_NOT_RUNNABLE, None),
    ],
)
def test_an_exit_code_above_128_is_a_signal_unless_the_reason_knows_better(
    code: int, reason: str, cause: Cause, signal: int | None
) -> None:
    outcome = job_outcome(failed_job(), [pod(ended(code, reason))], [])
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code, outcome.signal) == (cause, code, signal)


def test_the_exit_code_of_a_lost_container_was_seen_by_nobody() -> None:
    outcome = job_outcome(failed_job(), [pod(ended(137, "ContainerStatusUnknown"))], [])
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code, outcome.signal) == (Cause.CONTAINER_LOST, -1, None)


def test_the_signal_that_the_runtime_names_counts() -> None:
    outcome = job_outcome(failed_job(), [pod(container("terminated", exitCode=1, signal=6, reason="Error"))], [])
    assert outcome is not None
    assert (outcome.cause, outcome.signal, outcome.message) == (Cause.SIGNAL, 6, "killed by SIGABRT")


def test_the_first_container_that_failed_decides() -> None:
    late = ended(9, name="a-proxy", at="2026-01-01T00:02:00Z")
    outcome = job_outcome(failed_job(), [pod(late, ended(3), ended(0, "Completed", name="z"))], [])
    assert outcome is not None
    assert (outcome.exit_code, outcome.message) == (3, "container task: exit code 3")


def test_of_containers_that_failed_in_the_same_second_the_tasks_own_decides() -> None:
    outcome = job_outcome(failed_job(), [pod(ended(9, name="a-proxy"), ended(3))], [])
    assert outcome is not None
    assert outcome.exit_code == 3


def test_a_sidecar_that_was_stopped_at_the_end_decides_nothing() -> None:
    outcome = job_outcome(failed_job(), [pod(ended(3), init=(ended(137, name="mesh", at="2026-01-01T00:00:30Z"),))], [])
    assert outcome is not None
    assert outcome.exit_code == 3


def test_an_end_that_the_kubelet_moved_to_the_last_state_counts() -> None:
    moved = {"name": "task", "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": ended(3)["state"]}
    outcome = job_outcome(failed_job(), [pod(moved)], [])
    assert outcome is not None
    assert outcome.exit_code == 3


@pytest.mark.parametrize(
    ("grace_s", "stamp", "code", "cause"),
    [
        (30, "2026-01-01T00:01:20Z", 143, Cause.POD_DELETED),  # Asked at 00:50, ended at 01:00.
        (30, "2026-01-01T00:01:20Z", 1, Cause.POD_DELETED),  # It took the SIGTERM and left with 1.
        (30, "2026-01-01T00:02:20Z", 1, Cause.NON_ZERO_EXIT),  # Asked at 01:50: it had failed before.
        (0, "2026-01-01T00:01:02Z", 137, Cause.POD_DELETED),  # The last state: the stamp is the removal's.
        (0, "2026-01-01T00:01:02Z", 3, Cause.NON_ZERO_EXIT),
        (0, "2026-01-01T01:00:00Z", 137, Cause.SIGNAL),  # Swept up an hour after its end.
    ],
)
def test_who_deletes_a_running_pod_has_ended_it(grace_s: int, stamp: str, code: int, cause: Cause) -> None:
    gone = pod(ended(code))
    gone["metadata"] |= {"deletionTimestamp": stamp, "deletionGracePeriodSeconds": grace_s}
    outcome = job_outcome(failed_job(), [gone], [])
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code) == (cause, code)


def test_a_pod_that_went_while_it_waited_is_blamed_on_the_wait() -> None:
    waited = pod(container("waiting", reason="ImagePullBackOff", message="not found"), phase="Pending")
    outcome = job_outcome(failed_job(), [], [waited])
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code) == (Cause.IMAGE_PULL, -1)


def test_a_pod_that_went_unscheduled_was_unschedulable() -> None:
    outcome = job_outcome(failed_job(), [], [pod(conditions=(unscheduled("Unschedulable"),), phase="Pending")])
    assert outcome is not None
    assert outcome.cause is Cause.UNSCHEDULABLE


def test_a_running_pod_that_went_without_a_word_was_deleted() -> None:
    running = pod(container("running", startedAt="2026-01-01T00:00:00Z"), phase="Running")
    outcome = job_outcome(failed_job(), [], [running])
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code) == (Cause.POD_DELETED, -1)
    assert outcome.started_at == instant("2026-01-01T00:00:00Z")


def test_a_failed_job_of_which_nothing_was_seen_has_an_unknown_result() -> None:
    outcome = job_outcome(failed_job(), [], [])
    assert outcome is not None
    assert (outcome.cause, outcome.exit_code, outcome.error) == (Cause.RESULT_UNKNOWN, -1, BACKOFF)


def test_of_two_pods_the_one_that_failed_speaks() -> None:
    running = pod(container("running", startedAt="2026-01-01T00:00:00Z"), phase="Running")
    outcome = job_outcome(failed_job(), [running, pod(ended(3))], [])
    assert outcome is not None
    assert outcome.exit_code == 3


def test_a_deadline_before_the_start_tells_the_last_wait() -> None:
    job = failed_job("DeadlineExceeded", "Job was active longer than specified deadline")
    outcome = job_outcome(job, [], [pod(conditions=(unscheduled("Unschedulable"),), phase="Pending")])
    assert outcome is not None
    assert outcome.cause is Cause.TIMEOUT
    assert outcome.message.endswith("it never ran: Unschedulable: 0/3 nodes are available")


def test_a_pod_failure_policy_leaves_the_pods_cause() -> None:
    outcome = job_outcome(failed_job("PodFailurePolicy", "rule 0"), [pod(ended(42))], [])
    assert outcome is not None
    assert (outcome.cause, outcome.error) == (Cause.NON_ZERO_EXIT, "PodFailurePolicy: rule 0")


@pytest.mark.parametrize(
    ("reason", "message", "error"), [("", "", "Job failed"), ("Odd", "", "Odd"), ("", "words", "words")]
)
def test_the_error_is_what_kubernetes_says(reason: str, message: str, error: str) -> None:
    outcome = job_outcome(failed_job(reason, message), [pod(ended(1))], [])
    assert outcome is not None
    assert outcome.error == error


def test_of_long_output_the_end_is_kept() -> None:
    long = container("terminated", exitCode=1, message="ü" * 4000 + " ValueError: no such column")
    outcome = job_outcome(failed_job(), [pod(long)], [])
    assert outcome is not None
    assert outcome.message.startswith("exit code 1: …ü")
    assert outcome.message.endswith(" ValueError: no such column")
    assert len(outcome.message.encode()) <= REASON_BYTES


def test_a_complete_job_whose_pod_nobody_saw_exited_with_0() -> None:
    outcome = job_outcome(COMPLETE, [], [])
    assert outcome is not None
    assert (outcome.succeeded, outcome.exit_code, outcome.cause) == (True, 0, None)


def test_a_pod_that_ended_well_after_an_eviction_completed_with_a_note() -> None:
    survivor = pod(ended(0, "Completed"), conditions=(disrupted("EvictionByEvictionAPI"),), phase="Succeeded")
    outcome = job_outcome(COMPLETE, [], [survivor])
    assert outcome is not None
    assert outcome.succeeded
    assert outcome.note == "completed although its Pod was disrupted (EvictionByEvictionAPI)"


# --- a Job that has vanished ------------------------------------------------------------------


def test_a_vanished_job_whose_pod_had_succeeded_completed() -> None:
    outcome = absent_outcome([pod(ended(0, "Completed"), phase="Succeeded")])
    assert (outcome.succeeded, outcome.exit_code) == (True, 0)
    assert outcome.note == "its Job was deleted, but its Pod had ended"


def test_a_vanished_job_whose_pod_had_failed_has_its_cause() -> None:
    outcome = absent_outcome([pod(ended(137, "OOMKilled"))])
    assert (outcome.cause, outcome.exit_code, outcome.error) == (Cause.OOM_KILLED, 137, "Job failed")


def test_a_vanished_job_whose_pod_was_killed_for_it_was_deleted() -> None:
    outcome = absent_outcome(recorded("deleted")["departed"])
    assert (outcome.cause, outcome.exit_code) == (Cause.JOB_DELETED, 137)


def test_a_vanished_job_whose_pod_ran_was_deleted() -> None:
    running = pod(container("running", startedAt="2026-01-01T00:00:00Z"), phase="Running")
    assert absent_outcome([running]).cause is Cause.JOB_DELETED


def test_a_vanished_job_whose_pod_only_waited_was_deleted() -> None:
    assert absent_outcome([pod(container("waiting", reason="ErrImagePull"))]).cause is Cause.JOB_DELETED


def test_a_vanished_job_of_which_nothing_was_seen_is_never_a_success() -> None:
    outcome = absent_outcome([])
    assert (outcome.succeeded, outcome.cause, outcome.exit_code) == (False, Cause.RESULT_UNKNOWN, -1)


# --- a refused create -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NotFound('namespaces "facts" not found', status=404, reason="NotFound"), Cause.NAMESPACE_MISSING),
        (Denied('Job.batch "X_" is invalid: [metadata.name …]', status=422, reason="Invalid"), Cause.INVALID_SPEC),
        (Denied('strict decoding error: unknown field "spec.x"', status=400, reason="BadRequest"), Cause.INVALID_SPEC),
        (Denied("Request entity too large: limit is 3145728", status=413), Cause.INVALID_SPEC),
        (
            Denied(
                "jobs.batch is forbidden: unable to create new content in namespace b because it is being terminated",
                status=403,
            ),
            Cause.NAMESPACE_TERMINATING,
        ),
        (
            Denied('jobs.batch is forbidden: User "u" cannot create resource "jobs" in API group "batch"', status=403),
            Cause.FORBIDDEN,
        ),
        (Denied('jobs.batch "x" is forbidden: some other policy', status=403), Cause.FORBIDDEN),
        (Denied('admission webhook "w" denied the request: no', status=403), Cause.ADMISSION_DENIED),
        (Denied('admission webhook "w" denied the request: no', status=400), Cause.ADMISSION_DENIED),
        (Conflict('admission webhook "w" denied the request: no', status=409), Cause.ADMISSION_DENIED),
        (
            Denied(
                "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no",
                status=422,
                reason="Invalid",
            ),
            Cause.ADMISSION_DENIED,
        ),
        (Denied('jobs.batch "x" is forbidden: failed quota: q: must specify …', status=403), Cause.QUOTA_EXCEEDED),
    ],
)
def test_a_create_that_can_never_succeed_ends_the_attempt(error: KubernetesError, cause: Cause) -> None:
    outcome = create_refusal(error)
    assert isinstance(outcome, Outcome)
    assert (outcome.succeeded, outcome.cause, outcome.exit_code) == (False, cause, -1)
    assert outcome.error == outcome.message == error.message


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            Denied('jobs.batch "x" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1', status=403),
            Cause.QUOTA_EXCEEDED,
        ),
        (Conflict('Operation cannot be fulfilled on resourcequotas "q"', status=409, reason="Conflict"), None),
        (NotFound("404 page not found", status=404), None),
    ],
)
def test_a_create_that_may_succeed_later_waits(error: KubernetesError, cause: Cause | None) -> None:
    assert create_refusal(error) == Waiting(cause=cause, message=error.message, grace_ms=None)


@pytest.mark.parametrize(
    "error", [Unreachable("cut"), Unauthorized("401", status=401), AlreadyExists("there", status=409)]
)
def test_a_create_whose_effect_is_open_is_no_refusal(error: KubernetesError) -> None:
    assert create_refusal(error) is None
