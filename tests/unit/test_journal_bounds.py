"""What the journal gives back, says once and names exactly, and what a start finds unfinished."""

import errno
from collections.abc import Callable
from random import Random

import pytest

from raftsman.raft import segment_writer
from raftsman.raft.disk import DiskFailed, DiskFull
from raftsman.raft.frames import HEADER_BYTES, Meta, Reset
from raftsman.raft.segment_writer import SegmentWriter
from raftsman.raft.segments import JournalDamaged, read_segments, segment_name
from tests.harness.simulated_disk import SimulatedDisk
from tests.unit.journals import SEGMENT_BYTES, entries_of, entry, failing, filled, new_disk, opened, recorded
from tests.unit.test_journal_replay import put_segment

FIRST = segment_name(1)


# --- files ------------------------------------------------------------------------------------


def test_a_journal_has_two_files_open_the_one_it_writes_and_the_next() -> None:
    disk = new_disk()
    journal = filled(disk, 200, size=200)
    assert len(disk.names()) > 5
    assert disk.open_files == 2
    journal.close()
    assert disk.open_files == 0
    journal.close()
    journal.abandon()
    assert disk.open_files == 0, "once"
    again = opened(disk)
    assert disk.open_files == 1, "only what it writes to; room is reserved later"
    again.abandon()
    assert disk.open_files == 0


@pytest.mark.parametrize("kind", ["write", "rename", "create"])
def test_a_segment_that_finds_no_room_leaves_no_file_open(kind: str) -> None:
    disk = new_disk()
    journal = filled(disk, 30)
    journal.append(*entry(31, size=SEGMENT_BYTES))
    before, disk.before = disk.open_files, failing(kind, errno.ENOSPC)
    for _ in range(3):
        with pytest.raises(DiskFull):
            journal.sync()
    assert disk.open_files == before


def test_room_that_cannot_be_reserved_leaves_no_file_open_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    disk = new_disk()
    disk.capacity_bytes = SEGMENT_BYTES + 100
    journal = filled(disk, 1)
    for _ in range(3):
        journal.tick()
        assert (journal.full, disk.open_files, disk.names()) == (True, 1, [FIRST])
    disk.capacity_bytes = None
    for _ in range(3):
        journal.tick()
        assert (journal.full, disk.open_files) == (False, 2)
    assert [record.message.partition(" for disk/")[0] for record in caplog.records] == [
        "no room while reserving 4608 bytes",
        "there is room for the journal's next segment again: this node accepts what is new",
    ]


def test_a_background_that_could_not_begin_is_tried_again() -> None:
    works: list[Callable[[], None]] = []

    def no_thread(work: Callable[[], None]) -> None:
        works.append(work)
        raise RuntimeError("can't start new thread")

    writer = SegmentWriter(new_disk(), segment_bytes=SEGMENT_BYTES, background=no_thread, new_salt=lambda: 1)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            writer.tidy()
    assert len(works) == 2


def test_one_work_at_a_time_runs_in_the_background_and_none_on_a_disk_that_failed() -> None:
    works: list[Callable[[], None]] = []
    disk = new_disk()
    writer = SegmentWriter(disk, segment_bytes=SEGMENT_BYTES, background=works.append, new_salt=lambda: 1)
    for _ in range(3):
        writer.tidy()
    assert len(works) == 1
    works.pop()()
    writer.tidy()
    assert (works, disk.names()) == ([], ["journal.spare"]), "there is nothing to do"
    again = SegmentWriter(disk, segment_bytes=SEGMENT_BYTES, background=works.append, new_salt=lambda: 1)
    again.failure = DiskFailed("it did")
    again.tidy()
    assert works == []


def test_a_close_leaves_its_files_to_a_background_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_writer, "CLOSE_WITHIN_S", 0.01)
    works: list[Callable[[], None]] = []
    disk = new_disk()
    writer = SegmentWriter(disk, segment_bytes=SEGMENT_BYTES, background=works.append, new_salt=lambda: 1)
    writer.append(b"", (0, 0))
    writer.close()
    assert (len(works), disk.open_files) == (1, 1), "it may be in the middle of something"
    works.pop()()
    writer.close()
    writer.close()
    assert disk.open_files == 0


# --- a start ----------------------------------------------------------------------------------


def test_what_a_start_finds_is_written_again_behind_it_zeros_and_all_of_it_synced() -> None:
    disk = new_disk()
    filled(disk, 3).abandon()
    end = len(disk.content(FIRST).rstrip(b"\0"))
    disk.open(FIRST).write_at(end, b"\xf5RMf half a frame")
    disk.create("journal.next").write_at(0, b"?")
    disk.kill()
    seen = recorded(disk)
    journal = opened(disk)
    assert [(each.kind, each.name, each.offset, each.size) for each in seen if each.kind not in ("open", "read")] == [
        ("unlink", "journal.spare", 0, 0),
        ("unlink", "journal.next", 0, 0),
        ("sync-names", "", 0, 0),
        ("write", FIRST, 0, end),
        ("write", FIRST, end, 17),
        ("sync", FIRST, 0, 0),
    ]
    assert journal.torn == f"disk/{FIRST}: offset {end}: a write of at least 17 bytes was not finished"
    assert (journal.torn_frames, entries_of(journal)) == (1, [entry(1), entry(2), entry(3)])


def test_a_new_segment_is_durable_before_it_has_its_name_and_its_name_before_the_first_entry() -> None:
    disk = new_disk()
    seen = recorded(disk)
    filled(disk, 1)
    first = [each for each in seen if each.name in (FIRST, "journal.next", "")]
    zeros, header, frame = [each for each in first if each.kind == "write"]
    assert (zeros.size, header.offset, header.size, frame.offset) == (SEGMENT_BYTES, 0, HEADER_BYTES, HEADER_BYTES)
    assert [each.kind for each in first] == [
        "create", "write", "sync", "write", "sync", "rename", "sync-names", "write", "sync",
    ]  # fmt: skip


def test_a_full_journal_says_so_until_something_was_written() -> None:
    disk = new_disk()
    journal = filled(disk, 1)
    journal.append(*entry(2))
    disk.before = failing("write", errno.ENOSPC)
    with pytest.raises(DiskFull):
        journal.sync()
    disk.before = lambda _operation: None
    journal.tick()
    assert journal.full, "there is room for a segment; whether there is for this write is not known"
    journal.sync()
    assert not journal.full


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, SEGMENT_BYTES - 1])
def test_a_segment_that_is_too_short_is_refused_at_its_end(size: int) -> None:
    disk = new_disk()
    filled(disk, 3).abandon()
    content = disk.content(FIRST)
    disk.create(FIRST).write_at(0, content[:size])
    disk.kill()
    with pytest.raises(JournalDamaged) as caught:
        opened(disk)
    assert (caught.value.file, caught.value.offset) == (f"disk/{FIRST}", size)


# --- what is written --------------------------------------------------------------------------


def test_a_reset_alone_is_written_and_what_follows_it_stands_behind_it() -> None:
    disk = new_disk()
    journal = filled(disk, 3)
    journal.reset(9, 2)
    assert journal.sync()
    assert not journal.sync()
    journal.append(*entry(10, 2, size=SEGMENT_BYTES))  # It begins a segment, whose header names what it follows.
    journal.sync()
    disk.kill()
    again = opened(disk, snapshot_index=9)
    assert (again.first_index, entries_of(again)) == (10, [entry(10, 2, size=SEGMENT_BYTES)])


def test_a_commit_index_alone_is_written_when_it_is_asked_for() -> None:
    disk = new_disk()
    journal = filled(disk, 2)
    journal.set_commit(2)
    assert not journal.sync()
    assert journal.sync(also_commit=True)
    assert not journal.sync(also_commit=True)
    disk.kill()
    assert opened(disk).commit_index == 2


def test_a_commit_index_is_written_no_further_than_the_entries_go() -> None:
    """It is a hint; a journal that ended before what it says is committed would be refused."""
    disk = new_disk()
    journal = filled(disk, 2)
    journal.set_commit(9)
    assert journal.sync(also_commit=True)
    disk.kill()
    again = opened(disk)
    assert (again.commit_index, again.last_index) == (2, 2)


def test_what_a_reset_replaced_does_not_come_back_where_older_segments_are_gone() -> None:
    disk = new_disk()
    put_segment(disk, 7, Meta(term=3), Reset(95, 2), entry(95, 3), follows=(90, 2))
    with pytest.raises(JournalDamaged, match="stands behind the snapshot that replaced everything up to entry 95"):
        read_segments(disk)


@pytest.mark.parametrize(("size", "segments"), [(0, 1), (1, 2)])
def test_a_segment_is_filled_to_the_last_byte_that_a_seal_leaves(size: int, segments: int) -> None:
    disk = SimulatedDisk(Random(1))
    journal = filled(disk, 1)
    room = SEGMENT_BYTES - 544 - len(disk.content(FIRST).rstrip(b"\0"))
    frame = 16 + 20 + 21  # Its own words, a Meta's, and an entry's.
    journal.append(*entry(2, size=room - frame + size))
    journal.sync()
    assert len([name for name in disk.names() if name != "journal.spare"]) == segments
    journal.close()
    assert opened(disk).last_index == 2


def test_an_operation_of_a_disk_that_failed_is_never_tried_again() -> None:
    disk = new_disk()
    journal = filled(disk, 2)
    journal.append(*entry(3))
    disk.before = failing("sync", errno.EIO)
    with pytest.raises(DiskFailed):
        journal.sync()
    seen = recorded(disk)
    for again in (journal.sync, journal._writer.seal, lambda: journal._writer.append(b"", (2, 1))):
        with pytest.raises(DiskFailed, match="since it failed"):
            again()
    journal.tick()
    journal.close()
    assert seen == []
