"""Bytes to a JSON value that every later reader can trust: UTF-8, no key twice, finite numbers, bounded depth.

What the value means is ``spec``. Documents that come from elsewhere (YAML) take the same checks by ``flaws``.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from raftsman.wire.faults import MALFORMED_JSON, Fault, clipped, pointer

DEPTH = 64
"""Nesting of objects and lists. A pod template needs about 12; Kubernetes' own decoder stops at 10,000."""

VALUES = 200_000
"""Values in one document: 1,000 tasks of 200. YAML aliases could spell more than memory holds."""

DIGITS = 309
"""Digits of the largest number that every JSON reader understands (an IEEE double); Python refuses 4,301 by itself."""

Json = dict[str, Any] | list[Any] | str | int | float | bool | None


_Path = tuple[str | int, ...]


class _Repeating(dict[str, Any]):
    """An object written with some key twice. Only the later walk knows its pointer."""

    repeated: str = ""


def parse_json(raw: bytes) -> Json | Fault:
    """Return the value that *raw* spells, or the first fault that keeps it from being JSON; never raises."""
    try:
        value: Json = json.loads(raw.decode(), object_pairs_hook=_object, parse_int=_whole)
    except UnicodeDecodeError as error:
        return _malformed("", f"the body is not UTF-8: byte {error.start} is 0x{raw[error.start]:02x}")
    except json.JSONDecodeError as error:
        return _malformed("", f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})")
    except RecursionError:
        return _malformed("", _TOO_DEEP)
    return next((_malformed(*flaw) for flaw in flaws(value)), value)


def flaws(document: object) -> Iterator[tuple[str, str]]:
    """Yield (pointer, sentence) for all that keeps *document* from being a JSON value; ends even when it is cyclic."""
    left: list[tuple[object, _Path]] = [(document, ())]
    seen = 0
    while left:
        value, path = left.pop()
        found = list(_flaws_of(value, len(path)))
        yield from ((pointer(*path), sentence) for sentence in found)
        inside = list(_inside(value)) if not found else []
        left.extend((inner, (*path, part)) for part, inner in inside if not _is_plain(inner))
        seen += len(inside)
        if seen > VALUES:
            yield "", f"the document has more than {VALUES} values; send it in parts"
            return


def _is_plain(value: object) -> bool:
    """Return whether *value* is one of the many that need no second look."""
    return value is None or isinstance(value, bool) or (isinstance(value, str) and value.isascii())


def _flaws_of(value: object, depth: int) -> Iterator[str]:
    match value:
        case None | bool():
            return
        case str() if not _is_text(value):
            yield "a text holds half of a surrogate pair, which is no character"
        case int() | float() if not -sys.float_info.max <= value <= sys.float_info.max:
            yield "a number is not finite, or larger than JSON readers understand"
        case dict() | list() if depth >= DEPTH:
            yield _TOO_DEEP
        case dict():
            yield from _flaws_of_keys(value)
        case str() | int() | float() | list():
            return
        case _:
            yield f"JSON has no value of the kind {type(value).__name__}; write it as a string"


def _flaws_of_keys(value: dict[Any, Any]) -> Iterator[str]:
    if isinstance(value, _Repeating):
        yield f"the key {clipped(value.repeated)} stands twice in one object; keep one of them"
    for key in value:
        if not isinstance(key, str):
            yield f"the key {clipped(str(key))} is not a string; put it in quotes"
        elif not _is_text(key):
            yield f"the key {clipped(key)} holds half of a surrogate pair, which is no character"


def _inside(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _is_text(text: str) -> bool:
    return text.isascii() or text.encode(errors="ignore").decode() == text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    repeating = _Repeating(made)
    repeating.repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return repeating


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= DIGITS else math.inf  # The walk reports it, with its pointer.


_TOO_DEEP = f"the document is nested deeper than {DEPTH} levels"


def _malformed(where: str, sentence: str) -> Fault:
    return Fault(MALFORMED_JSON, where, sentence)
