"""What the journal costs over the disk it stands on: syncs and megabytes a second, against a bare write and fdatasync.

    python -m benchmarks.journal [--folder DIR] [--seconds 2]

Both write the same number of bytes to a file of zeros, in turns, so that they meet the same disk. A share near 1 says
that the disk is the limit. Of a file system in memory the figures say what the code alone costs.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from raftsman.raft.disk import RealDisk, fill_with_zeros
from raftsman.raft.journal import SEGMENT_BYTES, Journal

COMMAND_BYTES = 250
ENTRIES_PER_SYNC = (1, 16, 256, 2048)
ROUNDS = 3


def main() -> None:
    """Measure and print one line for each number of entries that come together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: a temporary folder)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    options = parser.parse_args()
    print(f"{'entries a sync':>14}{'syncs/s':>10}{'bare':>10}{'share':>8}{'entries/s':>12}{'MB/s':>8}")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for entries in ENTRIES_PER_SYNC:
            print(_line(entries, *_measure(Path(name) / str(entries), entries, options.seconds / ROUNDS)))


def _measure(folder: Path, entries: int, seconds: float) -> tuple[float, float]:
    """Return the syncs a second of the journal, and of the bare file: the best of some turns each."""
    disk = RealDisk(folder)
    journal = Journal.open(disk)
    command = os.urandom(COMMAND_BYTES)

    def sync_journal() -> None:
        first = journal.last_index + 1
        for index in range(first, first + entries):
            journal.append(command, index, 1)
        journal.sync()

    file = disk.create("bare")
    fill_with_zeros(file, 0, SEGMENT_BYTES)
    file.sync()
    block = os.urandom(entries * (COMMAND_BYTES + 21) + 36)
    places = SEGMENT_BYTES // len(block)
    written = 0

    def sync_bare() -> None:
        nonlocal written
        file.write_at(written % places * len(block), block)
        file.sync()
        written += 1

    rates = [(_rate(sync_journal, seconds), _rate(sync_bare, seconds)) for _ in range(ROUNDS)]
    file.close()
    journal.close()
    return max(rate for rate, _ in rates), max(rate for _, rate in rates)


def _rate(sync: Callable[[], None], seconds: float) -> float:
    sync()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        sync()
        count += 1
    return count / (time.perf_counter() - began)


def _line(entries: int, journal: float, bare: float) -> str:
    megabytes = journal * entries * COMMAND_BYTES / 1e6
    return f"{entries:14}{journal:10.0f}{bare:10.0f}{journal / bare:8.2f}{journal * entries:12.0f}{megabytes:8.1f}"


if __name__ == "__main__":
    main()
