"""The durable log: entries, term, vote and commit index, on disk before anybody is told of them.

``Journal`` holds the entries in memory, in step with a folder of segments (``segments``); what is added is buffered
until ``sync``, which costs one write and one fdatasync whatever came together. ``CoreJournal`` is the same journal as
pysyncobj's core wants to see it. Who adds entries, and when they count, is ``consensus``'s business; what they mean is
``table``'s. Snapshots are ``snapshots``.

Interface for raft/consensus.py (being filled in):

    disk = RealDisk(data_dir / "raft")               # ONE flat folder for journal and snapshots
    journal = Journal.open(disk)                     # raises JournalDamaged, DiskFailed, DiskFull
    SyncObj's global createJournal = lambda _file: CoreJournal(journal)
    ...one tick...
    journal.sync()                                   # raises DiskFull (retry later) or DiskFailed (end the process)
    ...
    journal.close()                                  # clean stop: sync, seal, close
"""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from raftsman.raft.disk import Damaged, Disk

LogEntry = tuple[bytes, int, int]
"""(command, index, term), in the order of pysyncobj. A plain tuple: a million of them are no work for the collector."""

SEGMENT_BYTES = 16 << 20
KEEP_BEHIND = 5_000
"""Entries kept behind a compaction, so that a follower who is slightly late needs no snapshot."""


class JournalDamaged(Damaged):
    """The journal does not hold what was written: the node must not start. Has file, offset, fault, advice."""


class Tail(Sequence[LogEntry]):
    """``log[n:]`` without a copy. Valid until the journal changes: look and drop it; ``[:n]`` of it is a real list."""

    # __len__, __getitem__ (int → entry; bounded slice → list), __iter__


class Journal:
    """Entries ``first_index … last_index`` in memory and on disk. Not thread-safe: belongs to the log's thread."""

    term: int
    vote: str | None
    commit_index: int  # Restored after a start: may be behind the truth, never ahead of the entries.
    votes: bool  # May this node vote and be counted? True unless set; durable like the vote (rule of empty directories).
    fresh: bool  # Nothing at all was in the folder at open: no segment.
    torn_frames: int  # Torn ends cut at open (0 or 1).
    torn: "str | None"  # "FILE: offset N: torn write of … bytes" or None.
    full: bool  # The last attempt to write or to reserve room met a full disk (also the early warning: no spare segment).

    @classmethod
    def open(
        cls,
        disk: Disk,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        keep_behind: int = KEEP_BEHIND,
        background: Callable[[Callable[[], None]], None] | None = None,  # Default: a thread. Simulation: run inline.
        new_salt: Callable[[], int] | None = None,  # 32 random bits per segment. Simulation: from the seed.
    ) -> "Journal":
        """Read the journal, cut a torn end, and return it. Raises JournalDamaged, DiskFull, DiskFailed."""
        raise NotImplementedError

    # reading
    @property
    def first_index(self) -> int:
        """The lowest index held (last_index + 1 when none is)."""
        raise NotImplementedError

    @property
    def last_index(self) -> int:
        """The highest index held, or the base's when there is no entry (0 in a new journal)."""
        raise NotImplementedError

    @property
    def last_term(self) -> int:
        """The term of the last entry (or of the base)."""
        raise NotImplementedError

    @property
    def synced_index(self) -> int:
        """The highest index that is durable: what an acknowledgement may speak of. Falls with a truncation."""
        raise NotImplementedError

    @property
    def live_bytes(self) -> int:
        """Bytes of the segments in use: what compaction looks at."""
        raise NotImplementedError

    def entries(self, first: int, last: int) -> list[LogEntry]:
        """Return the entries from index *first* to *last*, both included, as far as they are held."""
        raise NotImplementedError

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry *index* (or of the base), None when it is not held."""
        raise NotImplementedError

    # changing: in memory at once, on disk with the next sync
    def append(self, command: bytes, index: int, term: int) -> None:
        """Add an entry; *index* follows the last."""
        raise NotImplementedError

    def truncate(self, index: int) -> None:
        """Drop the entries from *index* on."""
        raise NotImplementedError

    def reset(self, base_index: int, base_term: int) -> None:
        """Drop every entry; the next one is *base_index* + 1. For a snapshot that is durable already."""
        raise NotImplementedError

    def set_vote(self, term: int, vote: str | None) -> None:
        """Remember term and vote; the term never goes back, a vote in it never changes to another."""
        raise NotImplementedError

    def set_votes(self, votes: bool) -> None:  # noqa: FBT001
        """Remember whether this node may vote."""
        raise NotImplementedError

    def set_commit(self, index: int) -> None:
        """Remember the commit index. It rides with the next frame and never causes one by itself (see ``sync``)."""
        raise NotImplementedError

    def sync(self, *, also_commit: bool = False) -> bool:
        """Make everything so far durable: ONE write, ONE fdatasync; False when there was nothing to write.

        A commit index alone is written with *also_commit* only. Raises DiskFull: nothing was promised, everything stays
        buffered, call again when there is room. Raises DiskFailed: for good, every later call raises it, too.
        """
        raise NotImplementedError

    def trim(self, index: int) -> None:
        """Forget entries up to *index* − keep_behind. Call it only when a snapshot up to *index* is durable."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make sure that a next segment is ready (in the background); retries after a full disk. Once a second."""
        raise NotImplementedError

    def close(self) -> None:
        """Sync, write the seal of a clean stop, close. Safe to call twice; after DiskFailed it only closes."""
        raise NotImplementedError


class CoreJournal:
    """The journal as pysyncobj's core uses it: positions instead of indexes.

    ``clear()`` followed by ``add`` of an entry that the journal holds with the same term keeps everything (the core
    clears on start when its dump and its journal do not begin alike; fault 2): only another entry makes a reset.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def add(self, command: bytes, idx: int, term: int) -> None: ...
    def clear(self) -> None: ...
    def deleteEntriesFrom(self, entryFrom: int) -> None: ...  # noqa: N802, N803
    def deleteEntriesTo(self, entryTo: int) -> None: ...  # noqa: N802, N803
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, item: int) -> LogEntry: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[LogEntry]: ...  # Open end: a Tail (a view). Bounded: a list.
    def setRaftCommitIndex(self, raftCommitIndex: int) -> None: ...  # noqa: N802, N803
    def getRaftCommitIndex(self) -> int: ...  # noqa: N802  # At least 1, as stock.
    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None: ...  # noqa: N802, N803
    def getCurrentTerm(self) -> int: ...  # noqa: N802
    def getVotedForNodeId(self) -> str | None: ...  # noqa: N802
    def onOneSecondTimer(self) -> None: ...  # noqa: N802  # journal.prepare(); the commit index goes with the next sync.
    def flush(self) -> None: ...  # Nothing: the tick syncs.
    def _destroy(self) -> None: ...  # Nothing: whoever opened the journal closes it.
