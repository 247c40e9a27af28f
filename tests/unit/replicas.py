"""Replicas with their real logs, several in one process, on loopback ports and journals of their own."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from raftsman.raft.commands import Command
from raftsman.raft.consensus import Consensus
from raftsman.raft.records import Change, Instant
from raftsman.raft.replica import Applied, Replica
from tests.harness.nodes import free_port

NAMES = ("alpha", "beta", "gamma")
ELECTION_TIMEOUT_S = (0.15, 0.3)
_ids = itertools.count()
WITHIN_S = 10.0
META_LEFT_OPEN = pytest.mark.filterwarnings("ignore:unclosed file .*journal.meta:ResourceWarning")
"""pysyncobj's journal opens this file when it starts and leaves closing it to the garbage collector."""


async def until(fact: Callable[[], object], what: str) -> None:
    """Wait until *fact* is true, or fail saying *what* was waited for."""
    deadline = time.monotonic() + WITHIN_S
    while not fact():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
        await asyncio.sleep(0.005)


@dataclass(slots=True)
class Node:
    """A replica, its log, and what was applied."""

    name: str
    replica: Replica
    consensus: Consensus
    applied: list[tuple[int, tuple[Change, ...]]] = field(default_factory=list)

    @property
    def leads(self) -> bool:
        """Whether this node leads."""
        return self.replica.standing().leads

    @property
    def state(self) -> tuple[int, str]:
        """The table's index and hash."""
        return self.replica.read(lambda table: (table.index, table.state_hash))

    async def apply(self, command: Command) -> Applied:
        """Propose *command* until it is applied."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            outcome = await self.replica.propose(command)
            if isinstance(outcome, Applied):
                return outcome
            assert time.monotonic() < deadline, outcome
            await asyncio.sleep(0.02)


def make_node(
    name: str,
    members: dict[str, str],
    directory: Path,
    on_applied: Callable[[int, tuple[Change, ...]], None] = lambda *_: None,
    on_restored: Callable[[int], None] = lambda _index: None,
    *,
    election_timeout_s: tuple[float, float] = ELECTION_TIMEOUT_S,
) -> Node:
    """Return a node that has not been started."""
    applied: list[tuple[int, tuple[Change, ...]]] = []

    def note(index: int, changes: tuple[Change, ...]) -> None:
        applied.append((index, changes))
        on_applied(index, changes)

    replica = Replica(
        now=lambda: Instant(1_000), new_id=lambda: f"c-{next(_ids)}", on_applied=note, on_restored=on_restored
    )
    consensus = Consensus(
        name=name,
        members=members,
        journal=directory / name / "journal",
        election_timeout_s=election_timeout_s,
        apply=replica.apply,
        monotonic=time.monotonic,
    )
    return Node(name, replica, consensus, applied)


@dataclass(slots=True)
class Group:
    """The nodes of one log."""

    directory: Path
    members: dict[str, str]
    election_timeout_s: tuple[float, float] = ELECTION_TIMEOUT_S
    nodes: dict[str, Node] = field(default_factory=dict)

    async def start(self, *names: str) -> None:
        """Start the named nodes, or all, over what earlier ones left on the disk."""
        fresh = [
            make_node(name, self.members, self.directory, election_timeout_s=self.election_timeout_s)
            for name in names or self.members
        ]
        self.nodes |= {node.name: node for node in fresh}
        await asyncio.gather(*(node.replica.start(node.consensus) for node in fresh))

    async def stop(self, *names: str) -> None:
        """Stop the named nodes, or all."""
        stopped = [self.nodes.pop(name) for name in names or tuple(self.nodes)]
        await asyncio.gather(*(node.replica.stop() for node in stopped))

    async def leader(self) -> Node:
        """Return the one node that leads, once all running nodes agree."""

        def agreed() -> bool:
            views = {node.replica.standing().leader for node in self.nodes.values()}
            return len(views) == 1 and None not in views and sum(node.leads for node in self.nodes.values()) == 1

        await until(agreed, "all nodes name one leader")
        return next(node for node in self.nodes.values() if node.leads)

    async def followers(self) -> list[Node]:
        """Return the running nodes that do not lead."""
        leader = await self.leader()
        return [node for node in self.nodes.values() if node is not leader]

    async def settled(self) -> tuple[int, str]:
        """Return index and hash of the table, once they are the same on all running nodes."""
        await until(lambda: len({node.state for node in self.nodes.values()}) == 1, "all tables are the same")
        return next(iter(self.nodes.values())).state


@asynccontextmanager
async def group_of(
    directory: Path, names: Sequence[str] = NAMES, *, election_timeout_s: tuple[float, float] = ELECTION_TIMEOUT_S
) -> AsyncIterator[Group]:
    """Give a group whose nodes are not started yet, and stop those that run at the end."""
    group = Group(directory, {name: f"127.0.0.1:{free_port()}" for name in names}, election_timeout_s)
    try:
        yield group
    finally:
        await group.stop()
