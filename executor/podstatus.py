"""Reading Jobs, Pods and Events: plain dictionaries in, a few typed facts out.

Every reader takes what an API server of any age, or a mirror that pruned it, may leave out: a missing part, a
null list or an unknown word is an absence, never an exception. What the facts mean is ``outcome``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from raftsman.executor.jobs import CONTAINER, Json
from raftsman.raft.records import Instant, JobCounts

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How one container ended, as its Pod's status says."""

    container: str
    exit_code: int
    signal: int | None  # As the runtime says; most say nothing and add 128 to the exit code.
    reason: str
    message: str
    started_at: Instant | None
    finished_at: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Why one container has not started, as its Pod's status says."""

    container: str
    reason: str
    message: str


def instant(stamp: object) -> Instant | None:
    """Return the RFC 3339 *stamp* in milliseconds since the Unix epoch; None for anything else."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return Instant((moment - EPOCH) // timedelta(milliseconds=1)) if moment.tzinfo else None


def part(thing: object, *path: str) -> Json:
    """Return the object at *path*; {} where there is none."""
    for key in path:
        thing = thing.get(key) if isinstance(thing, dict) else None
    return thing if isinstance(thing, dict) else {}


def parts(thing: object, *path: str) -> list[Json]:
    """Return the objects of the list at *path*; [] where there is none."""
    found: Any = part(thing, *path[:-1]).get(path[-1])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def text(thing: Json, key: str) -> str:
    """Return the string under *key* without white space around it; "" where there is none."""
    found = thing.get(key)
    return found.strip() if isinstance(found, str) else ""


def number(thing: Json, key: str) -> int:
    """Return the integer under *key*; 0 where there is none."""
    found = thing.get(key)
    return found if isinstance(found, int) else 0


def condition(thing: Json, kind: str, *, status: str = "True") -> Json | None:
    """Return the condition of that type, or None when the object has none that stands at *status*."""
    conditions = parts(thing, "status", "conditions")
    return next((each for each in conditions if each.get("type") == kind and each.get("status") == status), None)


def name(thing: Json) -> str:
    """Return the object's name."""
    return text(part(thing, "metadata"), "name")


def finalizers(thing: Json) -> list[str]:
    """Return what holds the object when it is deleted."""
    found = part(thing, "metadata").get("finalizers")
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def phase(pod: Json) -> str:
    """Return Pending, Running, Succeeded, Failed, Unknown, or ""."""
    return text(part(pod, "status"), "phase")


def is_over(pod: Json) -> bool:
    """Return whether no container of the Pod runs any more, or ever will."""
    return phase(pod) in {"Succeeded", "Failed"}


def has_several_containers(pod: Json) -> bool:
    """Return whether a message about one container has to name it."""
    return len(_statuses(pod, "initContainerStatuses")) + len(_statuses(pod, "containerStatuses")) > 1


def ends(pod: Json) -> list[End]:
    """Return how the Pod's containers ended, the decisive ones only, the earliest first and ``task`` before its equals.

    Init containers count while no main container has ended: afterwards a failed one is a sidecar that was
    stopped, for a main container only starts when every other init container has succeeded.
    """
    main = _ends_of(_statuses(pod, "containerStatuses"))
    found = main or _ends_of(_statuses(pod, "initContainerStatuses"))
    return sorted(found, key=lambda end: (end.finished_at or 0, end.container != CONTAINER))


def halts(pod: Json) -> list[Halt]:
    """Return the containers that wait to be started, init containers first."""
    statuses = [*_statuses(pod, "initContainerStatuses"), *_statuses(pod, "containerStatuses")]
    waiting = [(each, part(each, "state", "waiting")) for each in statuses]
    return [
        Halt(container=text(each, "name"), reason=text(state, "reason"), message=text(state, "message"))
        for each, state in waiting
        if state
    ]


def started_at(pod: Json) -> Instant | None:
    """Return since when the container that carries the task runs, or ran; None when it never did."""
    own = [each for each in _statuses(pod, "containerStatuses") if each.get("name") == CONTAINER]
    for status in own:
        for state in (part(status, "state", "running"), _terminated(status)):
            # A container that could not be started has "started" in 1970: containerd's zero.
            if since := instant(state.get("startedAt")):
                return since
    return None


def running_since(pods: Sequence[Json]) -> Instant | None:
    """Return when the container that carries the task started, or None when it has not: preparing is no start."""
    starts = [since for pod in pods if (since := started_at(pod)) is not None]
    return min(starts, default=None)


def job_counts(job: Json) -> JobCounts:
    """Return Kubernetes' own counts of the Job's Pods."""
    status = part(job, "status")
    return JobCounts(
        active=number(status, "active"),
        succeeded=number(status, "succeeded"),
        failed=number(status, "failed"),
    )


def memory_limit(pod: Json, container: str) -> str:
    """Return the container's memory limit as it was written; "" where it has none."""
    specs = [*parts(pod, "spec", "initContainers"), *parts(pod, "spec", "containers")]
    own = next((each for each in specs if each.get("name") == container), {})
    return text(part(own, "resources", "limits"), "memory")


def deletion_asked_at(pod: Json) -> Instant | None:
    """Return when somebody asked for the Pod's deletion; None when nobody did.

    ``deletionTimestamp`` is that moment and the grace period together. When the kubelet removes what is left
    it sets the grace period to 0 and the stamp to its own moment, 1–2 s after the last container ended.
    """
    metadata = part(pod, "metadata")
    due = instant(metadata.get("deletionTimestamp"))
    return None if due is None else Instant(due - 1000 * number(metadata, "deletionGracePeriodSeconds"))


def about(events: Iterable[Json], kind: str) -> list[Json]:
    """Return the Events about objects of that kind, in their order."""
    return [each for each in events if text(part(each, "involvedObject"), "kind") == kind]


def _statuses(pod: Json, field: str) -> list[Json]:
    return parts(pod, "status", field)


def _terminated(status: Json) -> Json:
    """Return how the container ended; a state of neither kind can hide an end that the kubelet moved to lastState."""
    state = part(status, "state")
    return part(state, "terminated") or ({} if "running" in state else part(status, "lastState", "terminated"))


def _ends_of(statuses: Sequence[Json]) -> list[End]:
    states = [(status, _terminated(status)) for status in statuses]
    return [
        End(
            container=text(status, "name"),
            exit_code=number(state, "exitCode"),
            signal=number(state, "signal") or None,
            reason=text(state, "reason"),
            message=text(state, "message"),
            started_at=instant(state.get("startedAt")) or None,
            finished_at=instant(state.get("finishedAt")) or None,
        )
        for status, state in states
        if state
    ]
