"""The one place where an error becomes an answer: RFC 9457 problem documents, and their codes.

Whatever a route cannot answer it raises as ``Problem``; everything else that escapes a route is a bug and
becomes 500 ``internal`` in the middleware below. Codes are listed in ``CODES`` and nowhere else.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from raftsman.raft.commands import Refused
from raftsman.scheduler.admission import Rejection
from raftsman.wire.faults import Fault

log = logging.getLogger(__name__)

CODES: dict[str, tuple[int, str]] = {
    "malformed-request": (400, "This is no HTTP request"),
    "malformed-json": (400, "The body is not the JSON it should be"),
    "invalid-parameter": (400, "A parameter or header is not valid"),
    "unauthorized": (401, "A token is needed"),
    "forbidden": (403, "Not allowed"),
    "not-found": (404, "There is nothing at this address"),
    "task-not-found": (404, "There is no such task"),
    "method-not-allowed": (405, "This address does not take that method"),
    "task-exists": (409, "The id belongs to another task"),
    "already-ended": (409, "The task has ended"),
    "not-ended": (409, "The task has not ended"),
    "events-compacted": (410, "These events are no longer kept"),
    "version-conflict": (412, "The task has changed"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body's media type is not understood"),
    "invalid-spec": (422, "The task is not valid"),
    "unknown-context": (422, "No node knows the context"),
    "idempotency-key-reused": (422, "The key was used for another request"),
    "unknown-node": (422, "There is no such node"),
    "not-implemented-here": (422, "A field is not supported by this version"),
    "queue-full": (429, "Too many tasks are queued"),
    "internal": (500, "Something went wrong inside raftsman"),
    "no-leader": (503, "There is no leader at the moment"),
    "outcome-unknown": (503, "What became of the request is not known"),
    "not-ready": (503, "This node cannot answer that at the moment"),
    "disk-full": (507, "The log has no room on its disk"),
}
"""code → (HTTP status, title)."""

_PRECEDENCE = ("queue-full", "too-large", "invalid-spec", "unknown-context", "not-implemented-here")
"""With several faults, the first of these that is among them names the whole answer."""

RETRY_AFTER_S = 1


@dataclass(slots=True)
class Problem(Exception):
    """An answer that is not a success."""

    code: str
    detail: str
    errors: Sequence[Fault] = ()
    more: Mapping[str, Any] = field(default_factory=dict)  # Members beside the standard ones, such as taskId.
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, *, instance: str, request_id: str) -> web.Response:
        """Return the answer as it goes out."""
        status, title = CODES[self.code]
        document: dict[str, Any] = {
            "type": f"https://raftsman.dev/problems/{self.code}",
            "title": title,
            "status": status,
            "code": self.code,
            "detail": self.detail,
            "instance": instance,
            "requestId": request_id,
            **self.more,
        }
        if self.errors:
            document["errors"] = [
                {"pointer": each.pointer, "code": each.code, "detail": each.detail} for each in self.errors
            ]
        headers = dict(self.headers)
        if status in (429, 503):
            headers.setdefault("Retry-After", str(RETRY_AFTER_S))
        return web.Response(
            status=status,
            body=json.dumps(document, ensure_ascii=False).encode(errors="replace"),
            content_type="application/problem+json",
            headers=headers,
        )


def of_faults(faults: Sequence[Fault]) -> Problem:
    """Return the answer to a body with *faults* (at least one)."""
    codes = {fault.code for fault in faults}
    code = next((each for each in _PRECEDENCE if each in codes), faults[0].code)
    count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
    return Problem(code, f"{count}: {faults[0].detail}" + (" …" if len(faults) > 1 else ""), errors=faults)


def of_rejections(rejections: Sequence[Rejection]) -> Problem:
    """Return the answer to a submission that admission rejected."""
    return of_faults([Fault(each.code, each.field, each.reason) for each in rejections])


def of_refusal(refused: Refused) -> Problem:
    """Return the answer to a command that the table refused."""
    return Problem(refused.code if refused.code in CODES else "internal", refused.detail)


def invalid_parameter(name: str, reason: str) -> Problem:
    """Return the answer to a query parameter or header that cannot be used."""
    return Problem("invalid-parameter", f"{name}: {reason}")


def of_http_error(error: web.HTTPException) -> Problem:
    """Return the answer to what aiohttp itself refuses: unknown paths, methods, bodies that are too long."""
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem("method-not-allowed", f"allowed here: {allowed}", headers={"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return Problem("too-large", "the body is longer than http.max_body allows")
        case web.HTTPNotFound():
            return Problem("not-found", "see docs/api.md for what there is")
        case web.HTTPUnsupportedMediaType():
            return Problem("unsupported-media-type", "send application/json")
        case _:
            return Problem("invalid-parameter", error.reason)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error of a route into a problem document."""
    try:
        return await handler(request)
    except ConnectionError:
        raise  # The client has hung up.
    except Problem as problem:
        answer = problem
    except web.HTTPException as error:
        answer = of_http_error(error)
    except Exception:  # The outermost frame of a request: answered, logged, and the node goes on.
        log.exception("%s %s failed", request.method, request.path)
        answer = Problem("internal", "the node's log has the details under this request's id")
    if request.writer.output_size:  # Too late for a document; only a cut says that the answer is not whole.
        raise ConnectionAbortedError("an answer that had begun could not be ended")
    return answer.response(instance=request.path, request_id=request[REQUEST_ID])
