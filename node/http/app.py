"""The HTTP API put together: middlewares around the routes of every resource."""

import asyncio
import re
import secrets

from aiohttp import hdrs, web

from raftsman.node.http import cluster, events, limits, logs, openapi, planning, probes, submissions, tasks
from raftsman.node.http.auth import authenticate
from raftsman.node.http.problems import REQUEST_ID, Handler, Problem, answer_problems, invalid_parameter
from raftsman.node.http.site import SITE, Site, bool_parameter, site_of
from raftsman.node.http.writes import ADDED_BYTES, require_barrier
from raftsman.raft.replica import Applied

ABSENT_WAIT_S = 2.0
"""How long a node that does not know a task asks whether it is behind: it may have been submitted a moment ago."""
MIN_INDEX_WAIT_S = 5.0
RESOURCES = (submissions, tasks, planning, logs, events, cluster, probes, limits, openapi)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@web.middleware
async def stamp(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every request an id, every answer the standard headers, and count it."""
    site = site_of(request)
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    began = asyncio.get_running_loop().time()
    response = await handler(request)
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    method = request.method if request.method in hdrs.METH_ALL else "other"  # Clients may send any word.
    site.metrics.http_requests.labels(route, method, str(response.status)).inc()
    site.metrics.http_seconds.labels(route).observe(asyncio.get_running_loop().time() - began)
    return response


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Say who answered, and how far this node is."""
    site = site_of(request)
    response.headers.setdefault("X-Request-Id", request.get(REQUEST_ID, ""))
    response.headers.setdefault("Raftsman-Served-By", site.node)
    # Of the table, which the answer was read from: the feed may be an entry behind it.
    response.headers.setdefault("Raftsman-Index", str(site.replica.read(lambda table: table.index)))
    leader = site.replica.standing().leader
    if leader is not None:
        response.headers.setdefault("Raftsman-Leader", leader)


@web.middleware
async def wait_for_reads(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer only from a table that is as new as the request asks: ``consistent=true``, ``Raftsman-Min-Index``."""
    site = site_of(request)
    wanted = ",".join(request.headers.getall("Raftsman-Min-Index", []))
    if "Raftsman-Min-Index" in request.headers:
        if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 20):
            raise invalid_parameter("Raftsman-Min-Index", f"{wanted!r} is not a log index")
        if not await site.feed.wait_for_index(int(wanted), MIN_INDEX_WAIT_S):
            raise Problem("not-ready", f"this node has applied {site.feed.index} entries, not yet {wanted}")
    if bool_parameter(request, "consistent"):
        await require_barrier(site)
    return await _answer_unless_behind(request, handler)


async def _answer_unless_behind(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer; that a task does not exist is said only by a node that has just asked whether it is behind."""
    try:
        return await handler(request)
    except Problem as problem:
        if problem.code != "task-not-found" or request.method != "GET":
            raise
        if not isinstance(await site_of(request).replica.barrier(ABSENT_WAIT_S, leader_wait_s=ABSENT_WAIT_S), Applied):
            why = f"{problem.detail}; it may be behind, for no majority of the nodes answers it"
            raise Problem("not-ready", why) from problem
    return await handler(request)


def build_app(site: Site) -> web.Application:
    """Return the application that answers for *site*."""
    limit = site.settings.http.max_body_bytes + ADDED_BYTES  # ``read_json`` holds users to theirs.
    app = web.Application(middlewares=[stamp, answer_problems, authenticate, wait_for_reads], client_max_size=limit)
    app[SITE] = site
    app.on_response_prepare.append(add_headers)
    for resource in RESOURCES:
        app.add_routes(resource.routes())
    return app
