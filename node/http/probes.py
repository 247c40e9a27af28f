"""What machines ask: ``/livez``, ``/readyz``, ``/metrics``, ``/v1/version``."""

import platform

from aiohttp import web

from raftsman.node.http.answers import json_response
from raftsman.node.http.site import Site, known_parameters, site_of
from raftsman.node.metrics import CONTENT_TYPE


async def get_livez(request: web.Request) -> web.Response:
    """200 while the process works; 503 when only a restart, or a newer raftsman, can help."""
    broken = site_of(request).replica.broken
    return web.Response(status=503 if broken else 200, text=broken or "ok\n")


async def get_readyz(request: web.Request) -> web.Response:
    """200 when this node can serve; else 503 with every reason."""
    reasons = [{"code": code, "message": message} for code, message in _unready(site_of(request))]
    headers = {"Retry-After": "1"} if reasons else {}
    return json_response({"reasons": reasons}, status=503 if reasons else 200, headers=headers)


def _unready(site: Site) -> list[tuple[str, str]]:
    standing = site.replica.standing()
    reasons = []
    if site.replica.broken:
        reasons.append(("broken", site.replica.broken))
    if standing.leader is None:
        silent = sorted(node for node, silent_s in site.replica.silent_for_s().items() if silent_s > 2)
        reasons.append(("no-leader", f"no leader is known; silent: {', '.join(silent) or 'nobody'}"))
    if standing.applied_index < standing.commit_index:
        behind = standing.commit_index - standing.applied_index
        reasons.append(("catching-up", f"{behind} committed entries are not applied yet"))
    explains = standing.leader is None or not site.joined()  # A node that serves may do without a link.
    reasons.extend(each for each in site.replica.troubles() if explains or each[0] != "no-link")
    if not site.joined():
        reasons.append(("joining", f"node {site.node} has not joined the cluster yet"))
    return reasons


async def get_metrics(request: web.Request) -> web.Response:
    """The metrics, for Prometheus."""
    body = site_of(request).metrics.page()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


async def get_version(request: web.Request) -> web.Response:
    """What runs here."""
    known_parameters(request)
    site = site_of(request)
    return json_response({"version": site.version, "node": site.node, "python": platform.python_version()})


def routes() -> list[web.RouteDef]:
    """Return these routes."""
    return [
        web.get("/livez", get_livez),
        web.get("/readyz", get_readyz),
        web.get("/metrics", get_metrics),
        web.get("/v1/version", get_version),
    ]
