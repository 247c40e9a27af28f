"""``/v1/tasks/{id}/logs``: an attempt's output, from whichever node keeps it.

The assigned node follows the Pod and keeps the output; every other node asks it. When nobody has it any more,
the end of the output that the table holds is given, and the stream says that it is not whole.
"""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from raftsman.executor.jobs import CONTAINER
from raftsman.executor.output import Cut, End, LogLine
from raftsman.node.forward import FORWARDED_BY
from raftsman.node.http.problems import Problem, invalid_parameter
from raftsman.node.http.site import Site, bool_parameter, int_parameter, known_parameters, site_of
from raftsman.node.http.streams import NDJSON, TEXT, accepts, ndjson, stream
from raftsman.node.http.tasks import find_task
from raftsman.raft.records import Task

MAX_TAIL_LINES = 1_000_000
FOLLOW_POLL_S = 1.0
_CHUNK_BYTES = 64 * 1024


async def get_logs(request: web.Request) -> web.StreamResponse:
    """Give an attempt's output as text or, when asked with ``Accept``, as ndjson; ``follow=true`` until its end."""
    site = site_of(request)
    known_parameters(request, "attempt", "container", "follow", "stream", "since", "tail")
    task = find_task(site, request.match_info["task_id"])
    number = _attempt(request, task)
    follow = bool_parameter(request, "follow")
    tail = int_parameter(request, "tail", -1, low=0, high=MAX_TAIL_LINES)
    if request.query.get("stream", "stdout") not in ("stdout", "stderr"):
        raise invalid_parameter("stream", "it is stdout or stderr")
    if request.query.get("container", CONTAINER) != CONTAINER:
        raise invalid_parameter("container", f"this version keeps the output of the container {CONTAINER!r} only")
    as_json = accepts(request, NDJSON)
    keeper = None if FORWARDED_BY in request.headers else _keeper(site, task)
    if keeper is not None:
        return await _relay(request, keeper)
    records = _records(
        site, task.task_id, number, tail=None if tail < 0 else tail, since=_since(request), follow=follow
    )
    if as_json:
        return await stream(request, _as_ndjson(records, number), content_type=NDJSON, heartbeat=b"\n")
    return await stream(request, _as_text(records), content_type=TEXT, heartbeat=b"")


def _attempt(request: web.Request, task: Task) -> int:
    current = task.attempt.number if task.attempt else 0
    number = int_parameter(request, "attempt", max(current, 1), low=1, high=10_000)
    if number > max(current, 1):
        raise invalid_parameter("attempt", f"the task is at attempt {current}")
    return number


def _since(request: web.Request) -> str:
    return request.query.get("since", "")


def _keeper(site: Site, task: Task) -> str | None:
    """Return the URL of the other node that keeps the output, None when this node should answer."""
    if task.node in (None, site.node):
        return None
    member = site.replica.read(lambda table: table.member(task.node or ""))
    return member.url if member is not None and member.lost_at is None else None


async def _relay(request: web.Request, url: str) -> web.StreamResponse:
    """Pass on what the node at *url* answers, as it comes."""
    names = ("Authorization", "Accept", "X-Request-Id")
    headers = {name: request.headers[name] for name in names if name in request.headers}
    try:
        async with site_of(request).forwarder.open(url, "GET", request.path_qs, headers) as answer:
            if answer.status >= 400:
                body = await answer.read()
                return web.Response(status=answer.status, body=body, content_type=answer.content_type)
            chunks = answer.content.iter_chunked(_CHUNK_BYTES)
            return await stream(request, aiter(chunks), content_type=answer.content_type, heartbeat=b"")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Problem("not-ready", f"the node that keeps the output does not answer: {error}") from error


# --- this node's own ---------------------------------------------------------------------------------


async def _records(
    site: Site, task_id: str, number: int, *, tail: int | None, since: str, follow: bool
) -> AsyncIterator[LogLine | Cut | End]:
    output = site.output.find(task_id, number)
    while output is None and follow:
        if _keeper(site, find_task(site, task_id)) is not None:
            return  # Another node has it by now; without an end the client asks again, and is led there.
        if not _may_come(site, task_id, number):
            break
        await site.feed.wait_for_task(task_id, FOLLOW_POLL_S)
        output = site.output.find(task_id, number)
    if output is None:
        for record in _from_row(find_task(site, task_id), number):
            yield record
        return
    async for record in output.read(tail=tail, since=since, follow=follow):
        if follow and isinstance(record, End) and record.end != "complete" and not find_task(site, task_id).ended:
            return  # Another node goes on with it; without an end the client asks again, and is led there.
        yield record


def _may_come(site: Site, task_id: str, number: int) -> bool:
    task = find_task(site, task_id)
    return not task.ended and (task.attempt is None or task.attempt.number <= number)


def _from_row(task: Task, number: int) -> list[LogLine | Cut | End]:
    """Return what the table itself knows of the output."""
    if task.attempt is None or not task.ended or task.attempt.number != number:
        return [End("unavailable", "there is no output yet" if not task.ended else "no node keeps this output")]
    lines = [LogLine(number, "stdout", "", line) for line in task.output_tail.splitlines()]
    return [*lines, End("truncated" if lines else "unavailable", "only the end of the output is still known")]


async def _as_ndjson(records: AsyncIterator[LogLine | Cut | End], number: int) -> AsyncIterator[bytes]:
    async for record in records:
        match record:
            case LogLine():
                yield ndjson({"attempt": number, "stream": record.stream, "at": record.at, "line": record.line})
            case Cut():
                yield ndjson({"cut": record.bytes})
            case End():
                yield ndjson({"end": record.end, "reason": record.reason or None})


async def _as_text(records: AsyncIterator[LogLine | Cut | End]) -> AsyncIterator[bytes]:
    async for record in records:
        match record:
            case LogLine():
                yield record.line.encode(errors="replace") + b"\n"
            case Cut():
                yield f"[raftsman: {record.bytes} bytes of output were not kept]\n".encode()
            case End() if record.end != "complete" and record.reason:
                yield f"[raftsman: output {record.end}: {record.reason}]\n".encode()
            case End():
                pass


def routes() -> list[web.RouteDef]:
    """Return this resource's routes."""
    return [web.get("/v1/tasks/{task_id}/logs", get_logs)]
