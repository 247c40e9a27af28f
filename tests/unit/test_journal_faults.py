"""The journal on disks that fill up, fail, lose power and rot: what was promised is kept, or no node starts on it."""

import errno
from contextlib import suppress
from random import Random

import pytest

from raftsman.raft import frames
from raftsman.raft.disk import DiskFailed, DiskFull
from raftsman.raft.segments import JournalDamaged, read_segments, segment_name
from tests.harness.simulated_disk import Crash, Operation, SimulatedDisk
from tests.unit.journals import SEGMENT_BYTES, dying_after, entries_of, entry, failing, filled, new_disk, opened

FIRST = segment_name(1)


# --- a full disk ------------------------------------------------------------------------------


def test_a_full_disk_is_met_when_room_is_reserved_not_when_entries_are_written() -> None:
    disk = new_disk()
    journal = filled(disk, 1)
    disk.capacity_bytes = disk.used_bytes
    written = 1
    with pytest.raises(DiskFull, match="no room while reserving"):  # noqa: PT012 — which write it is, is open.
        while written < 1000:
            journal.append(*entry(written + 1))
            journal.sync()
            written += 1
    assert journal.full
    assert 100 < written < 1000  # Two segments were there: the first, and its successor's room.
    disk.kill()
    assert opened(disk).last_index == written


def test_a_missing_spare_is_an_early_warning_and_goes_away_with_the_reason() -> None:
    disk = new_disk()
    disk.capacity_bytes = SEGMENT_BYTES + 100
    journal = filled(disk, 1)
    assert (journal.full, disk.names()) == (True, [FIRST])
    disk.capacity_bytes = None
    journal.tick()
    assert (journal.full, disk.names()) == (False, [FIRST, "journal.spare"])


def test_what_met_a_full_disk_is_written_when_there_is_room() -> None:
    disk = new_disk()
    journal = filled(disk, 3)
    journal.set_vote(2, "alpha")
    for index in range(4, 7):
        journal.append(*entry(index, 2))
    disk.before = failing("write", errno.ENOSPC)
    for _ in range(3):
        with pytest.raises(DiskFull):
            journal.sync()
    assert (journal.synced_index, journal.last_index) == (3, 6)
    disk.before = lambda _operation: None
    assert journal.sync()
    assert journal.synced_index == 6
    disk.lose_power()
    again = opened(disk)
    assert entries_of(again) == [*map(entry, range(1, 4)), *(entry(index, 2) for index in range(4, 7))]
    assert (again.term, again.vote) == (2, "alpha")


def test_half_a_write_to_a_full_disk_is_overwritten_by_the_next() -> None:
    """On a file system that copies on write, room inside a file may be missing, too."""
    disk = new_disk()
    journal = filled(disk, 1)
    journal.append(*entry(2, size=900))

    def half(operation: Operation) -> None:
        if operation.kind == "write":
            disk.before = lambda _operation: None
            content = b"\xf5half a frame" * 30
            disk.open(FIRST).write_at(operation.offset, content)
            raise OSError(errno.ENOSPC, "No space left on device")

    disk.before = half
    with pytest.raises(DiskFull):
        journal.sync()
    journal.truncate(2)
    journal.append(*entry(2, 2))
    journal.sync()
    disk.kill()
    again = opened(disk)
    assert entries_of(again) == [entry(1), entry(2, 2)]
    assert not again.torn


@pytest.mark.parametrize("kind", ["write", "rename", "create"])
def test_a_disk_that_is_full_while_a_segment_begins_leaves_the_journal_whole(kind: str) -> None:
    disk = new_disk()
    journal = filled(disk, 30)
    journal.append(*entry(31, size=SEGMENT_BYTES))  # Fits into no segment that exists.
    disk.before = failing(kind, errno.ENOSPC)
    with pytest.raises(DiskFull):
        journal.sync()
    disk.before = lambda _operation: None
    journal.sync()
    disk.lose_power()
    assert opened(disk).last_index == 31


def test_old_segments_that_a_full_disk_cannot_even_remove_are_removed_when_there_is_room() -> None:
    disk = new_disk()
    journal = filled(disk, 200)
    disk.before = failing("unlink", errno.ENOSPC)
    journal.trim(199)
    assert (journal.full, FIRST in disk.names()) == (True, True)
    journal.append(*entry(201))
    journal.sync()
    disk.before = lambda _operation: None
    journal.tick()
    assert (journal.full, FIRST in disk.names()) == (False, False)
    assert opened(disk, snapshot_index=199).last_index == 201


def test_term_and_vote_stay_while_the_segment_that_would_hold_them_is_still_empty() -> None:
    disk = new_disk()
    journal = opened(disk)
    journal.set_vote(1, "gamma")
    for index in range(1, 40):
        journal.append(*entry(index, size=200))
        journal.sync()
    journal.append(*entry(40, size=SEGMENT_BYTES))

    def no_room_for_frames(operation: Operation) -> None:
        if operation.kind == "write" and operation.offset == frames.HEADER_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device")

    disk.before = no_room_for_frames
    with pytest.raises(DiskFull):
        journal.sync()
    disk.before = lambda _operation: None
    journal.trim(39)
    disk.kill()
    again = opened(disk, snapshot_index=39)
    assert (again.term, again.vote, again.last_index) == (1, "gamma", 39)


# --- a failing disk ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "number"), [("write", errno.EIO), ("sync", errno.EIO), ("sync", errno.ENOSPC)])
def test_a_failed_disk_is_never_trusted_again(kind: str, number: int) -> None:
    disk = new_disk()
    journal = filled(disk, 2)
    journal.append(*entry(3))
    disk.before = failing(kind, number)
    with pytest.raises(DiskFailed):
        journal.sync()
    disk.before = lambda _operation: None
    for _ in range(2):
        with pytest.raises(DiskFailed, match="is not known since it failed: "):
            journal.sync()
    assert journal.synced_index == 2
    journal.close()
    disk.lose_power()
    assert opened(disk).last_index in (2, 3)


def test_a_disk_that_fails_behind_the_scenes_is_noticed_with_the_next_sync() -> None:
    disk = new_disk()
    journal = filled(disk, 1)
    disk.unlink("journal.spare")
    disk.kill()
    journal = opened(disk)
    disk.before = failing("create")
    journal.tick()
    journal.append(*entry(2))
    with pytest.raises(DiskFailed):
        journal.sync()


def test_a_disk_that_cannot_be_read_is_no_damage() -> None:
    disk = new_disk()
    filled(disk, 1)
    disk.kill()
    disk.before = failing("read")
    with pytest.raises(DiskFailed, match=f"reading disk/{FIRST}"):
        opened(disk)


# --- crashes and power ------------------------------------------------------------------------


class Life:
    """A node's log through many deaths: what it was promised, and what it had asked for when it died."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = SimulatedDisk(Random(seed + 1))
        self.snapshot_index = 0
        self.journal = opened(self.disk)
        self.promised = self.wished = self.state()

    def state(self) -> tuple[dict[int, int], int, str | None, int]:
        """Return terms by index, term, vote and commit index of the journal in memory."""
        journal = self.journal
        held = journal.entries(journal.first_index, journal.last_index)
        return {index: term for _, index, term in held}, journal.term, journal.vote, journal.commit_index

    def step(self) -> None:
        """Let one tick happen."""
        journal, random = self.journal, self.random
        term = journal.term
        if random.random() < 0.2:
            term += 1
            journal.set_vote(term, random.choice(["alpha", "beta", None]))
        first_free = max(journal.commit_index, journal.first_index - 1, self.snapshot_index) + 1
        if random.random() < 0.2 and first_free <= journal.last_index:
            journal.truncate(random.randint(first_free, journal.last_index))
            journal.append(*entry(journal.last_index + 1, max(term, journal.last_term), random.randrange(900)))
        if random.random() < 0.05:
            self.snapshot_index = max(journal.commit_index, self.snapshot_index) + random.randint(2, 9)
            self._begin_with_snapshot()
        for _ in range(random.choice([0, 1, 1, 2, 5])):
            size = random.choice([0, 10, 300, 5000])
            journal.append(*entry(journal.last_index + 1, max(term, journal.last_term), size))
        if journal.synced_index > journal.commit_index:
            journal.set_commit(random.randint(journal.commit_index, journal.synced_index))
        self.wished = self.state()
        self._sync()
        if random.random() < 0.1:
            self.snapshot_index = max(self.snapshot_index, journal.commit_index)
            journal.trim(journal.commit_index)

    def _begin_with_snapshot(self) -> None:
        """Do what a node does with a durable snapshot, at its start and when one has come."""
        journal = self.journal
        if journal.term_at(self.snapshot_index) is None:
            journal.reset(self.snapshot_index - 2, 0)
            journal.append(*entry(self.snapshot_index - 1, journal.term))
            journal.append(*entry(self.snapshot_index, journal.term))
        journal.set_commit(max(self.snapshot_index, journal.commit_index))

    def _sync(self) -> None:
        self.disk.capacity_bytes = self.disk.used_bytes if self.random.random() < 0.3 else None
        try:
            if self.journal.sync():
                self.promised = self.state()
        except DiskFull:
            self.disk.capacity_bytes = None
            self.journal.sync()
            self.promised = self.state()

    def die_and_return(self, *, power: bool) -> None:
        """End the process, start another one, and check what it finds."""
        if power:
            self.disk.lose_power()
        else:
            self.disk.kill()
        self.journal = opened(self.disk, snapshot_index=self.snapshot_index)
        self.check()
        self.promised = self.wished = self.state()
        if self.snapshot_index:
            self._begin_with_snapshot()

    def check(self) -> None:
        found, term, vote, commit_index = self.state()
        candidates = [self.promised, self.wished]
        assert self._needed(found) in [self._needed(terms) for terms, *_ in candidates]
        assert self.journal.first_index <= self.snapshot_index + 1
        assert (term, vote) in [(each[1], each[2]) for each in candidates]
        assert self.promised[3] <= commit_index <= self.journal.last_index

    def _needed(self, terms: dict[int, int]) -> dict[int, int]:
        return {index: term for index, term in terms.items() if index > self.snapshot_index}

    def live(self) -> None:
        """Let ticks happen until the process dies."""
        self.disk.before = dying_after(self.random.randrange(60))
        with suppress(Crash):
            while True:
                self.step()
        self.disk.before = lambda _operation: None


@pytest.mark.parametrize("power", [False, True])
def test_whatever_was_synced_survives_deaths_at_every_step(*, power: bool) -> None:
    for seed in range(60):
        life = Life(seed)
        for _ in range(6):
            life.live()
            life.die_and_return(power=power)


def test_a_death_at_any_operation_of_a_start_or_a_clean_stop_loses_nothing() -> None:
    for steps in range(40):
        disk = new_disk(steps)
        filled(disk, 5, size=700)
        disk.lose_power()
        disk.before = dying_after(steps)
        with suppress(Crash):
            opened(disk).close()
        disk.before = lambda _operation: None
        disk.lose_power()
        assert entries_of(opened(disk)) == [entry(index, size=700) for index in range(1, 6)]


def test_equal_seeds_give_equal_disks() -> None:
    def contents(seed: int) -> dict[str, bytes]:
        disk = new_disk(seed)
        journal = filled(disk, 30)
        journal.append(*entry(31, size=9000))
        disk.before = failing("sync")
        with pytest.raises(DiskFailed):
            journal.sync()
        disk.lose_power()
        return {name: disk.content(name) for name in disk.names()}

    assert contents(5) == contents(5)
    assert contents(5) != contents(6)


# --- rot --------------------------------------------------------------------------------------


def test_a_flipped_byte_of_a_cleanly_stopped_journal_is_refused_or_without_meaning() -> None:
    """Every byte that was written is covered; what changes nothing was never written."""
    random = Random(11)
    refused = unchanged = 0
    for seed in range(10):
        disk, expected = _stopped_journal(seed)
        written = {name: _written(disk.content(name)) for name in disk.names() if name.startswith("journal-")}
        for _ in range(100):
            name = random.choice([*written])
            inside = random.random() < 0.75
            offset = random.choice(written[name]) if inside else random.randrange(SEGMENT_BYTES)
            bits = 1 << random.randrange(8)
            disk.flip(name, offset, bits)
            found, error = _read_or_refused(disk)
            if error is None:
                assert offset not in written[name], (name, offset)
                assert found == expected
                unchanged += 1
            else:
                assert (error.file, error.offset <= offset) == (f"disk/{name}", True)
                refused += 1
            disk.flip(name, offset, bits)
    assert refused > 700
    assert unchanged > 30


def _stopped_journal(seed: int) -> tuple[SimulatedDisk, object]:
    disk, random = new_disk(seed), Random(seed)
    for stop in range(3):
        journal = opened(disk)
        for _ in range(random.randrange(1, 30)):
            journal.set_vote(journal.term + 1, "alpha")
            journal.append(*entry(journal.last_index + 1, journal.term, random.randrange(600)))
            journal.sync()
        journal.set_commit(journal.last_index - stop % 2)
        journal.close()
        disk.kill()
    return disk, _read(disk)


def _read(disk: SimulatedDisk) -> object:
    replay = read_segments(disk)
    return replay.entries, replay.meta, replay.torn, replay.base_index


def _read_or_refused(disk: SimulatedDisk) -> tuple[object, JournalDamaged | None]:
    try:
        return _read(disk), None
    except JournalDamaged as error:
        return None, error


def _written(content: bytes) -> list[int]:
    """Return the offsets that hold a header, a frame or a seal."""
    contents = frames.unpack_segment(content, last=False)
    header = contents.header
    offsets = [*range(frames.HEADER_BYTES)]
    for start, payload in contents.frames:
        offsets.extend(range(start, start + frames.frame_bytes(bytes(payload))))
    for at in range(len(content) - frames.SEAL_BYTES):
        if content[at : at + frames.SEAL_BYTES] == frames.pack_seal(header, at):
            offsets.extend(range(at, at + frames.SEAL_BYTES))
    return offsets
