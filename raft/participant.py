"""One node's share of the log, step by step: what came in, one tick, what goes out. No thread, no socket.

``tick`` is the heart: messages in, proposals, the core, appends out, ONE sync, then everything that promises
something: acknowledgements, votes, answers. What nodes say about the log is ``conversation``'s, with its rules;
``consensus`` gives a participant its thread, ``transport`` its links, the simulation its world.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from raftsman.raft import messages as m
from raftsman.raft.conversation import Conversation, Way
from raftsman.raft.core import REGULAR
from raftsman.raft.disk import DiskFull
from raftsman.raft.elections import Elections
from raftsman.raft.figures import Standing, Timings
from raftsman.raft.founding import Identity
from raftsman.raft.handover import Handover
from raftsman.raft.joining import Joining
from raftsman.raft.journal import Journal
from raftsman.raft.limits import COMMAND_BYTES
from raftsman.raft.peers import Peer, Rules
from raftsman.raft.shipping import COMPACT_ENTRIES, Shipping, StateMachine
from raftsman.raft.snapshots import SnapshotStore
from raftsman.raft.waiting import DEADLINE_S, Answer, Answered, Reading, Waiting

log = logging.getLogger(__name__)

MAX_QUEUED = 20_000
"""Commands, and reads, that wait at a time: a bound for memory when the log stands still."""
TICK_BYTES = 1 << 20
"""Commands that a leader writes at a time: a longer write, and its sync, would silence the heartbeats."""
DISK_RETRY_S = 0.2
SWEEP_S = 1.0
SILENT_TIMEOUTS = 2
"""A leader that is silent for so many of the longest election timeouts is none: by then another could stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything outside."""

    clock: Callable[[], float]
    random: Callable[[], float]
    journal: Journal
    snapshots: SnapshotStore
    machine: StateMachine
    way: Way
    identity: Identity
    save_identity: Callable[[Identity], None]
    """Make it durable. May raise DiskFull or DiskFailed."""
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class _Linked:
    """There is a new link to this directory of a peer."""

    incarnation: str


@dataclass(frozen=True, slots=True)
class _Unlinked:
    """There is no link to it any more."""


class Participant:
    """A node among others. Its methods are for one thread; ``standing`` and ``heard_at`` may be read from any."""

    def __init__(
        self,
        *,
        name: str,
        members: Iterable[str],
        election_timeout_s: tuple[float, float],
        ports: Ports,
        rules: Rules | None = None,
        elections: Elections | None = None,
        compact_entries: int = COMPACT_ENTRIES,
    ) -> None:
        low_s, high_s = election_timeout_s
        self.name = name
        self.peers = {each: Peer(each) for each in sorted(members) if each != name}
        self.disk_full = False
        self.waiting = Waiting(int(ports.random() * (1 << 60)))
        self._ports = ports
        self._journal = ports.journal
        self._silent_s = high_s * SILENT_TIMEOUTS
        self._inbox: deque[tuple[str, m.Message | _Linked | _Unlinked]] = deque()
        self._queue: deque[tuple[bytes, Answered]] = deque()
        self._reads: deque[Reading] = deque()
        self._retry_at = self._swept_at = ports.clock()
        self._talk = Conversation(
            name=name,
            peers=self.peers,
            election_timeout_s=election_timeout_s,
            journal=ports.journal,
            clock=ports.clock,
            random=ports.random,
            way=ports.way,
            apply=self._apply,
            rules=rules or Rules(),
            elections=elections
            or Elections(
                members=len(self.peers) + 1,
                loyal_for_s=low_s,
                round_s=lambda: low_s + (high_s - low_s) * ports.random(),
            ),
        )
        self.core = self._talk.core
        self._handover = Handover(self._talk)
        self._joining = Joining(self._talk, ports.identity, ports.save_identity)
        self.shipping = Shipping(
            self.core, ports.journal, ports.snapshots, ports.machine, ports.timings, compact_entries=compact_entries
        )
        self.shipping.load()

    # --- what the world tells it, between two ticks ---

    def linked(self, peer: str, incarnation: str) -> None:
        """There is a (new) link to *peer*'s directory *incarnation*."""
        self._inbox.append((peer, _Linked(incarnation)))

    def unlinked(self, peer: str) -> None:
        """The link is gone, and with it what was under way."""
        self._inbox.append((peer, _Unlinked()))

    def received(self, peer: str, message: m.Message) -> None:
        """*message* came over the link."""
        self._inbox.append((peer, message))

    def propose(self, command: bytes, answered: Answered) -> None:
        """Let *command* (at most ``limits.COMMAND_BYTES``) come into the log with the next tick."""
        assert len(command) <= COMMAND_BYTES, f"a command of {len(command)} bytes"
        if len(self._queue) + len(self.waiting) >= MAX_QUEUED:
            answered(Answer.NOT_LEADER, None)
            return
        self._queue.append((command, answered))

    def read(self, answered: Answered) -> None:
        """Let *answered* be called with an index once everything committed before this call is applied here."""
        if len(self._reads) + len(self.waiting) >= MAX_QUEUED:
            answered(Answer.NOT_LEADER, None)
            return
        self._reads.append(Reading(answered, self._ports.clock() + DEADLINE_S))

    def transfer(self, target: str | None, until: float) -> None:
        """Hand leadership to *target*, or to whoever has most; proposals wait, at most *until*."""
        self._handover.begin(target, until)

    # --- where it stands ---

    def standing(self) -> Standing:
        """Return where this node stands."""
        core = self.core
        return Standing(
            leads=core.leads,
            leader=self._leader(),
            term=core.term,
            commit_index=core.commit_index,
            applied_index=core.applied_index,
        )

    def _leader(self) -> str | None:
        leader = self.core.leader
        if leader is None or leader == self.name:
            return self.name if self.core.leads else None
        silent_s = self._ports.clock() - self.peers[leader].heard_at
        return leader if silent_s <= self._silent_s else None

    def behind(self) -> dict[str, int]:
        """Return how many entries every other node is not known to have; empty when this node does not lead."""
        if not self.core.leads:
            return {}
        return {peer: max(self._journal.last_index - self.core.match_index(peer), 0) for peer in self.peers}

    @property
    def identity(self) -> Identity:
        """Whose directory this is, and how far it has come."""
        return self._joining.identity

    def waits_for(self) -> str:
        """Return what this node waits for before it can take its part, "" when it takes it."""
        return self._joining.waits_for()

    @property
    def has_no_room(self) -> bool:
        """Whether the disk is full, or nearly, so that nothing new is accepted."""
        return self.disk_full or self._journal.full

    @property
    def _refuses(self) -> bool:
        """Whether no command may come into the log here: a follower hands it on, while its own disk may count later."""
        if not self.core.leads:
            return self.disk_full
        full = self.has_no_room + sum(peer.disk_full for peer in self.peers.values())
        return self.has_no_room or full * 2 > len(self.peers) + 1

    @property
    def hurried(self) -> bool:
        """Whether the next tick has something to do, whatever the time."""
        return bool(
            self._inbox
            or (self._queue and self._may_hand_over())
            or (self._reads and self.core.leads and self._talk.knows_commits())
            or self.core.applied_index < self.core.commit_index
            or (self.core.leads and self._talk.sent_up_to != (self._journal.last_index, self.core.commit_index))
            or any(peer.wants_room and self._talk.has_room(peer.name) for peer in self.peers.values())
        )

    # --- the tick ---

    def tick(self) -> None:
        """Do everything that is due. Raises Broken or DiskFailed: the node must end."""
        now = self._ports.clock()
        if self.disk_full:
            self._try_disk(now)
        self._talk.counts = self.identity.counts and not self.disk_full
        try:
            self._take_inbox(now)
            if not self.disk_full:
                self._joining.advance()
            self._joining.tell_disk(full=self.has_no_room)
            self._hand_over(now)
            self._take_proposals(now)
            self._take_reads()
            self._mute()
            if self.core.leads and self._talk.has_news(self.waiting.newest_unconfirmed_seq):
                self.core.send_now()
            if not self.peers and not self.disk_full:
                self._sync()  # Alone it commits and applies in this tick what it appends in it.
            self.core.tick()
            self._after_core(now)
            self._ports.way.flush()  # Appends before our own sync: no acknowledgement can be counted until it is over.
            if not self.disk_full:
                self._sync()
                self._joining.join()
        except DiskFull as error:
            self._disk_is_full(error, now)
        self._send_held()
        self._run_due()
        self.shipping.compact(now)
        if now - self._swept_at >= SWEEP_S:
            self._once_a_second(now)

    def _sync(self) -> None:
        began = self._ports.clock()
        if self._journal.sync():
            self._ports.timings.synced(self._ports.clock() - began)

    def _after_core(self, now: float) -> None:
        core = self.core
        if core.leads:
            peers = [peer for peer in self.peers.values() if self._talk.has_room(peer.name)]
            self.shipping.send(peers, self._ports.way.send, self._talk.next_seq, now)
            self._confirm_reads()
        else:
            for reading in self.waiting.deposed():
                self._answer_read(reading, 0)
        if core.term > self._talk.elections.transfer_term:
            self._talk.elections.transfer_term = 0
            core.forget_transfer()
        self.waiting.led_by(self._leader())
        self.waiting.applied_up_to(core.applied_index)

    def _send_held(self) -> None:
        held, self._talk.held = self._talk.held, []
        for peer, message in held:
            self._ports.way.send(peer, message)
        self._ports.way.flush()

    def _run_due(self) -> None:
        while self.waiting.due:
            answered, answer, result = self.waiting.due.popleft()
            answered(answer, result)

    def _once_a_second(self, now: float) -> None:
        self._swept_at = now
        self.waiting.sweep(now)
        self._joining.repeat()

    def _apply(self, command: bytes, index: int) -> None:
        result = self._ports.machine.apply(command[1:], index) if command[0] == REGULAR else None
        self.waiting.applied(index, self._journal.term_at(index), result)

    def _mute(self) -> None:
        """Let the core skip peers to whom it could only send what they cannot take now (stock spins on them)."""
        for peer in self.peers.values():
            waited, peer.wants_room = peer.wants_room, peer.linked and not self._talk.has_room(peer.name)
            needs_snapshot = self.core.leads and self.shipping.needs_snapshot(peer.name)
            self._talk.mute(peer, not peer.linked or peer.wants_room or needs_snapshot)
            if waited and not peer.wants_room:
                self.core.send_now()

    # --- the disk ---

    def _hand_over(self, now: float) -> None:
        """Go on with giving leadership away; begin with it when this disk is the one without room."""
        if self.has_no_room:
            self._handover.begin_for_room(now)
        self._handover.advance(now, self._leader())

    def _disk_is_full(self, error: DiskFull, now: float) -> None:
        if not self.disk_full:
            log.error("%s; this node takes no part in the log until there is room", error)
        self.disk_full, self._retry_at = True, now + DISK_RETRY_S
        self._talk.held.clear()  # Promises that the disk does not hold.
        if self.core.leads:
            self.core.step_down(0)  # The core counts this node's own disk.

    def _try_disk(self, now: float) -> None:
        if now < self._retry_at:
            return
        self._retry_at = now + DISK_RETRY_S
        try:
            self._journal.sync()
            self._joining.advance()  # It may be what found no room: the identity is a file of its own.
            self._joining.join()
        except DiskFull:
            return
        self.disk_full = False
        log.warning("the disk has room again")

    # --- what came in ---

    def _take_inbox(self, now: float) -> None:
        while self._inbox:  # One by one: what a full disk keeps from being taken is there for the next tick.
            name, event = self._inbox.popleft()
            peer = self.peers[name]
            if isinstance(event, _Linked):
                self._link(peer, event.incarnation, now)
            elif isinstance(event, _Unlinked):
                self._unlink(peer)
            elif peer.linked:
                peer.heard_at = now
                if not self.disk_full or isinstance(event, m.Status | m.Proposed | m.Read):
                    self._take(peer, event, now)

    def _link(self, peer: Peer, incarnation: str, now: float) -> None:
        if peer.linked:
            self._unlink(peer)
        peer.linked, peer.incarnation, peer.heard_at = True, incarnation, now
        if self.core.leads:  # What was under way on the old link is lost.
            self.core.set_next_index(peer.name, (self.core.match_index(peer.name) or self._journal.last_index) + 1)
            peer.rewound_seq = self._talk.seq + 1
        self._ports.way.send(peer.name, self._joining.status())

    def _unlink(self, peer: Peer) -> None:
        peer.linked = peer.counted = False
        self._joining.forget(peer)
        self.shipping.stop(peer.name)
        self.waiting.lost(peer.name)

    def _take(self, peer: Peer, message: m.Message, now: float) -> None:
        talk = self._talk
        match message:
            case m.Append():
                talk.on_append(peer, message)
            case m.Ack():
                talk.on_ack(peer, message)
            case m.AskPreVote():
                talk.on_ask_pre_vote(peer, message)
            case m.PreVote():
                talk.on_pre_vote(peer, message)
            case m.AskVote():
                talk.on_ask_vote(peer, message)
            case m.Vote():
                talk.on_vote(peer, message)
            case m.TimeoutNow():
                talk.on_timeout_now(peer, message)
            case _:
                self._take_other(peer, message, now)

    def _take_other(self, peer: Peer, message: m.Message, now: float) -> None:
        match message:
            case m.Status():
                self._joining.on_status(peer, message)
            case m.Noted():
                self._joining.on_noted(peer, message)
            case m.Chunk():
                self._on_chunk(peer, message)
            case m.ChunkAck():
                if self._talk.is_answer(peer, message.term, message.seq):
                    self._talk.hears_follower(peer)
                    self.shipping.on_chunk_ack(peer.name, message, now)
            case m.Propose():
                self._on_propose(peer, message)
            case m.Proposed():
                self._on_proposed(message, now)
            case m.AskRead():
                self._on_ask_read(peer, message, now)
            case m.Read():
                self.waiting.told(message.number, message.index)
            case _:
                self._ports.way.close(peer.name, f"a {type(message).__name__} has no place here")

    def _on_chunk(self, peer: Peer, chunk: m.Chunk) -> None:
        if not self._talk.hears_chunk(peer, chunk):
            return
        received = self.shipping.receive(chunk)
        term = self.core.term
        if received is not None:
            answer: m.Message = m.ChunkAck(term=term, seq=chunk.seq, index=chunk.index, received=received)
        else:
            answer = m.Ack(term=term, seq=chunk.seq, next_index=chunk.index + 1, success=True)
            self.waiting.skipped_to(self.core.applied_index)
        self._talk.held.append((peer.name, answer))

    # --- commands ---

    def _take_proposals(self, now: float) -> None:
        if not self._queue or not self._may_hand_over():
            return
        leader = self._leader()
        if self._refuses:
            self._refuse(Answer.DISK_FULL)
        elif self.core.leads:
            self._append_proposals(now)
        elif leader is None or not self.peers[leader].linked:
            self._refuse(Answer.NOT_LEADER)
        else:
            while self._queue and self._talk.has_room(leader):
                command, answered = self._queue.popleft()
                number = self.waiting.handed(leader, answered, now)
                self._ports.way.send(leader, m.Propose(number=number, command=command))

    def _append_proposals(self, now: float) -> None:
        size = 0
        while self._queue and size < TICK_BYTES:
            command, answered = self._queue.popleft()
            self.core.append([command])
            self.waiting.appended(self._journal.last_index, self.core.term, answered, now)
            size += len(command)

    def _may_hand_over(self) -> bool:
        """Whether proposals can go on: nobody else is to lead, and the way to the leader has room for them."""
        leader = self._leader()
        return not self._handover.is_open and (leader not in self.peers or self._talk.has_room(leader))

    def _refuse(self, answer: Answer) -> None:
        self.waiting.due.extend((answered, answer, None) for _, answered in self._queue)
        self._queue.clear()

    def _on_propose(self, peer: Peer, message: m.Propose) -> None:
        if len(message.command) > COMMAND_BYTES:
            self._ports.way.close(peer.name, f"a command of {len(message.command)} bytes")
            return
        placed = m.Proposed(number=message.number, index=0, term=0)
        if self.core.leads and not self._handover.is_open and not self._refuses:
            self.core.append([message.command])
            placed = m.Proposed(number=message.number, index=self._journal.last_index, term=self.core.term)
        self._ports.way.send(peer.name, placed)  # It promises nothing; it must arrive before the commit does.

    def _on_proposed(self, placed: m.Proposed, now: float) -> None:
        self.waiting.placed(placed.number, placed.index, placed.term, applied_index=self.core.applied_index, now=now)

    # --- reads ---

    def _on_ask_read(self, peer: Peer, asked: m.AskRead, now: float) -> None:
        reading = Reading(lambda *_: None, now + DEADLINE_S, origin=(peer.name, asked.number))
        if len(self._reads) + len(self.waiting) < MAX_QUEUED:
            self._reads.append(reading)
        else:
            self._answer_read(reading, 0)

    def _take_reads(self) -> None:
        if not self._reads:
            return
        reads, self._reads = self._reads, deque()
        if self.core.leads:
            if not self._talk.knows_commits():
                self._reads = reads
                return
            for reading in reads:
                reading.seq, reading.index = self._talk.seq + 1, self.core.commit_index
                self.waiting.unconfirmed(reading)
            return
        leader = self._leader()
        for reading in reads:
            if reading.origin is not None:
                self._answer_read(reading, 0)
            elif leader is None or not self.peers[leader].linked:
                self.waiting.due.append((reading.answered, Answer.NOT_LEADER, None))
            else:
                self._ports.way.send(leader, m.AskRead(number=self.waiting.asked(leader, reading)))

    def _confirm_reads(self) -> None:
        while (seq := self.waiting.oldest_unconfirmed_seq) is not None:
            if not self._talk.rules.confirmed(self.peers.values(), seq, len(self.peers) + 1):
                return
            reading = self.waiting.confirmed()
            if reading.origin is not None:
                self._answer_read(reading, reading.index)

    def _answer_read(self, reading: Reading, index: int) -> None:
        assert reading.origin is not None
        peer, number = reading.origin
        self._talk.held.append((peer, m.Read(number=number, index=index)))
