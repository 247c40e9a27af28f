"""Label and field selectors: which objects a list or a watch is about.

Label selectors are equality based (``=``, ``==``, ``!=``, ``key``, ``!key``) plus ``in`` and ``notin``; field selectors
know the labels that Kubernetes knows for the kind. Pure; ``collections`` and ``watching`` use it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from raftsman.executor.sandbox.answers import Json, bad_request
from raftsman.executor.sandbox.grammar import label_key, label_value
from raftsman.executor.sandbox.kinds import EVENTS, JOBS, PODS, Kind

_SET = re.compile(r"(?P<key>[^\s,=!()]+)\s+(?P<word>in|notin)\s*\((?P<values>[^()]*)\)", re.ASCII)
_EQUALITY = re.compile(r"(?P<key>[^\s,=!()]+)\s*(?P<sign>==|=|!=)\s*(?P<value>[^\s,=!()]*)", re.ASCII)
_EXISTS = re.compile(r"(?P<absent>!?)\s*(?P<key>[^\s,=!()]+)", re.ASCII)

_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    JOBS: ("status.successful",),
    PODS: (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    EVENTS: (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}
_COMMON = ("metadata.name", "metadata.namespace")
_ELSEWHERE: Mapping[str, Callable[[Json], str]] = {
    "status.successful": lambda job: str(_at(job, "status.succeeded") or 0),
    "source": lambda event: _text(_at(event, "source.component") or _at(event, "reportingComponent")),
}


@dataclass(frozen=True, slots=True)
class _Requirement:
    """One condition on the value of a key; None is an absent key."""

    key: str
    holds: Callable[[str | None], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """What a request selects, by labels and by fields."""

    labels: tuple[_Requirement, ...] = ()
    fields: tuple[_Requirement, ...] = ()

    @property
    def selects_all(self) -> bool:
        """Whether nothing is left out."""
        return not self.labels and not self.fields

    def matches(self, found: Json) -> bool:
        """Return whether the object is selected."""
        labels = found["metadata"].get("labels") or {}
        return all(each.holds(labels.get(each.key)) for each in self.labels) and all(
            each.holds(_field(found, each.key)) for each in self.fields
        )


def parse_selector(kind: Kind, label_text: str, field_text: str) -> Selector:
    """Return the selector of a request. Raises ApiError (400)."""
    return Selector(_label_requirements(label_text), _field_requirements(kind, field_text))


def _label_requirements(text: str) -> tuple[_Requirement, ...]:
    found: list[_Requirement] = []
    rest = text.strip()
    while rest:
        requirement, rest = _first_requirement(rest)
        found.append(requirement)
        rest = rest.lstrip()
        if rest and not rest.startswith(","):
            raise bad_request(f"found '{_word(rest)}', expected: ',' or 'end of string'")
        rest = rest[1:].lstrip()
    return tuple(found)


def _first_requirement(text: str) -> tuple[_Requirement, str]:
    if found := _SET.match(text):
        values = frozenset(value.strip() for value in found["values"].split(","))
        wanted = found["word"] == "in"
        return _requirement(found["key"], lambda value: (value in values) is wanted), text[found.end() :]
    if found := _EQUALITY.match(text):
        expected, differs = found["value"], found["sign"] == "!="
        if expected and (fault := label_value(expected)):
            raise bad_request(
                f"unable to parse requirement: values[0][{found['key']}]: Invalid value: {expected!r}: {fault}"
            )
        return _requirement(found["key"], lambda value: (value != expected) is differs), text[found.end() :]
    if found := _EXISTS.match(text):
        absent, rest = bool(found["absent"]), text[found.end() :].lstrip()
        if rest and not rest.startswith(","):
            words = "in, notin, =, ==, !=, gt, lt"
            raise bad_request(f"unable to parse requirement: found '{_word(rest)}', expected: {words}")
        return _requirement(found["key"], lambda value: (value is None) is absent), rest
    raise bad_request(
        f"unable to parse requirement: found '{_word(text)}', expected: !, identifier, or 'end of string'"
    )


def _requirement(key: str, holds: Callable[[str | None], bool]) -> _Requirement:
    if fault := label_key(key):
        raise bad_request(f"unable to parse requirement: key: Invalid value: {key!r}: {fault}")
    return _Requirement(key, holds)


def _field_requirements(kind: Kind, text: str) -> tuple[_Requirement, ...]:
    found = []
    for term in filter(None, text.split(",")):
        key, sign, value = _split(term)
        if not sign:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        if key not in (*_COMMON, *_FIELDS.get(kind, ())):
            raise bad_request(_not_supported(kind, key))
        found.append(_field_requirement(key, value, differs=sign == "!="))
    return tuple(found)


def _split(term: str) -> tuple[str, str, str]:
    for sign in ("!=", "==", "="):
        key, found, value = term.partition(sign)
        if found:
            return key, sign, value
    return term, "", ""


def _field_requirement(key: str, expected: str, *, differs: bool) -> _Requirement:
    return _Requirement(key, lambda value: (value != expected) is differs)


def _not_supported(kind: Kind, key: str) -> str:
    return f'field label "{key}" not supported for Job' if kind is JOBS else f"field label not supported: {key}"


def _field(found: Json, key: str) -> str:
    return _ELSEWHERE[key](found) if key in _ELSEWHERE else _text(_at(found, key))


def _at(found: Json, path: str) -> Any:
    value: Any = found
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _word(text: str) -> str:
    found = re.match(r"\w+|.", text, re.ASCII)
    return found.group() if found else ""
