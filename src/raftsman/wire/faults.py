"""What is wrong with a request's body: one value per fault, each with a pointer into what the user wrote.

Nothing here looks for faults: that is ``document``, ``grammar``, ``podtemplate`` and ``spec``. The HTTP layer turns
them into the ``errors`` of a problem, ``lint`` into lines of a file.
"""

from dataclasses import dataclass
from typing import NewType

MALFORMED_JSON = "malformed-json"
INVALID_SPEC = "invalid-spec"
NOT_IMPLEMENTED_HERE = "not-implemented-here"

FAULTS_LISTED = 100
"""Faults that one answer names: more help nobody, and a body of a MiB could hold a hundred thousand."""

CLIP_CHARS = 80
"""How much of a user's own text a sentence repeats."""

Complaint = NewType("Complaint", str)
"""What is wrong with one value, as the rest of a sentence whose subject is the field: "must be …"."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: *pointer* (RFC 6901, camelCase) says where, *detail* names field, reason and way out."""

    code: str
    pointer: str
    detail: str


def pointer(*parts: str | int) -> str:
    """Return the RFC 6901 pointer to *parts*; it can always be encoded as UTF-8."""
    return "".join(f"/{_encodable(str(part)).replace('~', '~0').replace('/', '~1')}" for part in parts)


def subject(*parts: str | int) -> str:
    """Return *parts* as the subject of a sentence: k8sJob.args[0], labels["a/b"]."""
    return "".join(map(_member, parts)).removeprefix(".") or "the task"


def clipped(text: str) -> str:
    """Return *text* in double quotes, on one line, cut to what a sentence can carry."""
    cut = text if len(text) <= CLIP_CHARS else f"{text[:CLIP_CHARS]}…"
    return '"' + "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in cut) + '"'


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _member(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if part.isidentifier() and len(part) <= CLIP_CHARS else f"[{clipped(part)}]"
