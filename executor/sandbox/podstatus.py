"""What a Pod's status says about its containers: the kubelet's account, without the kubelet.

Pure: the states of containers in, a status out, with the phases, conditions and reasons of Kubernetes 1.34. Who runs
the containers: ``podrun``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.clock import stamp

HOST_IP = "127.0.0.1"
UNKNOWN_END = "The container could not be located when the pod was terminated"


@dataclass(slots=True, kw_only=True)
class ContainerState:
    """What is known of one container."""

    name: str
    image: str
    state: Json
    resources: Json = field(default_factory=dict)
    container_id: str = ""

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """The code it ended with, None while it has not."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])


def waiting(reason: str, message: str = "") -> Json:
    """Return the state of a container that waits."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running(started_at: float) -> Json:
    """Return the state of a container whose process runs."""
    return {"running": {"startedAt": stamp(started_at)}}


def terminated(
    code: int, reason: str, *, started_at: float | None, finished_at: float | None, message: str = ""
) -> Json:
    """Return the state of a container that ended."""
    ended: Json = {"exitCode": code, "reason": reason}
    if message:
        ended["message"] = message
    ended["startedAt"] = None if started_at is None else stamp(started_at)
    ended["finishedAt"] = None if finished_at is None else stamp(finished_at)
    return {"terminated": ended}


def phase_of(inits: Sequence[ContainerState], mains: Sequence[ContainerState]) -> str:
    """Return the Pod's phase; no container is ever started again (``restartPolicy: Never``)."""
    if any(each.exit_code for each in inits):
        return "Failed"
    if any(each.exit_code is None for each in inits) or any("waiting" in each.state for each in mains):
        return "Pending"
    if any(each.running for each in mains):
        return "Running"
    return "Failed" if any(each.exit_code for each in mains) else "Succeeded"


def pod_status(
    before: Json,
    inits: Sequence[ContainerState],
    mains: Sequence[ContainerState],
    *,
    generation: int,
    now: float,
) -> Json:
    """Return the status that follows *before* when the containers are in these states."""
    phase = phase_of(inits, mains)
    wanted = _conditions(phase, inits, mains)
    status = {
        "observedGeneration": generation,
        "phase": phase,
        "conditions": [_dated(each, before, generation, now) for each in wanted],
        "hostIP": HOST_IP,
        "hostIPs": [{"ip": HOST_IP}],
        "podIP": HOST_IP,
        "podIPs": [{"ip": HOST_IP}],
        "startTime": before.get("startTime") or stamp(now),
    }
    if inits:
        status["initContainerStatuses"] = [_container(each, ready=each.exit_code == 0) for each in inits]
    status["containerStatuses"] = [_container(each, ready=each.running) for each in mains]
    status["qosClass"] = before["qosClass"]
    return status


def scheduled(before: Json, *, now: float, why: tuple[str, str] | None = None) -> Json:
    """Return the status of a Pod that has a place, or none for a reason and with a message."""
    condition = {"type": "PodScheduled", "status": "False" if why else "True"}
    told = {"reason": why[0], "message": why[1]} if why else {}
    return {**before, "conditions": [_dated({**condition, **told}, before, 1, now)]}


def _conditions(phase: str, inits: Sequence[ContainerState], mains: Sequence[ContainerState]) -> list[Json]:
    over = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    unready = [each.name for each in mains if not each.running]
    incomplete = [each.name for each in inits if each.exit_code != 0]
    ready: Json = {"status": "True"}
    if over:
        ready = {"status": "False", "reason": over}
    elif unready:
        names = f"containers with unready status: [{' '.join(unready)}]"
        ready = {"status": "False", "reason": "ContainersNotReady", "message": names}
    begun = any(each.container_id or "waiting" not in each.state for each in [*inits, *mains])
    initialized: Json = {"status": "True", **({"reason": over} if over == "PodCompleted" else {})}
    if incomplete:
        names = f"containers with incomplete status: [{' '.join(incomplete)}]"
        initialized = {"status": "False", "reason": "ContainersNotInitialized", "message": names}
    return [
        {"type": "PodReadyToStartContainers", "status": "True" if begun and not over else "False"},
        {"type": "Initialized", **initialized},
        {"type": "Ready", **ready},
        {"type": "ContainersReady", **ready},
        {"type": "PodScheduled", "status": "True"},
    ]


def _dated(condition: Json, before: Json, generation: int, now: float) -> Json:
    """Return the condition with the instant since when it has been so."""
    known = next((each for each in before.get("conditions") or [] if each["type"] == condition["type"]), None)
    same = known is not None and known["status"] == condition["status"]
    return {
        "type": condition["type"],
        "observedGeneration": generation,
        "status": condition["status"],
        "lastProbeTime": None,
        "lastTransitionTime": known["lastTransitionTime"] if same and known else stamp(now),
        **{key: condition[key] for key in ("reason", "message") if key in condition},
    }


def _container(container: ContainerState, *, ready: bool) -> Json:
    shown = {
        "name": container.name,
        "state": container.state,
        "lastState": {},
        "ready": ready,
        "restartCount": 0,
        "image": container.image,
        "imageID": "",
        "started": container.running,
        "resources": container.resources,
    }
    return {**shown, "containerID": container.container_id} if container.container_id else shown
