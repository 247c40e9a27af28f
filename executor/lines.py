"""Lines of output: how one is stored, how two compare in time, and which are kept.

Values only: nothing here reads a file or waits. ``podlogs`` is where the lines come from, ``output`` serves
them, ``outputfiles`` has the records on disk.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice

LINE_BYTES = 16 * 1024  # Of one line: what container runtimes split longer lines at, too (containerd, CRI-O).
BATCH_LINES = 256  # Lines a reader takes at a time: few enough that a slow one holds little.
NO_TIME = b"-"  # Stands in a record for a line that came without a timestamp.

_RFC_3339 = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})")


def nanoseconds(at: str) -> int | None:
    """Return the RFC 3339 instant as nanoseconds since the Unix epoch, or None when *at* is none.

    Kubelets leave trailing zeros out and write the zone of their host, so the texts themselves do not compare.
    """
    match = _RFC_3339.fullmatch(at)
    if match is None:
        return None
    second, fraction, zone = match.groups()
    try:
        seconds = int(datetime.fromisoformat(second + zone).timestamp())
    except ValueError:
        return None
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def encode(at: str, stream: str, line: bytes, *, beyond_bytes: int = 0) -> bytes:
    r"""Return the record of a line, ``<at> <stream> <line>\n``, cut to LINE_BYTES with a note of how much is missing.

    *beyond_bytes* were cut off before it came here. The line has no ``\n`` of its own.
    """
    assert b"\n" not in line, "a line end would make two records of one line"
    missing_bytes = beyond_bytes + max(0, len(line) - LINE_BYTES)
    if missing_bytes:
        line = line[:LINE_BYTES] + f"… [{missing_bytes} bytes cut]".encode()
    return b"%b %b %b\n" % (at.encode() or NO_TIME, stream.encode(), line)


def decode(record: bytes) -> tuple[str, str, bytes]:
    """Return (at, stream, line) of a record. Raises ValueError when it is none."""
    at, stream, line = record.removesuffix(b"\n").split(b" ", 2)
    return "" if at == NO_TIME else at.decode(errors="replace"), stream.decode(errors="replace"), line


def is_of(record: bytes, stream: str) -> bool:
    """Return whether the record's line is of *stream*; "" is every stream."""
    return not stream or record.split(b" ", 2)[1] == stream.encode()


def line_size(record: bytes) -> int:
    r"""Return the bytes of the line in the record, its ``\n`` included."""
    return len(record) - record.index(b" ", record.index(b" ") + 1) - 1


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a reader has come in ``KeptLines``."""

    line: int  # The number of the next line; the first of an output is 0.
    passed_bytes: int  # Of the lines after the head that lie behind it, read or missed.


class KeptLines:
    """The first lines and the last ones, as records; what lies between them is dropped and counted.

    Both limits are counted on the records, whose timestamps take room too. Numbers of lines never change,
    so that several readers, each with a mark of its own, go on while lines are added and dropped.
    """

    def __init__(self, head_bytes: int, tail_bytes: int) -> None:
        self.head: list[bytes] = []
        self.tail: deque[bytes] = deque()
        self.cut_lines = 0
        self.cut_bytes = 0  # Of the lines alone, as their author counts them.
        self._tail_bytes = tail_bytes
        self._head_room = head_bytes
        self._tail_room = tail_bytes

    @classmethod
    def restored(cls, records: list[bytes], *, head_lines: int, cut_lines: int, cut_bytes: int) -> "KeptLines":
        """Return what was kept once, from its *records*; nothing can be added to it."""
        kept = cls(0, 0)
        kept.head = records[:head_lines]
        kept.tail = deque(records[head_lines:])
        kept.cut_lines, kept.cut_bytes = cut_lines, cut_bytes
        return kept

    @property
    def count(self) -> int:
        """How many lines there have been, the dropped ones included."""
        return self._tail_start + len(self.tail)

    @property
    def _tail_start(self) -> int:
        return len(self.head) + self.cut_lines

    def add(self, record: bytes) -> bool:
        """Keep the record; return whether it belongs to the head, which stays."""
        if len(record) <= self._head_room:
            self._head_room -= len(record)
            self.head.append(record)
            return True
        self._head_room = 0  # A shorter line must not slip in before this one.
        self.tail.append(record)
        self._tail_room -= len(record)
        while self._tail_room < 0:
            self._drop_oldest()
        return False

    def _drop_oldest(self) -> None:
        record = self.tail.popleft()
        self._tail_room += len(record)
        self.cut_lines += 1
        self.cut_bytes += line_size(record)

    def start(self, last: int | None = None, stream: str = "") -> Mark:
        """Return the mark before the first line, or before the *last* so many (of one *stream*, when it is given)."""
        line = 0 if last is None else self._nth_last(last, stream)
        if line < self._tail_start:
            return Mark(line, 0)
        passed = sum(map(line_size, islice(self.tail, line - self._tail_start)))
        return Mark(line, self.cut_bytes + passed)

    def _nth_last(self, last: int, stream: str) -> int:
        if not stream or last == 0:
            return max(0, self.count - last)
        numbers = chain(range(self.count - 1, self._tail_start - 1, -1), range(len(self.head) - 1, -1, -1))
        records = chain(reversed(self.tail), reversed(self.head))
        of_stream = (number for number, record in zip(numbers, records, strict=True) if is_of(record, stream))
        return next(islice(of_stream, last - 1, None), 0)

    def after(self, mark: Mark) -> tuple[int, list[bytes], Mark]:
        """Return how many bytes are missing behind *mark*, the next records, and the mark behind those.

        A mark that stands amid the first dropped lines gets the bytes of all of them.
        """
        if mark.line < len(self.head):
            records = self.head[mark.line : mark.line + BATCH_LINES]
            return 0, records, Mark(mark.line + len(records), 0)
        missing_bytes, line, passed_bytes = 0, mark.line, mark.passed_bytes
        if line < self._tail_start:
            missing_bytes = self.cut_bytes - passed_bytes
            line, passed_bytes = self._tail_start, self.cut_bytes
        first = line - self._tail_start
        records = [self.tail[n] for n in range(first, min(first + BATCH_LINES, len(self.tail)))]
        return missing_bytes, records, Mark(line + len(records), passed_bytes + sum(map(line_size, records)))

    def backwards(self) -> Iterator[bytes]:
        """Yield the records from the last one back to the first, or to the gap."""
        yield from reversed(self.tail)
        if not self.cut_lines:
            yield from reversed(self.head)


def last_text(kept: KeptLines, limit_bytes: int, stream: str = "") -> str:
    """Return the last whole lines that fit into *limit_bytes* of UTF-8; of a longer last line, its end.

    *stream*: of that stream only.
    """
    lines: list[str] = []
    room = limit_bytes + 1  # The last line has no line end.
    for record in kept.backwards():
        if not is_of(record, stream):
            continue
        line = decode(record)[2].decode(errors="replace")
        room -= len(line.encode()) + 1
        if room < 0:
            lines = lines or [_clip_start(line, limit_bytes)]
            break
        lines.append(line)
    return "\n".join(reversed(lines))


def _clip_start(line: str, limit_bytes: int) -> str:
    ellipsis = "…"
    room = limit_bytes - len(ellipsis.encode())
    return ellipsis + line.encode()[-room:].decode(errors="ignore") if room > 0 else ""
