"""Journals on a simulated disk, small enough to be filled and broken quickly."""

import errno
import os
from collections.abc import Callable
from random import Random

from raftsman.raft.journal import Journal, LogEntry
from tests.harness.simulated_disk import Crash, Operation, SimulatedDisk

SEGMENT_BYTES = 4096 + 512


def at_once(work: Callable[[], None]) -> None:
    work()


def new_disk(seed: int = 1) -> SimulatedDisk:
    return SimulatedDisk(Random(seed))


def opened(disk: SimulatedDisk, *, keep_behind: int = 0, snapshot_index: int = 0) -> Journal:
    """Open the journal as a process that starts would."""
    return Journal.open(
        disk,
        snapshot_index=snapshot_index,
        segment_bytes=SEGMENT_BYTES,
        keep_behind=keep_behind,
        background=at_once,
        new_salt=lambda: disk.random.getrandbits(32),
    )


def entry(index: int, term: int = 1, size: int = 20) -> LogEntry:
    return f"{index}:{term}:".encode().ljust(size, b"x"), index, term


def filled(disk: SimulatedDisk, last: int, *, size: int = 20, keep_behind: int = 0) -> Journal:
    """Return a journal of entries 1 to *last*, each synced by itself."""
    journal = opened(disk, keep_behind=keep_behind)
    for index in range(1, last + 1):
        journal.append(*entry(index, size=size))
        journal.sync()
    return journal


def entries_of(journal: Journal) -> list[LogEntry]:
    return journal.entries(journal.first_index, journal.last_index)


def recorded(disk: SimulatedDisk) -> list[Operation]:
    """Return the list into which the disk's operations go from now on."""
    seen: list[Operation] = []
    disk.before = seen.append
    return seen


def failing(kind: str, number: int = errno.EIO) -> Callable[[Operation], None]:
    """Return what lets every operation of *kind* fail."""

    def before(operation: Operation) -> None:
        if operation.kind == kind:
            raise OSError(number, os.strerror(number))

    return before


def dying_after(operations: int) -> Callable[[Operation], None]:
    """Return what ends the process at the operation after so many."""
    left = iter(range(operations))

    def before(_operation: Operation) -> None:
        if next(left, None) is None:
            raise Crash

    return before
