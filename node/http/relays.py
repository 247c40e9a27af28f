"""Output that another node keeps, passed on as it comes.

Between the nodes it always is a stream that says something in silence: so a keeper that is dead or hangs is told from
a task that has nothing to say. Text, which has no heartbeat, is made here of the records.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

from raftsman.executor.output import Cut, End, LogLine
from raftsman.node.forward import Crowded
from raftsman.node.http.logforms import Record, as_text
from raftsman.node.http.problems import REQUEST_ID, Problem
from raftsman.node.http.site import site_of
from raftsman.node.http.streams import NDJSON, TEXT, stream

_CHUNK_BYTES = 64 * 1024
_PASSED_ON = ("Content-Type", "Retry-After")


async def relay(request: web.Request, url: str, media_type: str) -> web.StreamResponse:
    """Pass on what the node at *url* answers, as *media_type*."""
    names = ("Authorization", "Last-Event-ID")
    headers = {name: request.headers[name] for name in names if name in request.headers}
    headers |= {"Accept": NDJSON if media_type == TEXT else media_type, "X-Request-Id": request[REQUEST_ID]}
    try:
        async with site_of(request).forwarder.relay(url, request.path_qs, headers) as answer:
            if answer.status != 200:
                passed = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
                return web.Response(status=answer.status, headers=passed, body=await answer.read())
            return await stream(request, _chunks(answer, media_type), content_type=media_type)
    except Crowded as error:
        raise Problem("not-ready", f"{error}: try again, or ask the node that keeps the output, {url}") from error
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        why = str(error) or "it is silent"
        raise Problem("not-ready", f"the node that keeps the output does not answer: {why}") from error


def _chunks(answer: aiohttp.ClientResponse, media_type: str) -> AsyncIterator[bytes]:
    """Return what is to be sent. Raises ValueError, as it goes, when the other node sends something else."""
    return as_text(_records(answer)) if media_type == TEXT else aiter(answer.content.iter_chunked(_CHUNK_BYTES))


async def _records(answer: aiohttp.ClientResponse) -> AsyncIterator[Record]:
    async for line in answer.content:
        if line.strip():
            yield record_of(json.loads(line))


def record_of(view: Any) -> Record:
    """Return the record of which *view* is the JSON. Raises ValueError."""
    match view:
        case {"attempt": int(attempt), "stream": str(name), "at": str(at), "line": str(line)}:
            return LogLine(attempt, name, at, line)
        case {"cut": int(missing_bytes)}:
            return Cut(missing_bytes)
        case {"end": "complete" | "truncated" | "unavailable" as end, "reason": reason}:
            return End(end, reason or "")
        case _:
            raise ValueError("it sends no output")
