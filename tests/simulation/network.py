"""Connections as TCP gives them: in order or not at all, late, cut, dead in one direction, or dead and nobody knows.

What lies under way dies with its connection. Who may talk to whom is decided by the product's own hello; what a
process does with its links is ``processes``.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from raftsman.raft.link import DEAD_AFTER_S
from tests.simulation.timeline import Timeline


class Listener(Protocol):
    """A process that holds one end of a link."""

    def frame_came(self, link: "Link", frame: bytes) -> None:
        """Take a frame."""

    def link_ended(self, link: "Link") -> None:
        """Take note that this end is closed."""


class Machine(Protocol):
    """What the network must know of a machine."""

    @property
    def has_power(self) -> bool:
        """Whether its kernel answers."""

    @property
    def is_paused(self) -> bool:
        """Whether its process stands still, though its kernel does not."""


@dataclass(slots=True, eq=False)
class Lane:
    """One direction of a link."""

    link: "Link"
    sender: str
    receiver: str
    frames: deque[tuple[float, bytes | None]] = field(default_factory=deque)
    """When each arrives; None is the end of the connection."""
    bytes: int = 0
    is_planned: bool = False

    def drop(self) -> None:
        """Lose what is under way."""
        self.frames.clear()
        self.bytes = 0


@dataclass(slots=True, eq=False)
class Link:
    """One connection, seen from both ends: each may take it for open while the other knows better."""

    dialer: str
    acceptor: str
    holders: dict[str, Listener | None]
    """The processes that hold its ends, as long as they do."""
    lanes: dict[str, Lane] = field(init=False)
    """By sender."""
    greeted: dict[str, bool] = field(init=False)

    def __post_init__(self) -> None:
        ends = ((self.dialer, self.acceptor), (self.acceptor, self.dialer))
        self.lanes = {one: Lane(self, one, other) for one, other in ends}
        self.greeted = {one: False for one, _ in ends}

    def other(self, end: str) -> str:
        """Return the other end."""
        return self.acceptor if end == self.dialer else self.dialer


class Network:
    """Every connection, and what is wrong with the ways between the machines."""

    def __init__(self, timeline: Timeline, random: Random, machines: Callable[[str], Machine]) -> None:
        self._timeline = timeline
        self._random = random
        self._machine = machines
        self.links: list[Link] = []
        self.blocked: dict[tuple[str, str], int] = {}
        """Directions in which nothing arrives, and which block it is."""
        self.slow_s: dict[str, float] = {}
        """By machine: what its frames need beyond the usual."""
        self._blocks = 0
        self.usual_s = random.choice((0.0002, 0.001, 0.005))

    # --- links ---

    def is_open_way(self, one: str, other: str) -> bool:
        """Whether a connection can be made between two machines."""
        return (one, other) not in self.blocked and (other, one) not in self.blocked

    def connect(self, dialer: str, acceptor: str, holders: dict[str, Listener | None]) -> Link:
        """Make a connection."""
        link = Link(dialer, acceptor, holders)
        self.links.append(link)
        return link

    def send(self, link: Link, sender: str, frame: bytes | None, *, lag_s: float = 0.0) -> None:
        """Put a frame on its way, which leaves in *lag_s*."""
        lane = link.lanes[sender]
        slow_s = self.slow_s.get(sender, 0.0) + self.slow_s.get(lane.receiver, 0.0)
        arrives = self._timeline.now + lag_s + (self.usual_s + slow_s) * (0.5 + self._random.random())
        if lane.frames:
            arrives = max(arrives, lane.frames[-1][0])
        lane.frames.append((arrives, frame))
        lane.bytes += len(frame or b"")
        self._plan(lane)

    def close(self, link: Link, end: str, *, told: bool = True, drains: bool = False) -> None:
        """Close *end*. *told*: the other end hears of it; *drains*: after it has got what is under way."""
        holder = link.holders[end]
        if holder is None:
            return
        link.holders[end] = None
        outgoing, incoming = link.lanes[end], link.lanes[link.other(end)]
        incoming.drop()
        if not drains:
            outgoing.drop()
        if told:
            self.send(link, end, None)
        else:
            self._timeline.after(DEAD_AFTER_S, lambda: self.close(link, link.other(end), told=False))
        if link.holders[link.other(end)] is None:
            self.links.remove(link)
        holder.link_ended(link)

    # --- ways ---

    def block(self, sender: str, receiver: str) -> None:
        """Let nothing from *sender* reach *receiver* any more; TCP holds it back, and gives up after a while."""
        self._blocks += 1
        block = self.blocked[sender, receiver] = self._blocks
        self._timeline.after(DEAD_AFTER_S, lambda: self._give_up(sender, receiver, block))

    def unblock(self, sender: str, receiver: str) -> None:
        """Let everything through again."""
        self.blocked.pop((sender, receiver), None)
        self.wake(receiver)

    def _give_up(self, sender: str, receiver: str, block: int) -> None:
        if self.blocked.get((sender, receiver)) != block:
            return
        for link in [each for each in self.links if {each.dialer, each.acceptor} == {sender, receiver}]:
            for end in (link.dialer, link.acceptor):
                self.close(link, end, told=False)

    def wake(self, receiver: str) -> None:
        """Go on delivering to *receiver*."""
        for link in self.links:
            if receiver in link.holders:
                self._plan(link.lanes[link.other(receiver)])

    # --- delivery ---

    def _plan(self, lane: Lane) -> None:
        if not lane.is_planned and lane.frames:
            lane.is_planned = True
            self._timeline.after(lane.frames[0][0] - self._timeline.now, lambda: self._deliver(lane))

    def _deliver(self, lane: Lane) -> None:
        lane.is_planned = False
        machine = self._machine(lane.receiver)
        if (lane.sender, lane.receiver) in self.blocked or (machine.is_paused and machine.has_power):
            return  # ``wake`` goes on.
        while lane.frames and lane.frames[0][0] <= self._timeline.now:
            _, frame = lane.frames.popleft()
            lane.bytes -= len(frame or b"")
            self._hand_over(lane, frame, has_power=machine.has_power)
        self._plan(lane)

    def _hand_over(self, lane: Lane, frame: bytes | None, *, has_power: bool) -> None:
        link, holder = lane.link, lane.link.holders[lane.receiver]
        if holder is None:
            if has_power and frame is not None and link.holders[lane.sender] is not None:
                link.lanes[lane.receiver].drop()
                self.send(link, lane.receiver, None)  # A kernel answers what belongs to no connection with a reset.
        elif frame is None:
            self.close(link, lane.receiver)
        else:
            holder.frame_came(link, frame)
