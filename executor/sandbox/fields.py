"""From the bytes of a request to an object of a known shape, as strictly as kube-apiserver reads them.

``fields.json`` lists the fields of Job, Namespace and DeleteOptions and of everything inside them with their types; it
is taken from the OpenAPI documents of Kubernetes 1.34 (Apache License 2.0). What values mean is ``validation``'s.
"""

import functools
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from typing import Any

from raftsman.executor.sandbox import quantities
from raftsman.executor.sandbox.answers import ApiError, Json, bad_request

_INTEGERS = {"int32": 2**31, "int64": 2**63}
_GO_INT = {"int32": "int32", "int64": "int64"}
_LISTS = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object without the fields that nobody knows, and a sentence for each of those."""

    value: Json
    strays: tuple[str, ...]


@dataclass(slots=True)
class _Reading:
    """What is found while an object is read."""

    duplicates: dict[int, list[str]] = field(default_factory=dict)  # By the id of the dictionary they stood in.
    strays: list[str] = field(default_factory=list)


class _NotOfType(Exception):
    """A value whose JSON type, or range, is not that of its field."""


@functools.cache
def field_types() -> dict[str, dict[str, str]]:
    """Return the types of fields by the name of what has them."""
    text = resources.files(__package__).joinpath("fields.json").read_text(encoding="utf-8")
    types: dict[str, dict[str, str]] = json.loads(text)
    return types


def decode_object(body: bytes, kind: str, *, validation: str) -> Decoded:
    """Return the object of this kind in *body*; ``Strict`` makes unknown and repeated fields a 400.

    Raises ApiError.
    """
    reading = _Reading()
    value = parse(body, kind, reading)
    found = value.get("kind") or kind
    if found != kind:
        message = f"converting (v1.{found}) to (batch.{kind}): unknown conversion"
        raise bad_request(f'{found} in version "v1" cannot be handled as a {kind}: {message}')
    head = f'{kind} in version "v1" cannot be handled as a {kind}: '
    try:
        cleaned = _struct(value, kind, "", reading)
    except _NotOfType as error:
        raise bad_request(f"{head}{error}") from error
    if reading.strays and validation == "Strict":
        raise bad_request(f"{head}strict decoding error: {', '.join(reading.strays)}")
    return Decoded(cleaned, tuple(reading.strays) if validation != "Ignore" else ())


def check_object(value: Json, kind: str) -> Decoded:
    """Return *value*, an object that a patch made, without unknown fields. Raises ValueError with the sentence."""
    reading = _Reading()
    try:
        return Decoded(_struct(value, kind, "", reading), tuple(reading.strays))
    except _NotOfType as error:
        raise ValueError(str(error)) from error


def parse(body: bytes, kind: str, reading: _Reading | None = None) -> Json:
    """Return the JSON object in *body*. Raises ApiError."""
    noting = reading or _Reading()

    def collect(pairs: list[tuple[str, Any]]) -> Json:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            noting.duplicates[id(made)] = sorted({name for name in names if names.count(name) > 1})
        return made

    head = (
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: "
    )
    try:
        value = json.loads(body, object_pairs_hook=collect)
    except (ValueError, RecursionError) as error:
        shown = body[:64].decode("utf-8", "replace") or "<empty>"
        raise bad_request(f"{head}unexpected end of JSON input ({shown})") from error
    if not isinstance(value, dict):
        go = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        raise bad_request(f"{head}json: cannot unmarshal {_json_type(value)} into Go value of type {go}")
    return value


def _struct(value: Json, name: str, path: str, reading: _Reading) -> Json:
    types = field_types()[name]
    cleaned: Json = {}
    for repeated in reading.duplicates.get(id(value), ()):
        reading.strays.append(f'duplicate field "{_join(path, repeated)}"')
    for key, each in value.items():
        where = _join(path, key)
        if key not in types:
            reading.strays.append(f'unknown field "{where}"')
        elif each is not None:  # A null is an absent field.
            cleaned[key] = _value(each, types[key], where, f"{name}.{_LISTS.sub('', where)}", reading)
    return cleaned


def _value(value: Any, type_: str, path: str, go_path: str, reading: _Reading) -> Any:
    """Return the value if it is of the type; *go_path* names its field in sentences."""
    if type_.startswith("[]"):
        if not isinstance(value, list):
            raise _mismatch(value, type_, go_path)
        return [_value(each, type_[2:], f"{path}[{at}]", go_path, reading) for at, each in enumerate(value)]
    if type_.startswith("map[string]"):
        if not isinstance(value, dict):
            raise _mismatch(value, type_, go_path)
        inner = type_.removeprefix("map[string]")
        return {
            key: _value(each, inner, _join(path, key), go_path, reading)
            for key, each in value.items()
            if each is not None
        }
    if type_ in field_types():
        if not isinstance(value, dict):
            raise _mismatch(value, f"v1.{type_}", go_path)
        return _struct(value, type_, path, reading)
    return _scalar(value, type_, go_path)


def _scalar(value: Any, type_: str, go_path: str) -> Any:
    match type_:
        case "string" if isinstance(value, str):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "int32" | "int64" if _is_integer(value) and -_INTEGERS[type_] <= value < _INTEGERS[type_]:
            return int(value)
        case "float64" if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        case "IntOrString" if isinstance(value, str) or _is_integer(value):
            return value
        case "Quantity":
            return _quantity(value)
        case "Time":
            return _time(value, go_path)
        case "any":
            return value
    raise _mismatch(value, type_, go_path)


def _quantity(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = value if isinstance(value, str) else repr(value) if is_number else ""
    try:
        quantities.parse(text)
    except ValueError as error:
        message = f"quantities must match the regular expression '{quantities.PATTERN}'"
        raise _NotOfType(message) from error
    return text


def _time(value: Any, go_path: str) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, "Time", go_path)
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        message = f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
        raise _NotOfType(message) from error
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _mismatch(value: Any, type_: str, go_path: str) -> _NotOfType:
    shown = f"number {value}" if _json_type(value) == "number" and type_ in _GO_INT else _json_type(value)
    return _NotOfType(f"json: cannot unmarshal {shown} into Go struct field {go_path} of type {type_}")


def _json_type(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def decode_options(body: bytes) -> Json:
    """Return the DeleteOptions in *body*, {} when it is empty. Raises ApiError."""
    if not body.strip():
        return {}
    try:
        return decode_object(body, "DeleteOptions", validation="Ignore").value
    except ApiError as error:
        if not error.message.startswith("the object provided"):
            raise
        # Kubernetes itself answers 500 here.
        message = "couldn't get version/kind; json parse error: unexpected end of JSON input"
        raise ApiError(500, "", message) from error
