"""Between the wire and pysyncobj's core: translates, repairs and filters what nodes say about log and elections.

Everything that promises something is *held* until the tick has made it durable. Commands of users, reads, founding
and the disk are ``participant``'s; the rules that are applied here are ``peers`` and ``elections``.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raftsman.raft import messages as m
from raftsman.raft.core import NO_OP, REGULAR, Core, CorePorts
from raftsman.raft.elections import Elections, Position
from raftsman.raft.journal import CoreJournal, Journal
from raftsman.raft.limits import COMMAND_BYTES
from raftsman.raft.peers import UNSENT_BYTES, Broken, Peer, Repaired, Rules, in_parts

log = logging.getLogger(__name__)


class Way(Protocol):
    """How a node reaches the others."""

    def send(self, peer: str, message: m.Message) -> None:
        """Send *message* if there is a link; else it is lost."""

    def unsent_bytes(self, peer: str) -> int:
        """Return how much is under way to *peer* and has not left this node."""

    def flush(self) -> None:
        """Let everything sent so far leave now."""

    def close(self, peer: str, why: str) -> None:
        """Close the link: what came over it cannot be trusted."""


@dataclass(slots=True)
class _Answering:
    """The append that the core is at: its number, as it came, and as the core sees it."""

    seq: int
    prev_index: int
    repaired: Repaired


@dataclass(slots=True, kw_only=True)
class Conversation:
    """What this node says and hears. *counts*: whether it may vote and stand at the moment."""

    name: str
    peers: Mapping[str, Peer]
    election_timeout_s: tuple[float, float]
    journal: Journal
    clock: Callable[[], float]
    random: Callable[[], float]
    way: Way
    apply: Callable[[bytes, int], None]
    rules: Rules
    elections: Elections
    counts: bool = False
    held: list[tuple[str, m.Message]] = field(default_factory=list)
    seq: int = 0
    """The number of the last append or chunk sent."""
    sent_up_to: tuple[int, int] = (0, 0)
    """Log end and commit index that the followers were last sent."""
    verified: tuple[str, int, int] | None = None
    """Who leads, its term, and its commit index, when this log was last known to hold all of that."""
    core: Core = field(init=False)
    _answering: _Answering | None = None

    def __post_init__(self) -> None:
        self.core = Core(
            self.name,
            list(self.peers),
            election_timeout_s=self.election_timeout_s,
            ports=CorePorts(
                clock=self.clock,
                random=self.random,
                journal=CoreJournal(self.journal),
                send=self._outgoing,
                may_stand=self._may_stand,
                apply=self.apply,
            ),
        )

    # --- what the core says ---

    def _outgoing(self, peer: str, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "append_entries":
                self._send_append(self.peers[peer], message)  # Before our own sync: see ``Participant.tick``.
            case "next_node_idx":
                self.held.append((peer, self._ack(message)))
            case "request_vote":
                self.held.append((peer, self._ask_vote(message)))
            case "response_vote":
                self.held.append((peer, m.Vote(term=message["term"], granted=True)))
            case other:
                raise Broken(f"the core sends {other!r}, which no rule knows")

    def next_seq(self) -> int:
        """Return the number of the next message that is to be echoed."""
        self.seq += 1
        return self.seq

    def _send_append(self, peer: Peer, message: Mapping[str, Any]) -> None:
        """Send what the core wants *peer* to have in parts, as far as there is room; the core gives the rest again."""
        prev_index, prev_term = message["prevLogIdx"], message["prevLogTerm"]
        for entries in in_parts(message["entries"]):
            if not self.has_room(peer.name):
                peer.wants_room = True
                self.core.set_next_index(peer.name, prev_index + 1)
                self.mute(peer, True)  # The core looks, and sends it nothing more in this tick.
                return
            append = m.Append(
                term=message["term"],
                seq=self.next_seq(),
                prev_index=prev_index,
                prev_term=prev_term,
                commit=message["commit_index"],
                entries=entries,
            )
            self.way.send(peer.name, append)
            if entries:
                prev_index, prev_term = prev_index + len(entries), entries[-1][0]

    def has_room(self, peer: str) -> bool:
        """Whether entries and proposals may be put on the way to *peer* now."""
        return self.way.unsent_bytes(peer) <= UNSENT_BYTES

    def mute(self, peer: Peer, muted: bool) -> None:
        """Let the core send to *peer*, or nothing for now."""
        if muted != peer.muted:
            peer.muted = muted
            self.core.connect(peer.name, connected=not muted)

    def _ack(self, message: Mapping[str, Any]) -> m.Ack:
        assert self._answering is not None, "the core acknowledges what nobody sent"
        repaired = self._answering.repaired
        next_index = message["next_node_idx"]
        if message["success"]:
            assert repaired.verified is not None
            next_index = repaired.verified + 1
        elif message["reset"]:
            next_index = self.rules.conflict_next(self.journal, self._answering.prev_index, self.core.commit_index)
        return m.Ack(
            term=self.core.term,
            seq=self._answering.seq,
            next_index=next_index,
            success=message["success"],
            reset=message["reset"],
        )

    def _ask_vote(self, message: Mapping[str, Any]) -> m.AskVote:
        return m.AskVote(
            term=message["term"],
            last_index=message["last_log_index"],
            last_term=message["last_log_term"],
            transfer=self.elections.transfer_term == message["term"] - 1,
        )

    # --- elections ---

    def position(self) -> Position:
        """Return this node's term and the end of its log."""
        return Position(self.core.term, self.journal.last_index, self.journal.last_term)

    def _may_stand(self) -> bool:
        if not self.counts:
            return False
        now, position = self.clock(), self.position()
        if self.elections.may_stand(position):
            self.elections.end_round()
            return True
        asked = self.elections.begin_round(position, now)
        if asked is not None:
            for peer in self.peers.values():
                self.way.send(peer.name, asked)
        return False

    def on_ask_pre_vote(self, peer: Peer, asked: m.AskPreVote) -> None:
        """Say whether this node would vote for *peer*."""
        willing = self.counts and peer.counted
        granted = willing and self.elections.would_vote(self.position(), asked, self.clock(), leads=self.core.leads)
        self.held.append((peer.name, m.PreVote(term=self.core.term, asked=asked.term, granted=granted)))

    def on_pre_vote(self, peer: Peer, answer: m.PreVote) -> None:
        """Count *peer*'s willingness, or learn that time has gone on."""
        if answer.term > self.core.term:
            self.core.step_down(answer.term)
        elif answer.granted and peer.counted:
            self.elections.note_willing(peer.name, answer.asked)

    def on_ask_vote(self, peer: Peer, asked: m.AskVote) -> None:
        """Let the core vote, if this node may and should listen."""
        if asked.term < self.core.term:
            self.held.append((peer.name, m.Vote(term=self.core.term, granted=False)))
        elif self.counts and peer.counted and self.elections.hears(asked, self.clock(), leads=self.core.leads):
            self.core.deliver(
                peer.name,
                {
                    "type": "request_vote",
                    "term": asked.term,
                    "last_log_index": asked.last_index,
                    "last_log_term": asked.last_term,
                },
            )

    def on_vote(self, peer: Peer, vote: m.Vote) -> None:
        """Count the vote, once."""
        if vote.term > self.core.term:
            self.core.step_down(vote.term)
            return
        valid = self.core.stands and vote.granted and vote.term == self.core.term and peer.counted
        if valid and self.elections.is_first_vote(peer.name, vote.term):
            self.core.deliver(peer.name, {"type": "response_vote", "term": vote.term})

    def on_timeout_now(self, peer: Peer, asked: m.TimeoutNow) -> None:
        """Stand at once, for the leader wants it."""
        if asked.term == self.core.term and peer.name == self.core.leader and self.counts:
            self.elections.transfer_term = asked.term
            self.core.deliver(peer.name, {"type": "timeout_now", "term": asked.term})

    # --- a follower ---

    def _follows(self, peer: Peer, term: int, seq: int) -> bool:
        """Whether *peer* is the leader to follow; if its term is over, it is told so."""
        if not peer.counted:
            return False
        if term < self.core.term:
            self.held.append((peer.name, m.Ack(term=self.core.term, seq=seq, next_index=0, success=False)))
            return False
        if term == self.core.term and self.core.leads:
            raise Broken(f"{peer.name} leads in term {term}, and so does this node")
        self.elections.heard_leader_at = self.clock()
        self.elections.end_round()
        return True

    def on_append(self, peer: Peer, append: m.Append) -> None:
        """Take what is new in *append*; the core acknowledges it."""
        if any(command[:1] not in _KNOWN or len(command) > 1 + COMMAND_BYTES for _, command in append.entries):
            self.way.close(peer.name, "an entry of a kind or size that raftsman never writes")
            return
        if not self._follows(peer, append.term, append.seq):
            return
        repaired = self.rules.repair(self.journal, append, self.core.commit_index)
        self._answering = _Answering(append.seq, append.prev_index, repaired)
        self.core.deliver(
            peer.name,
            {
                "type": "append_entries",
                "term": append.term,
                "commit_index": repaired.commit,
                "entries": repaired.entries,
                "prevLogIdx": repaired.prev_index,
                "prevLogTerm": repaired.prev_term,
            },
        )
        self._answering = None
        if repaired.verified is not None and append.commit <= repaired.verified:
            self.verified = (peer.name, append.term, append.commit)

    def hears_chunk(self, peer: Peer, chunk: m.Chunk) -> bool:
        """Whether *chunk* comes from the leader; it counts as a heartbeat, and commits nothing."""
        if not self._follows(peer, chunk.term, chunk.seq):
            return False
        self.core.deliver(
            peer.name, {"type": "append_entries", "term": chunk.term, "commit_index": self.core.commit_index}
        )
        return True

    # --- a leader ---

    def has_news(self, unconfirmed_seq: int | None) -> bool:
        """Whether the followers should hear something in this tick: entries, a commit, a read's number to echo."""
        before, commit = self.sent_up_to, max(self.core.commit_index, self._agreed())
        self.sent_up_to = (self.journal.last_index, commit)
        return self.sent_up_to != before or (unconfirmed_seq is not None and unconfirmed_seq > self.seq)

    def knows_commits(self) -> bool:
        """Whether this leader knows what earlier terms have committed: it has committed an entry of its own."""
        return self.journal.term_at(self.core.commit_index) == self.core.term

    def _agreed(self) -> int:
        """Return up to where a majority has this leader's log, if that is of its term: the core will commit so far."""
        has = sorted([self.journal.last_index, *(self.core.match_index(peer) for peer in self.peers)])
        index = has[(len(has) - 1) // 2]
        return index if self.journal.term_at(index) == self.core.term else 0

    def is_answer(self, peer: Peer, term: int, seq: int) -> bool:
        """Whether an answer of *term* is to this leader; a later term ends its leadership."""
        if term > self.core.term:
            self.core.step_down(term)
        if not self.core.leads or not self.rules.is_of_term(term, self.core.term):
            return False
        if seq > self.seq:
            self.way.close(peer.name, "an answer to what was never sent")
            return False
        if peer.counted:  # What a directory said before it counted confirms nothing, also when it counts later.
            peer.acked_seq = max(peer.acked_seq, seq)
        return True

    def on_ack(self, peer: Peer, ack: m.Ack) -> None:
        """Note what *peer* has, and what it wants next."""
        if not self.is_answer(peer, ack.term, ack.seq):
            return
        if ack.success and ack.next_index > self.journal.last_index + 1:
            raise Broken(f"{peer.name} acknowledges entry {ack.next_index - 1}, which this leader does not have")
        reset = ack.reset and self.rules.may_rewind(peer, ack)
        before = self.core.next_index(peer.name)
        if peer.counted:
            self._hear_from(peer, ack.next_index, reset=reset, success=ack.success)
        if ack.success:
            self.core.set_next_index(peer.name, self.rules.next_after_success(before, ack.next_index))
        elif reset:
            self._look_at_loss(peer, ack.next_index)
            peer.rewound_seq = self.seq + 1
            self.core.set_next_index(peer.name, max(ack.next_index, self.core.match_index(peer.name) + 1))

    def _look_at_loss(self, peer: Peer, wants: int) -> None:
        """Say once when *peer* asks for what it has acknowledged: it gets nothing, for nobody knows what it is."""
        acknowledged = self.core.match_index(peer.name)
        if peer.counted and wants <= acknowledged and peer.rolled_back != peer.incarnation:
            peer.rolled_back = peer.incarnation
            log.error(
                "%s asks for entry %d and had acknowledged all up to %d: its data directory was put back from an older "
                "copy; stop it, and start it with an empty one",
                peer.name,
                wants,
                acknowledged,
            )

    def hears_follower(self, peer: Peer) -> None:
        """*peer* has answered something that says nothing about its log."""
        if peer.counted:
            self._hear_from(peer, 0, reset=False, success=False)

    def _hear_from(self, peer: Peer, next_index: int, *, reset: bool, success: bool) -> None:
        self.core.deliver(
            peer.name,
            {"type": "next_node_idx", "next_node_idx": next_index, "reset": reset, "success": success},
        )


_KNOWN = (bytes([REGULAR]), bytes([NO_OP]))
