"""Writing the journal's files: segments are reserved beforehand, filled once, and removed whole.

How a frame looks is ``frames``; who reads segments is ``segments``; what is written, and when, is ``journal``.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from raftsman.raft import frames
from raftsman.raft.disk import (
    Disk,
    DiskFailed,
    DiskFile,
    DiskFull,
    discard,
    fatal_errors,
    fill_with_zeros,
    typed_errors,
)
from raftsman.raft.frames import SegmentHeader
from raftsman.raft.segments import Segment, segment_name

log = logging.getLogger(__name__)

CLOSE_WITHIN_S = 5.0

_SPARE, _NEXT = "journal.spare", "journal.next"

Background = Callable[[Callable[[], None]], None]
"""Has a function run soon, elsewhere; the simulation runs it at once."""


def on_a_thread(work: Callable[[], None]) -> None:
    """Run *work* on a thread of its own, which does not keep the process alive."""
    threading.Thread(target=work, name="raft-disk", daemon=True).start()


@dataclass(slots=True)
class _Open:
    """The segment that is written to."""

    header: SegmentHeader
    file: DiskFile
    end: int
    sealed: bool = False
    holds_frames: bool = False
    spoiled_end: int = 0  # Behind what a write left that met a full disk.


class SegmentWriter:
    """Adds frames to the last segment, and begins the next when it is full. Belongs to one thread.

    ``failure``: the disk has failed, for good.
    """

    def __init__(self, disk: Disk, *, segment_bytes: int, background: Background, new_salt: Callable[[], int]) -> None:
        self.failure: DiskFailed | None = None
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._background = background
        self._new_salt = new_salt
        self._headers: list[SegmentHeader] = []
        self._dropped: deque[SegmentHeader] = deque()
        self._current: _Open | None = None
        self._spare: DiskFile | None = None
        self._write_met_full = self._spare_met_full = False
        self._idle = threading.Event()  # Nothing of ours runs in the background.
        self._idle.set()

    @property
    def full(self) -> bool:
        """Whether the last attempt to write, or to reserve room for later, met a full disk."""
        return self._write_met_full or self._spare_met_full

    def resume(self, segments: Sequence[Segment]) -> None:
        """Go on behind what was read, once it is durable; what stands behind its end is wiped. Raises DiskFailed."""
        with fatal_errors("clearing away what an earlier process left"):
            for name in (_SPARE, _NEXT):
                discard(self._disk, name)
            if self._disk.names():
                self._disk.sync_names()  # Those of snapshots and of the identity too: it is one folder.
        self._headers = [each.contents.header for each in segments]
        if not segments:
            return
        name, contents = segments[-1].name, segments[-1].contents
        with fatal_errors(f"securing {self._disk.path(name)}"):
            file = self._disk.open(name, writable=True)
            # What was read may stand in memory only: a process that was killed before its sync, or ended by a failed
            # one, left it so. It will be acknowledged without another write, so it is written again.
            file.write_at(0, file.read_at(0, contents.end))
            fill_with_zeros(file, contents.end, contents.blank_from)
            file.sync()
        self._current = _Open(contents.header, file, contents.end, contents.sealed, segments[-1].frames > 0)

    # --- writing ---

    def append(self, payload: bytes, follows: tuple[int, int]) -> None:
        """Write one frame and make it durable; *follows*: index and term of the last entry written before it.

        Raises DiskFull: nothing was promised, try again. Raises DiskFailed.
        """
        self.require_disk()
        with self._noting():
            segment = self._segment_for(frames.frame_bytes(payload) + frames.SEAL_ROOM_BYTES, follows)
            frame = frames.pack_frame(payload, segment.header, segment.end)
            self._write(segment, segment.end, frame, "writing entries")
            segment.sealed, segment.holds_frames = False, True

    def seal(self) -> None:
        """Mark a clean stop. Raises DiskFull, DiskFailed."""
        self.require_disk()
        if self._current is not None:
            with self._noting():
                self._seal(self._current)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except DiskFull:
            self._write_met_full = True
            raise
        except DiskFailed as error:
            self.failure = error
            raise
        self._write_met_full = False

    def _write(self, segment: _Open, offset: int, content: bytes, doing: str) -> None:
        end = offset + len(content)
        rest = bytes(max(0, segment.spoiled_end - end))  # A longer frame did not fit on the disk before.
        segment.spoiled_end = max(segment.spoiled_end, end)
        with typed_errors(doing):
            segment.file.write_at(offset, content + rest)
        with fatal_errors(doing):
            segment.file.sync()
        segment.end, segment.spoiled_end = end, 0

    def _seal(self, segment: _Open) -> None:
        if not segment.sealed:
            offset = frames.seal_offset(segment.end)
            self._write(segment, offset, frames.pack_seal(segment.header, offset), "sealing the journal")
            segment.sealed = True

    # --- segments ---

    def _segment_for(self, room: int, follows: tuple[int, int]) -> _Open:
        if self._current is not None and self._current.end + room <= self._current.header.size:
            return self._current
        if self._current is not None:
            self._seal(self._current)  # Before the next exists: a segment that is not the last always ends in a seal.
        self._begin_segment(max(self._segment_bytes, frames.HEADER_BYTES + room), follows)
        assert self._current is not None
        return self._current

    def _begin_segment(self, size: int, follows: tuple[int, int]) -> None:
        number = self._headers[-1].number + 1 if self._headers else 1
        file, name = self._reserved(size)
        header = SegmentHeader(
            number=number, size=size, base_index=follows[0], base_term=follows[1], salt=self._new_salt()
        )
        try:
            self._name(file, name, header)
        except DiskFull:
            file.close()
            raise
        if self._current is not None:
            self._current.file.close()
        self._headers.append(header)
        self._current = _Open(header, file, frames.HEADER_BYTES)
        self.tidy()

    def _name(self, file: DiskFile, name: str, header: SegmentHeader) -> None:
        """Make a reserved file the segment of *header*, durably."""
        final = segment_name(header.number)
        doing = f"beginning {self._disk.path(final)}"
        with typed_errors(doing):
            file.write_at(0, frames.pack_header(header))
        with fatal_errors(doing):
            file.sync()
        with typed_errors(doing):
            self._disk.rename(name, final)
        with fatal_errors(doing):
            self._disk.sync_names()

    def _reserved(self, size: int) -> tuple[DiskFile, str]:
        if self._spare is not None and size == self._segment_bytes:
            file, self._spare = self._spare, None
            return file, _SPARE
        return self._reserve(_NEXT, size), _NEXT

    def _reserve(self, name: str, size: int) -> DiskFile:
        """Return a file of zeros whose room is really there; when it is not, none is left behind."""
        doing = f"reserving {size} bytes for {self._disk.path(name)}"
        with typed_errors(doing):
            file = self._disk.create(name)
            try:
                fill_with_zeros(file, 0, size)
            except OSError:
                file.close()
                discard(self._disk, name)
                raise
        with fatal_errors(doing):
            file.sync()
        return file

    # --- beside the writing ---

    def tidy(self) -> None:
        """Have old segments removed and the next one's room reserved, in the background, as far as there is need."""
        if (self._spare is None or self._dropped) and self._idle.is_set() and self.failure is None:
            self._idle.clear()
            reserves = self._spare is None  # Said here: it may be taken, and not have its name yet, while _tidy runs.
            try:
                self._background(lambda: self._tidy(reserves=reserves))
            except BaseException:
                self._idle.set()
                raise

    def _tidy(self, *, reserves: bool) -> None:
        try:
            self._remove_dropped()
            if reserves:
                self._spare = self._reserve(_SPARE, self._segment_bytes)
            if self._spare_met_full:
                log.warning("there is room for the journal's next segment again: this node accepts what is new")
            self._spare_met_full = False
        except DiskFull as error:
            if not self._spare_met_full:  # It is tried again many times a second.
                log.warning("%s; this node accepts nothing new until there is some", error)
            self._spare_met_full = True
        except DiskFailed as error:
            self.failure = error
        finally:
            self._idle.set()

    def _remove_dropped(self) -> None:
        """Remove one at a time, the oldest first: whatever moment the power fails at, the rest has no hole."""
        doing = "removing old segments"
        while self._dropped:
            with typed_errors(doing):  # A file system that copies on write needs room to remove a file.
                self._disk.unlink(segment_name(self._dropped[0].number))
            with fatal_errors(doing):
                self._disk.sync_names()
            self._dropped.popleft()

    @property
    def live_bytes(self) -> int:
        """Bytes of the segments in use, of the last one as far as it is written."""
        return sum(header.size for header in self._headers[:-1]) + (self._current.end if self._current else 0)

    def drop_before(self, first_index: int) -> None:
        """Have the segments removed that hold nothing but entries before *first_index*."""
        if self._current is None or not self._current.holds_frames:  # Term and vote are in its first frame.
            return
        kept = max((n for n, header in enumerate(self._headers) if header.base_index < first_index), default=0)
        if kept:
            self._dropped.extend(self._headers[:kept])
            del self._headers[:kept]
            self.tidy()

    def close(self) -> None:
        """Give the files back, once nothing runs in the background; a disk that hangs keeps them."""
        if not self._idle.wait(CLOSE_WITHIN_S):
            return
        for file in (self._spare, self._current.file if self._current else None):
            if file is not None:
                file.close()
        self._spare = self._current = None

    def require_disk(self) -> None:
        """Raise DiskFailed when the disk has failed before."""
        if self.failure is not None:
            raise DiskFailed(f"what the disk holds is not known since it failed: {self.failure}") from self.failure
