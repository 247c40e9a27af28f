"""Streams that outlive the node that serves them: output and events, continued elsewhere without repeating anything.

``raftsman.client`` gives these to its users. Which node is asked is decided in ``raftsman.endpoints``.
"""

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from raftsman.errors import ConnectionFailed, UnexpectedAnswer
from raftsman.exchange import Answer
from raftsman.wire.views import EventView

CUTS_IN_A_ROW = 8
"""So many times may a stream break at once without saying anything new: with the pauses between, about ten seconds."""
AT_ONCE_S = 5.0
"""A stream that held for longer was good, even when it had nothing to say."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a task's output, without its line feed."""

    attempt: int
    stream: str
    at: str
    """When it was written (RFC 3339)."""
    line: str


@dataclass(frozen=True, slots=True)
class LogCut:
    """Here so many bytes of output were not kept."""

    cut_bytes: int


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Nothing follows: all output was given (``complete``), part of it (``truncated``), or none (``unavailable``)."""

    end: str
    reason: str


LogRecord = LogLine | LogCut | LogEnd


@dataclass(slots=True)
class LogProgress:
    """How far a task's output has been given out, to tell new lines from repeated ones after a new beginning.

    Lines have an instant but no number, so what counts is the newest instant and how many lines of it were given.
    """

    since: str = ""
    """The newest instant given out; "" when there is none."""
    _newest: tuple[int, str] = (0, "")  # (attempt, comparable instant)
    _given: int = 0  # Lines of that instant.
    _to_skip: int = 0

    def begin_again(self) -> None:
        """Expect lines that were given out already."""
        self._to_skip = self._given

    def is_new(self, line: LogLine) -> bool:
        """Return whether the line has not been given out yet, and count it."""
        place = (line.attempt, comparable_instant(line.at))
        if place < self._newest:
            # Within one reading lines may be out of order; only a repeated reading is behind the newest.
            return self._to_skip == 0
        if place == self._newest and self._to_skip > 0:
            self._to_skip -= 1
            return False
        self._given = self._given + 1 if place == self._newest else 1
        self._newest, self._to_skip, self.since = place, 0, line.at
        return True


def comparable_instant(at: str) -> str:
    """Return an RFC 3339 instant of UTC so that text order is time order: Kubernetes drops trailing zeros."""
    whole, _, fraction = at.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<9}"


def log_record(line: bytes) -> LogRecord | None:
    """Return what a line of the stream says; None for a kind that a later version has added."""
    view = _object(line)
    if "line" in view:
        return LogLine(
            int(view.get("attempt") or 0), str(view.get("stream") or ""), str(view.get("at") or ""), str(view["line"])
        )
    if "cut" in view:
        return LogCut(int(view["cut"]))
    if "end" in view:
        return LogEnd(str(view["end"]), str(view.get("reason") or ""))
    return None


def follow_log(open_at: Callable[[str], Answer], *, endless: bool) -> Generator[LogRecord, None, None]:
    """Yield the records of a task's output until its end, whichever nodes fail meanwhile.

    *open_at* opens the stream from an instant on ("": from where the user asked). An *endless* stream is over only
    when it says so; another one also when the answer ends properly. Raises ConnectionFailed after CUTS_IN_A_ROW.
    """
    progress = LogProgress()

    def lines_of(answer: Answer) -> Iterator[LogRecord]:
        for line in answer.lines():
            record = log_record(line) if line.strip() else None
            if record is not None and (not isinstance(record, LogLine) or progress.is_new(record)):
                yield record

    def reopen() -> Answer:
        progress.begin_again()
        return open_at(progress.since)

    return _continued(reopen, lines_of, lambda record: isinstance(record, LogEnd), endless=endless)


def follow_events(
    open_after: Callable[[str], Answer], after: str, *, endless: bool
) -> Generator[EventView, None, None]:
    """Yield events, each once, without end or (not *endless*) until the stream ends properly.

    *open_after* opens the stream behind an event id ("": where it begins). Raises ConnectionFailed after CUTS_IN_A_ROW.
    """
    last = after

    def events_of(answer: Answer) -> Iterator[EventView]:
        nonlocal last
        for line in answer.lines():
            if line.strip():
                event = cast("EventView", _object(line))
                last = event["id"]
                yield event

    return _continued(lambda: open_after(last), events_of, lambda _: False, endless=endless)


def _continued(
    reopen: Callable[[], Answer],
    records_of: Callable[[Answer], Iterator[T]],
    is_last: Callable[[T], bool],
    *,
    endless: bool,
) -> Generator[T, None, None]:
    """Yield the records of one stream after the other until one is the last."""
    cuts = 0
    while cuts < CUTS_IN_A_ROW:
        opened_at = time.monotonic()
        reading = yield from _read_once(reopen, records_of, is_last)
        if reading.over or (reading.whole and not endless):
            return
        at_once = not reading.said_something and time.monotonic() - opened_at <= AT_ONCE_S
        cuts = cuts + 1 if at_once else 1
        time.sleep(min(FIRST_PAUSE_S * 2 ** (cuts - 1), LONGEST_PAUSE_S))
    raise ConnectionFailed(f"the stream broke {CUTS_IN_A_ROW} times in a row without saying anything new")


@dataclass(frozen=True, slots=True)
class _Reading:
    """How one stream went."""

    said_something: bool
    over: bool = False  # Its last record has come.
    whole: bool = False  # It ended properly, and was not cut.


def _read_once(
    reopen: Callable[[], Answer], records_of: Callable[[Answer], Iterator[T]], is_last: Callable[[T], bool]
) -> Generator[T, None, _Reading]:
    said_something = False
    with reopen() as answer:
        records = records_of(answer)
        while True:
            try:
                record = next(records)
            except StopIteration:
                return _Reading(said_something, whole=True)
            except ConnectionFailed:
                return _Reading(said_something)  # Another node, or the same one later, has the rest.
            said_something = True
            yield record
            if is_last(record):
                return _Reading(said_something, over=True)


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise UnexpectedAnswer(f"a line of the stream is not JSON: {line[:80]!r}") from error
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"a line of the stream is no JSON object: {line[:80]!r}")
    return value
