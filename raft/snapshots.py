"""Snapshots on disk and in transfer: the table up to an entry, so that the journal before it may go.

A snapshot is written by whoever calls ``write`` (a thread of its own in the product) from chunks of a frozen table
(``tablecodec``); it is there, whole, under its name, or it is not there at all. When one is due is ``consensus``'s
business.

Interface for raft/consensus.py (being filled in):

    store = SnapshotStore.open(disk)                       # checks every byte of the newest; raises SnapshotDamaged
    loaded = store.load()                                  # None, or Loaded(head, chunks): table_of(loaded.chunks)
    job = store.start(head, table_chunks(frozen))          # in the background; poll job.done / job.error
    store.newest → SnapshotId(index, term) | None          # what a transfer sends
    sender = store.sender()                                # sender.next() → (part, first, last)
    store.receive(part, first, last) → SnapshotId | None   # on last: checksum verified, fsync, rename, dir fsync
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from raftsman.raft.disk import Damaged, Disk
from raftsman.raft.journal import LogEntry

TRANSFER_BYTES = 256 << 10


class SnapshotDamaged(Damaged):
    """A snapshot does not hold what was written. Has file, offset, fault, advice."""


class BadTransfer(Exception):
    """What a peer sent is no whole snapshot; it was thrown away. Ask again."""


@dataclass(frozen=True, slots=True, order=True)
class SnapshotId:
    """Which snapshot: the last entry that is in it."""

    index: int
    term: int


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """The last two entries in the snapshot, which pysyncobj's core puts at the beginning of a log."""

    before: LogEntry
    last: LogEntry


@dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot whose every byte has been checked."""

    head: SnapshotHead
    chunks: Iterator[bytes]


class Writing:
    """A snapshot under way. ``done``: over, well or not; ``error``: DiskFull, DiskFailed or None; ``head``."""

    head: SnapshotHead
    done: bool
    error: Exception | None


class Sender:
    """One peer's transfer of the newest snapshot (held open: it goes on when a newer one replaces it)."""

    def next(self) -> tuple[bytes, bool, bool]:
        """Return (part, is first, is last); the last part is empty, as in pysyncobj."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the file back."""
        raise NotImplementedError


class SnapshotStore:
    """The snapshots of one folder. The newest counts; older ones are removed once it is durable."""

    newest: SnapshotId | None

    @classmethod
    def open(cls, disk: Disk, *, background: Callable[[Callable[[], None]], None] | None = None) -> "SnapshotStore":
        """Find the newest snapshot and remove what was left half written. Raises SnapshotDamaged, DiskFailed."""
        raise NotImplementedError

    def load(self) -> Loaded | None:
        """Return the newest snapshot, None when there is none. Raises SnapshotDamaged before anything is handed out."""
        raise NotImplementedError

    def write(self, head: SnapshotHead, chunks: Iterable[bytes]) -> SnapshotId:
        """Write, fsync, rename, fsync the folder. Raises DiskFull (nothing is left behind) or DiskFailed."""
        raise NotImplementedError

    def start(self, head: SnapshotHead, chunks: Iterable[bytes]) -> Writing:
        """``write`` in the background; one at a time. Trim the journal when ``done`` and not ``error``."""
        raise NotImplementedError

    def sender(self) -> Sender | None:
        """Return a transfer of the newest snapshot from its beginning, None when there is none."""
        raise NotImplementedError

    def receive(self, part: bytes, *, first: bool, last: bool) -> SnapshotId | None:
        """Take a part of a peer's snapshot; with the last, check it whole, make it durable and return which it is.

        Raises BadTransfer, DiskFull, DiskFailed; in each case what came so far is gone.
        """
        raise NotImplementedError
