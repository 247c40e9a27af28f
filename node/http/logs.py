"""``/v1/tasks/{id}/logs``: an attempt's output, from whichever node keeps it. How it is written is ``logforms``.

The assigned node follows the Pod and keeps the output; every other node asks it (``relays``). One that took the attempt
over when there was nothing to be read any more asks the node before it. When nobody has it, the end of the output
that the table holds is given, and the stream says that it is not whole.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from raftsman.executor.jobs import CONTAINER
from raftsman.executor.lines import nanoseconds
from raftsman.executor.output import End, LogLine
from raftsman.node.forward import FORWARDED_BY
from raftsman.node.http.answers import find_task
from raftsman.node.http.logforms import END_ID, Place, Record, as_ndjson, as_sse, as_text, behind, place_of
from raftsman.node.http.problems import invalid_parameter
from raftsman.node.http.relays import relay
from raftsman.node.http.site import Site, bool_parameter, int_parameter, known_parameters, site_of
from raftsman.node.http.streams import EVENT_STREAM, NDJSON, TEXT, last_event_id, stream, stream_type
from raftsman.raft.records import Task

MAX_TAIL_LINES = 1_000_000
FOLLOW_POLL_S = 1.0


async def get_logs(request: web.Request) -> web.StreamResponse:
    """Give an attempt's output as text or, as ``Accept`` says, as ndjson or server-sent events."""
    site = site_of(request)
    known_parameters(request, "attempt", "container", "follow", "stream", "since", "tail")
    task = find_task(site, request.match_info["task_id"])
    media_type = stream_type(request) or TEXT
    wish = _wish(request, task, follow=media_type == EVENT_STREAM)
    if last_event_id(request) == END_ID:
        return web.Response(status=204)  # So that a reader which has seen the end does not connect again.
    keeper = None if FORWARDED_BY in request.headers else _keeper(site, task)
    keeper = keeper or _earlier_keeper(site, task, wish.attempt)
    if keeper is not None:
        return await relay(request, keeper, media_type)
    chunks = _written(behind(wish.place, _records(site, task, wish)), wish, media_type)
    return await stream(request, chunks, content_type=media_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What part of which output is asked for."""

    attempt: int
    tail: int | None
    since: str
    stream: str  # "": both.
    follow: bool
    place: Place | None  # Where an earlier reading got to; goes before the tail, which was counted from its beginning.


def _wish(request: web.Request, task: Task, *, follow: bool) -> _Wish:
    """Return what the request asks for. Raises a Problem."""
    tail = int_parameter(request, "tail", -1, low=0, high=MAX_TAIL_LINES)
    stream_name = request.query.get("stream", "")
    if stream_name not in ("", "stdout", "stderr"):
        raise invalid_parameter("stream", "it is stdout or stderr")
    if request.query.get("container", CONTAINER) != CONTAINER:
        raise invalid_parameter("container", f"this version keeps the output of the container {CONTAINER!r} only")
    since = request.query.get("since", "")
    if since and nanoseconds(since) is None:
        raise invalid_parameter("since", f"{since!r} is not an RFC 3339 instant such as 2026-01-31T12:00:00Z")
    seen = last_event_id(request)
    place = place_of(seen) if seen not in ("", END_ID) else None
    return _Wish(
        attempt=place.attempt if place else _attempt(request, task),
        tail=None if tail < 0 or place else tail,
        since=place.at if place else since,
        stream=stream_name,
        follow=bool_parameter(request, "follow", default=follow),
        place=place,
    )


def _written(records: AsyncIterator[Record], wish: _Wish, media_type: str) -> AsyncIterator[bytes]:
    if media_type == EVENT_STREAM:
        return as_sse(records, wish.place)
    return as_ndjson(records) if media_type == NDJSON else as_text(records)


def _attempt(request: web.Request, task: Task) -> int:
    current = task.attempt.number if task.attempt else 0
    number = int_parameter(request, "attempt", max(current, 1), low=1, high=10_000)
    if number > max(current, 1):
        raise invalid_parameter("attempt", f"the task is at attempt {current}")
    return number


def _keeper(site: Site, task: Task) -> str | None:
    """Return the URL of the other node that keeps the output, None when this node should answer."""
    if task.node in (None, site.node):
        return None
    return _url_of(site, task.node or "")


def _earlier_keeper(site: Site, task: Task, number: int) -> str | None:
    """Return the URL of the node that kept the attempt's output before this one, which took it over and saw none.

    The Pod may have gone before anything could be read again. The task has ended, so that all nodes agree which one
    was its last: only that one asks further, and nobody asks in a circle.
    """
    if not task.ended or task.node != site.node or site.output.find(task.task_id, task.sequence, number) is not None:
        return None
    changes = [change for change in reversed(task.changes) if change.attempt == number]
    earlier = dict.fromkeys(change.node for change in changes if change.node not in ("", site.node))
    return next((url for url in map(partial(_url_of, site), earlier) if url is not None), None)


def _url_of(site: Site, node: str) -> str | None:
    member = site.replica.read(lambda table: table.member(node))
    return member.url if member is not None and member.lost_at is None else None


# --- this node's own ---------------------------------------------------------------------------------


async def _records(site: Site, task: Task, wish: _Wish) -> AsyncIterator[Record]:
    task_id, number, follow = task.task_id, wish.attempt, wish.follow
    output = site.output.find(task_id, task.sequence, number)
    while output is None and follow:
        if _keeper(site, find_task(site, task_id)) is not None:
            return  # Another node has it by now; without an end the client asks again, and is led there.
        if not _may_come(site, task_id, number):
            break
        await site.feed.wait_for_task(task_id, FOLLOW_POLL_S)
        output = site.output.find(task_id, task.sequence, number)
    if output is None:
        for record in known_to_row(find_task(site, task_id), wish.attempt, wish.stream):
            yield record
        return
    async for record in output.read(tail=wish.tail, since=wish.since, stream=wish.stream, follow=follow):
        if follow and isinstance(record, End) and record.end != "complete" and not find_task(site, task_id).ended:
            return  # Another node goes on with it; without an end the client asks again, and is led there.
        yield record


def _may_come(site: Site, task_id: str, number: int) -> bool:
    task = find_task(site, task_id)
    return not task.ended and (task.attempt is None or task.attempt.number <= number)


def known_to_row(task: Task, number: int, stream: str = "") -> list[Record]:
    """Return what the table itself knows of the output of attempt *number*: at most its end.

    *stream*: that one only.
    """
    if not task.ended:
        return [End("unavailable", "there is no output yet")]
    if task.attempt is None:
        return [End("unavailable", "it was never started, so that there is no output")]
    if task.attempt.number != number:
        return [End("unavailable", "no node keeps this output")]
    tails = {"stdout": task.output_tail, "stderr": task.error_tail}
    if any(tails.values()):
        lines = [
            LogLine(number, name, "", line)
            for name, tail in tails.items()
            for line in tail.splitlines()
            if stream in ("", name)
        ]
        return [*lines, End("truncated", "only the end of the output is still known")]
    if task.attempt.started_at is None:
        return [End("unavailable", "nobody saw it run, so that no output of it is known")]
    return [End("unavailable", "no node keeps this output")]


def routes() -> list[web.RouteDef]:
    """Return this resource's routes."""
    return [web.get("/v1/tasks/{task_id}/logs", get_logs)]
