"""A Kubernetes to ask questions, the development one or a real one: raw calls, and the executor's own client.

Whether it is one or the other, a test must not care; ``conftest`` decides.
"""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from raftsman.executor.kubernetes.client import KubernetesJobs
from raftsman.executor.kubernetes.connection import build_connection
from raftsman.executor.kubernetes.kubeconfig import Kubeconfigs, resolve
from raftsman.executor.kubernetes.timing import Timing, TokenBucket
from raftsman.executor.kubernetes.transport import Transport

Json = dict[str, Any]
T = TypeVar("T")

IMAGE = "busybox:1.36"
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
PATIENCE_S = 40.0
EVERY_S = 0.05

BACKOFF = "BackoffLimitExceeded"
ENDLESS = "while true; do sleep 0.1; done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to ask: a context of a kubeconfig and a namespace that is there."""

    kubeconfig: Path
    context: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer over plain HTTP."""

    code: int
    body: Any
    warnings: list[str] = field(default_factory=list)

    @property
    def refusal(self) -> tuple[int, str, str]:
        """Code, reason and message of a Status."""
        return self.code, self.body.get("reason", ""), self.body["message"]

    @property
    def fields(self) -> list[str]:
        """The fields a 422 names."""
        return [cause["field"] for cause in self.body["details"]["causes"]]


class Target:
    """One namespace of one Kubernetes."""

    def __init__(self, place: Place, session: aiohttp.ClientSession, server: str, jobs: KubernetesJobs) -> None:
        self.place = place
        self.namespace = place.namespace
        self.client = jobs
        self.jobs = f"/apis/batch/v1/namespaces/{place.namespace}/jobs"
        self.pods = f"/api/v1/namespaces/{place.namespace}/pods"
        self.events = f"/api/v1/namespaces/{place.namespace}/events"
        self._session = session
        self._server = server

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call; *body* is sent as JSON unless it is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        sent = {"Content-Type": content_type, **(headers or {})}
        async with self._session.request(
            method, self._server + path, params=query, data=content, headers=sent
        ) as response:
            raw = await response.read()
            found = json.loads(raw) if response.content_type == JSON else raw.decode()
            return Answer(code=response.status, body=found, warnings=response.headers.getall("Warning", []))

    async def get(self, path: str, **query: str) -> Any:
        """Return what is at *path*, which must be there."""
        answer = await self.call("GET", path, query=query)
        assert answer.code == 200, answer
        return answer.body

    async def create(self, job: Json) -> Json:
        """Create a Job that must be accepted."""
        answer = await self.call("POST", self.jobs, job)
        assert answer.code == 201, answer
        return dict(answer.body)

    async def patch(self, name: str, patch: Json, *, query: Mapping[str, str] | None = None) -> Answer:
        """Merge a patch into a Job."""
        return await self.call("PATCH", f"{self.jobs}/{name}", patch, query=query, content_type=MERGE_PATCH)

    async def delete(self, name: str, options: Json | None = None) -> Answer:
        """Delete a Job."""
        return await self.call("DELETE", f"{self.jobs}/{name}", options)

    async def job(self, name: str) -> Json:
        """Return a Job that is there."""
        return dict(await self.get(f"{self.jobs}/{name}"))

    async def pods_of(self, name: str) -> list[Json]:
        """Return the Pods that carry a Job's name."""
        return list((await self.get(self.pods, labelSelector=f"job-name={name}"))["items"])

    async def pod_of(self, name: str) -> Json:
        """Return the only Pod of a Job, when it is there."""
        (pod,) = await until(lambda: self.pods_of(name), f"a Pod of {name}")
        return pod

    async def ended(self, name: str) -> Json:
        """Return a Job once it is over."""
        return await until(lambda: self._when(name, is_over), f"the end of {name}")

    async def runs(self, name: str) -> Json:
        """Return a Job once its Pod runs."""
        return await until(lambda: self._when(name, lambda job: job["status"].get("ready")), f"{name} runs")

    async def is_gone(self, path: str) -> None:
        """Wait until nothing is at *path*."""

        async def look() -> bool:
            return (await self.call("GET", path)).code == 404

        await until(look, f"nothing at {path}")

    async def stream(self, path: str, **query: str) -> AsyncIterator[bytes]:
        """Yield what comes, until the server ends it."""
        async with self._session.get(self._server + path, params=query) as response:
            assert response.status == 200, await response.text()
            async for chunk in response.content.iter_any():
                yield chunk

    async def log(self, pod: str, **query: str) -> str:
        """Return a Pod's output."""
        return b"".join([chunk async for chunk in self.stream(f"{self.pods}/{pod}/log", **query)]).decode()

    async def watch(self, path: str, *, seconds: int, **query: str) -> list[Json]:
        """Return the events of a watch of so many seconds."""
        chunks = self.stream(path, watch="1", timeoutSeconds=str(seconds), **query)
        text = b"".join([chunk async for chunk in chunks])
        return [json.loads(line) for line in text.splitlines()]

    async def history(self, path: str, name: str, version: str) -> list[Json]:
        """Return the watch events of everything with a Job's name since *version*."""
        return await self.watch(path, seconds=1, labelSelector=f"job-name={name}", resourceVersion=version)

    async def events_about(self, uid: str, *reasons: str) -> list[Json]:
        """Return the Events about an object when these reasons are among them: nobody waits for them to be written."""

        async def look() -> list[Json] | None:
            found = await self.client.list_events(self.namespace, uid)
            return found if set(reasons) <= {event["reason"] for event in found} else None

        return await until(look, f"events {', '.join(reasons)}")

    async def has_no_pods(self, name: str) -> bool:
        """Return whether no Pod carries the Job's name."""
        return not await self.pods_of(name)

    async def version(self, path: str) -> str:
        """Return the resource version of a collection now."""
        version: str = (await self.get(path))["metadata"]["resourceVersion"]
        return version

    async def _when(self, name: str, holds: Callable[[Json], object]) -> Json | None:
        job = await self.job(name)
        return job if holds(job) else None


async def until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Return the first true thing that *look* returns."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
        await asyncio.sleep(EVERY_S)


def is_over(job: Json) -> bool:
    """Return whether a Job says that it is complete or failed."""
    return not {"Complete", "Failed"}.isdisjoint(
        each["type"] for each in job["status"].get("conditions", []) if each["status"] == "True"
    )


def conditions(job: Json) -> list[tuple[str, str, str]]:
    """Return type, status and reason of a Job's conditions, in their order."""
    return [(each["type"], each["status"], each["reason"]) for each in job["status"].get("conditions", [])]


def states(pod: Json) -> list[Json]:
    """Return the states of a Pod's containers."""
    return [each["state"] for each in pod["status"].get("containerStatuses", [])]


def told(pod: Json) -> dict[str, tuple[str, str | None]]:
    """Return status and reason of a Pod's conditions."""
    return {each["type"]: (each["status"], each.get("reason")) for each in pod["status"]["conditions"]}


def terminated(pod: Json, container: str = "task") -> Json:
    """Return the state of a container that has ended."""
    statuses = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
    (state,) = [each["state"] for each in statuses if each["name"] == container]
    return dict(state["terminated"])


def manifest(
    name: str,
    script: str = "true",
    *,
    container: Json | None = None,
    pod: Json | None = None,
    spec: Json | None = None,
    metadata: Json | None = None,
) -> Json:
    """Return a Job that runs a shell script; the others go before what is usual."""
    task = {"name": "task", "image": IMAGE, "command": ["sh", "-c", script], **(container or {})}
    usual = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [task]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"backoffLimit": 0, "template": {"spec": {**usual, **(pod or {})}}, **(spec or {})},
    }


@asynccontextmanager
async def reach(place: Place) -> AsyncIterator[Target]:
    """Connect to a place with both clients."""
    access = resolve([place.kubeconfig], place.context, Kubeconfigs())
    connection = await asyncio.to_thread(build_connection, access)
    timing = Timing()
    transport = Transport("conformance", connection, TokenBucket(timing, qps=1000, burst=1000))
    client = KubernetesJobs(transport, timing)
    server, token, trust = account(place.kubeconfig, place.context)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust), headers={"Authorization": f"Bearer {token}"}, timeout=timeout
    ) as session:
        yield Target(place, session, server, client)
    await client.stop()
    await transport.close()


def account(kubeconfig: Path, context: str) -> tuple[str, str, ssl.SSLContext]:
    """Return a context's server, token and whom to trust; the kubeconfig has to be JSON with a token."""
    document = json.loads(kubeconfig.read_text(encoding="utf-8"))
    named = _named(document["contexts"], context)["context"]
    cluster = _named(document["clusters"], named["cluster"])["cluster"]
    token = _named(document["users"], named["user"])["user"]["token"]
    data = cluster.get("certificate-authority-data")
    if data:
        trust = ssl.create_default_context(cadata=base64.b64decode(data).decode())
    else:
        trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
    return cluster["server"], token, trust


def _named(entries: list[Json], name: str) -> Json:
    return next(entry for entry in entries if entry["name"] == name)
