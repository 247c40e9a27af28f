"""One life of a node: the product's own participant, journal, snapshots and replica, on a simulated machine.

It plays the parts of ``consensus`` (which puts them together), ``log_thread`` (which ticks) and ``transport`` (which
introduces nodes to each other); machines that outlive a process are ``machines``.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from raftsman.raft import messages as m
from raftsman.raft.disk import DiskFull
from raftsman.raft.founding import Identity
from raftsman.raft.identity import require_journal, save_identity, take_identity
from raftsman.raft.link import HELLO_WITHIN_S
from raftsman.raft.participant import Participant, Ports
from raftsman.raft.records import Change, Instant
from raftsman.raft.transport import REDIAL_S, Self, fault_of
from tests.simulation.network import Link
from tests.simulation.watched import Machine, watched_journal

if TYPE_CHECKING:
    from tests.simulation.machines import Host

CLUSTER = "simulated"
ELECTION_TIMEOUT_S = (0.3, 0.6)
DIAL_WITHIN_S = 1.0

FOLLOWER_BEATS = 3
"""Who does not lead looks at the time less often: it hears heartbeats, and an election may be so much later."""


class Process:
    """A running node. Everything that it does may raise Crash, which ``Host`` turns into its end."""

    def __init__(self, host: "Host") -> None:
        self.host = host
        self.name = host.name
        self.life = host.lives
        self.is_over = self._is_stopping = False
        self.links: dict[str, Link] = {}
        """The link that its transport uses, by peer."""
        self.lag_s = 0.0
        """How long the present tick has taken so far."""
        self._open: list[Link] = []
        self._going: list[tuple[Link, bytes, str]] = []
        self._busy_until = 0.0
        self._beat_at = 0.0
        self._beat_is_planned = self._tick_is_planned = False
        self._jobs: deque[Callable[[], None]] = deque()
        try:
            self._put_together()
        except BaseException:
            self.is_over = True  # It dies while it starts, and so does what it has begun beside.
            raise

    # --- its parts ---

    def _put_together(self) -> None:
        host, world = self.host, self.host.world
        disk, parts, sizes = host.disk, world.parts, world.sizes
        new = f"{host.random.getrandbits(64):016x}"
        identity = take_identity(disk, cluster=CLUSTER, node=self.name, new_incarnation=new)
        snapshots = parts.snapshots(disk, background=self.background, transfer_bytes=sizes.transfer_bytes)
        self.journal = watched_journal(parts.journal, self.name, identity.incarnation, world.checks).open(
            disk,
            snapshot_index=snapshots.newest.index if snapshots.newest else 0,
            segment_bytes=sizes.segment_bytes,
            keep_behind=sizes.keep_behind,
            background=self.background,
            new_salt=lambda: host.random.getrandbits(32),
        )
        require_journal(disk, identity, fresh=self.journal.fresh)
        world.checks.started(self.name, identity.incarnation, self.journal)
        self.replica = parts.replica(
            now=lambda: Instant(host.clock.wall_ms()), new_id=lambda: "", on_applied=self._on_applied
        )
        low_s, high_s = ELECTION_TIMEOUT_S
        self.participant: Participant = parts.participant(
            name=self.name,
            members=world.names,
            election_timeout_s=ELECTION_TIMEOUT_S,
            rules=parts.rules(),
            elections=parts.elections(
                members=len(world.names), loyal_for_s=low_s, round_s=lambda: host.random.uniform(low_s, high_s)
            ),
            compact_entries=sizes.compact_entries,
            ports=Ports(
                clock=self._clock,
                random=host.random.random,
                journal=self.journal,
                snapshots=snapshots,
                machine=Machine(self.name, self.replica, world.checks),
                way=self,
                identity=identity,
                save_identity=lambda changed: save_identity(disk, changed),
            ),
        )
        if parts.waiting is not type(self.participant.waiting):
            self.participant.waiting = parts.waiting()
        self._standing: tuple[object, ...] = ()

    def _on_applied(self, index: int, changes: tuple[Change, ...]) -> None:
        checks = self.host.world.checks
        self.replica.read(lambda table: checks.changed(index, changes, table))

    def _clock(self) -> float:
        self.lag_s += self.host.stall_s()
        return self.host.clock.monotonic(self.lag_s)

    @property
    def identity(self) -> Identity:
        """Whose directory it runs on."""
        return self.participant.identity

    # --- its time ---

    def background(self, work: Callable[[], None]) -> None:
        """Have *work* done beside the ticks, as a thread would; a process that stops waits for it."""
        if self._is_stopping:
            work()
            return
        self._jobs.append(work)
        delay_s = self.host.random.expovariate(1 / 0.03)
        self.host.later(delay_s, self._work_beside, self)

    def _work_beside(self) -> None:
        if self._jobs:
            self._jobs.popleft()()
            self.tick_soon()

    def tick_soon(self) -> None:
        """Let the next tick come as soon as the last one is over."""
        if not self._tick_is_planned:
            self._tick_is_planned = True
            world = self.host.world
            world.timeline.after(max(0.0, self._busy_until - world.timeline.now) + world.sizes.tick_s, self._on_time)

    def _on_time(self) -> None:
        self._tick_is_planned = False
        if self._busy_until > self.host.world.timeline.now:  # Another tick came in between, and takes longer.
            self.tick_soon()
        else:
            self._wake()

    def _beat_later(self, delay_s: float) -> None:
        self._beat_at = self.host.world.timeline.now + delay_s
        if not self._beat_is_planned:
            self._beat_is_planned = True
            self.host.world.timeline.after(delay_s, self._on_beat)

    def _on_beat(self) -> None:
        self._beat_is_planned = False
        early_s = self._beat_at - self.host.world.timeline.now
        if early_s > 0:  # It has ticked since, for another reason.
            self._beat_later(early_s)
        else:
            self._wake()

    def _wake(self) -> None:
        if not self.is_over and not self.host.is_paused:  # It ticks when it goes on.
            self.host.guarded(self._tick)

    def _tick(self) -> None:
        self.lag_s = 0.0
        self.participant.tick()
        self._look()
        took_s, self.lag_s = self.lag_s, 0.0
        world = self.host.world
        self._busy_until = world.timeline.now + took_s
        if self.participant.hurried:
            self.tick_soon()
        else:
            beats = 1 if self.participant.core.leads else FOLLOWER_BEATS
            self._beat_later(took_s + world.sizes.beat_s * beats)

    def _look(self) -> None:
        """Check what the tick has done, if there is a difference."""
        checks, participant, journal = self.host.world.checks, self.participant, self.journal
        checks.counted(
            self.name,
            waiting=len(participant.waiting),
            open_files=self.host.disk.open_files,
            under_way=sum(len(link.lanes[self.name].frames) for link in self._open),
        )
        core, stage, full = participant.core, participant.identity.stage, participant.disk_full
        ends = journal.last_index, journal.synced_index, core.commit_index, core.applied_index
        standing = (core.leads, core.term, ends, stage, full)
        if standing == self._standing:
            return
        self._standing = standing
        checks.ticked(self.name, self.life, core, journal)
        if self.replica.apply_errors or self.replica.broken:
            self.host.world.fail(f"{self.name} could not apply an entry: {self.replica.broken or 'an exception'}")
        self.host.is_member = self.host.is_member or self.identity.counts
        self.host.note(
            f"{'leads' if core.leads else 'is'} in term {core.term}, holds {journal.last_index}, "
            f"commit {core.commit_index}, applied {core.applied_index}"
            f"{'' if self.identity.counts else ', ' + stage}{', disk full' if full else ''}"
        )

    # --- its end ---

    def stop(self) -> None:
        """End cleanly, as at the end of ``log_thread``."""
        self._is_stopping = True
        while self._jobs:
            self._jobs.popleft()()
        with suppress(DiskFull):  # Nothing was promised about what is not written.
            self.journal.close()

    def end(self, *, told: bool, drains: bool) -> None:
        """Be gone; the kernel closes the links if it still lives (*told*)."""
        self.is_over = True
        for link in self._open[:]:
            self.host.world.network.close(link, self.name, told=told, drains=drains)

    # --- its way to the others: the port of the participant ---

    def send(self, peer: str, message: m.Message) -> None:
        """Keep *message* until the next flush."""
        link = self.links.get(peer)
        if link is not None:
            self.host.world.checks.said(self.name, self.identity.incarnation, peer, message)
            what = f"an {type(message).__name__}"
            self._going.append((link, m.encode(message)[m.LENGTH_BYTES :], what))

    def flush(self) -> None:
        """Let everything leave, one frame after the other; the process may die between two."""
        network = self.host.world.network
        while self._going:
            link, frame, what = self._going.pop(0)
            self.host.burn(f"send {what}")
            if link.holders[self.name] is self:
                network.send(link, self.name, frame, lag_s=self.lag_s)

    def unsent_bytes(self, peer: str) -> int:
        """Return what is under way to *peer*."""
        link = self.links.get(peer)
        return link.lanes[self.name].bytes if link is not None else 0

    def close(self, peer: str, why: str) -> None:
        """Close the link: the product does so with a peer that says what no node says."""
        self.host.world.fail(f"{self.name} closes its link to {peer}: {why}")

    # --- its links ---

    def dial_all(self) -> None:
        """Begin to call every node with a greater name."""
        for peer in self.host.world.names:
            if peer > self.name:
                self._dial(peer)

    def _dial(self, peer: str) -> None:
        world = self.host.world
        if peer in self.links or any(link.acceptor == peer for link in self._open):
            return
        other = world.hosts[peer]
        if not world.network.is_open_way(self.name, peer) or not other.has_power:
            self._dial_later(peer, DIAL_WITHIN_S)
        elif other.process is None:
            self._dial_later(peer, REDIAL_S)
        else:
            link = world.network.connect(self.name, peer, {self.name: self, peer: other.process})
            for process in (self, other.process):
                process.hold(link)
            world.network.send(link, self.name, self._hello(peer))

    def hold(self, link: Link) -> None:
        """Have an end of a new link, which must come to something soon."""
        self._open.append(link)
        self.host.later(HELLO_WITHIN_S, lambda: self._require_hello(link), self)

    def _require_hello(self, link: Link) -> None:
        if not link.greeted[self.name]:
            self.host.world.network.close(link, self.name)

    def _dial_later(self, peer: str, delay_s: float) -> None:
        self.host.later(delay_s * (1 + self.host.random.random()), lambda: self._dial(peer), self)

    def _me(self) -> Self:
        identity = self.identity
        return Self(identity.cluster, identity.known_cluster_id, identity.node, identity.incarnation)

    def _hello(self, to: str) -> bytes:
        return m.encode(self._me().hello(to))[m.LENGTH_BYTES :]

    def frame_came(self, link: Link, frame: bytes) -> None:
        """Take what came over a link."""
        message = m.decode(frame)
        peer = link.other(self.name)
        if link.greeted[self.name]:
            self.host.world.trace.heard(self.name, peer, frame, message)
            self.participant.received(peer, message)
            self.tick_soon()
        elif isinstance(message, m.Hello):
            self._on_hello(link, peer, message)
        else:
            self.host.world.network.close(link, self.name)

    def _on_hello(self, link: Link, peer: str, hello: m.Hello) -> None:
        network = self.host.world.network
        fault = fault_of(hello, self._me(), self.host.world.addresses, peer if link.dialer == self.name else None)
        if fault:
            self.host.note(f"refuses {peer}: {fault}")
            network.close(link, self.name)
            return
        link.greeted[self.name] = True
        old, self.links[peer] = self.links.get(peer), link
        if old is not None:
            network.close(old, self.name)
        if link.acceptor == self.name:
            network.send(link, self.name, self._hello(peer))
        self.participant.linked(peer, hello.incarnation)
        self.host.note(f"is linked to {peer}")
        self.tick_soon()

    def link_ended(self, link: Link) -> None:
        """Take note that this end of a link is closed."""
        self._open.remove(link)
        peer = link.other(self.name)
        if self.is_over:
            return
        if self.links.get(peer) is link:
            del self.links[peer]
            self.participant.unlinked(peer)
            self.host.note(f"has lost the link to {peer}")
            self.tick_soon()
        if peer > self.name:
            self._dial_later(peer, REDIAL_S)
