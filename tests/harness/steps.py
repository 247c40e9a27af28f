"""Nodes of one log in one process, moved by hand: virtual time, links that deliver when told to, simulated disks.

What runs is the product: participant, core, journal, snapshots. Only clock, chance, links and disk are the test's.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgpack

from raftsman.raft import messages as m
from raftsman.raft.elections import Elections
from raftsman.raft.figures import Timings
from raftsman.raft.founding import Identity
from raftsman.raft.identity import save_identity, take_identity
from raftsman.raft.journal import Journal
from raftsman.raft.participant import Participant, Ports
from raftsman.raft.peers import Rules
from raftsman.raft.snapshots import SnapshotStore
from raftsman.raft.waiting import Answer
from tests.harness.simulated_disk import SimulatedDisk

NAMES = ("alpha", "beta", "gamma")
ELECTION_TIMEOUT_S = (0.3, 0.6)
STEP_S = 0.01


def _inline(work: Callable[[], None]) -> None:
    work()


@dataclass(slots=True)
class ListMachine:
    """The plainest state machine: the commands, in order."""

    applied: list[tuple[int, bytes]] = field(default_factory=list)

    def apply(self, command: bytes, index: int) -> bytes:
        self.applied.append((index, bytes(command)))
        return bytes(command)

    def size(self) -> int:
        return 0  # So that the length of the log alone says when it is compacted.

    def freeze(self) -> Iterator[bytes]:
        frozen = list(self.applied)
        return (msgpack.packb(each) or b"" for each in frozen)

    def restore(self, chunks: Iterable[bytes], index: int) -> None:
        self.applied = [(at, command) for at, command in map(msgpack.unpackb, chunks)]
        assert all(at <= index for at, _ in self.applied)


@dataclass(slots=True)
class Node:
    """One node: its process, which may die, and its disk, which may stay."""

    name: str
    disk: SimulatedDisk
    participant: Participant
    machine: ListMachine
    journal: Journal

    @property
    def commands(self) -> list[bytes]:
        """What it has applied."""
        return [command for _, command in self.machine.applied]


@dataclass(slots=True)
class _Way:
    """A node's way to the others."""

    world: "Steps"
    name: str

    def send(self, peer: str, message: m.Message) -> None:
        self.world.send(self.name, peer, message)

    def unsent_bytes(self, peer: str) -> int:
        return sum(len(m.encode(message)) for message in self.world.wires[self.name, peer])

    def flush(self) -> None:
        """Everything has left already."""

    def close(self, peer: str, why: str) -> None:
        self.world.closed.append((self.name, peer, why))
        self.world.cut(self.name, peer)


class Steps:
    """The nodes, the links between them, and the time."""

    def __init__(
        self,
        names: Iterable[str] = NAMES,
        *,
        seed: int = 1,
        rules: Callable[[], Rules] = Rules,
        elections: Callable[[Elections], Elections] = lambda stays: stays,
        keep_behind: int = 20,
        compact_entries: int = 50_000,
    ) -> None:
        self.names = tuple(names)
        self.random = Random(seed)
        self.now = 100.0
        self.rules = rules
        self.elections = elections
        self.keep_behind = keep_behind
        self.compact_entries = compact_entries
        self.nodes: dict[str, Node] = {}
        self.disks: dict[str, SimulatedDisk] = {}
        self.wires: defaultdict[tuple[str, str], deque[m.Message]] = defaultdict(deque)
        self.links: set[frozenset[str]] = set()
        self.blocked: set[tuple[str, str]] = set()
        """Directions in which nothing arrives, though both ends take the link for up."""
        self.syncs: list[float] = []
        self.snapshots: list[float] = []
        """How long each took, of all nodes."""
        self.closed: list[tuple[str, str, str]] = []
        self.said: list[tuple[str, str, m.Message]] = []
        self.on_the_way: Callable[[m.Message], m.Message] = lambda message: message
        """What becomes of a message between two nodes."""

    # --- nodes ---

    def start(self, *names: str) -> None:
        """Start nodes on the disks that they left, or on new ones, and link them."""
        for name in names or self.names:
            self.nodes[name] = self._node(name)
        for name in names or self.names:
            for other in self.nodes:
                if other != name:
                    self.link(name, other)

    def _node(self, name: str) -> Node:
        disk = self.disks.setdefault(name, SimulatedDisk(Random(self.random.random())))
        identity = take_identity(disk, cluster="test", node=name, new_incarnation=f"{self.random.getrandbits(64):016x}")
        snapshots = SnapshotStore(disk, background=_inline)
        journal = Journal.open(
            disk,
            snapshot_index=snapshots.newest.index if snapshots.newest else 0,
            segment_bytes=1 << 16,
            keep_behind=self.keep_behind,
            background=_inline,
            new_salt=lambda: self.random.getrandbits(32),
        )
        machine = ListMachine()
        low_s, high_s = ELECTION_TIMEOUT_S
        participant = Participant(
            name=name,
            members=self.names,
            election_timeout_s=ELECTION_TIMEOUT_S,
            rules=self.rules(),
            compact_entries=self.compact_entries,
            elections=self.elections(
                Elections(
                    members=len(self.names), loyal_for_s=low_s, round_s=lambda: self.random.uniform(low_s, high_s)
                )
            ),
            ports=Ports(
                clock=lambda: self.now,
                random=self.random.random,
                journal=journal,
                snapshots=snapshots,
                machine=machine,
                way=_Way(self, name),
                identity=identity,
                save_identity=lambda changed: _save(disk, changed),
                timings=Timings(synced=self.syncs.append, snapshot_written=self.snapshots.append),
            ),
        )
        return Node(name, disk, participant, machine, journal)

    def kill(self, name: str, *, power: bool = False) -> None:
        """End the process; with *power*, what was not synced is lost too."""
        for other in self.nodes:
            self.cut(name, other)
        self.nodes.pop(name).journal.abandon()
        self.disks[name].kill()
        if power:
            self.disks[name].lose_power()

    def wipe(self, name: str) -> None:
        """Give a node that is down an empty disk."""
        assert name not in self.nodes
        del self.disks[name]

    # --- links ---

    def link(self, one: str, other: str) -> None:
        """Make a new link between two running nodes."""
        self.cut(one, other)
        self.links.add(frozenset((one, other)))
        self.nodes[one].participant.linked(other, self.nodes[other].participant.identity.incarnation)
        self.nodes[other].participant.linked(one, self.nodes[one].participant.identity.incarnation)

    def cut(self, one: str, other: str) -> None:
        """End the link between two nodes; what was under way is lost."""
        if frozenset((one, other)) not in self.links:
            return
        self.links.discard(frozenset((one, other)))
        for here, there in ((one, other), (other, one)):
            self.wires.pop((here, there), None)
            if here in self.nodes:
                self.nodes[here].participant.unlinked(there)

    def isolate(self, name: str) -> None:
        """Cut all links of a node."""
        for other in self.names:
            self.cut(name, other)

    def heal(self) -> None:
        """Link every pair of running nodes that is not linked."""
        self.blocked.clear()
        for one in self.nodes:
            for other in self.nodes:
                if one < other and frozenset((one, other)) not in self.links:
                    self.link(one, other)

    def send(self, sender: str, receiver: str, message: m.Message) -> None:
        if frozenset((sender, receiver)) in self.links:
            self.said.append((sender, receiver, message))
            arriving = m.decode(m.encode(message)[m.LENGTH_BYTES :])
            self.wires[sender, receiver].append(self.on_the_way(arriving))

    def deliver(self, sender: str, receiver: str, count: int | None = None) -> None:
        """Let what is under way from *sender* arrive."""
        wire = self.wires[sender, receiver]
        while wire and count != 0:
            self.nodes[receiver].participant.received(sender, wire.popleft())
            count = None if count is None else count - 1

    # --- time ---

    def step(self, step_s: float = STEP_S) -> None:
        """Let a moment pass: everything under way arrives, every node ticks."""
        self.now += step_s
        for sender, receiver in sorted(self.wires):
            if (sender, receiver) not in self.blocked and receiver in self.nodes:
                self.deliver(sender, receiver)
        for name in sorted(self.nodes):
            self.nodes[name].participant.tick()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / STEP_S)):
            self.step()

    def until(self, fact: Callable[[], Any], what: str, within_s: float = 20.0) -> None:
        """Let time pass until *fact* is true."""
        ends_at = self.now + within_s
        while not fact():
            assert self.now < ends_at, f"not within {within_s:g} s: {what}"
            self.step()

    # --- what tests ask ---

    def leader(self) -> Node:
        """Return the node that leads and that all running nodes name, as soon as there is one."""

        def look() -> list[Node]:
            views = {node.participant.standing().leader for node in self.nodes.values()}
            return [node for node in self.nodes.values() if node.participant.core.leads and views == {node.name}]

        self.until(look, "all name one leader")
        return look()[0]

    def followers(self) -> list[Node]:
        """Return the others."""
        leader = self.leader()
        return [node for node in self.nodes.values() if node is not leader]

    def propose(self, node: Node, command: bytes) -> list[tuple[Answer, Any]]:
        """Propose *command* at *node*; the answers come into the list."""
        answers: list[tuple[Answer, Any]] = []
        node.participant.propose(command, lambda answer, result: answers.append((answer, result)))
        return answers

    def read(self, node: Node) -> tuple[Answer, Any]:
        """Ask for a consistent read at *node*; return the answer and the index."""
        answers: list[tuple[Answer, Any]] = []
        node.participant.read(lambda answer, index: answers.append((answer, index)))
        self.until(lambda: answers, "an answer")
        return answers[0]

    def commit(self, command: bytes, node: Node | None = None) -> None:
        """Bring *command* into the log, by *node* or by the leader."""
        answers = self.propose(node or self.leader(), command)
        self.until(lambda: answers, f"an answer to {command!r}")
        assert answers[0][0] is Answer.APPLIED, answers


def _save(disk: SimulatedDisk, identity: Identity) -> None:
    save_identity(disk, identity)
