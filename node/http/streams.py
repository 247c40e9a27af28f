"""Answers that are written as they come: JSON objects, server-sent events or plain text, until the end or the client's.

A record of a stream is made here; what the records are is the routes' business.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from aiohttp import hdrs, web

from raftsman.node.http.site import site_of

NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
TEXT = "text/plain"
HEARTBEATS: Mapping[str, bytes] = {NDJSON: b"\n", EVENT_STREAM: b":\n\n", TEXT: b""}
"""What a silent stream says, by its media type: an empty line, a comment."""
HEARTBEAT_S = 15.0
"""So often it says that: proxies and clients take longer silence for a dead connection."""
LOOK_S = 1.0
"""A silent stream looks so often whether its client is still there."""


def accepts(request: web.Request, media_type: str) -> bool:
    """Whether the request's ``Accept`` names *media_type*."""
    return media_type in request.headers.get("Accept", "").lower()


def stream_type(request: web.Request) -> str | None:
    """Return the media type of the stream of records that the request asks for, None when it asks for none."""
    return next((each for each in (EVENT_STREAM, NDJSON) if accepts(request, each)), None)


def last_event_id(request: web.Request) -> str:
    """Return the last event that a reader of server-sent events has seen, "" when it begins.

    It is sent by readers that connect again, to the URL that they began with: so it goes before the query's ``after``.
    """
    return request.headers.get("Last-Event-ID", "") if accepts(request, EVENT_STREAM) else ""


def ndjson(record: object) -> bytes:
    """Return one line of a stream of JSON objects."""
    return json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n"


def sse(record: object, *, event_id: str | None, name: str = "") -> bytes:
    """Return a server-sent event: *name* is its type ("": a plain message), *event_id* where a reader may go on.

    https://html.spec.whatwg.org/multipage/server-sent-events.html; JSON has no line feed of its own in it.
    """
    head = (f"id: {event_id}\n" if event_id is not None else "") + (f"event: {name}\n" if name else "")
    return f"{head}data: {json.dumps(record, ensure_ascii=False)}\n\n".encode(errors="replace")


async def stream(request: web.Request, chunks: AsyncIterator[bytes], *, content_type: str) -> web.StreamResponse:
    """Send *chunks* as they come, and heartbeats in silence. A slow client is waited for, nobody else is."""
    # Neither a proxy nor a browser may hold back or keep what is worth something only at once.
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    response = web.StreamResponse(headers={"Content-Type": f"{content_type}; charset=utf-8", **headers})
    heartbeat = HEARTBEATS.get(content_type, b"")
    metrics = site_of(request).metrics
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    metrics.watchers += 1
    try:
        async with aclosing(_with_heartbeats(request, chunks, heartbeat)) as pieces:
            async for piece in pieces:
                await response.write(piece)
        await response.write_eof()
    except ConnectionResetError:
        pass  # The client has had enough.
    finally:
        metrics.watchers -= 1
    return response


async def _with_heartbeats(
    request: web.Request, chunks: AsyncIterator[bytes], heartbeat: bytes
) -> AsyncGenerator[bytes, None]:
    """Yield *chunks*, and *heartbeat* in silence, until they or the connection end."""
    spoke_at = asyncio.get_running_loop().time()
    following = asyncio.ensure_future(anext(chunks, None))
    try:
        while request.transport is not None and not request.transport.is_closing():
            done, _ = await asyncio.wait({following}, timeout=LOOK_S)
            chunk = following.result() if done else heartbeat
            if chunk is None:
                return
            if not done and asyncio.get_running_loop().time() - spoke_at < HEARTBEAT_S:
                continue
            yield chunk
            spoke_at = asyncio.get_running_loop().time()
            if done:
                following = asyncio.ensure_future(anext(chunks, None))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
