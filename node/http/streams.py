"""Answers that are written as they come: one JSON object a line, or plain text, until the end or the client's."""

import asyncio
import json
from collections.abc import AsyncIterator

from aiohttp import web

from raftsman.node.http.site import site_of

NDJSON = "application/x-ndjson"
TEXT = "text/plain"
HEARTBEAT_S = 15.0
"""A silent stream says an empty line so often: proxies and clients take longer silence for a dead connection."""


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
    metrics.watchers += 1
    following = asyncio.ensure_future(anext(chunks, None))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=HEARTBEAT_S)
            if not done:
                await response.write(heartbeat)
                continue
            chunk = following.result()
            if chunk is None:
                break
            await response.write(chunk)
            following = asyncio.ensure_future(anext(chunks, None))
        await response.write_eof()
    except ConnectionResetError:
        pass  # The client has had enough.
    finally:
        metrics.watchers -= 1
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return response
