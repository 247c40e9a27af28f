"""A container's output on disk, line by line with the instant each was complete, and how it is read again.

The format is that of containerd: ``TIME STREAM TAG LINE``, where the tag ``P`` marks a piece without a line's end.
Writing rotates at a size, as the kubelet does, and only the newest file is served. Who asks: ``podlogs``.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from raftsman.executor.sandbox.clock import NS, nano_stamp

LINE_BYTES = 16 * 1024
"""Longer lines are cut into pieces (containerd's ``max_container_log_line_size``)."""

ROTATE_BYTES = 10 * 1024 * 1024
"""The kubelet's ``containerLogMaxSize``."""

MESSAGE_BYTES = 2048
MESSAGE_LINES = 80
"""Of the end of the output, when it explains a failure (``pkg/kubelet/container/runtime.go``)."""

READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reader wants to see."""

    timestamps: bool = False
    since_s: int | None = None  # A Unix time; Kubernetes heeds whole seconds only.
    tail_lines: int | None = None
    limit_bytes: int | None = None
    follow: bool = False


class LogFile:
    """The output of one container: one writer, any number of readers, all in the event loop."""

    def __init__(self, path: Path, *, rotate_bytes: int = ROTATE_BYTES, line_bytes: int = LINE_BYTES) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._line_bytes = line_bytes
        self._file: BinaryIO | None = path.open("wb")
        self._size = 0
        self._pending: dict[str, bytes] = {}
        self._rotations = 0
        self._wakers: set[asyncio.Event] = set()

    @property
    def closed(self) -> bool:
        """Whether the output is complete."""
        return self._file is None

    def feed(self, stream: str, chunk: bytes, at_ns: int) -> None:
        """Take a piece of a stream, read at *at_ns* (Unix time)."""
        *lines, rest = (self._pending.get(stream, b"") + chunk).split(b"\n")
        for line in lines:
            self._write_line(stream, line, b"F", at_ns)
        while len(rest) > self._line_bytes:
            self._write(stream, rest[: self._line_bytes], b"P", at_ns)
            rest = rest[self._line_bytes :]
        self._pending[stream] = rest
        self._flush()

    def close(self, at_ns: int) -> None:
        """The output is complete; what is left of a line without an end is kept."""
        if self._file is None:
            return
        for stream, rest in self._pending.items():
            if rest:
                self._write_line(stream, rest, b"P", at_ns)
        self._pending.clear()
        self._file.close()
        self._file = None
        self._wake()

    def message(self) -> str:
        """Return the end of the output, as a status carries it."""
        end = b"".join(self._lines(Reading(tail_lines=MESSAGE_LINES)))
        return end[-MESSAGE_BYTES:].decode("utf-8", "replace")

    async def read(self, reading: Reading) -> AsyncIterator[bytes]:
        """Yield the output; with ``follow`` until it is complete."""
        left = reading.limit_bytes
        async for chunk in self._chunks(reading):
            part = chunk if left is None else chunk[:left]
            if part:
                yield part
            if left is not None:
                left -= len(part)
                if left <= 0:
                    return

    async def _chunks(self, reading: Reading) -> AsyncIterator[bytes]:
        """Yield the file; with ``follow`` the one after it too, when it was full."""
        form, rotations = _Form(reading), -1
        with self._waking() as waker:
            while rotations != self._rotations:
                rotations = self._rotations
                async for chunk in self._one_file(form, waker, rotations):
                    yield chunk
                if not reading.follow:
                    return

    async def _one_file(self, form: "_Form", waker: asyncio.Event, rotations: int) -> AsyncIterator[bytes]:
        """Yield what the file holds and, with ``follow``, what comes, until it is complete or was rotated away."""
        with self._path.open("rb") as file:
            file.seek(0 if form.begun else _tail_offset(file, form.reading.tail_lines))
            while True:
                waker.clear()
                over = self.closed or rotations != self._rotations or not form.reading.follow
                while raw := file.read(READ_BYTES):
                    yield form.format(raw)
                    await asyncio.sleep(0)  # Others come between two blocks of a large file.
                if over:
                    return
                await waker.wait()

    def _lines(self, reading: Reading) -> Iterator[bytes]:
        form = _Form(reading)
        with self._path.open("rb") as file:
            file.seek(_tail_offset(file, reading.tail_lines))
            while raw := file.read(READ_BYTES):
                yield form.format(raw)

    def _write_line(self, stream: str, line: bytes, tag: bytes, at_ns: int) -> None:
        """Write a line, in pieces when it is long."""
        while len(line) > self._line_bytes:
            self._write(stream, line[: self._line_bytes], b"P", at_ns)
            line = line[self._line_bytes :]
        self._write(stream, line, tag, at_ns)

    def _write(self, stream: str, line: bytes, tag: bytes, at_ns: int) -> None:
        assert self._file is not None, "nothing is written after the end"
        if self._size > self._rotate_bytes:
            self._rotate()
        self._size += self._file.write(b"%s %s %s %s\n" % (nano_stamp(at_ns).encode(), stream.encode(), tag, line))

    def _rotate(self) -> None:
        assert self._file is not None, "only an open file rotates"
        self._file.close()
        self._path.unlink()  # Readers that have it open still read it to its end.
        self._file = self._path.open("wb")
        self._size = 0
        self._rotations += 1

    def _flush(self) -> None:
        if self._file is not None:
            self._file.flush()
        self._wake()

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.set()

    @contextmanager
    def _waking(self) -> Iterator[asyncio.Event]:
        waker = asyncio.Event()
        self._wakers.add(waker)
        try:
            yield waker
        finally:
            self._wakers.discard(waker)


class _Form:
    """Turns lines on disk into lines as they are served; a piece of a line has neither end nor a further time stamp."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.begun = False
        self._since = b"" if reading.since_s is None else nano_stamp(reading.since_s * NS).encode()
        self._in_line = False
        self._rest = b""

    def format(self, raw: bytes) -> bytes:
        """Return the served form of some bytes of the file."""
        self.begun = True
        *lines, self._rest = (self._rest + raw).split(b"\n")
        return b"".join(self._line(line) for line in lines)

    def _line(self, line: bytes) -> bytes:
        time, _, tag, text = line.split(b" ", 3)
        if time < self._since:
            return b""
        head = time + b" " if self.reading.timestamps and not self._in_line else b""
        self._in_line = tag == b"P"
        return head + text + (b"" if self._in_line else b"\n")


def _tail_offset(file: BinaryIO, lines: int | None) -> int:
    """Return where the last *lines* lines of the file begin."""
    if lines is None:
        return 0
    end = file.seek(0, 2)
    found, position = 0, end
    while position > 0:
        begin = max(0, position - READ_BYTES)
        file.seek(begin)
        block = file.read(position - begin)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            found += begin + at != end - 1  # The end of the last line begins none.
            if found >= lines and (lines > 0 or begin + at == end - 1):
                return begin + at + 1
        position = begin
    return 0
