"""An HTTP server on loopback that answers as scripted and keeps a journal: what the adapter's tests talk to.

It knows nothing of Kubernetes: a test writes down what the API server, or a proxy before it, says. The development
Kubernetes of ``executor.sandbox`` is the one with behaviour.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers and a body; a dictionary is sent as JSON."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """Chunks one by one; then the end, a cut, or silence."""

    chunks: Sequence[bytes] = ()
    then: str = "end"


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed without an answer; the request was received."""


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, ever."""


Scripted = Answer | Stream | Cut | Hang


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it was received."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class FakeKubernetes:
    """The server; ``async with`` starts and stops it."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], list[Scripted]] = {}
        self._runner: web.AppRunner | None = None
        self.journal: list[Recorded] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self.script("GET", "/version", Answer(body={"gitVersion": "v1.34.2"}))
        self.script("GET", "/api", Answer(body={"kind": "APIVersions"}))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def script(self, method: str, path: str, *answers: Scripted) -> None:
        """Give these answers to the next requests of that kind; the last one for ever."""
        self._answers[method, path] = list(answers)

    def received(self, method: str, path: str) -> list[Recorded]:
        """Return the requests of that kind, in order."""
        return [request for request in self.journal if (request.method, request.path) == (method, path)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.journal.append(Recorded(request.method, request.path, dict(request.query), dict(request.headers), body))
        answers = self._answers.get((request.method, request.path), [Answer(404, "404 page not found")])
        return await _give(request, answers.pop(0) if len(answers) > 1 else answers[0])


async def _give(request: web.Request, answer: Scripted) -> web.StreamResponse:
    match answer:
        case Answer(status, dict() as body, headers):
            return web.json_response(body, status=status, headers=headers)
        case Answer(status, body, headers):
            raw = body if isinstance(body, bytes) else str(body).encode()
            return web.Response(status=status, body=raw, headers={"Content-Type": "text/plain", **headers})
        case Stream(chunks, then):
            return await _stream(request, chunks, then)
        case Cut():
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        case Hang():
            await asyncio.Event().wait()
    raise AssertionError(answer)


async def _stream(request: web.Request, chunks: Sequence[bytes], then: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for chunk in chunks:
            await response.write(chunk)
        if then == "silence":
            await asyncio.Event().wait()
        if then == "cut":
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write_eof()
    return response


def status_object(code: int, reason: str, message: str, **more: Any) -> dict[str, Any]:
    """Return a Status as the API server sends it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        **more,
    }


def write_kubeconfig(path: Path, server: str, *, name: str = "one", token: str = "s3cret-token") -> Path:
    """Write a kubeconfig with one context of that name."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    path.write_text(json.dumps(document))
    return path
