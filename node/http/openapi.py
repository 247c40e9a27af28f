"""``/v1/openapi.json``: the API as OpenAPI 3.1, put together from ``operations`` and ``schemas``."""

import functools
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from raftsman.node.http.operations import COMMON, COMMON_CODES, JSON, OPERATIONS, Answer, Operation, Parameter, ref
from raftsman.node.http.problems import CODES
from raftsman.node.http.schemas import Schema, components
from raftsman.node.http.site import known_parameters, site_of

PROBLEM = "application/problem+json"

ALWAYS_SENT = ("X-Request-Id", "Raftsman-Served-By", "Raftsman-Index", "Raftsman-Leader")
HEADERS: dict[str, tuple[str, Schema]] = {
    "X-Request-Id": ("The request's id: the client's own, or one that was made for it.", {"type": "string"}),
    "Raftsman-Served-By": ("The node that answers.", {"type": "string"}),
    "Raftsman-Index": ("How far the answering node's table is; of a write, its own entry.", {"type": "integer"}),
    "Raftsman-Leader": ("The node that leads, when one is known.", {"type": "string"}),
    "ETag": ("The log index of the task's last change, in quotes.", {"type": "string", "pattern": r'^"\d+"$'}),
    "Location": ("Where the task is.", {"type": "string", "format": "uri-reference"}),
    "Link": ('The next page, as rel="next".', {"type": "string"}),
    "Idempotent-Replayed": ("The request was carried out before.", {"const": "true"}),
    "Retry-After": ("Seconds until asking again makes sense.", {"type": "integer", "minimum": 0}),
    "WWW-Authenticate": ("How to show the token.", {"type": "string"}),
}
"""Headers of answers: what they say, and their schemas."""

_DESCRIPTION = (
    "Every node answers everything. HEAD is answered wherever GET is. An unknown path is 404 `not-found`, another"
    " method 405 `method-not-allowed`, both as problem documents (RFC 9457). Query parameters that are not understood"
    " are refused. Fields may be added to answers by a later version."
)


async def get_openapi(request: web.Request) -> web.Response:
    """Show this description."""
    known_parameters(request)
    return web.Response(body=_written(site_of(request).version), content_type=JSON)


@functools.cache
def _written(version: str) -> bytes:
    # Once a process, and only when somebody asks: it takes some 20 ms, and anybody may ask.
    return json.dumps(document(version), ensure_ascii=False).encode()


def document(version: str) -> dict[str, Any]:
    """Return the OpenAPI document of this *version*."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "raftsman",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components(),
            "headers": {name: {"description": text, "schema": schema} for name, (text, schema) in HEADERS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Where auth.admin_token_file is set."}
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    body = operation.body
    described = {"required": operation.body_required, "content": {JSON: {"schema": body}}} if body is not None else None
    return {
        "operationId": operation.name,
        "summary": operation.text,
        "parameters": [_parameter(each) for each in (*operation.parameters, *COMMON)],
        **({"requestBody": described} if described else {}),
        "responses": dict(sorted(_responses(operation).items())),
        "security": [] if operation.open else [{"token": []}],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.text,
        "schema": parameter.schema,
    }


def _responses(operation: Operation) -> dict[str, Any]:
    """Return the answers of the operation by status; one status may be both an answer of its own and an error."""
    found = {str(answer.status): _answer(answer) for answer in operation.answers}
    codes = dict.fromkeys((*COMMON_CODES, *operation.codes, *([] if operation.open else ["unauthorized"])))
    for status in sorted({CODES[code][0] for code in codes}):
        error = _error(status, [code for code in codes if CODES[code][0] == status])
        own = found.setdefault(str(status), error)
        if own is not error:
            own["content"] |= error["content"]
            own["headers"] |= error["headers"]
    return found


def _answer(answer: Answer) -> dict[str, Any]:
    described = {"description": answer.text, "headers": _headers((*ALWAYS_SENT, *answer.headers))}
    content = {media_type: {"schema": schema} for media_type, schema in answer.content.items()}
    return {**described, "content": content} if content else described


def _error(status: int, codes: list[str]) -> dict[str, Any]:
    more = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}.get(status, [])
    exactly = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
    return {
        "description": "; ".join(f"`{code}`: {CODES[code][1]}" for code in codes),
        "headers": _headers((*ALWAYS_SENT, *more)),
        "content": {PROBLEM: {"schema": {"allOf": [ref("Problem"), exactly]}}},
    }


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def routes() -> list[web.RouteDef]:
    """Return this resource's route."""
    return [web.get("/v1/openapi.json", get_openapi)]
