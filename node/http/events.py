"""``/v1/events`` and ``/v1/tasks/{id}/events``: every visible change, as a page or as a stream.

A stream is ndjson or server-sent events. The latter go on by themselves (``follow``), because their readers connect
again when they end: one that has seen all is told with 204 not to.
"""

from collections.abc import AsyncIterator

from aiohttp import web

from raftsman.node.http.answers import json_response, task_in
from raftsman.node.http.problems import Problem, invalid_parameter
from raftsman.node.http.site import (
    Site,
    bool_parameter,
    int_parameter,
    known_parameters,
    site_of,
    wait_parameter,
)
from raftsman.node.http.streams import EVENT_STREAM, NDJSON, last_event_id, ndjson, sse, stream, stream_type
from raftsman.node.http.views import event_view
from raftsman.raft.records import Change

PAGE_EVENTS = 100
MAX_PAGE_EVENTS = 1000
_SILENCE_S = 10.0

Position = tuple[int, int]
LAST = 2**31
"""Behind all changes of an entry."""


async def get_events(request: web.Request) -> web.StreamResponse:
    """Give the changes of all tasks behind ``after``, the oldest first."""
    site = site_of(request)
    known_parameters(request, "after", "limit", "follow", "wait")
    after = _after(request)
    wait_s = wait_parameter(request)
    if "wait" in request.query and after is None:
        raise invalid_parameter("wait", "it is for a node that is behind the event that after names, and there is none")
    media_type, limit, follow = _form(request)
    if after is not None:
        await _require_kept(site, after, wait_s)
    if media_type:
        changes_as_they_come = _all_changes(site, after or (site.feed.lost_index, LAST), follow=follow)
        return await stream(request, _written(changes_as_they_come, media_type), content_type=media_type)
    changes = site.feed.after(*(after or (0, 0)), limit=limit + 1)
    return _page(changes, limit, site.feed.index)


async def get_task_events(request: web.Request) -> web.StreamResponse:
    """Give the changes of one task that its row keeps, the oldest first; with ``follow``, until it has ended."""
    site = site_of(request)
    known_parameters(request, "after", "limit", "follow")
    task_id = request.match_info["task_id"]
    task, index = site.replica.read(lambda table: (task_in(table, task_id), table.index))
    after = _after(request) or (0, 0)
    media_type, limit, follow = _form(request)
    changes = [change for change in task.changes if (change.index, change.n) > after]
    if task.ended and not changes and last_event_id(request):
        return web.Response(status=204)
    if media_type:
        changes_as_they_come = _task_changes(site, task.task_id, after, follow=follow)
        return await stream(request, _written(changes_as_they_come, media_type), content_type=media_type)
    return _page(changes, limit, index)


def _form(request: web.Request) -> tuple[str | None, int, bool]:
    """Return the media type of the stream that is asked for, else None, a page's length, and whether to go on."""
    media_type = stream_type(request)
    limit = int_parameter(request, "limit", PAGE_EVENTS, low=1, high=MAX_PAGE_EVENTS)
    follow = bool_parameter(request, "follow", default=media_type == EVENT_STREAM)
    if media_type and "limit" in request.query:
        raise invalid_parameter("limit", f"a page has a limit, and {media_type} is a stream")
    if follow and not media_type:
        raise invalid_parameter("follow", f"a page does not go on: ask for a stream, {NDJSON} or {EVENT_STREAM}")
    return media_type, limit, follow


def _page(changes: list[Change], limit: int, index: int) -> web.Response:
    events = [event_view(change) for change in changes[:limit]]
    following = events[-1]["id"] if len(changes) > limit else None
    return json_response({"items": events, "next": following, "index": index}, index=index)


async def _written(changes: AsyncIterator[Change], media_type: str) -> AsyncIterator[bytes]:
    async for change in changes:
        event = event_view(change)
        yield sse(event, event_id=event["id"]) if media_type == EVENT_STREAM else ndjson(event)


async def _all_changes(site: Site, after: Position, *, follow: bool) -> AsyncIterator[Change]:
    while True:
        _require_known(site, after)  # It may have lost some since: then the stream is cut, and who asks again is told.
        changes = site.feed.after(*after, limit=MAX_PAGE_EVENTS)
        for change in changes:
            after = (change.index, change.n)
            yield change
        if not changes and not follow:
            return
        if not changes:
            await site.feed.wait_for_change(_SILENCE_S)


async def _task_changes(site: Site, task_id: str, after: Position, *, follow: bool) -> AsyncIterator[Change]:
    while True:
        task = site.replica.read(lambda table: table.task(task_id))
        if task is None:
            return
        for change in task.changes:
            if (change.index, change.n) > after:
                after = (change.index, change.n)
                yield change
        if task.ended or not follow:
            return
        await site.feed.wait_for_task(task_id, _SILENCE_S)


async def _require_kept(site: Site, after: Position, wait_s: float) -> None:
    """Raise a Problem when the events behind *after* are not all kept, or lie ahead of this node."""
    index = after[0]
    if index > site.feed.index and not await site.feed.wait_for_index(index, wait_s):
        raise Problem("not-ready", f"this node has applied {site.feed.index} entries, not yet {index}")
    _require_known(site, after)


def _require_known(site: Site, after: Position) -> None:
    lost = site.feed.lost_index
    if after[0] < lost:
        raise Problem("events-compacted", f"events begin behind index {lost}", more={"oldestIndex": lost + 1})


def _after(request: web.Request) -> Position | None:
    seen = last_event_id(request)
    name, text = ("Last-Event-ID", seen) if seen else ("after", request.query.get("after", ""))
    if not text:
        return None
    index, dot, n = text.partition(".")
    if not (text.isascii() and index.isdigit() and (n.isdigit() if dot else not n) and len(text) < 40):
        raise invalid_parameter(name, f"{text!r} is not an event's id such as 17.0")
    return int(index), int(n or 0) if dot else LAST


def routes() -> list[web.RouteDef]:
    """Return this resource's routes."""
    return [web.get("/v1/events", get_events), web.get("/v1/tasks/{task_id}/events", get_task_events)]
