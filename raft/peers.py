"""The rules between the wire and pysyncobj's core: each repairs a fault of the stock library, and is a function.

``Rules`` answers questions about values and changes nothing; ``participant`` asks, and keeps a ``Peer`` for every
other node. Elections have rules of their own (``elections``), so have members that lost their disk (``founding``).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from raftsman.raft.messages import ENTRIES_BYTES, ENTRY_BYTES, Ack, Append

UNSENT_BYTES = 256 << 10
"""A peer that has so much under way gets no more entries, and no more proposals, until it has taken some of it."""


class Broken(Exception):
    """An invariant of the log does not hold: the node must stop, for whatever it does next may lose a command."""


class LogView(Protocol):
    """What the rules look at in the log. The entry at *first_index* is the oldest that is held."""

    @property
    def first_index(self) -> int:
        """Return the lowest index held."""

    @property
    def last_index(self) -> int:
        """Return the highest index."""

    @property
    def last_term(self) -> int:
        """Return the term of the last entry."""

    def term_at(self, index: int) -> int | None:
        """Return the term of an entry, None when it is not held."""


@dataclass(slots=True)
class Peer:
    """What this node knows of another."""

    name: str
    linked: bool = False
    counted: bool = False  # A member whose disk holds what it said; see ``founding``.
    disk_full: bool = False
    muted: bool = True  # The core sends it nothing in this tick.
    wants_room: bool = False  # There may be more for it than its way has room for.
    incarnation: str = ""
    heard_at: float = float("-inf")
    acked_seq: int = 0  # The newest of our messages of this term that it has answered.
    rewound_seq: int = 0  # What was sent before this number may not rewind again.
    rolled_back: str = ""  # The directory that was told of as having less than it acknowledged.


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """An append as the core may see it, and up to where the log then is the leader's (None: that is not known)."""

    prev_index: int
    prev_term: int
    commit: int
    entries: Sequence[tuple[bytes, int, int]] = ()  # As the core's journal: command, index, term.
    verified: int | None = None


class Rules:
    """Every rule. Tests take single ones out, to show what happens without."""

    # --- a follower's ---

    def repair(self, log: LogView, append: Append, commit: int) -> Repaired:
        """Return the part of *append* that is new here. *commit*: up to where this node knows its log committed.

        Stock truncates everything behind ``prev_index``, though nothing conflicts, and so drops acknowledged entries
        when an old message comes late.
        """
        append = _behind_compaction(log, append)
        if log.term_at(append.prev_index) != append.prev_term:  # The core asks the leader to go back.
            return Repaired(prev_index=append.prev_index, prev_term=append.prev_term, commit=min(append.commit, commit))
        verified = append.prev_index + len(append.entries)
        held = self.held(log, append)
        if held == len(append.entries) and log.last_index > verified:
            prev_index, prev_term = log.last_index, log.last_term  # Our log goes on; nothing says that it is wrong.
        else:
            prev_index = append.prev_index + held
            prev_term = append.entries[held - 1][0] if held else append.prev_term
        if prev_index < commit and held < len(append.entries):
            raise Broken(f"the leader of term {append.term} has another entry {prev_index + 1} than was committed here")
        new = [(command, prev_index + 1 + n, term) for n, (term, command) in enumerate(append.entries[held:])]
        return Repaired(
            prev_index=prev_index,
            prev_term=prev_term,
            commit=self.commit_cap(append.commit, verified, log.last_index),
            entries=new,
            verified=verified,
        )

    def held(self, log: LogView, append: Append) -> int:
        """Return how many entries of *append* this log has, counted from its beginning."""
        first = append.prev_index + 1
        known = (n for n, (term, _) in enumerate(append.entries) if log.term_at(first + n) != term)
        return next(known, len(append.entries))

    def commit_cap(self, leaders: int, verified: int, _last_index: int) -> int:
        """Return the commit index that a follower may believe: entries behind *verified* may not be the leader's."""
        return min(leaders, verified)

    def conflict_next(self, log: LogView, prev_index: int, commit: int) -> int:
        """Return where a leader should go on when (*prev_index*) does not match: before the whole term."""
        if prev_index > log.last_index:
            return log.last_index + 1
        wrong = log.term_at(prev_index)
        index = prev_index
        while index > commit + 1 and log.term_at(index - 1) == wrong:
            index -= 1
        return max(index, commit + 1)

    # --- a leader's ---

    def is_of_term(self, answered: int, term: int) -> bool:
        """Whether an answer of term *answered* is to something that this leader sent in its *term*."""
        return answered == term

    def may_rewind(self, peer: Peer, ack: Ack) -> bool:
        """Whether the peer said so after it had seen the last rewind; an earlier complaint is answered already."""
        return ack.seq >= peer.rewound_seq

    def next_after_success(self, before: int, asked: int) -> int:
        """Return the next index to send: what is under way already is not sent twice."""
        return max(before, asked)

    def confirmed(self, peers: Iterable[Peer], seq: int, members: int) -> bool:
        """Whether a majority has answered message *seq*, or a later one, of this term."""
        return (1 + sum(peer.counted and peer.acked_seq >= seq for peer in peers)) * 2 > members


def _behind_compaction(log: LogView, append: Append) -> Append:
    """Leave out what lies before the oldest entry held here: it is committed, so the leader has the same."""
    skip = log.first_index - append.prev_index
    if skip <= 0:
        return append
    first_term = log.term_at(log.first_index)
    assert first_term is not None
    if len(append.entries) >= skip and append.entries[skip - 1][0] != first_term:
        raise Broken(f"the leader of term {append.term} has another entry {log.first_index} than was committed here")
    return Append(
        term=append.term,
        seq=append.seq,
        prev_index=log.first_index,
        prev_term=first_term,
        commit=append.commit,
        entries=append.entries[skip:],
    )


def in_parts(entries: Iterable[tuple[bytes, int, int]]) -> Iterator[tuple[tuple[int, bytes], ...]]:
    """Yield *entries* of the core's journal as appends have them, cut so that each part is a short frame.

    A part is longer than ``ENTRIES_BYTES`` only by an entry that is so alone. No entries: one part, which is empty.
    """
    part: list[tuple[int, bytes]] = []
    size = 0
    for command, _, term in entries:
        added = len(command) + ENTRY_BYTES
        if part and size + added > ENTRIES_BYTES:
            yield tuple(part)
            part, size = [], 0
        part.append((term, bytes(command)))
        size += added
    yield tuple(part)
