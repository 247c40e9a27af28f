"""Objects as rows: what ``kubectl get`` shows, which the server makes, not the client.

Pure. The columns are those of Kubernetes (``pkg/printers/internalversion``). Everything is told from the object and an
instant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.clock import unix
from raftsman.executor.sandbox.kinds import EVENTS, JOBS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Kind

Cells = list[object]
NONE = "<none>"
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400
_DURATIONS = (  # Below which length of time (s), in which unit, with which smaller one.
    (2 * _MINUTE, "s", 1, "", 1),
    (10 * _MINUTE, "m", _MINUTE, "s", 1),
    (3 * _HOUR, "m", _MINUTE, "", 1),
    (8 * _HOUR, "h", _HOUR, "m", _MINUTE),
    (2 * _DAY, "h", _HOUR, "", 1),
    (8 * _DAY, "d", _DAY, "h", _HOUR),
    (2 * _YEAR, "d", _DAY, "", 1),
    (8 * _YEAR, "y", _YEAR, "d", _DAY),
)


@dataclass(frozen=True, slots=True)
class _Table:
    columns: tuple[tuple[str, int], ...]  # Name, and 1 for those (``+``) that only ``-o wide`` shows.
    cells: Callable[[Json, float], Cells]


def table(kind: Kind, objects: Sequence[Json], metadata: Json, *, now: float, include: str = "Metadata") -> Json:
    """Return the objects as a Table; *include* says how much of each object comes along."""
    shape = _TABLES[kind]
    columns = [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": priority,
        }
        for name, priority in shape.columns
    ]
    rows = [{"cells": shape.cells(each, now), "object": _included(each, include)} for each in objects]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    }


def human_duration(seconds: float) -> str:
    """Return a length of time in the one or two units that ``kubectl`` shows (``util/duration``)."""
    left = int(seconds)
    if left < 0:
        return "0s" if left >= -1 else "<invalid>"
    for below, unit, size, smaller, smaller_size in _DURATIONS:
        if left < below:
            rest = left % size // smaller_size if smaller else 0
            return f"{left // size}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{left // _YEAR}y"


def _included(found: Json, include: str) -> Json | None:
    if include == "None":
        return None
    if include == "Object":
        return found
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}


def _age(stamp: str, now: float) -> str:
    return human_duration(now - unix(stamp)) if stamp else "<unknown>"


def _job(job: Json, now: float) -> Cells:
    spec, status = job["spec"], job["status"]
    conditions = {each["type"] for each in status.get("conditions") or [] if each["status"] == "True"}
    words = ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet", "Suspended")
    word = next((each for each in words if each in conditions), "Running")
    if "deletionTimestamp" in job["metadata"] and word not in ("Complete", "Failed"):
        word = "Terminating"
    start, end = status.get("startTime", ""), status.get("completionTime", "")
    lasted = human_duration((unix(end) if end else now) - unix(start)) if start else ""
    containers = spec["template"]["spec"]["containers"]
    selector = ",".join(f"{key}={value}" for key, value in sorted(spec["selector"]["matchLabels"].items()))
    return [
        job["metadata"]["name"],
        word,
        f"{status.get('succeeded', 0)}/{spec.get('completions', 1)}",
        lasted,
        _age(job["metadata"]["creationTimestamp"], now),
        ",".join(each["name"] for each in containers),
        ",".join(each["image"] for each in containers),
        selector,
    ]


def _pod(pod: Json, now: float) -> Cells:
    status = pod["status"]
    containers = status.get("containerStatuses") or []
    ready = sum(bool(each["ready"]) for each in containers)
    return [
        pod["metadata"]["name"],
        f"{ready}/{len(pod['spec']['containers'])}",
        _pod_word(pod),
        str(sum(each["restartCount"] for each in containers)),
        _age(pod["metadata"]["creationTimestamp"], now),
        status.get("podIP") or NONE,
        pod["spec"].get("nodeName") or NONE,
        NONE,
        NONE,
    ]


def _pod_word(pod: Json) -> str:
    """Return the one word for the Pod: the most telling reason of its containers."""
    status = pod["status"]
    word: str = status.get("reason") or status["phase"]
    inits = status.get("initContainerStatuses") or []
    undone = [(at, each) for at, each in enumerate(inits) if _code(each) != 0]
    if undone:
        at, first = undone[0]
        reason = _reason(first)
        word = f"Init:{reason}" if reason not in ("", "PodInitializing") else f"Init:{at}/{len(inits)}"
    else:
        reasons = [reason for each in reversed(status.get("containerStatuses") or []) if (reason := _reason(each))]
        word = reasons[-1] if reasons else word
        if any(each["ready"] for each in status.get("containerStatuses") or []) and word == "Completed":
            word = "NotReady"
    return "Terminating" if "deletionTimestamp" in pod["metadata"] else word


def _reason(container: Json) -> str:
    state = container["state"]
    return str((state.get("waiting") or state.get("terminated") or {}).get("reason", ""))


def _code(container: Json) -> int | None:
    ended = container["state"].get("terminated")
    return None if ended is None else int(ended["exitCode"])


def _event(event: Json, now: float) -> Cells:
    about = event["involvedObject"]
    first, last = event["firstTimestamp"] or event["eventTime"], event["lastTimestamp"] or event["eventTime"]
    source = [event["source"].get("component") or event["reportingComponent"], event["source"].get("host", "")]
    return [
        _age(last, now),
        event["type"],
        event["reason"],
        f"{about['kind'].lower()}/{about['name']}",
        about.get("fieldPath", ""),
        ", ".join(filter(None, source)),
        event["message"].strip(),
        _age(first, now),
        str(event.get("count", 1)),
        event["metadata"]["name"],
    ]


def _namespace(namespace: Json, now: float) -> Cells:
    metadata = namespace["metadata"]
    return [metadata["name"], namespace["status"]["phase"], _age(metadata["creationTimestamp"], now)]


def _account(account: Json, now: float) -> Cells:
    return [account["metadata"]["name"], "0", _age(account["metadata"]["creationTimestamp"], now)]


def _columns(names: str) -> tuple[tuple[str, int], ...]:
    return tuple((name.removeprefix("+"), int(name.startswith("+"))) for name in names.split(","))


_TABLES = {
    JOBS: _Table(_columns("Name,Status,Completions,Duration,Age,+Containers,+Images,+Selector"), _job),
    PODS: _Table(_columns("Name,Ready,Status,Restarts,Age,+IP,+Node,+Nominated Node,+Readiness Gates"), _pod),
    EVENTS: _Table(
        _columns("Last Seen,Type,Reason,Object,+Subobject,+Source,Message,+First Seen,+Count,+Name"), _event
    ),
    NAMESPACES: _Table(_columns("Name,Status,Age"), _namespace),
    SERVICE_ACCOUNTS: _Table(_columns("Name,Secrets,Age"), _account),
}
