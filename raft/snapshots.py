"""Snapshots on disk and in transfer: the table up to an entry, so that the journal before it may go.

A snapshot is written by a thread of its own from chunks of a frozen table (``tablecodec``). Under its name it is there
whole or not at all. When one is due, and what that means for the journal, is ``consensus``'s business; how the file
looks is ``chunks``'s.
"""

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgpack

from raftsman.raft.chunks import Passing, pack_chunks, unpack_chunks
from raftsman.raft.disk import (
    REPLACE_THE_NODE,
    UPGRADE_THE_NODE,
    Damaged,
    Disk,
    DiskFailed,
    DiskFile,
    DiskFull,
    discard,
    fatal_errors,
    typed_errors,
)
from raftsman.raft.frames import BadBytes, LogEntry
from raftsman.raft.segment_writer import Background, on_a_thread

TRANSFER_BYTES = 128 << 10
"""A part of a transfer: a millisecond of a gigabit line, so that heartbeats get between them."""
SYNC_EVERY_BYTES = 8 << 20
"""So much is flushed at a time: a journal's fdatasync would wait for all that the file system has yet to write."""

_FORMAT = 1
_NAME = re.compile(r"snapshot-(\d{16})-(\d{16})")
_WRITING, _RECEIVING = "snapshot.writing", "snapshot.receiving"


class SnapshotDamaged(Damaged):
    """A snapshot does not hold what was written."""


class BadTransfer(Exception):
    """What a peer sent is no whole snapshot, and was thrown away. Ask again."""


@dataclass(frozen=True, slots=True, order=True)
class SnapshotId:
    """Which snapshot: index and term of the last entry that is in it."""

    index: int
    term: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"snapshot-{self.index:016d}-{self.term:016d}"


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """The last two entries that are in a snapshot; pysyncobj's core begins a log with them."""

    before: LogEntry
    last: LogEntry

    @property
    def id(self) -> SnapshotId:
        """Which snapshot it is the head of."""
        return SnapshotId(self.last[1], self.last[2])


@dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot that is being read: believe it when all *chunks* have come. They raise SnapshotDamaged, DiskFailed."""

    head: SnapshotHead
    chunks: Iterator[bytes]


@dataclass(slots=True)
class Writing:
    """A snapshot under way; ``error`` says, once it is ``done``, why it came to nothing."""

    head: SnapshotHead
    done: bool = False
    error: BaseException | None = None


class Sender:
    """A peer's transfer of one snapshot: it stays the same one, also when a newer takes its place."""

    def __init__(self, snapshot: SnapshotId, path: str, file: DiskFile, part_bytes: int = TRANSFER_BYTES) -> None:
        self.snapshot = snapshot
        self._path = path
        self._file = file
        self._passing = Passing()
        self._part_bytes = part_bytes
        self._offset = 0

    def next_part(self) -> tuple[bytes, bool, bool]:
        """Return a part, whether it is the first, and whether it is the last, which is empty.

        Raises DiskFailed; SnapshotDamaged at the end, for a peer could only throw it away, and ask again for ever.
        """
        with fatal_errors("reading a snapshot for another node"):
            part = self._file.read_at(self._offset, self._part_bytes)
        first = self._offset == 0
        self._offset += len(part)
        self._passing.add(part)
        if not part and not self._passing.is_whole:
            fault = "what is read from it is not what was written"
            raise SnapshotDamaged(self._path, 0, fault, REPLACE_THE_NODE)
        return part, first, not part

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


@dataclass(slots=True)
class _Growing:
    """A file that is written from its beginning to its end."""

    file: DiskFile
    size: int = 0
    unsynced: int = 0

    def add(self, part: bytes) -> None:
        with typed_errors("writing a snapshot"):
            self.file.write_at(self.size, part)
        self.size += len(part)
        self.unsynced += len(part)
        if self.unsynced >= SYNC_EVERY_BYTES:
            self.sync()

    def sync(self) -> None:
        with fatal_errors("syncing a snapshot"):
            self.file.sync()
        self.unsynced = 0


def snapshot_ids(disk: Disk) -> list[SnapshotId]:
    """Return the snapshots of the folder, the oldest first."""
    found = map(_NAME.fullmatch, disk.names())
    return sorted(SnapshotId(int(each[1]), int(each[2])) for each in found if each)


def read_snapshot(disk: Disk, snapshot: SnapshotId) -> Loaded:
    """Begin to read a snapshot. Raises SnapshotDamaged, DiskFailed, and so does the reading of its chunks."""
    path = disk.path(snapshot.name)
    with fatal_errors(f"opening {path}"):
        file = disk.open(snapshot.name)
    chunks = _checked_chunks(path, file)
    head = _unpack_head(next(chunks, b""), path)
    if head.id != snapshot:
        raise SnapshotDamaged(path, 0, f"it holds the snapshot {head.id.name}: the file was renamed", REPLACE_THE_NODE)
    return Loaded(head, chunks)


def _checked_chunks(path: str, file: DiskFile) -> Iterator[bytes]:
    try:
        with fatal_errors(f"reading {path}"):
            yield from unpack_chunks(file.read_at, file.size())
    except BadBytes as error:
        raise SnapshotDamaged(path, error.offset, error.fault, REPLACE_THE_NODE) from error
    finally:
        file.close()


def _pack_head(head: SnapshotHead) -> bytes:
    packed = msgpack.packb(["snapshot", _FORMAT, head.before, head.last], use_bin_type=True)
    assert packed is not None
    return packed


def _unpack_head(chunk: bytes, path: str) -> SnapshotHead:
    try:
        value: Any = msgpack.unpackb(chunk, raw=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise SnapshotDamaged(path, 0, f"its head is none: {error}", REPLACE_THE_NODE) from error
    match value:
        case ["snapshot", 1, [bytes(), int(), int()] as before, [bytes(), int(), int()] as last]:
            return SnapshotHead((before[0], before[1], before[2]), (last[0], last[1], last[2]))
        case _:
            fault = f"a snapshot of another format than {_FORMAT}, which this program knows"
            raise SnapshotDamaged(path, 0, fault, UPGRADE_THE_NODE)


class SnapshotStore:
    """The snapshots of one folder. The newest counts; once it is durable, older ones are removed.

    ``start`` writes in the background; everything else belongs to the log's thread.
    """

    def __init__(
        self, disk: Disk, *, background: Background = on_a_thread, transfer_bytes: int = TRANSFER_BYTES
    ) -> None:
        self._disk = disk
        self.transfer_bytes = transfer_bytes
        self._background = background
        self._adopting = threading.Lock()
        self._receiving: _Growing | None = None
        self._writing: Writing | None = None
        with fatal_errors("clearing away what an earlier process left"):
            for name in (_WRITING, _RECEIVING):
                discard(disk, name)
        self.newest: SnapshotId | None = max(snapshot_ids(disk), default=None)

    def load(self) -> Loaded | None:
        """Begin to read the newest snapshot, None when there is none. Raises SnapshotDamaged, DiskFailed."""
        return read_snapshot(self._disk, self.newest) if self.newest else None

    # --- writing ---

    def start(self, head: SnapshotHead, chunks: Iterable[bytes]) -> Writing:
        """``write`` in the background, one at a time. Once it is ``done`` without ``error``, trim the journal."""
        assert self._writing is None or self._writing.done, "one snapshot at a time"
        writing = self._writing = Writing(head)
        self._background(lambda: self._run(writing, chunks))
        return writing

    def _run(self, writing: Writing, chunks: Iterable[bytes]) -> None:
        try:
            self.write(writing.head, chunks)
        except BaseException as error:
            writing.error = error
            if not isinstance(error, (DiskFull, DiskFailed)):  # A bug of ours: let it be heard.
                raise
        finally:
            writing.done = True

    def write(self, head: SnapshotHead, chunks: Iterable[bytes]) -> SnapshotId:
        """Write a snapshot and make it durable. Raises DiskFull, after which nothing is left of it, or DiskFailed."""
        growing = self._create(_WRITING)
        try:
            for part in pack_chunks(chain([_pack_head(head)], chunks)):
                growing.add(part)
            growing.sync()
        except DiskFailed:
            growing.file.close()
            raise
        except BaseException:
            self._drop(growing, _WRITING)
            raise
        growing.file.close()
        return self._adopt(head.id, _WRITING)

    def _create(self, name: str) -> _Growing:
        with typed_errors(f"creating {self._disk.path(name)}"):
            return _Growing(self._disk.create(name))

    def _drop(self, growing: _Growing, name: str) -> None:
        growing.file.close()
        with suppress(DiskFull), typed_errors(f"removing {self._disk.path(name)}"):
            discard(self._disk, name)  # Else the next one of the name takes its room.

    def _adopt(self, snapshot: SnapshotId, name: str) -> SnapshotId:
        """Give a synced file its name for good, and remove the snapshots before the newest."""
        with self._adopting:
            with typed_errors(f"naming {self._disk.path(snapshot.name)}"):
                self._disk.rename(name, snapshot.name)
            with fatal_errors("syncing the folder of the snapshots"):
                self._disk.sync_names()
            self.newest = max(snapshot, self.newest or snapshot)
            self._remove_older(self.newest)
        return snapshot

    def _remove_older(self, newest: SnapshotId) -> None:
        # A file system that copies on write needs room to remove a file: the next snapshot takes along what stays.
        with suppress(DiskFull), typed_errors("removing old snapshots"):
            for each in snapshot_ids(self._disk):
                if each < newest:
                    discard(self._disk, each.name)

    # --- transfer ---

    def sender(self) -> Sender | None:
        """Begin to hand the newest snapshot to a peer; None when there is none. Raises DiskFailed."""
        with self._adopting:  # Or it might be removed between the question and the opening.
            if self.newest is None:
                return None
            with fatal_errors("opening a snapshot for another node"):
                name = self.newest.name
                return Sender(self.newest, self._disk.path(name), self._disk.open(name), self.transfer_bytes)

    def receive(self, part: bytes, *, first: bool, last: bool) -> SnapshotId | None:
        """Take a part of a peer's snapshot; with the last, check all of it, make it durable, and return which it is.

        Raises BadTransfer or DiskFull, after which the transfer must begin anew, or DiskFailed.
        """
        if first:
            self._give_up()
            self._receiving = self._create(_RECEIVING)
        if self._receiving is None:
            raise BadTransfer("a part of a snapshot whose beginning did not come")
        try:
            self._receiving.add(part)
            if not last:
                return None
            self._receiving.sync()
            snapshot = self._received(self._receiving.file)
        except (BadTransfer, DiskFull):
            self._give_up()
            raise
        self._receiving.file.close()
        self._receiving = None
        return self._adopt(snapshot, _RECEIVING)

    def _received(self, file: DiskFile) -> SnapshotId:
        """Return which snapshot *file* holds, when it is whole and newer than ours."""
        path = "a snapshot from another node"
        try:
            with fatal_errors(f"reading {path}"):
                chunks = unpack_chunks(file.read_at, file.size())
                snapshot = _unpack_head(next(chunks, b""), path).id
                for _ in chunks:
                    pass
        except BadBytes as error:
            raise BadTransfer(f"offset {error.offset}: {error.fault}") from error
        except SnapshotDamaged as error:
            raise BadTransfer(str(error)) from error
        if self.newest is not None and snapshot < self.newest:
            raise BadTransfer(f"{snapshot.name} is older than {self.newest.name}, which this node has")
        return snapshot

    def _give_up(self) -> None:
        growing, self._receiving = self._receiving, None
        if growing is not None:
            self._drop(growing, _RECEIVING)

    def close(self) -> None:
        """Give the files of transfers back; a snapshot that is being written is left to its thread."""
        self._give_up()
