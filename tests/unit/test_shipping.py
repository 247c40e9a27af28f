"""Snapshots in the life of a node, with a core that only says where it stands: when one is due, cut, sent and taken."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import pytest

from raftsman.raft import shipping as under_test
from raftsman.raft.core import Core
from raftsman.raft.disk import DiskFailed, DiskFull
from raftsman.raft.figures import Timings
from raftsman.raft.messages import Chunk, ChunkAck
from raftsman.raft.peers import Broken, Peer
from raftsman.raft.shipping import RETRY_S, STALLED_S, UNDER_WAY_PARTS, Shipping
from raftsman.raft.snapshots import SnapshotHead, SnapshotStore
from tests.unit.journals import entry, filled, new_disk, opened

PART_BYTES = 100
NOW = 100.0


@dataclass
class Stand:
    """Where the core stands."""

    term: int = 1
    commit_index: int = 0
    applied_index: int = 0
    next: dict[str, int] = field(default_factory=dict)

    def next_index(self, peer: str) -> int:
        return self.next[peer]

    def skip_to(self, index: int) -> None:
        self.applied_index = index
        self.commit_index = max(self.commit_index, index)


@dataclass
class Rows:
    """A state machine of so many rows."""

    rows: int | None = 0
    restored: list[tuple[int, int]] = field(default_factory=list)
    """Up to which entry, and from how many chunks."""

    def apply(self, _command: bytes, _index: int) -> None: ...

    def size(self) -> int | None:
        return self.rows

    def freeze(self) -> Iterable[bytes]:
        return [b"rows"]

    def restore(self, chunks: Iterable[bytes], index: int) -> None:
        self.restored.append((index, len(list(chunks))))


class Kept:
    """A node's snapshots, with *entries* in its journal; what runs in the background waits in ``works``."""

    def __init__(self, entries: int = 0, *, keep_behind: int = 0) -> None:
        self.disk = new_disk()
        self.journal = filled(self.disk, entries, keep_behind=keep_behind)
        self.works: list[Callable[[], None]] = []
        self.took: list[float] = []
        self.core = Stand(commit_index=entries, applied_index=entries)
        self.machine = Rows()
        self.store = SnapshotStore(self.disk, background=self.works.append, transfer_bytes=PART_BYTES)
        self.shipping = Shipping(
            cast("Core", self.core),
            self.journal,
            self.store,
            self.machine,
            Timings(snapshot_written=self.took.append),
            compact_entries=10,
        )

    def write(self, index: int, size: int = 1000) -> None:
        """Have a snapshot up to *index* whose file has somewhat more than *size* bytes."""
        self.store.write(SnapshotHead(entry(index - 1), entry(index)), [bytes(size)])

    def is_due(self) -> bool:
        """Whether a snapshot is begun now."""
        self.shipping.compact(NOW)
        return bool(self.works)


# --- when one is due --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "entries", "due"), [(0, 10, False), (0, 11, True), (20, 20, False), (20, 21, True), (None, 99, False)]
)
def test_a_log_is_compacted_when_it_has_as_many_entries_as_the_setting_and_the_table_say(
    rows: int | None, entries: int, *, due: bool
) -> None:
    kept = Kept(entries)
    kept.machine.rows = rows
    assert kept.is_due() is due


@pytest.mark.parametrize(("entries", "due"), [(2, False), (3, True)])
def test_a_log_of_many_bytes_is_compacted_whatever_its_length(
    monkeypatch: pytest.MonkeyPatch, entries: int, *, due: bool
) -> None:
    kept = Kept(entries)
    monkeypatch.setattr(under_test, "COMPACT_BYTES", kept.journal.live_bytes)
    assert kept.is_due() is due


def test_after_a_snapshot_only_what_came_since_counts() -> None:
    kept = Kept(25)
    kept.write(16)
    assert not kept.is_due()
    kept.journal.append(*entry(26))
    kept.journal.sync()
    kept.core.applied_index = 26
    assert kept.is_due()


def test_the_log_is_cut_when_the_snapshot_is_durable_and_not_before() -> None:
    kept = Kept(30)
    assert kept.is_due()
    for _ in range(3):
        kept.shipping.compact(NOW + 1.0)
    assert (kept.journal.first_index, kept.took, len(kept.works)) == (1, [], 1)
    kept.works.pop()()
    kept.shipping.compact(NOW + 2.5)
    assert (kept.journal.first_index, kept.took, kept.shipping.newest_index) == (31, [2.5], 30)


def test_a_snapshot_that_found_no_room_is_tried_again_after_a_while() -> None:
    kept = Kept(30)
    assert kept.is_due()
    kept.disk.capacity_bytes = kept.disk.used_bytes
    kept.works.pop()()
    kept.disk.capacity_bytes = None
    kept.shipping.compact(NOW + 1.0)
    kept.shipping.compact(NOW + 1.0 + RETRY_S - 0.1)
    assert (kept.journal.first_index, kept.works, kept.took) == (1, [], [])
    kept.shipping.compact(NOW + 1.0 + RETRY_S)
    kept.works.pop()()
    kept.shipping.compact(NOW + RETRY_S + 2.0)
    assert kept.journal.first_index == 31


def test_a_snapshot_that_met_a_failing_disk_ends_the_node() -> None:
    kept = Kept(30)
    assert kept.is_due()

    def fail(_operation: object) -> None:
        raise OSError(5, "Input/output error")

    kept.disk.before = fail
    kept.works.pop()()
    with pytest.raises(DiskFailed):
        kept.shipping.compact(NOW)


def test_a_log_without_its_beginning_and_without_a_snapshot_is_no_log() -> None:
    kept = Kept(30, keep_behind=1)
    kept.journal.trim(20)
    with pytest.raises(Broken, match="begins at entry 20, and no snapshot"):
        kept.shipping.load()
    kept.write(20)
    kept.shipping.load()
    assert (kept.core.applied_index, kept.journal.last_index) == (20, 30)


# --- out --------------------------------------------------------------------------------------


class Sending(Kept):
    """A leader of 30 entries with a snapshot of the first 20, and a peer that needs it."""

    def __init__(self, size: int = 1000) -> None:
        super().__init__(30)
        self.write(20, size)
        self.peer = Peer("beta", linked=True)
        self.core.next["beta"] = 1
        self.seq = 0

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def sent(self, now: float = NOW) -> list[Chunk]:
        """Return the chunks that are sent now."""
        out: list[Chunk] = []
        self.shipping.send([self.peer], lambda _peer, chunk: out.append(chunk), self.next_seq, now)
        return out

    def hear(self, received: int, now: float = NOW, index: int = 20) -> None:
        self.shipping.on_chunk_ack("beta", ChunkAck(term=1, seq=self.seq, index=index, received=received), now)


def test_so_many_parts_are_under_way_at_a_time_and_the_last_is_said_once() -> None:
    sending = Sending()
    first = sending.sent()
    assert [each.offset for each in first] == [n * PART_BYTES for n in range(UNDER_WAY_PARTS)]
    assert sending.sent() == []
    sending.hear(PART_BYTES)
    (fifth,) = sending.sent()
    assert fifth.offset == UNDER_WAY_PARTS * PART_BYTES
    parts = [*first, fifth]
    while not parts[-1].last:
        sending.hear(parts[-1].offset + len(parts[-1].payload))
        parts += sending.sent()
    name = next(each for each in sending.disk.names() if each.startswith("snapshot-"))
    assert b"".join(each.payload for each in parts) == sending.disk.content(name)
    assert [each.seq for each in parts] == list(range(1, len(parts) + 1))
    sending.hear(parts[-1].offset)
    assert sending.sent() == []


def test_a_transfer_begins_again_in_a_new_term_when_it_stalls_and_when_it_was_thrown_away() -> None:
    sending = Sending()
    assert sending.sent()[0].offset == 0
    sending.core.term = 2
    assert [(each.offset, each.term) for each in sending.sent()[:1]] == [(0, 2)]
    sending.hear(PART_BYTES, NOW + 2.0)
    sending.sent(NOW + 2.0)
    assert sending.sent(NOW + 2.0 + STALLED_S - 0.1) == []
    assert sending.sent(NOW + 2.0 + STALLED_S)[0].offset == 0
    sending.hear(0, NOW + 8.0)
    assert sending.sent(NOW + 8.0 + under_test.REST_S - 0.1) == []
    assert sending.sent(NOW + 8.0 + under_test.REST_S)[0].offset == 0
    assert sending.disk.open_files == 3, "the journal's two and this transfer's one"


def test_an_answer_about_another_snapshot_is_none() -> None:
    sending = Sending()
    sending.sent()
    for received in (0, PART_BYTES):
        sending.hear(received, index=19)
        assert sending.sent() == []


@pytest.mark.parametrize("why", ["gone", "served"])
def test_a_peer_that_is_gone_or_needs_none_gets_no_more(why: str) -> None:
    sending = Sending()
    sending.sent()
    if why == "gone":
        sending.peer.linked = False
    else:
        sending.journal.trim(20)
        sending.core.next["beta"] = 22
    sending.hear(PART_BYTES)
    assert (sending.sent(), sending.disk.open_files) == ([], 2)


def test_a_peer_needs_a_snapshot_up_to_the_first_entry_that_is_held() -> None:
    sending = Sending()
    sending.journal.trim(20)
    for index, needs in ((20, True), (21, True), (22, False)):
        sending.core.next["beta"] = index
        assert sending.shipping.needs_snapshot("beta") is needs


def test_where_there_is_no_snapshot_none_is_sent() -> None:
    kept = Kept(30)
    kept.core.next["beta"] = 1
    out: list[Chunk] = []
    kept.shipping.send([Peer("beta", linked=True)], lambda _peer, chunk: out.append(chunk), lambda: 1, NOW)
    assert out == []


# --- in ---------------------------------------------------------------------------------------


def taken(chunks: list[Chunk], kept: Kept) -> list[int | None]:
    return [kept.shipping.receive(chunk) for chunk in chunks]


def whole(size: int = 250) -> list[Chunk]:
    """Return a snapshot in chunks."""
    sending = Sending(size)
    parts = sending.sent()
    while not parts[-1].last:
        sending.hear(parts[-1].offset + len(parts[-1].payload))
        parts += sending.sent()
    return parts


def test_a_snapshot_comes_part_by_part_and_is_taken_with_the_last() -> None:
    kept = Kept()
    parts = whole()
    assert taken(parts, kept) == [*(each.offset + len(each.payload) for each in parts[:-1]), None]
    assert (kept.machine.restored, kept.core.applied_index, kept.journal.last_index) == ([(20, 1)], 20, 20)
    kept.journal.sync()
    kept.disk.kill()
    assert opened(kept.disk, snapshot_index=20).last_index == 20


def test_a_part_that_does_not_follow_is_refused_and_a_beginning_is_always_one() -> None:
    kept = Kept()
    one, two, *rest = whole()
    assert taken([two], kept) == [0], "its beginning did not come"
    assert taken([one, *rest[:1]], kept) == [PART_BYTES, 0]
    assert taken([two], kept) == [0], "all of it must come again"
    assert taken([one, one, two, *rest], kept)[-1] is None
    assert kept.machine.restored == [(20, 1)]


@pytest.mark.parametrize(("commit", "held", "taken_for_here"), [(20, 0, True), (19, 20, True), (19, 19, False)])
def test_what_is_committed_or_held_needs_no_snapshot(commit: int, held: int, *, taken_for_here: bool) -> None:
    kept = Kept(held)
    kept.core.commit_index = commit
    assert (kept.shipping.receive(whole()[0]) is None) is taken_for_here


def test_a_full_disk_while_a_snapshot_comes_is_told() -> None:
    kept = Kept()
    kept.disk.capacity_bytes = kept.disk.used_bytes + 10
    with pytest.raises(DiskFull):
        kept.shipping.receive(whole()[0])
