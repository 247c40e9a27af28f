"""The journal as pysyncobj's core uses it: a list of entries that agrees with what is on disk."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raftsman.raft.journal import CoreJournal, LogEntry
from tests.unit.journals import entries_of, entry, filled, new_disk, opened, recorded

slices = st.slices(12)


@settings(max_examples=200, deadline=None)
@given(position=st.integers(-9, 8), part=slices, of_part=slices)
def test_it_is_read_like_a_list(position: int, part: slice, of_part: slice) -> None:
    journal = CoreJournal(filled(new_disk(), 9))
    entries = [entry(index) for index in range(1, 10)]
    assert len(journal) == 9
    assert journal[position] == entries[position]
    assert [*journal[part]] == entries[part]
    assert [*journal[part][of_part]] == entries[part][of_part]
    assert list(reversed(journal[part])) == entries[part][::-1]


def test_everything_from_a_position_on_is_no_copy() -> None:
    core = CoreJournal(filled(new_disk(), 5))
    tail = core[3:]
    core.add(*entry(6))
    assert len(tail) == 3
    assert tail[-1] == entry(6)
    assert tail[0] == entry(4)
    assert len(core[99:]) == 0


def test_it_begins_as_the_core_expects() -> None:
    core = CoreJournal(opened(new_disk()))
    assert len(core) == 0
    assert (core.getCurrentTerm(), core.getVotedForNodeId(), core.getRaftCommitIndex()) == (0, None, 1)


def test_positions_count_from_the_first_entry_held() -> None:
    core = CoreJournal(filled(new_disk(), 7))
    core.setCurrentTerm(3, "beta")
    core.deleteEntriesFrom(5)
    core.deleteEntriesFrom(9)
    core.deleteEntriesTo(2)
    assert [*core[:]] == [entry(3), entry(4), entry(5)]
    core.deleteEntriesTo(1)
    assert core[0] == entry(4)
    assert core[-1] == entry(5)
    assert (core.getCurrentTerm(), core.getVotedForNodeId()) == (3, "beta")


def test_nothing_is_let_go_of_that_is_not_synced() -> None:
    core = CoreJournal(opened(new_disk()))
    for index in range(1, 5):
        core.add(*entry(index))
    core.deleteEntriesTo(3)
    assert core[0] == entry(1)


def test_it_never_writes_by_itself() -> None:
    disk = new_disk()
    core = CoreJournal(filled(disk, 3))
    seen = recorded(disk)
    core.add(*entry(4))
    core.setCurrentTerm(9, "alpha")
    core.setRaftCommitIndex(3)
    core.flush()
    core.onOneSecondTimer()
    core._destroy()
    assert seen == []


def begin_with(core: CoreJournal, before: LogEntry, last: LogEntry) -> None:
    """Do what the core does with a snapshot, at every start and after every transfer."""
    core.clear()
    core.add(*before)
    core.add(*last)


def test_clearing_for_a_snapshot_that_agrees_with_the_journal_loses_nothing() -> None:
    """Stock cleared the journal whenever it did not begin as the dump did: acknowledged entries were gone."""
    disk = new_disk()
    core = CoreJournal(filled(disk, 9))
    begin_with(core, entry(4), entry(5))
    assert entries_of(core.journal) == [entry(index) for index in range(1, 10)]
    assert not core.journal.sync()


def test_clearing_for_a_snapshot_ahead_of_the_journal_begins_anew() -> None:
    disk = new_disk()
    core = CoreJournal(filled(disk, 9))
    begin_with(core, entry(19, 3), entry(20, 3))
    core.add(*entry(21, 3))
    core.journal.sync()
    disk.kill()
    again = CoreJournal(opened(disk, snapshot_index=20))
    assert [*again[:]] == [entry(19, 3), entry(20, 3), entry(21, 3)]


def test_clearing_for_a_snapshot_that_contradicts_the_journal_drops_what_contradicts_it() -> None:
    disk = new_disk()
    core = CoreJournal(filled(disk, 9))
    begin_with(core, entry(4), entry(5, 2))
    assert [*core[:]] == [entry(4), entry(5, 2)]
    core.journal.sync()
    disk.kill()
    assert entries_of(opened(disk, snapshot_index=5)) == [entry(4), entry(5, 2)]
