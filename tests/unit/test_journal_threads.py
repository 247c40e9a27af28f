"""The journal and its background thread at the same file: real files, two threads that meet where it hurts."""

import threading
from pathlib import Path

import pytest

from raftsman.raft.disk import RealDisk, RealFile
from raftsman.raft.journal import Journal
from raftsman.raft.segment_writer import SegmentWriter

SEGMENT_BYTES = 64 << 10
WITHIN_S = 10.0


class MeetingPlaces(RealDisk):
    """A folder in which the background stops behind the first old segment that it removes, until a spare is named."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_armed = False
        self.removing, self.naming, self.created = threading.Event(), threading.Event(), threading.Event()

    def unlink(self, name: str) -> None:
        super().unlink(name)
        if self.is_armed and name.startswith("journal-"):
            self.removing.set()
            assert self.naming.wait(WITHIN_S)

    def create(self, name: str) -> RealFile:
        file = super().create(name)
        if self.is_armed and name == "journal.spare":
            self.created.set()
        return file

    def rename(self, old: str, new: str) -> None:
        if self.is_armed and old == "journal.spare":
            self.naming.set()  # Its header is written; now the background has a moment.
            self.created.wait(0.5)
        super().rename(old, new)


def add(journal: Journal) -> None:
    journal.append(b"\x00" + b"x" * 5000, journal.last_index + 1, 1)
    journal.set_commit(journal.last_index)
    journal.sync()


def test_the_background_never_touches_a_segment_that_is_being_begun(tmp_path: Path) -> None:
    disk = MeetingPlaces(tmp_path)
    journal = Journal.open(disk, segment_bytes=SEGMENT_BYTES, keep_behind=1)
    for _ in range(40):
        add(journal)
    writer = journal._writer
    for _ in range(2):
        assert writer._idle.wait(WITHIN_S)
        journal.tick()
    assert writer._idle.wait(WITHIN_S)
    assert writer._spare is not None
    disk.is_armed = True
    journal.trim(journal.last_index)  # A compaction: old segments go, in the background.
    assert disk.removing.wait(WITHIN_S)
    number = writer._headers[-1].number
    while writer._headers[-1].number == number:
        add(journal)
    assert writer._idle.wait(WITHIN_S)
    for _ in range(30):
        add(journal)
    synced = journal.last_index
    journal.abandon()
    assert Journal.open(RealDisk(tmp_path), snapshot_index=synced, segment_bytes=SEGMENT_BYTES).last_index == synced


def test_a_background_that_cannot_begin_is_told_and_waited_for_by_nobody(tmp_path: Path) -> None:
    def no_thread(_work: object) -> None:
        raise RuntimeError("can't start new thread")

    writer = SegmentWriter(RealDisk(tmp_path), segment_bytes=SEGMENT_BYTES, background=no_thread, new_salt=lambda: 1)
    with pytest.raises(RuntimeError, match="can't start"):
        writer.tidy()
    writer.close()
