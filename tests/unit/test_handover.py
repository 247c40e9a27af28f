"""A leader whose disk runs out of room gives its place to a node that has some, before anything is lost or refused."""

import errno

import pytest

from raftsman.raft.messages import AskPreVote, TimeoutNow
from raftsman.raft.waiting import Answer
from tests.harness.simulated_disk import Operation
from tests.harness.steps import Node, Steps
from tests.unit.stepping import started

COMMAND = b"x" * 2000
SEGMENT_COMMANDS = 33  # Of ``Steps``' 64 KiB.


def no_new_segment(operation: Operation) -> None:
    """Let what is reserved be written still."""
    if operation.kind == "create" and operation.name in ("journal.spare", "journal.next"):
        raise OSError(errno.ENOSPC, "No space left on device")


def run_out_of_room(world: Steps, *nodes: Node) -> None:
    """Let *nodes* find no room for a segment, and write until they have noticed."""
    for node in nodes:
        node.disk.before = no_new_segment
    for _ in range(2 * SEGMENT_COMMANDS):
        if all(node.participant.has_no_room for node in nodes):
            return
        world.commit(COMMAND)
    raise AssertionError("nobody noticed")


def test_a_leader_without_room_hands_over_to_a_node_that_has_some_and_writes_go_on() -> None:
    world = started()
    full = world.leader()
    run_out_of_room(world, full)
    assert not full.participant.disk_full, "what is reserved can be written still"
    waits = world.propose(full, b"during the change")
    world.run(0.3)
    assert waits == [(Answer.APPLIED, b"during the change")]
    assert world.leader() is not full
    world.commit(b"by the node without room, at the new leader", full)


def test_leadership_does_not_go_to_another_node_without_room() -> None:
    world = started()
    full, (also_full, with_room) = world.leader(), world.followers()
    run_out_of_room(world, also_full, full)
    world.until(lambda: with_room.participant.core.leads, "the node with room leads")
    world.run(3)
    assert with_room.participant.core.leads


@pytest.mark.parametrize("which", [0, 1])
def test_whoever_gives_leadership_away_prefers_a_node_with_room(which: int) -> None:
    world = started()
    leader, followers = world.leader(), world.followers()
    full, with_room = followers[which], followers[1 - which]
    run_out_of_room(world, full)
    world.run(0.1)
    leader.participant.transfer(None, world.now + 1)
    world.until(lambda: with_room.participant.core.leads, "the node with room leads")


def test_when_nobody_has_room_the_leader_stays_and_refuses_until_somebody_has() -> None:
    world = started()
    run_out_of_room(world, *world.nodes.values())
    world.run(0.5)
    leader, (other, _) = world.leader(), world.followers()
    term = leader.participant.core.term
    world.run(10)
    assert (leader.participant.core.leads, leader.participant.core.term) == (True, term)
    refused = world.propose(leader, b"one")
    world.run(0.1)
    assert refused == [(Answer.DISK_FULL, None)]
    other.disk.before = lambda _operation: None
    world.until(lambda: other.participant.core.leads, "the one with room leads")


def test_a_leader_with_room_refuses_while_a_majority_has_none() -> None:
    world = started()
    leader, (first, second) = world.leader(), world.followers()
    run_out_of_room(world, first, second)
    world.run(0.1)
    answers = [world.propose(node, b"one") for node in (leader, first)]
    world.run(0.1)
    assert answers == [[(Answer.DISK_FULL, None)], [(Answer.NOT_LEADER, None)]]
    assert world.leader() is leader
    first.disk.before = lambda _operation: None
    world.until(lambda: not first.participant.has_no_room, "there is room")
    world.run(0.1)
    world.commit(b"two", leader)


def asked_twice() -> Steps:
    """Two followers are asked to take over; the one that stands asks the other for its vote in the same tick."""
    world = started()
    leader, (first, second) = world.leader(), world.followers()
    for follower in (first, second):
        world.send(leader.name, follower.name, TimeoutNow(term=leader.participant.core.term))
    world.deliver(leader.name, first.name)
    world.now += 0.001
    first.participant.tick()
    world.deliver(leader.name, second.name)
    world.deliver(first.name, second.name)
    second.participant.tick()
    world.until(lambda: first.participant.core.leads, "the first leads")
    world.run(1.0)
    assert world.leader() is first
    return world


def test_whoever_was_asked_to_take_over_and_did_not_follows_the_leader_that_it_hears() -> None:
    world = asked_twice()
    world.said.clear()
    world.run(5.0)
    assert not [each for _, _, each in world.said if isinstance(each, AskPreVote)]


def test_and_deposes_it_not_even_when_another_node_is_cut_off() -> None:
    world = asked_twice()
    leader, (old, _) = world.leader(), world.followers()
    term = leader.participant.core.term
    world.cut(old.name, leader.name)
    world.run(1.0)
    assert (leader.participant.core.leads, leader.participant.core.term) == (True, term)
