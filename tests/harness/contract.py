"""The API's own description as a judge: whether an answer is one that ``/v1/openapi.json`` speaks of.

Stricter than the description is with users: a field or a header of an answer that it does not name is a fault here.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import jsonschema

from raftsman.node.http.openapi import PROBLEM, document
from raftsman.node.http.streams import EVENT_STREAM, NDJSON

Json = dict[str, Any]

RECORDS_CHECKED = 50
"""Of one answer: the others are made by the same code."""

HTTPS_OWN = frozenset(
    {
        "content-type", "content-length", "transfer-encoding", "connection", "date", "server", "allow",
        "cache-control", "x-accel-buffering",
    }
)  # fmt: skip
"""Headers that a description need not name."""


@functools.cache
def contract() -> Json:
    """Return the description, in which no object of an answer has other fields than those that it names."""
    found = document("test")
    for schema in found["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return found


def operation_of(method: str, target: str) -> Json | None:
    """Return the description of what is asked for, None when the API has no such thing."""
    path = urlsplit(target).path
    for template, operations in contract()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            found: Json | None = operations.get("get" if method == "HEAD" else method.lower())
            return found
    return None


def check_answer(method: str, target: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Fail when the answer is none that the description speaks of; names of *headers* in lower case."""
    asked = f"{method} {target[:80]} → {status}"
    operation = operation_of(method, target)
    media_type = headers.get("content-type", "").partition(";")[0]
    if operation is None:
        assert (status, media_type) in ((401, PROBLEM), (404, PROBLEM), (405, PROBLEM), (400, PROBLEM)), asked
        check_value(f"#/components/schemas/{'Problem'}", json.loads(body) if method != "HEAD" else None)
        return
    answer = operation["responses"].get(str(status))
    assert answer is not None, f"{asked} is no documented status; {body[:300]!r}"
    _check_headers(asked, answer, headers)
    if method == "HEAD":
        return
    if "content" not in answer:
        assert body == b"", asked
        return
    assert media_type in answer["content"], f"{asked} has the media type {media_type}"
    _check_body(answer["content"][media_type]["schema"], media_type, body)


def check_value(reference: str | Json, value: object) -> None:
    """Fail when *value* is not what a schema, or a reference to one, says."""
    schema = {"$ref": reference} if isinstance(reference, str) else reference
    if value is not None:
        whole = {**schema, "components": {"schemas": contract()["components"]["schemas"]}}
        jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)


def _check_headers(asked: str, answer: Json, headers: Mapping[str, str]) -> None:
    known = {name.lower() for name in answer["headers"]}
    assert headers.keys() - known <= HTTPS_OWN, f"{asked} has headers {headers.keys() - known - HTTPS_OWN}"
    for name in answer["headers"]:
        schema = contract()["components"]["headers"][name]["schema"]
        text = headers.get(name.lower())
        value = int(text) if text is not None and schema.get("type") == "integer" else text
        check_value(schema, value)


def _check_body(schema: Json, media_type: str, body: bytes) -> None:
    if media_type in (NDJSON, EVENT_STREAM):
        for record in islice(records_of(media_type, body), RECORDS_CHECKED):
            check_value(schema["contentSchema"], record)
    elif media_type.endswith("json"):
        value = json.loads(body)
        if isinstance(value.get("items"), list):
            value["items"] = value["items"][:RECORDS_CHECKED]
        check_value(schema, value)


def records_of(media_type: str, body: bytes) -> Iterator[Any]:
    """Yield the records of a stream; heartbeats are none, nor is a last one that is not whole."""
    if media_type == NDJSON:
        yield from (json.loads(line) for line in body.split(b"\n")[:-1] if line)
        return
    for event in body.split(b"\n\n")[:-1]:
        yield from (json.loads(line.removeprefix(b"data: ")) for line in event.split(b"\n") if line.startswith(b"data"))
