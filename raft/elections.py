"""Who may stand and who votes: pre-vote, loyalty to a leader that is heard, one vote per voter and term.

Pure but for what it remembers of the running round; instants are given. pysyncobj's own election has none of this:
a node that was cut off comes back with a higher term and deposes a healthy leader.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from raftsman.raft.messages import AskPreVote, AskVote


@dataclass(frozen=True, slots=True)
class Position:
    """A node's log and term, as far as elections are concerned."""

    term: int
    last_index: int
    last_term: int

    def outranks(self, asked: AskVote | AskPreVote) -> bool:
        """Whether this log holds more than that of the node that asks."""
        return (self.last_term, self.last_index) > (asked.last_term, asked.last_index)


@dataclass(slots=True)
class Elections:
    """One node's view of elections. *loyal_for_s*: the shortest election timeout."""

    members: int
    loyal_for_s: float
    round_s: Callable[[], float]
    """How long a round of pre-votes may take; random, so that two nodes do not repeat theirs together."""
    pre_votes: bool = True
    loyalty: bool = True
    heard_leader_at: float = float("-inf")
    transfer_term: int = 0
    """The term whose leader asked this node to take over, 0 when none did."""
    _round_term: int = 0
    _round_ends_at: float = float("-inf")
    _willing: set[str] = field(default_factory=set)
    _voted: tuple[int, frozenset[str]] = (0, frozenset())

    # --- standing ---

    def may_stand(self, position: Position) -> bool:
        """Whether the node may begin an election now: alone, asked by its leader, or wanted by a majority."""
        if self.members == 1 or not self.pre_votes or self.transfer_term == position.term:
            return True
        return self._round_term == position.term + 1 and (1 + len(self._willing)) * 2 > self.members

    def begin_round(self, position: Position, now: float) -> AskPreVote | None:
        """Return what to ask everybody, None while a round is under way or a leader is heard."""
        if self.is_loyal(now, leads=False):
            return None
        if self._round_term == position.term + 1 and now < self._round_ends_at:
            return None
        self._round_term, self._willing = position.term + 1, set()
        self._round_ends_at = now + self.round_s()
        return AskPreVote(term=self._round_term, last_index=position.last_index, last_term=position.last_term)

    def note_willing(self, voter: str, asked: int) -> None:
        """Take note that *voter* would vote for this node in term *asked*."""
        if asked == self._round_term:
            self._willing.add(voter)

    def forget_willing(self, voter: str) -> None:
        """Count *voter* no longer: it has lost its disk."""
        self._willing.discard(voter)

    def end_round(self) -> None:
        """Forget who was willing: a leader was heard, or the election has begun."""
        self._round_term, self._willing = 0, set()

    def is_first_vote(self, voter: str, term: int) -> bool:
        """Whether this is the first vote of *voter* in *term*; stock counts every one."""
        if self._voted[0] != term:
            self._voted = (term, frozenset())
        if voter in self._voted[1]:
            return False
        self._voted = (term, self._voted[1] | {voter})
        return True

    def has_voted(self, voter: str, term: int) -> bool:
        """Whether *voter* has voted for this node in *term*."""
        return self._voted[0] == term and voter in self._voted[1]

    # --- voting ---

    def is_loyal(self, now: float, *, leads: bool) -> bool:
        """Whether this node has a leader that it hears, or is one."""
        return self.loyalty and (leads or now - self.heard_leader_at < self.loyal_for_s)

    def would_vote(self, position: Position, asked: AskPreVote, now: float, *, leads: bool) -> bool:
        """Whether this node would vote for whoever asks."""
        return asked.term > position.term and not self.is_loyal(now, leads=leads) and not position.outranks(asked)

    def hears(self, asked: AskVote, now: float, *, leads: bool) -> bool:
        """Whether a request for a vote counts at all: not while there is a leader, unless that leader sent it."""
        return asked.transfer or not self.is_loyal(now, leads=leads)
