"""The output of attempts, kept on this node and served to any number of readers.

Where the output comes from is ``podlogs``; which lines are kept, and in what form, is ``lines``; the files are
``outputfiles``; how it looks over HTTP is ``node.http``. Nothing here goes through the log of the cluster, except
the last lines of an attempt (``Output.tail_text``), which its row carries.

An output that has not ended is in memory, at most ``head_bytes + tail_bytes`` of it, and its head also on disk.
Writing happens in the event loop: at most 64 KiB at a time and all of it once, at the end, which goes to the page
cache in about a millisecond. Reading whole files back happens in a thread.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from raftsman.executor.lines import KeptLines, decode, encode, last_text, nanoseconds
from raftsman.executor.outputfiles import Ending, OutputFiles, stored_outputs
from raftsman.raft.limits import OUTPUT_TAIL_BYTES

FLUSH_AFTER_S = 1.0  # The age of what a killed node loses of the head, at most.
FLUSH_BYTES = 64 * 1024
SWEEP_EVERY_S = 60.0

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepLimits:
    """How much is kept: of each attempt, timestamps included, and of all together."""

    head_bytes: int = 256 * 1024
    tail_bytes: int = 1024 * 1024
    total_bytes: int = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an attempt's output; what was not UTF-8 in it is replaced."""

    attempt: int
    stream: str
    at: str  # RFC 3339, as it came; "" when it came without.
    line: str


@dataclass(frozen=True, slots=True)
class Cut:
    """So many bytes of output are missing here."""

    bytes: int


@dataclass(frozen=True, slots=True)
class End:
    """The output has ended: whole, with something missing, or without ever having been seen."""

    end: Ending
    reason: str  # A sentence; "" when it is complete.


class Output:
    """The output of one attempt: written by one capture, read by many, never waiting for a reader.

    Made by ``OutputStore``. Every method belongs to the event loop.
    """

    def __init__(
        self,
        attempt: int,
        files: OutputFiles,
        *,
        kept: KeptLines | None = None,
        ended: End | None = None,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        self.attempt = attempt
        self._files = files
        self._kept = kept  # None: it ended long ago and is on disk only.
        self._ended = ended
        self._on_end = on_end
        self._draft = _Draft(files)
        self._changed: asyncio.Event | None = None

    @property
    def end(self) -> End | None:
        """How it ended, or None while more may come."""
        return self._ended

    def append(self, at: str, stream: str, line: bytes, *, beyond_bytes: int = 0) -> None:
        r"""Add a line, without its ``\n``, of which *beyond_bytes* were cut off already.

        *at* is RFC 3339, as it came, or "". After the end nothing is added.
        """
        if self._ended is not None or self._kept is None:
            return
        record = encode(at, stream, line, beyond_bytes=beyond_bytes)
        if self._kept.add(record):
            self._draft.add(record)
        self._announce()

    def flush(self) -> None:
        """Write what is new in the head to disk, as happens every second by itself."""
        self._draft.flush()

    def finish(self, end: Ending, reason: str = "") -> None:
        """End the output, for its readers and on disk. The first end counts."""
        if self._ended is not None or self._kept is None:
            return
        self._conclude(End(end, reason))
        try:
            self._files.write_final(self._kept, end, reason)
        except OSError as error:
            log.warning("the output in %s cannot be kept: %s", self._files.folder, error)

    def abandon(self, reason: str) -> None:
        """End the output, truncated, for its readers, and remove it from the disk."""
        self._conclude(self._ended or End("truncated", reason))
        self._files.remove()

    async def read(
        self, *, tail: int | None = None, since: str = "", stream: str = "", follow: bool = False
    ) -> AsyncIterator[LogLine | Cut | End]:
        """Yield the lines in order, then the End; *tail*: only the last so many, *since*: none older than that.

        With *stream* only its lines are shown and counted; a Cut counts what is missing of all of them.
        With *follow* new lines are waited for; without it an output that has not ended yields no End. A reader that
        is slower than the output gets a Cut in place of what was dropped. Raises ValueError when *since* is no
        RFC 3339 instant.
        """
        sieve = _Sieve(self.attempt, since, stream)
        kept = await self._content()
        mark = kept.start(tail, stream)
        while True:
            missing_bytes, records, mark = kept.after(mark)
            for each in sieve.through(missing_bytes, records):
                yield each
            if missing_bytes or records:
                continue
            if self._ended is not None or not follow:
                break
            await self._next_change()
        if sieve.missing_bytes:
            yield Cut(sieve.missing_bytes)
        if self._ended is not None:
            yield self._ended

    def tail_text(self, limit_bytes: int = OUTPUT_TAIL_BYTES, *, stream: str = "") -> str:
        """Return the last whole lines, of *stream* or of all, that fit into *limit_bytes* of UTF-8.

        Of a last line that is longer, its end.
        """
        kept = self._files.read() if self._kept is None else self._kept
        return "" if kept is None else last_text(kept, limit_bytes, stream)

    async def _content(self) -> KeptLines:
        if self._kept is not None:
            return self._kept
        kept = await asyncio.to_thread(self._files.read)
        if kept is None:
            self._ended = End("unavailable", "it is no longer kept")
            return KeptLines(0, 0)
        return kept

    def _conclude(self, end: End) -> None:
        self._ended = end
        self._draft.drop()
        self._announce()
        self._on_end()

    def _announce(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _next_change(self) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()


class _Draft:
    """Brings the head to disk while the output grows, in few and small writes."""

    def __init__(self, files: OutputFiles) -> None:
        self._files = files
        self._records: list[bytes] = []
        self._size_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False  # By the disk. Going on would leave a gap that nobody sees.

    def add(self, record: bytes) -> None:
        if self._refused:
            return
        self._records.append(record)
        self._size_bytes += len(record)
        if self._size_bytes >= FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)

    def flush(self) -> None:
        records = self._records
        self.drop()
        if not records:
            return
        try:
            self._files.append_draft(records)
        except OSError as error:
            self._refused = True  # The output is still in memory, and written as a whole at its end.
            log.warning("the draft in %s cannot be written: %s", self._files.folder, error)

    def drop(self) -> None:
        """Forget what is not written yet."""
        self._records, self._size_bytes = [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Sieve:
    """Turns records into what a reader asked for. What is missing is told before the next line that is shown."""

    def __init__(self, attempt: int, since: str, stream: str) -> None:
        not_before = nanoseconds(since) if since else None
        if since and not_before is None:
            raise ValueError(f"{since!r} is no RFC 3339 instant")
        self._attempt = attempt
        self._not_before = not_before
        self._stream = stream
        self.missing_bytes = 0

    def through(self, missing_bytes: int, records: list[bytes]) -> Iterator[LogLine | Cut]:
        self.missing_bytes += missing_bytes
        for record in records:
            at, stream, line = decode(record)
            if self._stream not in ("", stream):
                continue
            if self._too_old(at):
                self.missing_bytes = 0  # It is older still.
                continue
            if self.missing_bytes:
                yield Cut(self.missing_bytes)
                self.missing_bytes = 0
            yield LogLine(self._attempt, stream, at, line.decode(errors="replace"))

    def _too_old(self, at: str) -> bool:
        return self._not_before is not None and (nanoseconds(at) or 0) < self._not_before


class OutputStore:
    """The outputs on this node, by task and attempt. Raises ValueError for what is no task id.

    A task is its id and its number in the log (``Task.sequence``): an id that was forgotten can be used again, and must
    not show what the earlier task wrote.
    """

    def __init__(self, root: Path, keep: KeepLimits) -> None:
        self._root = root
        self._keep = keep
        self._open: dict[Path, Output] = {}  # By folder: those that have not ended.
        self.errors = 0

    def open(self, task_id: str, sequence: int, attempt: int) -> Output:
        """Return a new, empty output; an earlier one of the same attempt is thrown away, and ends for its readers."""
        folder = self._folder(task_id, sequence, attempt)
        if folder in self._open:
            self._open[folder].abandon("it is fetched anew")
        else:
            OutputFiles(folder).remove()
        output = Output(
            attempt,
            OutputFiles(folder),
            kept=KeptLines(self._keep.head_bytes, self._keep.tail_bytes),
            on_end=partial(self._open.pop, folder, None),
        )
        self._open[folder] = output
        return output

    def find(self, task_id: str, sequence: int, attempt: int) -> Output | None:
        """Return the output, open or ended, or None when there is none.

        One that was open when this node was last killed has ended: truncated.
        """
        folder = self._folder(task_id, sequence, attempt)
        if folder in self._open:
            return self._open[folder]
        files = OutputFiles(folder)
        header = files.read_header()
        return None if header is None else Output(attempt, files, ended=End(header.end, header.reason))

    async def keep_sweeping(self, every_s: float = SWEEP_EVERY_S) -> None:
        """Sweep now and then until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.sweep()
            except Exception:  # The outermost frame of the loop: without it the disk would fill, silently.
                self.errors += 1
                log.exception("a sweep of the kept output met an error; the next one tries again")

    async def sweep(self) -> None:
        """Throw away the outputs that ended first, until all together fit into ``total_bytes``."""
        found = await asyncio.to_thread(lambda: list(stored_outputs(self._root)))
        excess_bytes = sum(each.size_bytes for each in found) - self._keep.total_bytes
        for each in sorted(found, key=lambda each: each.changed_at):
            if excess_bytes <= 0:
                return
            if each.folder not in self._open:
                OutputFiles(each.folder).remove()
                excess_bytes -= each.size_bytes
                await asyncio.sleep(0)  # There may be thousands.

    def close(self) -> None:
        """Write what is new in the open outputs, before this node stops."""
        for output in self._open.values():
            output.flush()

    def _folder(self, task_id: str, sequence: int, attempt: int) -> Path:
        if not _TASK_ID.fullmatch(task_id):
            raise ValueError(f"{task_id!r} is no task id")
        return self._root / task_id / f"{sequence}-{attempt}"
