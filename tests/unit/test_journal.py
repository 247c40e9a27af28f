"""The journal: what was synced is there again, one sync costs one write, and old segments go."""

from dataclasses import replace

import pytest

from raftsman.raft import frames
from raftsman.raft.journal import KEEP_BEHIND_BYTES, Journal
from raftsman.raft.segments import JournalDamaged
from tests.harness.simulated_disk import SimulatedDisk
from tests.unit.journals import SEGMENT_BYTES, at_once, entries_of, entry, filled, new_disk, opened, recorded

FIRST = "journal-0000000000000001"


def test_what_was_synced_is_there_after_a_kill() -> None:
    disk = new_disk()
    journal = filled(disk, 3)
    journal.set_vote(4, "beta")
    journal.set_commit(2)
    journal.sync()
    disk.kill()
    again = opened(disk)
    assert entries_of(again) == [entry(1), entry(2), entry(3)]
    assert (again.term, again.vote, again.commit_index) == (4, "beta", 2)
    assert (again.first_index, again.last_index, again.last_term, again.synced_index) == (1, 3, 1, 3)
    assert not again.torn
    assert not again.fresh


def test_what_was_not_synced_is_not_there() -> None:
    disk = new_disk()
    journal = filled(disk, 1)
    journal.append(*entry(2))
    assert journal.synced_index == 1
    disk.kill()
    assert entries_of(opened(disk)) == [entry(1)]


def test_a_folder_without_a_journal_is_fresh() -> None:
    journal = opened(new_disk())
    assert journal.fresh
    assert (journal.first_index, journal.last_index, journal.last_term, journal.term) == (1, 0, 0, 0)
    assert journal.vote is None


def test_a_sync_is_one_write_and_one_fdatasync_whatever_came_together() -> None:
    disk = new_disk()
    journal = filled(disk, 1)
    seen = recorded(disk)
    journal.set_vote(2, "alpha")
    for index in range(2, 30):
        journal.append(*entry(index, 2))
    assert journal.sync()
    assert [operation.kind for operation in seen] == ["write", "sync"]


def test_a_sync_without_news_touches_nothing() -> None:
    disk = new_disk()
    journal = filled(disk, 2)
    seen = recorded(disk)
    journal.set_commit(2)
    assert not journal.sync()
    assert seen == []


def test_a_commit_index_travels_with_the_next_frame_or_after_a_second() -> None:
    disk = new_disk()
    journal = filled(disk, 3)
    journal.set_commit(2)
    journal.append(*entry(4))
    journal.sync()
    journal.set_commit(4)
    journal.tick()
    assert journal.sync()
    assert not journal.sync()
    disk.kill()
    assert opened(disk).commit_index == 4


def test_an_entry_with_a_lower_index_replaces_what_follows_it() -> None:
    disk = new_disk()
    journal = filled(disk, 5)
    journal.truncate(3)
    assert (journal.last_index, journal.synced_index) == (2, 2)
    journal.append(*entry(3, 2))
    journal.sync()
    disk.kill()
    assert entries_of(opened(disk)) == [entry(1), entry(2), entry(3, 2)]


def test_nothing_is_ever_rewritten() -> None:
    disk = new_disk()
    journal = filled(disk, 5)
    before = disk.content(FIRST)
    written = before.rstrip(b"\0")
    journal.truncate(2)
    journal.append(*entry(2, 7))
    journal.sync()
    assert disk.content(FIRST).startswith(written)


def test_a_committed_entry_cannot_be_truncated() -> None:
    journal = filled(new_disk(), 3)
    journal.set_commit(2)
    with pytest.raises(AssertionError, match="committed"):
        journal.truncate(2)


def test_a_second_vote_in_a_term_is_a_bug() -> None:
    journal = opened(new_disk())
    journal.set_vote(3, "alpha")
    with pytest.raises(AssertionError, match="second vote"):
        journal.set_vote(3, "beta")
    with pytest.raises(AssertionError, match="follows term 3"):
        journal.set_vote(2, None)


def test_a_reset_begins_anew_behind_a_snapshot() -> None:
    disk = new_disk()
    journal = filled(disk, 5)
    journal.reset(90, 4)
    journal.append(*entry(91, 4))
    journal.sync()
    disk.kill()
    again = opened(disk, snapshot_index=90)
    assert entries_of(again) == [entry(91, 4)]
    assert (again.first_index, again.term_at(90), again.term_at(89)) == (91, 4, None)


def test_a_journal_that_begins_behind_the_newest_snapshot_is_refused() -> None:
    disk = new_disk()
    journal = opened(disk)
    journal.reset(90, 4)
    journal.sync()
    disk.kill()
    with pytest.raises(JournalDamaged, match="begins at entry 91, but the newest snapshot ends at entry 80"):
        opened(disk, snapshot_index=80)
    with pytest.raises(JournalDamaged, match="there is no snapshot"):
        opened(disk)


# --- segments ---------------------------------------------------------------------------------


def test_segments_are_reserved_beforehand_and_full_ones_sealed() -> None:
    disk = new_disk()
    journal = filled(disk, 200)
    names = disk.names()
    assert names[-1] == "journal.spare"
    assert len(names) > 3
    assert all(len(disk.content(name)) == SEGMENT_BYTES for name in names)
    full = frames.unpack_segment(disk.content(names[0]), last=False)
    assert full.sealed
    disk.kill()
    assert entries_of(opened(disk)) == [entry(index) for index in range(1, 201)]
    assert journal.live_bytes > SEGMENT_BYTES * 3


def test_a_sync_larger_than_a_segment_gets_one_of_its_own() -> None:
    disk = new_disk()
    journal = filled(disk, 1)
    large = (b"y" * 3 * SEGMENT_BYTES, 2, 1)
    journal.append(*large)
    journal.append(*entry(3))
    journal.sync()
    disk.lose_power()
    assert entries_of(opened(disk)) == [entry(1), large, entry(3)]


def test_trimming_removes_whole_old_segments_and_keeps_entries_behind() -> None:
    disk = new_disk()
    journal = filled(disk, 300, keep_behind=50)
    segments = len(disk.names())
    journal.trim(200)
    assert journal.first_index == 151
    assert len(disk.names()) < segments
    disk.kill()
    again = opened(disk, snapshot_index=200)
    assert 1 < again.first_index <= 151
    assert entries_of(again)[-150:] == [entry(index) for index in range(151, 301)]


def test_5000_entries_stay_behind_a_compaction_for_whoever_is_slightly_late() -> None:
    journal = Journal.open(new_disk(), background=at_once)
    for index in range(1, 6_001):
        journal.append(*entry(index))
    journal.sync()
    journal.trim(5_900)
    assert journal.first_index == 901


def test_large_entries_are_not_kept_by_the_thousand() -> None:
    disk = new_disk()
    journal = opened(disk, keep_behind=5_000)
    for index in range(1, 101):
        journal.append(bytes(1 << 19), index, 1)
        journal.sync()
    journal.trim(90)
    assert journal.first_index == 90 - (KEEP_BEHIND_BYTES >> 19) + 1


def test_term_and_vote_survive_the_removal_of_the_segment_they_were_first_written_to() -> None:
    disk = new_disk()
    journal = opened(disk)
    journal.set_vote(1, "gamma")
    for index in range(1, 301):
        journal.append(*entry(index))
        journal.sync()
    journal.trim(300)
    disk.kill()
    again = opened(disk, snapshot_index=300)
    assert (again.term, again.vote) == (1, "gamma")


def test_entries_that_replace_others_may_begin_a_segment_whose_predecessors_are_gone() -> None:
    disk = new_disk()
    journal = opened(disk)
    for index in range(1, 40):
        journal.append(*entry(index, size=100))
        journal.sync()
    number = len(disk.names())
    while len(disk.names()) == number:  # Until a frame that truncates is the first of a segment.
        journal.truncate(38)
        journal.append(*entry(38, journal.last_term + 1, size=100))
        journal.append(*entry(39, journal.last_term, size=100))
        journal.sync()
    expected = entries_of(journal)
    for index in range(40, 120):
        journal.append(*entry(index, journal.last_term, size=100))
        journal.sync()
    journal.trim(60)
    disk.kill()
    again = opened(disk, snapshot_index=60)
    assert again.entries(61, 119) == journal.entries(61, 119)
    assert expected[-1][1] == 39


def test_a_missing_segment_is_a_hole() -> None:
    disk = new_disk()
    filled(disk, 200)
    disk.kill()
    disk.unlink("journal-0000000000000002")
    with pytest.raises(JournalDamaged, match="disk/journal-0000000000000002: offset 0: the file is missing"):
        opened(disk)


def test_a_missing_first_segment_is_a_gap_before_the_snapshot() -> None:
    disk = new_disk()
    filled(disk, 200)
    disk.kill()
    disk.unlink(FIRST)
    with pytest.raises(JournalDamaged, match="there is no snapshot"):
        opened(disk)


def test_a_segment_under_another_name_is_refused() -> None:
    disk = new_disk()
    filled(disk, 1)
    disk.kill()
    disk.rename(FIRST, "journal-0000000000000002")
    with pytest.raises(JournalDamaged, match="this is segment 1"):
        opened(disk)


# --- ends -------------------------------------------------------------------------------------


def test_a_clean_stop_seals_and_a_start_goes_on_behind_the_seal() -> None:
    disk = new_disk()
    for round_ in range(1, 6):
        journal = opened(disk)
        journal.append(*entry(round_))
        journal.close()
        journal.close()
        assert disk.open_files == 0
        disk.kill()
    again = opened(disk)
    assert entries_of(again) == [entry(index) for index in range(1, 6)]
    assert not again.torn


def test_a_torn_end_is_cut_named_and_counted_and_the_journal_goes_on() -> None:
    disk = new_disk()
    filled(disk, 3)
    end = len(disk.content(FIRST).rstrip(b"\0"))
    disk.kill()
    disk.flip(FIRST, end - 5)
    journal = opened(disk)
    assert entries_of(journal) == [entry(1), entry(2)]
    assert journal.torn_frames == 1
    assert journal.torn.startswith(f"disk/{FIRST}: offset ")
    journal.append(*entry(3, 2))
    journal.sync()
    disk.kill()
    again = opened(disk)
    assert entries_of(again) == [entry(1), entry(2), entry(3, 2)]
    assert again.torn_frames == 0


def forged_frame(*, salt: int | None) -> tuple[SimulatedDisk, int]:
    """Return a disk whose third entry's command holds a frame, made for where it stands, and the offset of its own."""
    length = 60
    probe, disk = (new_disk(), new_disk())
    journal = filled(probe, 2)
    journal.append(b"?" * length, 3, 1)
    journal.sync()
    content = probe.content(FIRST)
    header = frames.unpack_header(content)
    forger = header if salt is None else replace(header, salt=salt)
    at = content.index(b"?" * length)
    forged = frames.pack_frame(b"z" * (length - frames.frame_bytes(b"")), forger, at)
    journal = filled(disk, 2)
    end = len(disk.content(FIRST).rstrip(b"\0"))
    journal.append(forged, 3, 1)
    journal.sync()
    disk.kill()
    return disk, end


def test_a_command_that_holds_a_frame_cannot_pass_for_one_without_the_salt() -> None:
    disk, end = forged_frame(salt=0)
    disk.flip(FIRST, end)  # As if the beginning of the frame had not been written.
    assert entries_of(opened(disk)) == [entry(1), entry(2)]
    known, end = forged_frame(salt=None)
    known.flip(FIRST, end)
    with pytest.raises(JournalDamaged):  # What the salt is for: this node would not start.
        opened(known)


@pytest.mark.parametrize("kind", ["seal", "frame"])
def test_damage_before_a_clean_end_is_refused_with_file_offset_and_advice(kind: str) -> None:
    disk = new_disk()
    journal = filled(disk, 3)
    written = len(disk.content(FIRST).rstrip(b"\0"))
    journal.close()
    end = len(disk.content(FIRST).rstrip(b"\0"))
    disk.kill()
    disk.flip(FIRST, (end if kind == "seal" else written) - 3)
    with pytest.raises(JournalDamaged) as caught:
        opened(disk)
    assert caught.value.file == f"disk/{FIRST}"
    assert 0 < caught.value.offset < end
    assert "start the node with an empty one under the same name" in caught.value.advice


def test_a_newer_format_asks_for_a_newer_program() -> None:
    disk = new_disk()
    header = frames.SegmentHeader(number=1, size=SEGMENT_BYTES, base_index=0, base_term=0, salt=7)
    file = disk.create(FIRST)
    payload = b"\x09 from the future"
    body = frames.pack_header(header)
    file.write_at(0, (body + frames.pack_frame(payload, header, len(body))).ljust(SEGMENT_BYTES, b"\0"))
    with pytest.raises(JournalDamaged, match=r"kind 9.*at least as new"):
        opened(disk)


def test_entries_can_be_asked_for_in_any_range() -> None:
    journal = filled(new_disk(), 9)
    assert journal.entries(3, 5) == [entry(3), entry(4), entry(5)]
    assert journal.entries(8, 99) == [entry(8), entry(9)]
    assert journal.entries(0, 1) == [entry(1)]
    assert journal.entries(5, 4) == []
    assert (journal.term_at(0), journal.term_at(9), journal.term_at(10)) == (0, 1, None)


def test_entries_follow_each_other() -> None:
    journal: Journal = filled(new_disk(), 2)
    with pytest.raises(AssertionError, match="entry 4 does not follow entry 2"):
        journal.append(*entry(4))
