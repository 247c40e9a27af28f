"""Clusters to begin with: one that works, and a node by itself whose others the test plays, message by message."""

from dataclasses import dataclass

from raftsman.raft import messages as m
from raftsman.raft.core import REGULAR
from raftsman.raft.founding import MEMBER
from tests.harness.steps import NAMES, Node, Steps

FAKE = "ffffffffffffffff"


def started(*names: str) -> Steps:
    """Return a whole cluster, of three unless they are named, whose leader everybody has heard."""
    world = Steps(names or NAMES)
    world.start()
    world.leader()
    world.run(0.2)
    return world


def entry(term: int, command: bytes) -> tuple[int, bytes]:
    """Return an entry of a user's command, as it stands in an append."""
    return term, bytes([REGULAR]) + command


def append(term: int, seq: int, prev: tuple[int, int], *entries: tuple[int, bytes], commit: int = 1) -> m.Append:
    """Return an append; *prev* is (index, term)."""
    return m.Append(term=term, seq=seq, prev_index=prev[0], prev_term=prev[1], commit=commit, entries=entries)


@dataclass(slots=True)
class Alone:
    """One real node; whoever else is a member is the test."""

    world: Steps
    node: Node
    leader: str
    """Who led, played by the test unless it is the node itself."""

    @property
    def others(self) -> list[str]:
        """The names that the test plays; the leader's is the last, if it is among them."""
        return sorted(self.node.participant.peers, key=lambda name: (name == self.leader, name))

    def hear(self, sender: str, *messages: m.Message) -> list[m.Message]:
        """Let the node receive *messages* and tick; return what it says to *sender* then."""
        before = len(self.world.said)
        for message in messages:
            self.node.participant.received(sender, message)
        self.node.participant.tick()
        return [said for _, to, said in self.world.said[before:] if to == sender]

    def wait(self, seconds: float) -> list[tuple[str, m.Message]]:
        """Let time pass in silence; return what the node says to whom."""
        before = len(self.world.said)
        for _ in range(round(seconds / 0.01)):
            self.world.now += 0.01
            self.node.participant.tick()
        return [(to, said) for _, to, said in self.world.said[before:]]


def alone(world: Steps, *, leads: bool = False) -> Alone:
    """Found *world*'s cluster, let one follower (or the leader) live on, and play the others from now on."""
    world.start()
    leader = world.leader().name
    world.run(0.2)
    kept = leader if leads else next(name for name in world.names if name != leader)
    for other in world.names:
        if other != kept:
            world.kill(other)
    node = world.nodes[kept]
    founding = dict(node.participant.identity.founding)
    status = m.Status(
        stage=MEMBER, cluster_id=node.participant.identity.cluster_id, incarnation=FAKE, founding=founding
    )
    for other in world.names:
        if other != kept:
            world.links.add(frozenset((kept, other)))
            node.participant.linked(other, FAKE)
            node.participant.received(other, status)
    node.participant.tick()
    world.said.clear()
    return Alone(world, node, leader)


__all__ = ["FAKE", "NAMES", "Alone", "alone", "append", "entry"]
