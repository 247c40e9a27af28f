"""When a leader asks another to take over, whom, how often, and what becomes of it when that comes to nothing."""

import errno

import pytest

from raftsman.raft import messages as m
from raftsman.raft.handover import FOR_ROOM_REST_S, FOR_ROOM_WITHIN_S, REPEAT_S
from raftsman.raft.waiting import Answer
from tests.harness.simulated_disk import Operation
from tests.harness.steps import Node, Steps
from tests.unit.stepping import started


def unheard(message: m.Message) -> m.Message:
    """Let nobody understand that it is asked to take over."""
    return m.TimeoutNow(term=0) if isinstance(message, m.TimeoutNow) else message


def asked(world: Steps) -> list[str]:
    """Return who was asked to take over, in order, since the last look."""
    who = [to for _, to, each in world.said if isinstance(each, m.TimeoutNow)]
    world.said.clear()
    return who


def without_room(node: Node) -> None:
    """Let *node* find no room for its next segment from now on."""

    def before(operation: Operation) -> None:
        if operation.kind == "create" and operation.name.startswith("journal."):
            raise OSError(errno.ENOSPC, "No space left on device")

    node.disk.before = before
    node.journal._writer._spare = None
    node.journal.tick()
    assert node.participant.has_no_room


def test_a_target_is_asked_again_until_the_time_is_over_and_then_proposals_go_on() -> None:
    world = started()
    leader, (target, _) = world.leader(), world.followers()
    world.on_the_way = unheard
    asked(world)
    leader.participant.transfer(target.name, world.now + 0.5)
    answers = world.propose(leader, b"one")
    world.run(0.45)
    assert answers == []
    assert asked(world) in ([target.name] * count for count in (int(0.45 / REPEAT_S), int(0.45 / REPEAT_S) + 1))
    world.run(0.2)
    assert (answers, leader.participant.core.leads) == ([(Answer.APPLIED, b"one")], True)
    asked(world)
    world.run(1.0)
    assert asked(world) == []


def test_a_target_that_lacks_an_entry_is_asked_when_it_has_it() -> None:
    world = started()
    leader, (target, _) = world.leader(), world.followers()
    world.blocked.add((leader.name, target.name))
    world.propose(leader, b"one")
    world.run(0.05)
    leader.participant.transfer(target.name, world.now + 1.0)
    asked(world)
    world.run(0.1)
    assert asked(world) == []
    world.blocked.clear()
    world.until(lambda: target.participant.core.leads, "the target leads")
    assert target.commands == [b"one"]


def test_whoever_has_most_is_asked_when_nobody_is_named() -> None:
    world = started()
    leader, (late, other) = world.leader(), world.followers()
    for slow, quick in ((late, other), (other, late)):
        world.blocked.add((leader.name, slow.name))
        world.propose(leader, b"one")
        world.run(0.05)
        asked(world)
        leader.participant.transfer(None, world.now + 0.2)
        world.on_the_way = unheard
        world.run(0.1)
        assert set(asked(world)) == {quick.name}
        world.blocked.clear()
        world.run(0.5)


def test_only_a_node_that_counts_and_is_linked_is_asked() -> None:
    world = started()
    leader, (target, _) = world.leader(), world.followers()
    for attribute in ("counted", "linked"):
        asked(world)
        peer = leader.participant.peers[target.name]
        setattr(peer, attribute, False)
        leader.participant.transfer(target.name, world.now + 0.2)
        leader.participant.tick()
        assert asked(world) == []
        setattr(peer, attribute, True)
        world.on_the_way = unheard
        world.run(0.3)
    assert leader.participant.core.leads


def test_the_first_wish_stands_and_a_follower_has_none() -> None:
    world = started()
    leader, (target, other) = world.leader(), world.followers()
    world.on_the_way = unheard
    other.participant.transfer(target.name, world.now + 1.0)
    leader.participant.transfer(target.name, world.now + 0.3)
    leader.participant.transfer(other.name, world.now + 9.0)
    asked(world)
    answers = world.propose(leader, b"one")
    world.run(0.5)
    assert set(asked(world)) == {target.name}
    assert answers == [(Answer.APPLIED, b"one")]
    world.commit(b"two", other)


def test_a_leader_without_room_that_nobody_relieves_refuses_rests_and_tries_again() -> None:
    world = started()
    leader = world.leader()
    without_room(leader)
    world.on_the_way = unheard
    asked(world)
    world.run(FOR_ROOM_WITHIN_S + 0.1)
    assert asked(world)
    refused = world.propose(leader, b"one")
    leader.participant.tick()
    assert refused == [(Answer.DISK_FULL, None)], "at once, though the others have room"
    world.run(FOR_ROOM_REST_S - FOR_ROOM_WITHIN_S - 0.2)
    assert asked(world) == []
    world.run(0.3)
    assert asked(world)


@pytest.mark.parametrize("full", [True, False])
def test_what_a_follower_hands_on_is_taken_while_there_is_room_and_nobody_else_is_to_lead(*, full: bool) -> None:
    world = started()
    leader, (follower, target) = world.leader(), world.followers()
    world.on_the_way = unheard
    if full:
        without_room(leader)
        for node in (follower, target):
            without_room(node)
        world.run(0.2)
    else:
        leader.participant.transfer(target.name, world.now + 1.0)
    end = leader.journal.last_index
    answers = world.propose(follower, b"one")
    world.run(0.2)
    assert answers == [(Answer.NOT_LEADER, None)]
    assert leader.journal.last_index == end
