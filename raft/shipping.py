"""Snapshots in the life of a participant: loaded at the start, written when the log is long, sent to who is far behind.

What a snapshot holds is the state machine's; how it lies on disk is ``snapshots``. The core knows nothing of them:
it skips a peer that needs one, and is told afterwards what that peer has.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from raftsman.raft.core import Core
from raftsman.raft.disk import DiskFull
from raftsman.raft.figures import Timings
from raftsman.raft.journal import CoreJournal, Journal
from raftsman.raft.messages import Chunk, ChunkAck
from raftsman.raft.peers import Broken, Peer
from raftsman.raft.snapshots import BadTransfer, Sender, SnapshotHead, SnapshotId, SnapshotStore, Writing

log = logging.getLogger(__name__)

COMPACT_ENTRIES = 50_000
COMPACT_BYTES = 256 << 20
"""A log of so many entries (or as many as the table has rows, if that is more), or so many bytes, is compacted."""
UNDER_WAY_PARTS = 4
"""Parts of a snapshot (half a mebibyte together) that may be on their way to a peer at a time."""
STALLED_S = 5.0
"""A transfer of which nothing more arrives for so long begins again: what was under way met a full disk."""
REST_S = 1.0
"""Before a snapshot that a peer has thrown away is sent again."""
RETRY_S = 60.0
"""After a snapshot that found no room."""


class StateMachine(Protocol):
    """What committed commands are applied to. Every method is called by ``tick``."""

    def apply(self, command: bytes, index: int) -> object:
        """Apply a command; what it returns goes to whoever proposed it here."""

    def size(self) -> int | None:
        """Return how many rows there are; None when they cannot be frozen, and the log grows for ever."""

    def freeze(self) -> Iterable[bytes]:
        """Return the state of this moment in chunks, which are read later and on another thread."""

    def restore(self, chunks: Iterable[bytes], index: int) -> None:
        """Become what ``freeze`` gave after entry *index*."""


@dataclass(slots=True)
class _Shipment:
    """A transfer under way to one peer."""

    sender: Sender
    term: int
    moved_at: float
    sent: int = 0
    received: int = 0
    all_sent: bool = False


class Shipping:
    """The snapshots of one node."""

    def __init__(
        self,
        core: Core,
        journal: Journal,
        snapshots: SnapshotStore,
        machine: StateMachine,
        timings: Timings,
        *,
        compact_entries: int = COMPACT_ENTRIES,
    ) -> None:
        self._core = core
        self._compact_entries = compact_entries
        self._journal = journal
        self._snapshots = snapshots
        self._machine = machine
        self._timings = timings
        self._shipments: dict[str, _Shipment] = {}
        self._rests_until: dict[str, float] = {}  # By peer.
        self._incoming: tuple[SnapshotId, int] | None = None
        self._writing: Writing | None = None
        self._began_at = 0.0  # When the snapshot under way was begun.
        self._retry_at = float("-inf")
        self._weighed = 0  # What was applied when the log was last found too short to compact.

    @property
    def newest_index(self) -> int:
        """The last entry that the newest snapshot holds; 0 when there is none."""
        newest = self._snapshots.newest
        return newest.index if newest else 0

    def load(self) -> None:
        """Begin with the newest snapshot. Raises SnapshotDamaged; Broken when the log lacks what comes before it."""
        loaded = self._snapshots.load()
        if loaded is not None:
            self._begin_with(loaded.head, loaded.chunks)
        elif self._journal.first_index > 1:
            raise Broken(f"the journal begins at entry {self._journal.first_index}, and no snapshot holds those before")

    def _begin_with(self, head: SnapshotHead, chunks: Iterable[bytes]) -> None:
        index = head.last[1]
        self._machine.restore(chunks, index)
        as_the_core = CoreJournal(self._journal)
        as_the_core.clear()  # Keeps everything when these two entries are in it already.
        as_the_core.add(*head.before)
        as_the_core.add(*head.last)
        self._core.skip_to(index)

    # --- out ---

    def needs_snapshot(self, peer: str) -> bool:
        """Whether *peer* needs entries that are gone from the journal."""
        return self._core.next_index(peer) <= self._journal.first_index

    def stop(self, peer: str) -> None:
        """Forget the transfer to *peer*, if there is one."""
        shipment = self._shipments.pop(peer, None)
        if shipment is not None:
            shipment.sender.close()

    def send(
        self, peers: Iterable[Peer], out: Callable[[str, Chunk], None], next_seq: Callable[[], int], now: float
    ) -> None:
        """Send the next chunks to every linked peer that needs a snapshot. The caller leads."""
        for peer in peers:
            if not peer.linked or not self.needs_snapshot(peer.name):
                self.stop(peer.name)
                continue
            shipment = self._shipment(peer.name, now)
            under_way_bytes = self._snapshots.transfer_bytes * UNDER_WAY_PARTS
            while shipment and not shipment.all_sent and shipment.sent - shipment.received < under_way_bytes:
                out(peer.name, self._next_chunk(shipment, next_seq()))

    def _shipment(self, peer: str, now: float) -> _Shipment | None:
        shipment = self._shipments.get(peer)
        if shipment is not None and self._goes_on(peer, shipment, now):
            return shipment
        self.stop(peer)
        if now < self._rests_until.get(peer, now):
            return None
        sender = self._snapshots.sender()
        if sender is None:
            return None
        log.info("%s gets the snapshot of everything up to entry %d", peer, sender.snapshot.index)
        self._shipments[peer] = _Shipment(sender, self._core.term, now)
        return self._shipments[peer]

    def _goes_on(self, peer: str, shipment: _Shipment, now: float) -> bool:
        """Whether a transfer is of use still: not when it has arrived, and the log has been compacted beyond it."""
        has_arrived = self._core.next_index(peer) > shipment.sender.snapshot.index
        return shipment.term == self._core.term and not has_arrived and now - shipment.moved_at < STALLED_S

    def _next_chunk(self, shipment: _Shipment, seq: int) -> Chunk:
        part, _, last = shipment.sender.next_part()
        chunk = Chunk(
            term=shipment.term,
            seq=seq,
            index=shipment.sender.snapshot.index,
            index_term=shipment.sender.snapshot.term,
            offset=shipment.sent,
            payload=bytes(part),
            last=last,
        )
        shipment.sent += len(part)
        shipment.all_sent = last
        return chunk

    def on_chunk_ack(self, peer: str, ack: ChunkAck, now: float) -> None:
        """Go on behind what has arrived, or begin again."""
        shipment = self._shipments.get(peer)
        if shipment is None or shipment.sender.snapshot.index != ack.index:
            return
        if ack.received == 0:
            self.stop(peer)
            self._rests_until[peer] = now + REST_S
        else:
            shipment.received, shipment.moved_at = ack.received, now

    # --- in ---

    def receive(self, chunk: Chunk) -> int | None:
        """Take *chunk*; return how much of the snapshot has come (0: send it again), None when all of it is here."""
        snapshot = SnapshotId(chunk.index, chunk.index_term)
        if self._core.commit_index >= chunk.index or self._journal.term_at(chunk.index) == chunk.index_term:
            self._incoming = None
            return None
        expected = self._incoming[1] if self._incoming is not None and self._incoming[0] == snapshot else 0
        if chunk.offset not in (expected, 0):
            self._incoming = None
            return 0
        try:
            whole = self._snapshots.receive(chunk.payload, first=chunk.offset == 0, last=chunk.last)
        except BadTransfer as error:
            log.warning("the snapshot that came is thrown away: %s", error)
            self._incoming = None
            return 0
        if whole is None:
            received = chunk.offset + len(chunk.payload)
            self._incoming = (snapshot, received)
            return received
        self._incoming = None
        self._install(whole)
        return None

    def _install(self, snapshot: SnapshotId) -> None:
        loaded = self._snapshots.load()
        assert loaded is not None
        log.info("everything up to entry %d came as a snapshot", snapshot.index)
        self._begin_with(loaded.head, loaded.chunks)

    # --- compaction ---

    def compact(self, now: float) -> None:
        """Begin a snapshot when the log is long, and cut the log when it is written. Raises DiskFailed."""
        if self._writing is not None:
            self._cut(self._writing, now)
            return
        applied = self._core.applied_index
        if applied == self._weighed:
            return
        rows = self._machine.size()
        if rows is None:
            return
        newest = self._snapshots.newest
        entries = applied - (newest.index if newest else 1)
        long = entries >= max(self._compact_entries, rows) or self._journal.live_bytes >= COMPACT_BYTES
        if not long or entries < 2:
            self._weighed = applied
            return
        if now < self._retry_at:
            return
        before, last = self._journal.entries(applied - 1, applied)
        self._began_at = now
        self._writing = self._snapshots.start(SnapshotHead(before, last), self._machine.freeze())

    def _cut(self, writing: Writing, now: float) -> None:
        if not writing.done:
            return
        self._writing = None
        if writing.error is None:
            self._timings.snapshot_written(now - self._began_at)
            self._journal.trim(writing.head.last[1])
            log.info(
                "a snapshot holds everything up to entry %d; what the log needs no more is dropped",
                writing.head.last[1],
            )
        elif isinstance(writing.error, DiskFull):
            log.error("%s; the log is not compacted", writing.error)
            self._retry_at = now + RETRY_S
        else:
            raise writing.error
