"""Who asks: the bearer token, checked on every node that a request passes.

One token administers everything; without one, which only loopback allows, everybody on the machine does.
"""

import hmac

from aiohttp import web

from raftsman.node.http.problems import Handler, Problem
from raftsman.node.http.site import site_of

OPEN = frozenset({"/livez", "/readyz", "/v1/version", "/v1/limits", "/v1/openapi.json"})
"""What answers without a token: load balancers and kubelets have none, and who writes a client has none yet."""
ADMINISTRATOR = "admin"
ANYBODY = "anonymous"


def principal_of(request: web.Request) -> str:
    """Return who asks, for the log."""
    return ADMINISTRATOR if site_of(request).token is not None else ANYBODY


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the request pass when it carries the token that this node asks for."""
    token = site_of(request).token
    if token is not None and request.path not in OPEN:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # The comparison takes the same time for every wrong token, so that it cannot be guessed byte by byte.
        sent = given.strip().encode(errors="surrogateescape")  # Headers hold whatever bytes the client sent.
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent, token.encode()):
            detail = "send Authorization: Bearer … with the token of auth.admin_token_file"
            raise Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="raftsman"'})
    return await handler(request)
