"""Answers that are written as they come: one JSON object a line, or plain text, until the end or the client's."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from aiohttp import hdrs, web

from raftsman.node.http.site import site_of

NDJSON = "application/x-ndjson"
TEXT = "text/plain"
HEARTBEAT_S = 15.0
"""A silent stream says an empty line so often: proxies and clients take longer silence for a dead connection."""
LOOK_S = 1.0
"""A silent stream looks so often whether its client is still there."""


def accepts(request: web.Request, media_type: str) -> bool:
    """Whether the request's ``Accept`` names *media_type*."""
    return media_type in request.headers.get("Accept", "")


def ndjson(record: object) -> bytes:
    """Return one line of a stream of JSON objects."""
    return json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n"


async def stream(
    request: web.Request, chunks: AsyncIterator[bytes], *, content_type: str, heartbeat: bytes
) -> web.StreamResponse:
    """Send *chunks* as they come, and *heartbeat* in silence. A slow client is waited for, nobody else is."""
    response = web.StreamResponse(headers={"Content-Type": f"{content_type}; charset=utf-8", "X-Accel-Buffering": "no"})
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
