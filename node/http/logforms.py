"""Output as it is written: text for people, ndjson for programs, server-sent events for browsers.

Lines have an instant but no number, so a reader's place in them is the newest instant and how many lines of it were
given (``Place``). Where the lines come from is ``logs``.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from raftsman.executor.lines import nanoseconds
from raftsman.executor.output import Cut, End, LogLine
from raftsman.node.http.problems import invalid_parameter
from raftsman.node.http.streams import ndjson, sse
from raftsman.wire.views import LogCutView, LogEndView, LogLineView

END_ID = "end"
"""The event id behind which nothing follows."""

Record = LogLine | Cut | End

_PLACE = re.compile(r"(?P<attempt>[1-9][0-9]{0,8})/(?P<at>[^/]*)/(?P<lines>[1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader is: so many lines of the instant *at* ("": none is known), in this attempt's output."""

    attempt: int
    at: str
    lines: int

    def next(self, line: LogLine) -> "Place":
        """Return the place behind *line*, which comes next."""
        follows = (line.attempt, line.at) == (self.attempt, self.at)
        return Place(line.attempt, line.at, self.lines + 1 if follows else 1)

    def __str__(self) -> str:
        return f"{self.attempt}/{self.at}/{self.lines}"


def place_of(text: str) -> Place:
    """Return the place that an event id names. Raises a Problem."""
    match = _PLACE.fullmatch(text)
    if match is None or (match["at"] and nanoseconds(match["at"]) is None):
        raise invalid_parameter("Last-Event-ID", f"{text!r} is not the id of an event of this stream")
    return Place(int(match["attempt"]), match["at"], int(match["lines"]))


async def behind(place: Place | None, records: AsyncIterator[Record]) -> AsyncIterator[Record]:
    """Yield what follows *place* of records that begin at its instant."""
    left = place.lines if place else 0
    async for record in records:
        if left and place and isinstance(record, LogLine) and record.at == place.at:
            left -= 1
            continue
        yield record


async def as_ndjson(records: AsyncIterator[Record]) -> AsyncIterator[bytes]:
    """Yield one JSON object a line."""
    async for record in records:
        yield ndjson(record_view(record))


async def as_sse(records: AsyncIterator[Record], begun: Place | None) -> AsyncIterator[bytes]:
    """Yield server-sent events: lines as messages, the others by their names; *begun*: where an earlier reading was."""
    place = begun or Place(0, "", 0)
    async for record in records:
        match record:
            case LogLine():
                place = place.next(record)
                yield sse(record_view(record), event_id=str(place))
            case Cut():
                yield sse(record_view(record), event_id=None, name="cut")
            case End():
                yield sse(record_view(record), event_id=END_ID, name="end")


async def as_text(records: AsyncIterator[Record]) -> AsyncIterator[bytes]:
    """Yield the lines as they are, and in brackets what is missing."""
    async for record in records:
        match record:
            case LogLine():
                yield record.line.encode(errors="replace") + b"\n"
            case Cut():
                yield f"[raftsman: {record.bytes} bytes of output were not kept]\n".encode()
            case End() if record.end != "complete" and record.reason:
                yield f"[raftsman: output {record.end}: {record.reason}]\n".encode()
            case End():
                pass


def record_view(record: Record) -> LogLineView | LogCutView | LogEndView:
    """Return a record of output as JSON."""
    match record:
        case LogLine():
            return {"attempt": record.attempt, "stream": record.stream, "at": record.at, "line": record.line}
        case Cut():
            return {"cut": record.bytes}
        case End():
            return {"end": record.end, "reason": record.reason or None}
