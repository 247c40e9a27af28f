"""Query parameters of lists, watches and logs, read as kube-apiserver reads them.

Pure: names and values in, numbers out, or the refusal in Kubernetes' words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from raftsman.executor.sandbox.answers import ApiError, bad_request, forbidden_value, invalid_options, unsupported

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
FIELD_VALIDATIONS = ("Ignore", "Strict", "Warn")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """What a list or a watch is asked for."""

    labels: str
    fields: str
    version: str  # "" when none is given.
    version_match: str
    limit: int
    token: str
    watch: bool
    timeout_s: int | None
    bookmarks: bool
    initial_events: bool
    include: str  # Of a Table: how much of the objects comes along.


def list_options(query: Mapping[str, str]) -> ListOptions:
    """Return the options. Raises ApiError (400, 422)."""
    options = ListOptions(
        labels=query.get("labelSelector", ""),
        fields=query.get("fieldSelector", ""),
        version=query.get("resourceVersion", ""),
        version_match=query.get("resourceVersionMatch", ""),
        limit=integer(query, "limit") or 0,
        token=query.get("continue", ""),
        watch=flag(query, "watch"),
        timeout_s=integer(query, "timeoutSeconds"),
        bookmarks=flag(query, "allowWatchBookmarks"),
        initial_events=flag(query, "sendInitialEvents"),
        include=query.get("includeObject", "Metadata"),
    )
    _check(options)
    return options


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a Boolean; what is none is false."""
    return query.get(name, "") in _TRUE


def integer(query: Mapping[str, str], name: str) -> int | None:
    """Return a whole number, or None when there is none. Raises ApiError (400)."""
    text = query.get(name, "")
    if not text:
        return None
    if not _INTEGER.fullmatch(text):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def field_validation(query: Mapping[str, str], kind: str) -> str:
    """Return how strictly fields are read; *kind* names the options in the refusal. Raises ApiError (422)."""
    asked = query.get("fieldValidation", "")
    if asked and asked not in FIELD_VALIDATIONS:
        raise invalid_options(kind, [unsupported("fieldValidation", asked, ("", *FIELD_VALIDATIONS))])
    return asked or "Warn"


def version_number(options: ListOptions) -> int | None:
    """Return the resource version that is asked for, None for any. Raises ApiError (400; 500 for a watch, as real)."""
    if options.version in ("", "0"):
        return None
    if options.version.isascii() and options.version.isdecimal():
        return int(options.version)
    parse = f'strconv.ParseUint: parsing "{options.version}": invalid syntax'
    message = f'resourceVersion: Invalid value: "{options.version}": {parse}'
    if options.watch:
        raise ApiError(500, "", message)
    raise bad_request(f"invalid resource version: {message}")


def _check(options: ListOptions) -> None:
    fault = ""
    if options.initial_events and options.version_match != "NotOlderThan":
        fault = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    elif options.version_match and not options.version and not options.watch:
        fault = "resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif options.version_match and options.watch and not options.initial_events:
        fault = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    if fault:
        raise invalid_options("ListOptions", [forbidden_value("resourceVersionMatch", fault)])
