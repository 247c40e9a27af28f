"""Jobs, Pods, Events and logs of one context: the port's calls as HTTP.

Nothing is cached or retried here. Live copies are ``mirror``'s; whether a context answers is ``reachability``'s.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from urllib.parse import quote

import aiohttp

from raftsman.executor.jobs import ANNOTATION_RELEASED, Conflict, Denied, Json, Mirror, NotFound, Unreachable
from raftsman.executor.kubernetes.connection import LOG_CONNECTIONS
from raftsman.executor.kubernetes.mirror import NamespaceMirror
from raftsman.executor.kubernetes.prune import JOB_UID_LABEL
from raftsman.executor.kubernetes.timing import Timing, Urgency
from raftsman.executor.kubernetes.transport import (
    CONNECT_S,
    LIST_S,
    LOG_IDLE_S,
    MERGE_PATCH,
    WATCH_IDLE_S,
    Call,
    Transport,
)
from raftsman.executor.kubernetes.turns import GaveWay, Turn, Turns, during

logger = logging.getLogger(__name__)

EVENTS = 500  # Of one object; Kubernetes folds repeated ones, so that many are a story nobody reads to its end.
POD_PAGE = 500
TURN_S = 5.0  # What a followed output gets when others wait for its connection: with 1,000 of them, every 50 s.


class Collection:
    """The Jobs or the Pods of one namespace that a selector matches, as ``reflector`` reads them."""

    def __init__(self, transport: Transport, path: str, resource: str, namespace: str, selector: str) -> None:
        self._transport = transport
        self._path = path
        self._selector = selector
        self.resource = resource
        self.namespace = namespace

    async def list_page(self, limit: int, token: str) -> Json:
        """Return one page of the list, as a quorum knows it; *token* continues the page before."""
        query = [("labelSelector", self._selector)]
        if limit:
            query.append(("limit", str(limit)))
        if token:
            query.append(("continue", token))
        timeout = aiohttp.ClientTimeout(total=LIST_S)
        return await self._transport.send(
            Call(verb="list", method="GET", path=self._path, query=query, timeout=timeout)
        )

    def watch(self, version: str, timeout_s: int) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of a watch from *version* on, the first one empty."""
        query = [
            ("labelSelector", self._selector),
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(timeout_s)),
        ]
        timeout = _stream_timeout(WATCH_IDLE_S)
        return self._transport.watch(Call(verb="watch", method="GET", path=self._path, query=query, timeout=timeout))


class KubernetesJobs:
    """The port ``Jobs`` over HTTP."""

    def __init__(
        self,
        transport: Transport,
        timing: Timing,
        *,
        log_idle_s: float = LOG_IDLE_S,
        log_connections: int = LOG_CONNECTIONS,
        turn_s: float = TURN_S,
    ) -> None:
        self._transport = transport
        self._timing = timing
        self._log_idle_s = log_idle_s
        self._turns = Turns(log_connections, turn_s=turn_s)
        self._mirrors: dict[str, NamespaceMirror] = {}

    async def create_job(self, namespace: str, manifest: Json) -> Json:
        """Create the Job and return it. Raises AlreadyExists; after Unreachable it may exist all the same."""
        # Strict: an unknown field is an error of the caller's, not a header that nobody reads.
        query = [("fieldValidation", "Strict"), ("fieldManager", "raftsman")]
        path = _jobs(namespace)
        call = Call(verb="create", method="POST", path=path, query=query, body=manifest, urgency=Urgency.NEW)
        return await self._transport.send(call)

    async def get_job(self, namespace: str, name: str) -> Json | None:
        """Return the Job as a quorum knows it, or None when there is none (its namespace included)."""
        try:
            return await self._transport.send(Call(verb="get", method="GET", path=_jobs(namespace, name)))
        except NotFound:
            return None

    async def release_job(self, namespace: str, name: str, uid: str) -> Json | None:
        """Let the Job make its Pod, if its UID is *uid*, and return it; None when there is no such Job any more."""
        change: Json = {"metadata": {"annotations": {ANNOTATION_RELEASED: "true"}}, "spec": {"suspend": False}}
        return await self._patch(namespace, name, uid, change)

    async def delete_job(self, namespace: str, name: str, uid: str) -> Json | None:
        """Delete in the foreground, if the UID is *uid*; return the Job as the deletion found it, None if it was gone.

        Raises Conflict when the name now belongs to another Job.
        """
        options: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            # Foreground: the Job outlives its Pods, so that its absence proves theirs. The API's default orphans them.
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": uid},
        }
        call = Call(verb="delete", method="DELETE", path=_jobs(namespace, name), body=options)
        try:
            answer = await self._transport.send(call)
        except NotFound:
            return None
        return answer if answer.get("kind") == "Job" else None

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete the Pod, with its own grace, if its UID is *uid*; one that is gone, or another one, is left alone."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        call = Call(verb="delete", method="DELETE", path=_pods(namespace, name), body=options)
        with contextlib.suppress(NotFound, Conflict):
            await self._transport.send(call)

    async def set_ttl(self, namespace: str, name: str, uid: str, seconds: int) -> None:
        """Let Kubernetes remove the finished Job after *seconds*; a Job that is gone, or another one, is left alone."""
        change: Json = {"spec": {"ttlSecondsAfterFinished": seconds}}
        await self._patch(namespace, name, uid, change, Urgency.SPARE)

    async def _patch(
        self, namespace: str, name: str, uid: str, change: Json, urgency: Urgency = Urgency.FIRST
    ) -> Json | None:
        """Return the Job as the patch left it; None when it is gone, or another one."""
        body = {**change, "metadata": {**change.get("metadata", {}), "uid": uid}}
        path = _jobs(namespace, name)
        call = Call(verb="patch", method="PATCH", path=path, body=body, content_type=MERGE_PATCH, urgency=urgency)
        try:
            return await self._transport.send(call)
        except (NotFound, Conflict):
            return None
        except Denied as error:
            if error.status == 422 and "metadata.uid" in error.message:
                return None
            raise

    async def list_pods(self, namespace: str, job_uid: str) -> list[Json]:
        """Return the Job's Pods as a quorum knows them."""
        pods = Collection(self._transport, _pods(namespace), "pods", namespace, f"{JOB_UID_LABEL}={job_uid}")
        found: list[Json] = []
        token = ""
        while True:
            page = await pods.list_page(POD_PAGE, token)
            found += _items(page)
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found

    async def list_events(self, namespace: str, uid: str) -> list[Json]:
        """Return the Events about the object, the newest last."""
        query = [("fieldSelector", f"involvedObject.uid={uid}"), ("limit", str(EVENTS))]
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/events"
        # Spare: an attempt that waits loses nothing by waiting for the reason, and there may be thousands of them.
        page = await self._transport.send(
            Call(verb="list", method="GET", path=path, query=query, urgency=Urgency.SPARE)
        )
        return sorted(_items(page), key=_seen_at)

    async def read_log(
        self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield chunks of the container's output, each line behind its RFC 3339 timestamp.

        A container that has not started yet is Denied (400), a Pod that is gone NotFound. A followed output waits for
        its turn, and yields an empty chunk when that has come. One that is silent for a minute is Unreachable, reason
        ``Timeout``: kubelets drop the follower when they rotate, without an end. One that others wait for is it, too,
        reason ``GaveWay``.
        """
        query = [("container", container), ("timestamps", "true")]
        query += [("sinceTime", since)] if since else []
        query += [("follow", "true")] if follow else []
        path = f"{_pods(namespace, pod)}/log"
        if not follow:
            timeout = _stream_timeout(self._log_idle_s, turn_s=self._log_idle_s)
            call = Call(verb="log", method="GET", path=path, query=query, timeout=timeout)
            async with contextlib.aclosing(self._transport.log(call, follow=False)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        timeout = _stream_timeout(self._log_idle_s)
        call = Call(verb="log", method="GET", path=path, query=query, timeout=timeout)
        async with self._turns.take() as turn:
            yield b""
            async with contextlib.aclosing(self._followed(call, turn)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _followed(self, call: Call, turn: Turn) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self._transport.log(call, follow=True)) as chunks:
            try:
                async for chunk in during(turn, chunks):
                    yield chunk
            except GaveWay:
                raise Unreachable("others waited to be followed", reason="GaveWay") from None

    def mirror(self, namespace: str, selector: str, on_change: Callable[[], None]) -> Mirror:
        """Return the mirror of what *selector* matches, started when it was not.

        One of a namespace: another selector starts it anew, another *on_change* takes the place of the last one.
        """
        known = self._mirrors.get(namespace)
        if known is None:
            known = self._mirrors[namespace] = NamespaceMirror(
                lambda matching: (
                    Collection(self._transport, _jobs(namespace), "jobs", namespace, matching),
                    Collection(self._transport, _pods(namespace), "pods", namespace, matching),
                ),
                self._timing,
            )
        known.follow(selector, on_change)
        return known

    async def drop_mirror(self, namespace: str) -> None:
        """Stop the mirror of a namespace that is needed no more."""
        mirror = self._mirrors.pop(namespace, None)
        if mirror is not None:
            await mirror.stop()

    def hope(self) -> None:
        """Let no mirror wait any longer for its next try: the context answers once more."""
        for mirror in self._mirrors.values():
            mirror.hope()

    async def restart_mirrors(self) -> None:
        """Forget everything and list again: the context now is another cluster."""
        for mirror in list(self._mirrors.values()):
            await mirror.restart()

    async def stop(self) -> None:
        """Stop all mirrors."""
        for namespace in list(self._mirrors):
            await self.drop_mirror(namespace)


def _stream_timeout(idle_s: float, *, turn_s: float = CONNECT_S) -> aiohttp.ClientTimeout:
    """Return the limits of a stream; *turn_s*: of waiting for one of the pool's connections."""
    return aiohttp.ClientTimeout(total=None, connect=turn_s, sock_connect=CONNECT_S, sock_read=idle_s)


def _jobs(namespace: str, name: str = "") -> str:
    path = f"/apis/batch/v1/namespaces/{quote(namespace, safe='')}/jobs"
    return f"{path}/{quote(name, safe='')}" if name else path


def _pods(namespace: str, name: str = "") -> str:
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
    return f"{path}/{quote(name, safe='')}" if name else path


def _items(page: Json) -> list[Json]:
    items = page.get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _seen_at(event: Json) -> str:
    """Return the last of the instants an Event may carry; RFC 3339 in UTC sorts as text to the second."""
    series = event.get("series") or {}
    metadata = event.get("metadata") or {}
    instants = (
        event.get("lastTimestamp"),
        series.get("lastObservedTime"),
        event.get("eventTime"),
        metadata.get("creationTimestamp"),
    )
    return max((instant for instant in instants if isinstance(instant, str)), default="")
