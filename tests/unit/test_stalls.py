"""A process that stands still for a moment between two of its steps: no CPU, no GIL, SIGSTOP."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raftsman.raft import messages as m
from raftsman.raft.waiting import Answer
from tests.harness.steps import Node, Steps

HEARTBEAT_PASSES_S = 0.06


@contextmanager
def standing_still(world: Steps, node: Node, at_look: int) -> Iterator[None]:
    """Let time pass behind look number *at_look* at the node's clock, counted from now."""
    core = node.participant.core
    looks, ports = iter(range(1, 10_000)), core._ports
    skipped_s = 0.0

    def look() -> float:
        nonlocal skipped_s
        seen = world.now + skipped_s
        if next(looks) == at_look:
            skipped_s = HEARTBEAT_PASSES_S
        return seen

    clock = ports.clock
    object.__setattr__(ports, "clock", look)
    yield
    object.__setattr__(ports, "clock", clock)


def started() -> tuple[Steps, Node, Node, Node]:
    world = Steps()
    world.start()
    leader, (follower, other) = world.leader(), world.followers()
    world.run(0.5)
    return world, leader, follower, other


@pytest.mark.parametrize("at_look", range(1, 8))
@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies in that tick"])
def test_what_a_stopped_leader_takes_from_a_follower_is_answered_as_what_it_is(at_look: int, dies: bool) -> None:
    world, leader, follower, other = started()
    world.propose(leader, b"one")
    leader.participant.tick()
    two = world.propose(follower, b"two")
    follower.participant.tick()
    world.deliver(follower.name, leader.name)
    with standing_still(world, leader, at_look):
        leader.participant.tick()
    if dies:
        world.deliver(leader.name, follower.name)
        world.deliver(leader.name, other.name)
        world.kill(leader.name)
    world.until(lambda: bool(two), "an answer to two")
    world.run(3.0)
    assert two[0] in ((Answer.APPLIED, b"two"), (Answer.UNKNOWN, None))
    acknowledged = two[0][0] is Answer.APPLIED
    assert not acknowledged or all(b"two" in node.commands for node in world.nodes.values())


@pytest.mark.parametrize("at_look", range(1, 8))
def test_a_leader_that_is_stopped_and_deposed_in_one_tick_goes_on_as_a_follower(at_look: int) -> None:
    world, leader, follower, other = started()
    term = leader.participant.core.term
    newer = m.Append(term=term + 1, seq=1, prev_index=leader.journal.last_index, prev_term=term, commit=0, entries=())
    leader.participant.received(follower.name, m.Propose(number=1, command=b"two"))
    leader.participant.received(other.name, newer)
    with standing_still(world, leader, at_look):
        leader.participant.tick()
    assert not leader.participant.core.leads
