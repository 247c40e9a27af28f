"""Requests by chance, made from the API's own description: sound ones, nearly sound ones, and nonsense.

``values`` makes what a schema allows; ``spoiled`` changes something about a value. How the answers are judged is
``contract``'s business.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from tests.harness.contract import contract

Json = dict[str, Any]
Values = st.SearchStrategy[Any]


@dataclass(frozen=True)
class Request:
    """What is sent."""

    operation: str
    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class World:
    """What requests may speak of so that they meet something."""

    tasks: Sequence[str]
    contexts: Sequence[str]


WORDS = st.sampled_from(
    ["", "0", "-1", "true", "null", "*", "%00", "a b", "ü", "9" * 30, "../x", '"1"', "1.0", "x" * 300]
)
GARBAGE: Values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from([[], {}, [[]], {"a": {}}, "\x00", "\ud800", 10**400, "x" * 5000]),
)
SHORT_WAITS = st.sampled_from(["0s", "1ms", "10ms", "5", "61s", "soon"])
"""A request that waits for long tells no more than one that does not."""
HINTS: Mapping[str, Values] = {
    "wait": SHORT_WAITS,
    "Idempotency-Key": st.sampled_from(["k1", "k2", "k3", "k4", "two words", "x" * 256]),
    "Raftsman-Min-Index": st.sampled_from(["0", "1", "2", "-1", "x"]),
    "since": st.sampled_from(["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5+01:00", "yesterday"]),
    "Accept": st.sampled_from(["*/*", "application/json", "application/x-ndjson", "text/event-stream", "text/plain"]),
    "Last-Event-ID": st.sampled_from(["1.0", "3", "1/2026-01-31T12:00:00Z/2", "1//1", "end", "x"]),
    "If-Match": st.sampled_from(["*", '"1"', '"5", W/"6"', "5"]),
    "X-Request-Id": st.sampled_from(["trace-1", "x" * 70, "ü"]),
    "image": st.just("busybox"),
}
"""By the name of a field or parameter: values that meet something, where the schema alone would miss it."""


# --- values of schemas ------------------------------------------------------------------------------------


def values(schema: Json, world: World, name: str = "") -> Values:
    """Return a strategy for values that *schema* allows; *name* is the field's or parameter's."""
    if name == "clusterContext":
        return st.sampled_from([*world.contexts] * 3 + ["elsewhere"])
    if name in HINTS:
        return HINTS[name]
    if "$ref" in schema:
        return st.deferred(lambda: values(_component(schema["$ref"]), world, name))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*(values(each, world, name) for each in schema["anyOf"]))
    kinds = schema.get("type", "object")
    return st.one_of(*(_of_kind(kind, schema, world) for kind in ([kinds] if isinstance(kinds, str) else kinds)))


def _component(reference: str) -> Json:
    found: Json = contract()["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _of_kind(kind: str, schema: Json, world: World) -> Values:
    match kind:
        case "object":
            return _object(schema, world)
        case "array":
            return st.lists(values(schema.get("items", {}), world), max_size=3)
        case "integer":
            return st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", 2**31))
        case "number":
            return st.floats(schema.get("minimum", -1e6), 1e6) | st.integers(0, 8)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            return _text(schema)


def _text(schema: Json) -> Values:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], alphabet=st.characters(codec="ascii"))
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
    examples = [st.sampled_from(schema["examples"])] if "examples" in schema else []
    return st.one_of(*examples, st.text(min_size=schema.get("minLength", 0), max_size=20))


def _object(schema: Json, world: World) -> Values:
    properties: Json = schema.get("properties", {})
    required = schema.get("required", [])
    members = {name: values(inner, world, name) for name, inner in properties.items()}
    fixed = st.fixed_dictionaries(
        {name: members[name] for name in required},
        optional={name: member for name, member in members.items() if name not in required},
    )
    more = schema.get("additionalProperties")
    if not isinstance(more, dict):
        return fixed
    return st.dictionaries(st.text("abcXYZ-_.09", max_size=8), values(more, world), max_size=3)


def tasks(world: World) -> Values:
    """Return a strategy for submissions, most of which are sound."""
    block = {"clusterContext": st.sampled_from(world.contexts), "image": HINTS["image"]}
    required = {"type": st.just("k8s_job"), "k8sJob": st.fixed_dictionaries(block)}
    more = {"priority": st.integers(-100, 100), "labels": st.just({"run": "7"})}
    named = {**required, "taskId": st.sampled_from([*world.tasks, "g-1", "g-2", "g-3"])}
    return st.one_of(
        st.fixed_dictionaries(required),
        st.fixed_dictionaries(required, optional=more),
        st.fixed_dictionaries(named, optional=more),
        values(_component("TaskSpec"), world),
    )


# --- spoiling ---------------------------------------------------------------------------------------------


@st.composite
def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """Change one thing somewhere in *value*."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: draw(spoiled(value[key]))}
    if isinstance(value, dict) and draw(st.booleans()):
        left_out = draw(st.sampled_from(["", *sorted(value)]))
        return {**{key: each for key, each in value.items() if key != left_out}, draw(st.text(max_size=8)): 1}
    if isinstance(value, list) and value and draw(st.booleans()):
        return [draw(spoiled(value[0])), *value]
    return draw(GARBAGE)


@st.composite
def bodies(draw: st.DrawFn, schema: Json, world: World) -> bytes:
    """Return a body for an operation that takes *schema*."""
    is_task = schema == {"$ref": "#/components/schemas/TaskSpec"} or "anyOf" in schema
    value = draw(tasks(world) if is_task and draw(st.booleans()) else values(schema, world))
    if draw(st.integers(0, 2)) == 0:
        value = draw(spoiled(value))
    raw = json.dumps(value).encode()
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(st.binary(max_size=4)) + raw[place + draw(st.integers(0, 3)) :]
    return raw


# --- requests ---------------------------------------------------------------------------------------------


@st.composite
def requests(draw: st.DrawFn, world: World) -> Request:
    """Return a request to some operation."""
    template, method, operation = draw(st.sampled_from(_operations()))
    given = {place: draw(_given(operation, place, world)) for place in ("query", "header")}
    headers = {name: _header(value) for name, value in given["header"].items()}
    body = None
    if "requestBody" in operation and draw(st.integers(0, 19)):
        body = draw(bodies(operation["requestBody"]["content"]["application/json"]["schema"], world))
        headers["Content-Type"] = draw(st.sampled_from(["application/json"] * 12 + ["text/plain", ""]))
    spelled = method.upper()
    if draw(st.integers(0, 19)) == 0:
        spelled = draw(st.sampled_from(["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "POST", "GET", "BREW"]))
    query = f"?{urlencode(given['query'])}" if given["query"] else ""
    return Request(operation["operationId"], spelled, draw(_path(template, world)) + query, headers, body)


def _operations() -> list[tuple[str, str, Json]]:
    """Return path, method and description of every operation; those that change or read a body three times."""
    found = [(path, method, each) for path, methods in contract()["paths"].items() for method, each in methods.items()]
    return [*found, *[each for each in found if each[1] == "post"] * 2]


@st.composite
def _path(draw: st.DrawFn, template: str, world: World) -> str:
    task_id = draw(st.sampled_from(world.tasks)) if draw(st.integers(0, 4)) else draw(WORDS | st.text(max_size=12))
    return template.replace("{task_id}", quote(task_id.encode(errors="replace"), safe=""))


@st.composite
def _given(draw: st.DrawFn, operation: Json, place: str, world: World) -> dict[str, str]:
    """Return some of the parameters that the operation takes, and now and then one that it does not."""
    given = {}
    for parameter in operation["parameters"]:
        if parameter["in"] != place or draw(st.integers(0, 4)):
            continue
        value = draw(values(parameter["schema"], world, parameter["name"]))
        if draw(st.integers(0, 9)) == 0 and parameter["name"] not in ("wait", "Raftsman-Min-Index"):
            value = draw(WORDS)
        given[parameter["name"]] = _spelled(value)
    if place == "query" and draw(st.integers(0, 29)) == 0:
        given[draw(st.text("abc", min_size=1, max_size=5))] = "1"
    return given


def _spelled(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="replace").decode()


def _header(text: str) -> str:
    """Return *text* as the bytes that a header can hold."""
    return "".join(each for each in text.encode().decode("latin-1") if each.isprintable()).strip()
