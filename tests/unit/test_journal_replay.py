"""Whole frames that say what cannot be: made by a bug or by mixed folders, and refused like any other damage."""

import pytest

from raftsman.raft import frames
from raftsman.raft.frames import LogEntry, Meta, Record, Reset, SegmentHeader
from raftsman.raft.segments import JournalDamaged, Replay, read_segments, segment_name
from tests.harness.simulated_disk import SimulatedDisk
from tests.unit.journals import SEGMENT_BYTES, entry, new_disk


def packed(record: Record) -> bytes:
    match record:
        case Meta():
            return frames.pack_meta(record)
        case Reset():
            return frames.pack_reset(record)
        case _:
            return frames.pack_entry(record)


def put_segment(disk: SimulatedDisk, number: int, *records: Record, follows: tuple[int, int] = (0, 0)) -> int:
    """Write a sealed segment with one frame for each record; return the offset of the last frame."""
    header = SegmentHeader(number=number, size=SEGMENT_BYTES, base_index=follows[0], base_term=follows[1], salt=number)
    content, last = frames.pack_header(header), 0
    for record in records:
        last = len(content)
        content += frames.pack_frame(packed(record), header, last)
    seal = frames.seal_offset(len(content))
    content = content.ljust(seal, b"\0") + frames.pack_seal(header, seal)
    disk.create(segment_name(number)).write_at(0, content.ljust(SEGMENT_BYTES, b"\0"))
    return last


@pytest.mark.parametrize(
    ("records", "fault"),
    [
        ([entry(1), entry(3)], "entry 3 follows entry 1: entries are missing"),
        ([entry(2)], "entry 2 follows entry 0"),
        ([entry(1, 5), entry(2, 4)], "entry 2 has term 4, the one before it term 5"),
        ([Meta(term=5), Meta(term=4)], "term 4 follows term 5"),
        ([Reset(9, 2), entry(9, 2)], "stands behind the snapshot that replaced everything up to entry 9"),
        ([Reset(9, 2), entry(11, 2)], "entry 11 follows entry 9"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(records: list[Record], fault: str) -> None:
    disk = new_disk()
    offset = put_segment(disk, 1, *records)
    with pytest.raises(JournalDamaged, match=fault) as caught:
        read_segments(disk)
    assert (caught.value.file, caught.value.offset) == (f"disk/{segment_name(1)}", offset)


def test_a_commit_index_behind_the_end_means_that_entries_are_missing() -> None:
    disk = new_disk()
    put_segment(disk, 1, entry(1), Meta(term=1, commit_index=2))
    with pytest.raises(JournalDamaged, match="ends at entry 1, although 2 was committed"):
        read_segments(disk)


@pytest.mark.parametrize("follows", [(2, 1), (0, 0), (1, 2)])
def test_a_segment_follows_the_entry_that_its_header_names(follows: tuple[int, int]) -> None:
    disk = new_disk()
    put_segment(disk, 1, entry(1))
    put_segment(disk, 2, entry(2), follows=follows)
    with pytest.raises(JournalDamaged, match="the one before it ends at entry 1") as caught:
        read_segments(disk)
    assert caught.value.offset == 0


def test_a_journal_of_nothing_but_an_empty_later_segment_has_lost_term_and_vote() -> None:
    disk = new_disk()
    put_segment(disk, 7, follows=(90, 2))
    with pytest.raises(JournalDamaged, match="older segments were removed"):
        read_segments(disk)


def test_a_truncation_may_reach_below_the_first_segment_that_is_left() -> None:
    disk = new_disk()
    wanted: list[LogEntry] = [entry(89, 3), entry(90, 3)]
    put_segment(disk, 7, Meta(term=3), *wanted, follows=(90, 2))
    replay: Replay = read_segments(disk)
    assert (replay.base_index, replay.entries) == (88, wanted)


@pytest.mark.parametrize(
    "payload", [b"\x01short", b"\x02", packed(entry(1))[:-1], packed(Meta(term=1, vote="alpha"))[:-1] + b"\xff\xff"]
)
def test_a_frame_that_holds_no_records_is_refused(payload: bytes) -> None:
    with pytest.raises(frames.BadBytes):
        list(frames.unpack_records(memoryview(payload)))


def test_records_come_back_as_they_were() -> None:
    records: list[Record] = [Meta(), Meta(term=2**63, vote="", commit_index=7), entry(1), (b"", 2, 0), Reset(8, 9)]
    payload = b"".join(map(packed, records))
    assert list(frames.unpack_records(memoryview(payload))) == records
