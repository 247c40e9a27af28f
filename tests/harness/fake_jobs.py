"""The ports ``Jobs``, ``Mirror`` and ``Contexts`` in memory, with Jobs that come to life.

A ``FakeContext`` is the truth of one Kubernetes cluster: its Jobs run through a scripted ``Life``, in the order and
with the statuses of a real control plane. Each node reaches it over a ``fake_link.Link`` of its own, and that is
where calls go wrong. Time is the running loop's (``virtual_time``).
"""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from raftsman.executor.jobs import (
    ANNOTATION_RELEASED,
    CONTAINER,
    AlreadyExists,
    Conflict,
    ContextHealth,
    Jobs,
    Json,
    Mirror,
    NotFound,
)
from raftsman.raft.records import Instant
from tests.harness.fake_link import Link
from tests.harness.virtual_time import now

CONTROLLER_S = 0.02  # What the Job controller takes to notice something.
LIST_S = 0.05
GRACE_S = 30
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What becomes of a Job's Pod."""

    starts_after_s: float | None = 0.3  # None: never.
    runs_s: float | None = 1.0  # None: until it is killed.
    exit_code: int = 0
    dies_after_s: float = 0.5  # What it takes to end after its deletion.
    lines: tuple[str, ...] = ("working", "done")
    wait: Json = field(default_factory=lambda: {"reason": "ContainerCreating"})


def stamp(at: Instant) -> str:
    """Return the instant as Kubernetes writes it: to the second."""
    return datetime.fromtimestamp(at // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- the truth --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Pod:
    body: Json
    life: Life
    lines: list[tuple[Instant, str]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.body["status"]["phase"] in {"Succeeded", "Failed"}


class FakeContext:
    """One Kubernetes cluster."""

    def __init__(self, life: Callable[[str], Life] = lambda _name: Life()) -> None:
        """*life* says what becomes of the Job with that name."""
        self.life = life
        self.jobs: dict[tuple[str, str], Json] = {}  # By namespace and name.
        self.pods: dict[str, _Pod] = {}  # By the UID of their Job.
        self.events: dict[str, list[Json]] = {}
        self.made: list[tuple[str, str]] = []
        """Name and UID of every Job there ever was."""
        self.started: list[str] = []
        """The name of a Job for every Pod that ever ran."""
        self.times_to_live: list[tuple[str, int, Instant]] = []
        self.mirrors: list[FakeMirror] = []
        self.pods_made: Counter[str] = Counter()
        """By the UID of their Job."""
        self.holds = False
        """Whether a finalizer holds every Job that is deleted."""
        self.hides_pods = False
        """Whether no mirror shows any Pod: somebody has taken away the label by which they are looked for."""

    def create(self, namespace: str, manifest: Json) -> Json:
        name = manifest["metadata"]["name"]
        if (namespace, name) in self.jobs:
            raise AlreadyExists(f'jobs.batch "{name}" already exists', status=409, reason="AlreadyExists")
        uid = f"uid-{len(self.made) + 1}"
        self.made.append((name, uid))
        job: Json = {
            "metadata": {**manifest["metadata"], "namespace": namespace, "uid": uid, "creationTimestamp": stamp(now())},
            "spec": {
                "ttlSecondsAfterFinished": manifest["spec"].get("ttlSecondsAfterFinished"),
                "suspend": manifest["spec"].get("suspend", False),
            },
            "status": {},
        }
        self.jobs[namespace, name] = job
        self._show_job(job)
        self._later(CONTROLLER_S, self._make_pod, job)
        return copy.deepcopy(job)

    def release_job(self, namespace: str, name: str, uid: str) -> Json | None:
        job = self.jobs.get((namespace, name))
        if job is None or job["metadata"]["uid"] != uid:
            return None
        annotations = job["metadata"].get("annotations") or {}
        job["metadata"]["annotations"] = {**annotations, ANNOTATION_RELEASED: "true"}
        if job["spec"]["suspend"]:
            job["spec"]["suspend"] = False
            self._later(CONTROLLER_S, self._make_pod, job)
        self._show_job(job)
        return copy.deepcopy(job)

    def get(self, namespace: str, name: str) -> Json | None:
        return copy.deepcopy(self.jobs.get((namespace, name)))

    def delete(self, namespace: str, name: str, uid: str) -> Json | None:
        job = self.jobs.get((namespace, name))
        if job is None:
            return None
        if job["metadata"]["uid"] != uid:
            raise Conflict(f"the UID in the precondition ({uid}) does not match", status=409, reason="Conflict")
        if "deletionTimestamp" not in job["metadata"]:
            job["metadata"]["deletionTimestamp"] = stamp(now())
            self._show_job(job)
            self._later(CONTROLLER_S, self._delete_pod, job)
        return copy.deepcopy(job)

    def remove(self, namespace: str, name: str) -> None:
        """Take the Job and its Pod away in the way of somebody who forces it."""
        job = self.jobs.pop((namespace, name))
        self._remove_pod(job)
        self._show_job(job, gone=True)

    def suspend(self, namespace: str, name: str) -> None:
        """Let the Job's Pod go, for as long as somebody wants."""
        job = self.jobs[namespace, name]
        job["spec"]["suspend"] = True
        self._remove_pod(job)
        self._set_status(job, {"active": 0})

    def resume(self, namespace: str, name: str) -> None:
        """Let the Job have another Pod."""
        job = self.jobs[namespace, name]
        job["spec"]["suspend"] = False
        self._make_pod(job)

    def orphan(self, namespace: str, name: str) -> None:
        """Take the Job away and not its Pod, as the API does unless it is told otherwise."""
        self._show_job(self.jobs.pop((namespace, name)), gone=True)

    def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        pod = self.pod_named(name)
        if pod is not None and pod.body["metadata"]["uid"] == uid and "deletionTimestamp" not in pod.body["metadata"]:
            job_uid = pod.body["metadata"]["labels"]["batch.kubernetes.io/controller-uid"]
            self._delete_pod({"metadata": {"namespace": namespace, "name": "", "uid": job_uid}})

    def release(self, namespace: str, name: str) -> None:
        """Let the deleted Job go that a finalizer held."""
        self.holds = False
        self._remove_job(self.jobs[namespace, name])

    def set_ttl(self, namespace: str, name: str, uid: str, seconds: int) -> None:
        job = self.jobs.get((namespace, name))
        if job is None or job["metadata"]["uid"] != uid:
            return
        job["spec"]["ttlSecondsAfterFinished"] = seconds
        self.times_to_live.append((name, seconds, now()))
        self._show_job(job)

    def pods_of(self, job_uid: str) -> list[Json]:
        pod = self.pods.get(job_uid)
        return [] if pod is None else [copy.deepcopy(pod.body)]

    def pod_named(self, name: str) -> _Pod | None:
        return next((pod for pod in self.pods.values() if pod.body["metadata"]["name"] == name), None)

    # --- life ---

    def _later(self, delay_s: float, step: Callable[[Json], None], job: Json) -> None:
        asyncio.get_running_loop().call_later(delay_s, step, job)

    def _there(self, job: Json) -> bool:
        metadata = job["metadata"]
        return self.jobs.get((metadata["namespace"], metadata["name"])) is job

    def _make_pod(self, job: Json) -> None:
        if not self._there(job) or "deletionTimestamp" in job["metadata"] or job["spec"]["suspend"]:
            return
        life = self.life(job["metadata"]["name"])
        uid = job["metadata"]["uid"]
        self.pods_made[uid] += 1
        number = self.pods_made[uid]
        body: Json = {
            "metadata": {
                "name": f"{job['metadata']['name']}-p{number}",
                "uid": f"pod-{number}-of-{uid}",
                "creationTimestamp": stamp(now()),
                "labels": {"batch.kubernetes.io/controller-uid": uid},
            },
            "spec": {"nodeName": "worker-1", "containers": [{"name": CONTAINER}]},
            "status": {
                "phase": "Pending",
                "containerStatuses": [{"name": CONTAINER, "state": {"waiting": dict(life.wait)}}],
            },
        }
        self.pods[uid] = _Pod(body, life)
        self._show_pod(uid)
        self._set_status(job, {"startTime": stamp(now()), "active": 1})
        if life.starts_after_s is not None:
            self._later(life.starts_after_s, self._start_pod, job)

    def _start_pod(self, job: Json) -> None:
        pod = self.pods.get(job["metadata"]["uid"])
        if pod is None or pod.ended:
            return
        self.started.append(job["metadata"]["name"])
        pod.lines = [(now(), line) for line in pod.life.lines]
        self._set_state(job, "Running", {"running": {"startedAt": stamp(now())}})
        if pod.life.runs_s is not None:
            self._later(pod.life.runs_s, self._end_pod, job)

    def _end_pod(self, job: Json) -> None:
        pod = self.pods.get(job["metadata"]["uid"])
        if pod is not None and not pod.ended:
            self._terminate(job, pod.life.exit_code)

    def _terminate(self, job: Json, exit_code: int) -> None:
        state = self.pods[job["metadata"]["uid"]].body["status"]["containerStatuses"][0]["state"]
        ended = {
            "exitCode": exit_code,
            "reason": "Error" if exit_code else "Completed",
            "startedAt": state.get("running", {}).get("startedAt", stamp(Instant(0))),
            "finishedAt": stamp(now()),
        }
        self._set_state(job, "Failed" if exit_code else "Succeeded", {"terminated": ended})
        self._later(CONTROLLER_S, self._finish_job, job)

    def _finish_job(self, job: Json) -> None:
        pod = self.pods.get(job["metadata"]["uid"])
        if pod is None or not self._there(job):
            return
        failed = pod.body["status"]["phase"] == "Failed"
        condition = {"type": "Failed" if failed else "Complete", "status": "True", "lastTransitionTime": stamp(now())}
        if failed:
            condition["reason"] = "BackoffLimitExceeded"
        counts = {"failed": 1} if failed else {"succeeded": 1, "completionTime": stamp(now())}
        self._set_status(job, {"conditions": [condition], "startTime": job["status"]["startTime"], **counts})

    def _delete_pod(self, job: Json) -> None:
        pod = self.pods.get(job["metadata"]["uid"])
        if pod is None:
            self._remove_job(job)
            return
        due = Instant(now() + 1000 * GRACE_S)
        pod.body["metadata"] |= {"deletionTimestamp": stamp(due), "deletionGracePeriodSeconds": GRACE_S}
        self._show_pod(job["metadata"]["uid"])
        self._later(CONTROLLER_S if pod.ended else pod.life.dies_after_s, self._kill, job)

    def _kill(self, job: Json) -> None:
        pod = self.pods.get(job["metadata"]["uid"])
        if pod is not None and not pod.ended:
            self._terminate(job, 137)
        self._remove_pod(job)
        self._later(2 * CONTROLLER_S, self._remove_job, job)

    def _remove_pod(self, job: Json) -> None:
        uid = job["metadata"]["uid"]
        if uid in self.pods:
            self._show_pod(uid, gone=True)
            del self.pods[uid]

    def _remove_job(self, job: Json) -> None:
        if self._there(job) and not self.holds:
            del self.jobs[job["metadata"]["namespace"], job["metadata"]["name"]]
            self._show_job(job, gone=True)

    def _set_status(self, job: Json, status: Json) -> None:
        job["status"] = status
        self._show_job(job)

    def _set_state(self, job: Json, phase: str, state: Json) -> None:
        uid = job["metadata"]["uid"]
        self.pods[uid].body["status"] |= {
            "phase": phase,
            "containerStatuses": [{"name": CONTAINER, "state": state}],
        }
        self._show_pod(uid)

    def _show_job(self, job: Json, *, gone: bool = False) -> None:
        for mirror in self.mirrors:
            mirror.tell("job", copy.deepcopy(job), gone=gone)

    def _show_pod(self, uid: str, *, gone: bool = False) -> None:
        for mirror in () if self.hides_pods else self.mirrors:
            mirror.tell(uid, copy.deepcopy(self.pods[uid].body), gone=gone)


# --- what one node has of it ------------------------------------------------------------------


class FakeMirror:
    """The port ``Mirror``: follows the truth at the link's distance."""

    def __init__(self, context: FakeContext, link: Link, namespace: str) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._context, self._link, self._namespace = context, link, namespace
        self._jobs: dict[str, Json] = {}
        self._pods: dict[str, Json] = {}  # By the UID of their Job: there is never a second one.
        self._departed: dict[str, list[Json]] = {}
        self._listed = False
        self._list_number = 0
        context.mirrors.append(self)
        link.mirrors.append(self)
        self.start_over()

    @property
    def synced(self) -> bool:
        return self._listed

    @property
    def error(self) -> str:
        return "" if self._listed else self.refusal or "cannot list jobs: connection refused"

    @property
    def refusal(self) -> str:
        return "" if self._listed else self._link.refusal

    @property
    def jobs(self) -> Mapping[str, Json]:
        return self._jobs

    def pods_of(self, job_uid: str) -> list[Json]:
        return [self._pods[job_uid]] if job_uid in self._pods else []

    def departed_pods_of(self, job_uid: str) -> list[Json]:
        return self._departed.get(job_uid, [])

    def stop(self) -> None:
        self._list_number += 1
        self._context.mirrors.remove(self)
        self._link.mirrors.remove(self)

    def start_over(self) -> None:
        """Trust nothing until everything is listed anew, which needs the link."""
        self._listed = False
        self._list_number += 1
        if self._link.up and not self._link.refusal:
            asyncio.get_running_loop().call_later(LIST_S, self._list, self._list_number)

    def tell(self, kind: str, body: Json, *, gone: bool) -> None:
        """Show a change in a while: of a Job, or of the Pod of the Job with the UID *kind*."""
        asyncio.get_running_loop().call_later(self._link.lag_s, self._see, self._list_number, kind, body, gone)

    def _list(self, number: int) -> None:
        if number != self._list_number:
            return
        self._list_number += 1  # What is still on its way is in the list.
        truth = self._context
        self._jobs = {name: copy.deepcopy(job) for (where, name), job in truth.jobs.items() if where == self._namespace}
        pods = {} if truth.hides_pods else {uid: copy.deepcopy(pod.body) for uid, pod in truth.pods.items()}
        if truth.hides_pods:
            self._pods = {}
        for uid in self._pods.keys() - pods.keys():
            self._departed.setdefault(uid, []).append(self._pods[uid])
        self._pods = pods
        self._listed = True
        self.on_change()

    def _see(self, number: int, kind: str, body: Json, gone: bool) -> None:
        if number != self._list_number or not self._listed:
            return
        if kind == "job":
            self._see_job(body, gone)
        elif gone:
            self._pods.pop(kind, None)
            self._departed.setdefault(kind, []).append(body)
        else:
            self._pods[kind] = body
        self.on_change()

    def _see_job(self, job: Json, gone: bool) -> None:
        if job["metadata"]["namespace"] != self._namespace:
            return
        if gone:
            self._jobs.pop(job["metadata"]["name"], None)
        else:
            self._jobs[job["metadata"]["name"]] = job


class FakeJobs:
    """The port ``Jobs``: the context as one node reaches it."""

    def __init__(self, context: FakeContext, link: Link) -> None:
        self._context, self._link = context, link
        self._mirrors: dict[str, FakeMirror] = {}

    async def create_job(self, namespace: str, manifest: Json) -> Json:
        return await self._link.call("create", lambda: self._context.create(namespace, manifest))

    async def release_job(self, namespace: str, name: str, uid: str) -> Json | None:
        return await self._link.call("release", lambda: self._context.release_job(namespace, name, uid))

    async def get_job(self, namespace: str, name: str) -> Json | None:
        return await self._link.call("get", lambda: self._context.get(namespace, name))

    async def delete_job(self, namespace: str, name: str, uid: str) -> Json | None:
        return await self._link.call("delete", lambda: self._context.delete(namespace, name, uid))

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        await self._link.call("delete pod", lambda: self._context.delete_pod(namespace, name, uid))

    async def set_ttl(self, namespace: str, name: str, uid: str, seconds: int) -> None:
        await self._link.call("patch", lambda: self._context.set_ttl(namespace, name, uid, seconds))

    async def list_pods(self, namespace: str, job_uid: str) -> list[Json]:
        return await self._link.call("pods", lambda: self._context.pods_of(job_uid))

    async def list_events(self, namespace: str, uid: str) -> list[Json]:
        return await self._link.call("events", lambda: list(self._context.events.get(uid, [])))

    async def read_log(
        self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        await self._link.call("log", lambda: None)
        while True:
            found = self._context.pod_named(pod)
            if found is None:
                raise NotFound(f'pods "{pod}" not found', status=404)
            if found.lines or found.ended or not follow:
                break
            await asyncio.sleep(POLL_S)
        for at, line in found.lines:
            if stamp(at) >= since[:20]:
                yield f"{stamp(at)} {line}\n".encode()
        while True:
            if not follow or found.ended or not self._link.up or self._context.pod_named(pod) is None:
                return
            await asyncio.sleep(POLL_S)

    def mirror(self, namespace: str, selector: str, on_change: Callable[[], None]) -> Mirror:
        if namespace not in self._mirrors:
            self._mirrors[namespace] = FakeMirror(self._context, self._link, namespace)
        self._mirrors[namespace].on_change = on_change
        return self._mirrors[namespace]

    async def drop_mirror(self, namespace: str) -> None:
        self._mirrors.pop(namespace).stop()

    def stop(self) -> None:
        """End the mirrors, as the end of their process does."""
        for mirror in self._mirrors.values():
            mirror.stop()


class FakeContexts:
    """The port ``Contexts``: those of one node."""

    def __init__(self, contexts: dict[str, FakeJobs | None]) -> None:
        self.contexts = contexts
        self.servers: dict[str, str] = {}
        """By context: the fingerprint of its cluster."""
        self.hangs = False
        """Nothing answers, but what is open stays open."""

    def names(self) -> list[str]:
        return sorted(self.contexts)

    def health(self, name: str) -> ContextHealth:
        reachable = self.contexts.get(name) is not None and not self.hangs
        error = "" if reachable else "no answer within 5 s" if self.hangs else "not connected yet"
        return ContextHealth(reachable=reachable, error=error, since_ms=0)

    def server_fingerprint(self, name: str) -> str:
        return self.servers.get(name, "")

    def jobs(self, name: str) -> Jobs | None:
        return self.contexts.get(name)
