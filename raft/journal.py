"""The durable log: entries, term, vote and commit index, on disk before anybody is told of them.

``Journal`` holds the entries in memory, in step with the segments of a folder: what changes is buffered until ``sync``,
which costs one write and one fdatasync whatever came together. ``CoreJournal`` is the same journal as pysyncobj's core
wants to see it. When entries are added, and when they count, is ``consensus``'s business; what they mean is
``table``'s. Files are ``segments`` (read) and ``segment_writer``; what may replace old entries is ``snapshots``.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import overload

from raftsman.raft import frames
from raftsman.raft.disk import Disk
from raftsman.raft.frames import LogEntry, Reset
from raftsman.raft.segment_writer import Background, SegmentWriter, on_a_thread
from raftsman.raft.segments import JournalDamaged, Replay, read_segments, require_beginning

__all__ = ["KEEP_BEHIND", "SEGMENT_BYTES", "CoreJournal", "Journal", "JournalDamaged", "LogEntry", "Tail"]

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 << 20
"""Room that is reserved at a time: some 60,000 entries, a tenth of a second of writing zeros in the background."""
KEEP_BEHIND = 5_000
"""Entries kept behind a compaction, so that a follower who is slightly late needs no snapshot."""
KEEP_BEHIND_BYTES = 32 << 20
"""But not more bytes of commands than these: compaction by size must not leave behind what calls for the next one."""


def _random_salt() -> int:
    return secrets.randbits(32)


class Journal:
    """Entries ``first_index`` to ``last_index``, with term, vote and commit index. Belongs to the log's thread.

    ``fresh``: the folder held no journal. ``torn``: where a write was cut that its process did not live to finish, ""
    when none was; ``torn_frames`` counts it. After DiskFailed nothing is promised any more: end the process.
    """

    def __init__(self, replay: Replay, writer: SegmentWriter, *, keep_behind: int = KEEP_BEHIND) -> None:
        self.fresh = not replay.segments
        self.torn = ""
        self.torn_frames = 0
        self._writer = writer
        self._keep_behind = keep_behind
        self._entries = replay.entries
        self._base_index, self._base_term = replay.base_index, replay.base_term
        self._meta = self._written_meta = replay.meta
        self._written_last = replay.last  # Of what is on disk: a truncation gets there with the entry that follows it.
        self._unsynced_from = self.last_index + 1
        self._reset: Reset | None = None
        self._commit_due = False
        self._closed = False

    @classmethod
    def open(
        cls,
        disk: Disk,
        *,
        snapshot_index: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
        keep_behind: int = KEEP_BEHIND,
        background: Background = on_a_thread,
        new_salt: Callable[[], int] = _random_salt,
    ) -> "Journal":
        """Read the journal of *disk*, and cut a torn end. Raises JournalDamaged, DiskFailed.

        *snapshot_index*: where the newest snapshot ends; a journal that begins behind it is refused. *background* runs
        what need not be waited for: reserving room, removing old segments. *new_salt* gives the 32 bits by which a
        command's bytes cannot pass for a frame.
        """
        replay = read_segments(disk)
        require_beginning(disk, replay, snapshot_index)
        writer = SegmentWriter(disk, segment_bytes=segment_bytes, background=background, new_salt=new_salt)
        writer.resume(replay.segments)
        journal = cls(replay, writer, keep_behind=keep_behind)
        if replay.torn:
            journal.torn, journal.torn_frames = replay.torn_where(disk), 1
            log.warning("%s; it was cut, for nobody was told of it", journal.torn)
        return journal

    # --- reading ---

    @property
    def first_index(self) -> int:
        """The lowest index held; one more than the last when there is none."""
        return self._base_index + 1

    @property
    def last_index(self) -> int:
        """The highest index held; where the next entry follows when there is none."""
        return self._base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self._entries[-1][2] if self._entries else self._base_term

    @property
    def synced_index(self) -> int:
        """The highest index that is durable: what an acknowledgement may speak of."""
        return self._unsynced_from - 1

    @property
    def term(self) -> int:
        """The current term."""
        return self._meta.term

    @property
    def vote(self) -> str | None:
        """Whom this node voted for in the current term."""
        return self._meta.vote

    @property
    def commit_index(self) -> int:
        """The highest index known to be committed; after a start it may be behind the truth."""
        return self._meta.commit_index

    @property
    def full(self) -> bool:
        """Whether the last attempt to write, or to reserve room for later, met a full disk: stop taking work."""
        return self._writer.full

    @property
    def live_bytes(self) -> int:
        """Bytes of the segments in use."""
        return self._writer.live_bytes

    @property
    def held(self) -> Sequence[LogEntry]:
        """Every entry held, in order. To look at, not to keep: it changes with the journal."""
        return self._entries

    def entries(self, first: int, last: int) -> list[LogEntry]:
        """Return the entries from index *first* to *last*, both included, as far as they are held."""
        start = max(0, first - self.first_index)
        return self._entries[start : max(start, last - self._base_index)]

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry *index*, or of the one that the first entry follows; None when not held."""
        if index == self._base_index:
            return self._base_term
        position = index - self.first_index
        return self._entries[position][2] if 0 <= position < len(self._entries) else None

    # --- changing: in memory at once, on disk with the next sync ---

    def append(self, command: bytes, index: int, term: int) -> None:
        """Add the entry that follows the last."""
        assert index == self.last_index + 1, f"entry {index} does not follow entry {self.last_index}"
        assert term >= self.last_term, f"entry {index} of term {term} follows term {self.last_term}"
        self._entries.append((command, index, term))

    def truncate(self, index: int) -> None:
        """Drop the entries from *index* on; none of them may be committed."""
        assert index > max(self._base_index, self.commit_index), f"entry {index} is committed"
        del self._entries[index - self.first_index :]
        self._unsynced_from = min(self._unsynced_from, index)

    def reset(self, base_index: int, base_term: int) -> None:
        """Drop every entry, for a durable snapshot holds what led to *base_index*; the next entry follows that."""
        self._entries.clear()
        self._base_index, self._base_term = base_index, base_term
        self._reset, self._unsynced_from = Reset(base_index, base_term), base_index + 1

    def set_vote(self, term: int, vote: str | None) -> None:
        """Remember term and vote: a term never goes back, and a vote given in it stands."""
        assert term >= self.term, f"term {term} follows term {self.term}"
        assert term > self.term or self.vote in (None, vote), f"a second vote in term {term}"
        self._meta = replace(self._meta, term=term, vote=vote)

    def set_commit(self, index: int) -> None:
        """Remember the commit index. It travels with whatever is written next, and is written alone once a second."""
        if index != self.commit_index:
            self._meta = replace(self._meta, commit_index=index)

    # --- the disk ---

    def sync(self, *, also_commit: bool = False) -> bool:
        """Make everything so far durable, with one write and one fdatasync; return False when there was nothing.

        A commit index alone counts only with *also_commit*, or when ``tick`` has made it due. Raises DiskFull: nothing
        was promised, all of it stays buffered, try again when there is room. Raises DiskFailed, then and ever after.
        """
        self._writer.require_disk()
        if not self._dirty(also_commit=also_commit or self._commit_due):
            return False
        meta = self._meta
        if meta.commit_index > self.last_index:  # Of entries that were truncated or have not come yet: only a hint.
            meta = replace(meta, commit_index=self.last_index)
        added = self._entries[self._unsynced_from - self.first_index :]
        records = [frames.pack_meta(meta), *([frames.pack_reset(self._reset)] if self._reset else [])]
        records.extend(map(frames.pack_entry, added))
        self._writer.append(b"".join(records), self._written_last)
        if added or self._reset:
            self._written_last = (self.last_index, self.last_term)
        self._written_meta, self._reset, self._unsynced_from = self._meta, None, self.last_index + 1
        self._commit_due = False
        return True

    def _dirty(self, *, also_commit: bool) -> bool:
        if self._reset is not None or self._unsynced_from <= self.last_index:
            return True
        now, written = self._meta, self._written_meta
        if (now.term, now.vote) != (written.term, written.vote):
            return True
        return also_commit and now.commit_index != written.commit_index

    def tick(self) -> None:
        """Have room reserved for what comes, and the commit index written with the next sync. Call it once a second."""
        self._commit_due = True
        self._writer.tidy()

    def trim(self, index: int) -> None:
        """Forget what a durable snapshot up to *index* holds, but for the last entries before it."""
        count = min(index, self.synced_index) - self._base_index  # Which the snapshot holds.
        kept = kept_bytes = 0
        while kept < min(count, self._keep_behind) and kept_bytes < KEEP_BEHIND_BYTES:
            kept += 1
            kept_bytes += len(self._entries[count - kept][0])
        if count > kept:
            self._base_index, self._base_term = self._entries[count - kept - 1][1:]
            del self._entries[: count - kept]
            self._writer.drop_before(self.first_index)

    def close(self) -> None:
        """Sync, seal, close: a clean stop. Safe to call twice. Raises DiskFull or DiskFailed, closed all the same."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._writer.failure is None:
                self.sync(also_commit=True)
                self._writer.seal()
        finally:
            self._writer.close()

    def abandon(self) -> None:
        """Close without a sync or a seal, as if the process had died."""
        if not self._closed:
            self._closed = True
            self._writer.close()


class Tail(Sequence[LogEntry]):
    """The entries of a list from a position on, without a copy. Look and drop it: it changes with the list."""

    def __init__(self, entries: Sequence[LogEntry], start: int) -> None:
        self._entries = entries
        self._start = min(start, len(entries))

    def __len__(self) -> int:
        return len(self._entries) - self._start

    @overload
    def __getitem__(self, item: int) -> LogEntry: ...
    @overload
    def __getitem__(self, item: slice) -> list[LogEntry]: ...
    def __getitem__(self, item: int | slice) -> LogEntry | list[LogEntry]:
        if isinstance(item, slice):
            return [self._entries[self._start + n] for n in range(*item.indices(len(self)))]
        return self._entries[self._start + range(len(self))[item]]

    def __iter__(self) -> Iterator[LogEntry]:
        return (self._entries[n] for n in range(self._start, len(self._entries)))


class CoreJournal:
    """A journal as pysyncobj's core uses it: by positions, of which 0 is the first entry held.

    The core clears its log, and adds the last two entries of a snapshot, whenever the two do not begin alike. Here that
    drops nothing which the journal holds in agreement with the snapshot: entries behind it were acknowledged.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._from_snapshot: list[LogEntry] | None = None  # Two, when complete; None: nothing was cleared.

    def __len__(self) -> int:
        return len(self.journal.held)

    @overload
    def __getitem__(self, item: int) -> LogEntry: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[LogEntry]: ...
    def __getitem__(self, item: int | slice) -> LogEntry | Sequence[LogEntry]:
        held = self.journal.held
        if isinstance(item, slice) and item.stop is None and item.step is None and (item.start or 0) >= 0:
            return Tail(held, item.start or 0)  # "Everything from here on", which the core asks for at every message.
        return held[item]

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Add an entry."""
        if self._from_snapshot is None:
            self.journal.append(command, idx, term)
            return
        self._from_snapshot.append((command, idx, term))
        if len(self._from_snapshot) == 2:
            before, last = self._from_snapshot
            self._from_snapshot = None
            self._begin_with(before, last)

    def clear(self) -> None:
        """Announce that the log begins with the two entries that are added next, the last ones of a snapshot."""
        self._from_snapshot = []

    def _begin_with(self, before: LogEntry, last: LogEntry) -> None:
        held = self.journal.entries(last[1], last[1])
        if held and held[0][2] == last[2]:
            return
        self.journal.reset(before[1] - 1, 0)
        self.journal.append(*before)
        self.journal.append(*last)

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803 — the core's name.
        """Drop the entries from a position on."""
        if entryFrom < len(self):
            self.journal.truncate(self.journal.first_index + entryFrom)

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803 — the core's name.
        """Let go of the entries before a position, which a snapshot holds."""
        self.journal.trim(self.journal.first_index + entryTo - 1)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803 — the core's name.
        """Remember the commit index."""
        self.journal.set_commit(raftCommitIndex)

    def getRaftCommitIndex(self) -> int:  # noqa: N802 — the core's name.
        """Return the commit index; the core counts its first entry as committed."""
        return max(1, self.journal.commit_index)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803 — the core's name.
        """Remember term and vote; the tick's sync comes before the messages that speak of them."""
        self.journal.set_vote(term, votedForNodeId)

    def getCurrentTerm(self) -> int:  # noqa: N802 — the core's name.
        """Return the term."""
        return self.journal.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802 — the core's name.
        """Return the vote."""
        return self.journal.vote

    def onOneSecondTimer(self) -> None:  # noqa: N802 — the core's name.
        """Let the journal look after its room."""
        self.journal.tick()

    def flush(self) -> None:
        """Do nothing: the tick syncs."""

    def _destroy(self) -> None:
        """Do nothing: whoever opened the journal closes it."""
