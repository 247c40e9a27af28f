"""In which order a participant says, writes and answers: before its sync, behind a lost link, in a new term."""

import pytest

from raftsman.raft import core as core_module
from raftsman.raft import messages as m
from raftsman.raft.peers import UNSENT_BYTES
from raftsman.raft.waiting import Answer
from tests.harness.steps import Node, Steps
from tests.unit.stepping import NAMES, alone, append, started


def complaints(world: Steps) -> list[m.Ack]:
    return [each for _, _, each in world.said if isinstance(each, m.Ack) and not each.success]


def leads_without_knowing() -> tuple[Steps, Node]:
    """Return a new leader that holds an acknowledged entry, and does not know that it was committed."""
    world = started()
    old, (new, late) = world.leader(), world.followers()
    world.cut(old.name, late.name)
    answers = world.propose(old, b"one")
    old.participant.tick()
    world.deliver(old.name, new.name)
    new.participant.tick()
    world.deliver(new.name, old.name)
    old.participant.tick()
    assert (answers, new.commands) == ([(Answer.APPLIED, b"one")], [])
    world.kill(old.name)
    world.until(lambda: new.participant.core.leads, "the one that has it leads")
    assert new.commands == []
    return world, new


def test_a_new_leader_answers_no_read_before_it_has_committed_an_entry_of_its_own() -> None:
    """That the other follows is known before the other has anything: its first answer is a complaint."""
    world, new = leads_without_knowing()
    seen: list[tuple[Answer, list[bytes]]] = []
    new.participant.read(lambda answer, _index: seen.append((answer, list(new.commands))))
    world.said.clear()
    world.until(lambda: seen, "an answer")
    assert complaints(world)
    assert seen == [(Answer.APPLIED, [b"one"])]


def test_a_new_leader_answers_no_read_of_another_before_that_either() -> None:
    world, new = leads_without_knowing()
    (other,) = world.followers()
    index = new.journal.last_index - 1
    world.said.clear()
    new.participant.received(other.name, m.AskRead(number=7))
    world.run(0.2)
    told = [each for _, to, each in world.said if isinstance(each, m.Read) and to == other.name]
    assert [each.number for each in told] == [7]
    assert told[0].index >= index


def test_a_leaders_entries_leave_before_its_own_sync_and_its_answers_behind_it() -> None:
    world = started()
    leader = world.leader()
    seen: list[tuple[str, int]] = []
    leader.disk.before = lambda operation: seen.append((operation.kind, len(sent())))

    def sent() -> list[m.Message]:
        return [each for sender, _, each in world.said if sender == leader.name and isinstance(each, m.Append)]

    world.said.clear()
    answers = world.propose(leader, b"one")
    leader.participant.tick()
    assert seen == [("write", 2), ("sync", 2)]
    assert answers == []


def test_what_may_leave_before_the_sync_leaves_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = started()
    leader = world.leader()
    order: list[str] = []
    leader.disk.before = lambda operation: order.append(operation.kind)
    monkeypatch.setattr(type(leader.participant._ports.way), "flush", lambda _way: order.append("flush"))
    world.propose(leader, b"one")
    leader.participant.tick()
    assert order == ["flush", "write", "sync", "flush"]


def test_whoever_asked_a_leader_that_is_deposed_is_told_so() -> None:
    played = alone(Steps(), leads=True)
    core, peer = played.node.participant.core, played.others[0]
    assert not [each for each in played.hear(peer, m.AskRead(number=7)) if isinstance(each, m.Read)]
    said = played.hear(peer, m.Vote(term=core.term + 5, granted=False))
    assert [each for each in said if isinstance(each, m.Read)] == [m.Read(number=7, index=0)]


def test_what_a_majority_has_is_told_in_the_tick_in_which_the_leader_hears_of_it() -> None:
    world = started()
    leader, (follower, other) = world.leader(), world.followers()
    world.propose(leader, b"one")
    leader.participant.tick()
    world.deliver(leader.name, follower.name)
    follower.participant.tick()
    world.deliver(follower.name, leader.name)
    world.said.clear()
    leader.participant.tick()
    assert leader.commands == [b"one"]
    told = [(to, each.commit) for _, to, each in world.said if isinstance(each, m.Append)]
    assert sorted(told) == sorted((name, leader.journal.last_index) for name in (follower.name, other.name))
    leader.participant.tick()
    assert len(world.said) == len(told), "once"


def test_a_read_asks_the_others_at_once_whether_they_follow() -> None:
    world = started()
    leader = world.leader()
    world.run(0.03)
    world.said.clear()
    leader.participant.tick()
    assert world.said == []
    leader.participant.read(lambda *_: None)
    leader.participant.tick()
    assert len([each for _, _, each in world.said if isinstance(each, m.Append)]) == 2


def test_a_node_that_starts_applies_what_it_knew_to_be_committed_before_it_hears_of_anybody() -> None:
    world = started()
    world.commit(b"one")
    world.run(1.2)  # The commit index alone is written once a second.
    name = world.followers()[0].name
    for each in world.names:
        world.kill(each, power=True)
    world.start(name)
    world.nodes[name].participant.tick()
    assert world.nodes[name].commands == [b"one"]


def test_what_was_under_way_on_a_link_that_broke_is_sent_again_at_once() -> None:
    world = started()
    leader, (follower, _) = world.leader(), world.followers()
    world.propose(leader, b"one")
    leader.participant.tick()
    world.said.clear()
    world.link(leader.name, follower.name)
    world.run(0.06)
    assert follower.commands == [b"one"]
    assert complaints(world) == [], "nothing had to be asked for"


def test_many_entries_at_once_go_as_far_as_there_is_room_and_each_of_them_once() -> None:
    world = started()
    leader, followers = world.leader(), world.followers()
    commands = [bytes([number]) * (100 << 10) for number in range(20)]
    world.said.clear()
    for command in commands:
        world.propose(leader, command)
    for _ in range(2):  # It is more than a leader writes in one.
        leader.participant.tick()
    for follower in followers:
        way = leader.participant._ports.way
        assert UNSENT_BYTES < way.unsent_bytes(follower.name) <= UNSENT_BYTES + (101 << 10)
        assert leader.participant.peers[follower.name].wants_room
    assert not leader.participant.hurried, "it waits for room"
    world.until(lambda: all(node.commands == commands for node in followers), "all has arrived")
    assert complaints(world) == []
    for follower in followers:
        appends = [each for _, to, each in world.said if isinstance(each, m.Append) and to == follower.name]
        assert sum(len(each.entries) for each in appends) == len(commands)


def test_a_long_log_is_applied_without_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    world = started()
    for number in range(9):
        world.commit(b"%d" % number)
    name = world.followers()[0].name
    world.run(0.1)
    world.kill(name)
    monkeypatch.setattr(core_module, "APPLIED_PER_TICK", 3)
    world.start(name)
    participant, waited = world.nodes[name].participant, 0
    participant.tick()  # It takes note of its links.
    commit = participant.core.commit_index
    while participant.core.applied_index < participant.core.commit_index:
        assert participant.hurried
        participant.tick()
        assert participant.core.commit_index == commit, "what is committed is not forgotten meanwhile"
        waited += 1
    assert waited >= 2


def test_a_member_that_goes_away_while_the_cluster_is_founded_is_missing_again() -> None:
    world = Steps()
    world.start("alpha", "beta")
    world.run(0.1)
    alpha = world.nodes["alpha"].participant
    assert alpha.waits_for().endswith("missing: gamma")
    world.kill("beta")
    world.run(0.1)
    assert alpha.waits_for().endswith("missing: beta and gamma")


@pytest.mark.parametrize("who", ["another node", "this node"])
def test_what_was_handed_to_a_leader_that_fell_silent_is_open_as_soon_as_somebody_else_leads(who: str) -> None:
    """Its link stays while nobody closes it: a frozen process acknowledges what it does not read."""
    scene = alone(Steps(NAMES))
    participant, answers = scene.node.participant, scene.world.propose(scene.node, b"one")
    participant.read(lambda answer, index: answers.append((answer, index)))
    participant.tick()
    assert answers == []
    term, last = participant.core.term, scene.node.journal.last_index
    if who == "another node":
        scene.hear(scene.others[0], append(term + 1, 1, (last, term)))
    else:
        scene.wait(1.0)
        asked = [each for _, _, each in scene.world.said if isinstance(each, m.AskPreVote)][-1]
        scene.hear(scene.others[0], m.PreVote(asked=asked.term, term=term, granted=True))
        assert answers == []
        scene.hear(scene.others[0], m.Vote(term=participant.core.term, granted=True))
        assert participant.core.leads
    assert answers == [(Answer.UNKNOWN, None), (Answer.NOT_LEADER, None)]
