"""What a participant refuses, bounds and repeats: at its queues, at its links, at a full disk."""

import errno
from collections.abc import Callable
from typing import Any, cast

import pytest

from raftsman.raft import messages as m
from raftsman.raft import participant as under_test
from raftsman.raft.elections import Elections
from raftsman.raft.participant import DISK_RETRY_S
from raftsman.raft.waiting import DEADLINE_S, Answer
from tests.harness.simulated_disk import Operation
from tests.harness.steps import ELECTION_TIMEOUT_S, Node, Steps
from tests.unit.stepping import FAKE, alone, append, entry, started

FIVE = ("alpha", "beta", "delta", "gamma", "omega")


def asked_to_read(node: Node) -> list[tuple[Answer, Any]]:
    """Ask for a consistent read at *node*; the answer comes into the list."""
    answers: list[tuple[Answer, Any]] = []
    node.participant.read(lambda answer, index: answers.append((answer, index)))
    return answers


def has_no_room(node: Node) -> bool:
    return node.participant.has_no_room


def no_room(operation: Operation) -> None:
    if operation.kind == "write":
        raise OSError(errno.ENOSPC, "No space left on device")


# --- commands and reads -----------------------------------------------------------------------


def test_a_node_alone_applies_nothing_before_its_disk_holds_it() -> None:
    world = started("alpha")
    node = world.nodes["alpha"]
    seen: list[tuple[str, list[bytes]]] = []
    node.disk.before = lambda operation: seen.append((operation.kind, list(node.commands)))
    answers = world.propose(node, b"one")
    node.participant.tick()
    assert seen == [("write", []), ("sync", [])]
    assert (node.commands, answers) == ([b"one"], [(Answer.APPLIED, b"one")])
    assert set(world.syncs) == {0.0}, "no time passed within a tick"


def test_a_node_keeps_no_more_commands_and_reads_than_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MAX_QUEUED", 3)
    world = started()
    leader = world.leader()
    world.isolate(leader.name)  # So that nothing comes to an end.
    asks: list[tuple[Callable[[], list[tuple[Answer, Any]]], int]] = [
        (lambda: world.propose(leader, b"x"), 2),
        (lambda: asked_to_read(leader), 5),
    ]
    for ask, refused in asks:
        answers = [ask() for _ in range(5)]
        assert answers == [[]] * (5 - refused) + [[(Answer.NOT_LEADER, None)]] * refused
        leader.participant.tick()
        assert len(leader.participant.waiting) == 3
    assert world.propose(leader, b"x") == [(Answer.NOT_LEADER, None)], "what is on its way counts, too"


def test_a_node_that_does_not_lead_takes_nothing_for_another_and_says_so_at_once() -> None:
    played = alone(Steps())
    other, end = played.others[0], played.node.journal.last_index
    assert played.hear(other, m.Propose(number=3, command=b"one")) == [m.Proposed(number=3, index=0, term=0)]
    assert played.hear(other, m.AskRead(number=4)) == [m.Read(number=4, index=0)]
    assert played.node.journal.last_index == end


def test_a_leader_that_is_not_linked_is_asked_nothing() -> None:
    world = started()
    leader, (follower, _) = world.leader(), world.followers()
    world.cut(leader.name, follower.name)
    answers = [world.propose(follower, b"one"), asked_to_read(follower)]
    follower.participant.tick()
    assert follower.participant.standing().leader == leader.name
    assert answers == [[(Answer.NOT_LEADER, None)]] * 2


def test_what_a_silent_leader_was_asked_is_given_up_in_time() -> None:
    world = started()
    follower = world.followers()[0]
    answers = [world.propose(follower, b"one"), asked_to_read(follower)]
    follower.participant.tick()
    for other in world.names:
        world.blocked |= {(follower.name, other), (other, follower.name)}
    world.run(DEADLINE_S - 0.2)
    assert answers == [[], []]
    world.run(1.4)
    assert answers == [[(Answer.UNKNOWN, None)]] * 2
    assert len(follower.participant.waiting) == 0


def test_a_leader_knows_how_far_each_of_the_others_is_behind() -> None:
    world = started()
    leader, (late, other) = world.leader(), world.followers()
    world.kill(late.name)
    for number in range(3):
        world.commit(b"%d" % number)
    world.run(0.1)
    assert leader.participant.behind() == {late.name: 3, other.name: 0}
    assert other.participant.behind() == {}


# --- links ------------------------------------------------------------------------------------


def test_with_a_new_link_what_was_asked_over_the_old_one_is_lost_though_nobody_said_that_it_ended() -> None:
    """The transport tells only of the new link when it takes the place of another."""
    played = alone(Steps())
    participant, leader = played.node.participant, played.leader
    end = (played.node.journal.last_index, played.node.journal.last_term)
    played.hear(leader, append(participant.core.term, 1, end))
    answers = [played.world.propose(played.node, b"one"), asked_to_read(played.node)]
    participant.tick()
    assert answers == [[], []]
    participant.linked(leader, FAKE)
    participant.tick()
    assert answers == [[(Answer.UNKNOWN, None)], [(Answer.NOT_LEADER, None)]]
    assert not participant.peers[leader].counted, "until it says that it does"


def test_what_comes_over_a_link_that_has_ended_is_dropped() -> None:
    played = alone(Steps())
    participant, journal = played.node.participant, played.node.journal
    end, term = (journal.last_index, journal.last_term), participant.core.term
    participant.unlinked(played.leader)
    assert played.hear(played.leader, append(term, 1, end, entry(term, b"one"), commit=end[0] + 1)) == []
    assert journal.last_index == end[0]


def test_an_empty_node_that_is_asked_to_take_over_does_not() -> None:
    world = started(*FIVE)
    leader, (empty, away, *_) = world.leader(), world.followers()
    world.kill(away.name)
    world.kill(empty.name)
    world.wipe(empty.name)
    world.start(empty.name)
    world.run(0.5)
    joining = world.nodes[empty.name].participant
    assert f"{away.name} did not answer yet" in joining.waits_for()
    term = leader.participant.core.term
    world.send(leader.name, empty.name, m.TimeoutNow(term=term))
    world.run(2.0)
    assert (joining.core.term, joining.core.leads) == (term, False)
    assert world.leader() is leader


def test_a_round_of_pre_votes_takes_as_long_as_an_election_by_chance() -> None:
    world = Steps(FIVE, elections=lambda _: cast("Elections", None))  # The participant's own, as a process has them.
    world.start("alpha")
    elections = world.nodes["alpha"].participant._talk.elections
    assert (elections.members, elections.loyal_for_s) == (len(FIVE), ELECTION_TIMEOUT_S[0])
    rounds = [elections.round_s() for _ in range(200)]
    low_s, high_s = ELECTION_TIMEOUT_S
    assert low_s <= min(rounds) < low_s + 0.05
    assert high_s - 0.05 < max(rounds) <= high_s


# --- when there is work -----------------------------------------------------------------------


def test_a_tick_follows_at_once_when_there_is_something_to_do_and_only_then() -> None:
    world = started()
    leader, (follower, _) = world.leader(), world.followers()

    def rests(node: Node) -> bool:
        was_hurried = node.participant.hurried
        node.participant.tick()
        return was_hurried and not node.participant.hurried

    assert not leader.participant.hurried
    assert not follower.participant.hurried
    world.propose(follower, b"one")
    assert rests(follower), "a command to hand on"
    world.deliver(follower.name, leader.name)
    assert rests(leader), "a message, and what came of it"
    asked_to_read(leader)
    assert rests(leader), "a read to confirm"
    asked_to_read(follower)
    assert not follower.participant.hurried, "it is asked for with the next tick, whenever that is"


# --- a full disk ------------------------------------------------------------------------------


def test_a_disk_that_is_full_is_tried_now_and_then_and_has_room_when_a_write_went_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = started()
    leader, (full, _) = world.leader(), world.followers()
    tries: list[float] = []

    def note(operation: Operation) -> None:
        tries.append(world.now)
        no_room(operation)

    full.disk.before = note
    world.commit(b"one", leader)
    world.until(lambda: has_no_room(full), "it has met the full disk")
    tries.clear()
    world.run(2.0)
    assert has_no_room(full)
    assert 2.0 / (DISK_RETRY_S + 0.02) - 1 <= len(tries) <= 2.0 / DISK_RETRY_S + 1
    assert "the disk has room again" not in caplog.text
    full.disk.before = lambda _operation: None
    world.run(DISK_RETRY_S + 0.02)
    assert not has_no_room(full)
    assert caplog.text.count("the disk has room again") == 1
