"""Jobs, Pods and Events to judge: recorded ones, and small ones for what no recorded cluster showed.

The files under ``fixtures/kubernetes`` were recorded from Kubernetes 1.34.2 with containerd, trimmed to what is
read: the Job, the Pods present, the last state of those that are gone, and the Events, the newest last.
"""

import json
from pathlib import Path

from raftsman.executor.jobs import Json

RECORDED = Path(__file__).parent / "fixtures" / "kubernetes"


def recorded(case: str) -> Json:
    found: Json = json.loads((RECORDED / f"{case}.json").read_text())
    return found


def failed_job(
    reason: str = "BackoffLimitExceeded", message: str = "Job has reached the specified backoff limit"
) -> Json:
    return {"status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": message}]}}


COMPLETE: Json = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}


def pod(
    *containers: Json,
    init: tuple[Json, ...] = (),
    conditions: tuple[Json, ...] = (),
    phase: str = "Failed",
    **status: str,
) -> Json:
    return {
        "metadata": {"name": "p-1"},
        "spec": {"nodeName": "worker-1"},
        "status": {
            "phase": phase,
            "conditions": list(conditions),
            "initContainerStatuses": list(init),
            "containerStatuses": list(containers),
            **status,
        },
    }


def container(kind: str, *, name: str = "task", **state: object) -> Json:
    return {"name": name, "state": {kind: state}}


def ended(code: int, reason: str = "Error", *, name: str = "task", at: str = "2026-01-01T00:01:00Z") -> Json:
    return container(
        "terminated", name=name, exitCode=code, reason=reason, startedAt="2026-01-01T00:00:00Z", finishedAt=at
    )


def disrupted(reason: str) -> Json:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "because"}


def unscheduled(reason: str) -> Json:
    return {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes are available"}


def event(kind: str, reason: str, message: str) -> Json:
    return {"involvedObject": {"kind": kind}, "reason": reason, "message": message}
