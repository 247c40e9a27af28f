"""The Job controller's decision: a Job, its Pods and an instant in, what to do out."""

from typing import Any

import pytest

from raftsman.executor.sandbox.clock import stamp
from raftsman.executor.sandbox.jobstatus import TRACKING, Decision, decide, is_finished

Json = dict[str, Any]
NOW = 1_800_000_000.0


def job(status: Json | None = None, metadata: Json | None = None, **spec: Any) -> Json:
    usual = {"parallelism": 1, "completions": 1, "backoffLimit": 0, "suspend": False}
    return {
        "metadata": {"name": "j", "namespace": "n", "uid": "u", **(metadata or {})},
        "spec": {**usual, "podReplacementPolicy": "TerminatingOrFailed", **spec},
        "status": status or {},
    }


def pod(
    uid: str, phase: str = "Running", *, tracked: bool = True, going: bool = False, finished_at: float = NOW
) -> Json:
    metadata: Json = {"name": f"j-{uid}", "uid": uid, "creationTimestamp": stamp(NOW - 60)}
    if tracked:
        metadata["finalizers"] = [TRACKING]
    if going:
        metadata["deletionTimestamp"] = stamp(NOW)
    ended = {"state": {"terminated": {"finishedAt": stamp(finished_at)}}}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [ended] if phase == "Failed" else []}}


def told(decision: Decision) -> list[str]:
    return [each["type"] for each in decision.status.get("conditions", [])]


def after(decision: Decision, before: Json) -> Json:
    return {**before, "status": decision.status}


def test_a_new_job_starts_and_wants_a_pod() -> None:
    decision = decide(job(), [], NOW)
    assert decision.create == 1
    assert decision.status == {
        "startTime": stamp(NOW),
        "active": 1,
        "terminating": 0,
        "uncountedTerminatedPods": {},
        "ready": 0,
    }


def test_a_job_with_its_pod_wants_nothing() -> None:
    first = job()
    running = after(decide(first, [], NOW), first)
    assert decide(running, [pod("a")], NOW) == Decision(status=running["status"])


def test_a_success_is_noted_then_released_then_counted() -> None:
    first = job({"startTime": stamp(NOW), "active": 1})
    noted = decide(first, [pod("a", "Succeeded")], NOW)
    assert told(noted) == ["SuccessCriteriaMet"]
    assert noted.status["uncountedTerminatedPods"] == {"succeeded": ["a"]}
    assert noted.release == ("j-a",)
    assert "succeeded" not in noted.status
    counted = decide(after(noted, first), [pod("a", "Succeeded", tracked=False)], NOW + 1)
    assert told(counted) == ["SuccessCriteriaMet", "Complete"]
    assert counted.status["succeeded"] == 1
    assert counted.status["completionTime"] == stamp(NOW + 1)
    assert counted.events == (("Normal", "Completed", "Job completed"),)
    assert is_finished(after(counted, first))


def test_a_failure_beyond_the_limit_fails_the_job() -> None:
    first = job({"startTime": stamp(NOW)})
    noted = decide(first, [pod("a", "Failed")], NOW)
    assert told(noted) == ["FailureTarget"]
    failed = decide(after(noted, first), [pod("a", "Failed", tracked=False)], NOW)
    assert told(failed) == ["FailureTarget", "Failed"]
    assert failed.status["failed"] == 1
    assert "completionTime" not in failed.status


def test_a_deleted_pod_counts_as_failed_at_once_but_the_job_fails_when_it_has_ended() -> None:
    first = job({"startTime": stamp(NOW), "active": 1})
    going = pod("a", going=True)
    noted = decide(first, [going], NOW)
    assert told(noted) == ["FailureTarget"]
    assert noted.status["terminating"] == 1
    still = decide(after(noted, first), [pod("a", going=True, tracked=False)], NOW)
    assert told(still) == ["FailureTarget"]
    assert still.status["failed"] == 1
    gone = decide(after(still, first), [], NOW)
    assert told(gone) == ["FailureTarget", "Failed"]


def test_a_job_that_waits_for_ends_replaces_a_deleted_pod_only_then() -> None:
    first = job({"startTime": stamp(NOW)}, podReplacementPolicy="Failed", backoffLimit=3)
    decision = decide(first, [pod("a", going=True)], NOW)
    assert (decision.create, told(decision)) == (0, [])


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 10.0), (2, 20.0), (3, 40.0), (9, 600.0)])
def test_each_further_pod_waits_twice_as_long(failures: int, pause_s: float) -> None:
    first = job({"startTime": stamp(NOW), "failed": failures}, backoffLimit=20)
    pods = [pod("a", "Failed", tracked=False, finished_at=NOW)]
    waiting = decide(first, pods, NOW + pause_s - 1)
    assert waiting.create == 0
    assert waiting.again_s == pytest.approx(1.0)
    assert "active" not in waiting.status
    assert decide(first, pods, NOW + pause_s + 0.1).create == 1


def test_a_deadline_stops_the_pod_and_counts_it() -> None:
    first = job({"startTime": stamp(NOW - 5), "active": 1}, activeDeadlineSeconds=9)
    assert decide(first, [pod("a")], NOW).again_s == pytest.approx(4.0)
    first["spec"]["activeDeadlineSeconds"] = 5
    stopped = decide(first, [pod("a")], NOW)
    assert (stopped.delete, stopped.release) == (("j-a",), ("j-a",))
    assert stopped.status["conditions"][0]["reason"] == "DeadlineExceeded"
    assert stopped.status["uncountedTerminatedPods"] == {"failed": ["a"]}
    assert stopped.status["terminating"] == 1
    counted = decide(after(stopped, first), [pod("a", "Succeeded", going=True, tracked=False)], NOW + 1)
    assert told(counted) == ["FailureTarget", "Failed"]


def test_suspending_deletes_pods_without_counting_and_resuming_starts_anew() -> None:
    first = job({"startTime": stamp(NOW - 100), "active": 1}, suspend=True)
    suspended = decide(first, [pod("a")], NOW)
    assert told(suspended) == ["Suspended"]
    assert suspended.delete == suspended.release == ("j-a",)
    assert "failed" not in suspended.status
    first["spec"]["suspend"] = False
    resumed = decide(after(suspended, first), [], NOW)
    assert resumed.status["conditions"][0] | {"lastProbeTime": "", "lastTransitionTime": ""} == {
        "type": "Suspended",
        "status": "False",
        "reason": "JobResumed",
        "message": "Job resumed",
        "lastProbeTime": "",
        "lastTransitionTime": "",
    }
    assert resumed.status["startTime"] == stamp(NOW)
    assert resumed.create == 1


def test_a_new_suspended_job_has_no_start() -> None:
    decision = decide(job(suspend=True), [], NOW)
    assert (decision.create, "startTime" in decision.status) == (0, False)


def test_a_job_that_is_being_deleted_makes_no_pod_and_counts_none() -> None:
    going = job({"startTime": stamp(NOW)}, {"deletionTimestamp": stamp(NOW)})
    decision = decide(going, [pod("a", going=True)], NOW)
    assert (decision.create, decision.release, told(decision)) == (0, ("j-a",), [])
    assert decision.status["uncountedTerminatedPods"] == {}
    assert decide(going, [], NOW).create == 0


def test_several_completions_run_side_by_side_and_surplus_pods_go() -> None:
    first = job(parallelism=2, completions=3)
    assert decide(first, [], NOW).create == 2
    started = after(decide(first, [], NOW), first)
    pods = [pod("a", "Succeeded"), pod("b", "Succeeded"), pod("c")]
    assert decide(started, pods, NOW).create == 0
    assert decide(started, pods[:2], NOW).create == 1
    less = job({"startTime": stamp(NOW)}, parallelism=1, completions=3)
    assert len(decide(less, [pod("c"), pod("d")], NOW).delete) == 1


def test_a_finished_job_stays_as_it_is() -> None:
    status = {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}
    assert decide(job(status), [pod("a")], NOW) == Decision(status=status, release=("j-a",))
