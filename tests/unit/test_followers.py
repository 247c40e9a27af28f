"""Whom a node follows and for whom it stands: single messages, the rest of the cluster played by the test."""

import errno

import pytest

from raftsman.raft import messages as m
from raftsman.raft.founding import JOINING
from raftsman.raft.peers import Broken
from raftsman.raft.waiting import Answer
from tests.harness.simulated_disk import Operation
from tests.harness.steps import Steps
from tests.unit.stepping import FAKE, alone, append, entry


def chunk(term: int, seq: int) -> m.Chunk:
    return m.Chunk(term=term, seq=seq, index=1000, index_term=term, offset=0, payload=b"the beginning", last=False)


def test_the_parts_of_a_snapshot_count_as_heartbeats_of_whoever_sends_them() -> None:
    me = alone(Steps())
    term = me.node.participant.core.term + 1
    sender = me.others[0]
    (answer,) = (said for said in me.hear(sender, chunk(term, 1)) if isinstance(said, m.ChunkAck))
    assert (answer.term, answer.received) == (term, len(b"the beginning"))
    standing = me.node.participant.standing()
    assert (standing.leader, standing.term) == (sender, term)
    for seq in range(2, 22):
        assert not any(isinstance(said, m.AskPreVote) for _, said in me.wait(0.1))
        me.hear(sender, chunk(term, seq))


def test_only_the_leader_can_make_a_follower_stand_at_once_and_without_asking_first() -> None:
    me = alone(Steps())
    now = m.TimeoutNow(term=me.node.participant.core.term)
    me.hear(me.others[0], now)
    assert {type(said) for _, said in me.wait(1.0)} == {m.AskPreVote}
    me = alone(Steps())
    asked = [said for said in me.hear(me.leader, now) if isinstance(said, m.AskVote)]
    assert [each.transfer for each in asked] == [True]


def test_a_second_leader_of_a_term_stops_the_node_that_leads_it() -> None:
    me = alone(Steps(), leads=True)
    term = me.node.participant.core.term
    with pytest.raises(Broken, match=f"{me.others[0]} leads in term {term}, and so does this node"):
        me.hear(me.others[0], append(term, 1, (1, 0)))


def test_a_leader_that_contradicts_what_a_snapshot_holds_stops_the_node() -> None:
    me = alone(Steps(keep_behind=5, compact_entries=10))
    journal, term = me.node.journal, me.node.participant.core.term
    last = journal.last_index
    entries = [entry(term, b"%d" % number) for number in range(20)]
    me.hear(me.leader, append(term, 80, (last, term), *entries, commit=last + 20))
    me.wait(0.05)
    first = journal.first_index
    assert first > 2
    held = [(term, command) for command, _, term in journal.entries(first, first)]
    before = [entry(term, b"what went with the compaction")]
    acks = me.hear(me.leader, append(term, 90, (first - 2, term), *before, *held))
    assert acks == [m.Ack(term=term, seq=90, next_index=first + 1, success=True)]
    with pytest.raises(Broken, match=f"another entry {first} than was committed here"):
        me.hear(me.leader, append(term + 1, 91, (first - 2, term), *before, entry(term + 1, b"another")))


def test_a_node_whose_disk_is_full_does_not_stand() -> None:
    """It could not write down for whom it votes."""
    world = Steps()
    world.start()
    leader, (full, other) = world.leader(), world.followers()

    def no_room(operation: Operation) -> None:
        if operation.kind == "write":
            raise OSError(errno.ENOSPC, "No space left on device")

    full.disk.before = no_room
    world.propose(leader, b"one")
    world.until(lambda: full.participant.disk_full, "it has no room")
    world.blocked |= {(leader.name, full.name), (other.name, full.name)}
    world.said.clear()
    world.run(3.0)
    stood = [each for who, _, each in world.said if who == full.name and isinstance(each, m.AskVote | m.AskPreVote)]
    assert stood == []
    full.disk.before = lambda _operation: None
    world.until(lambda: any(isinstance(each, m.AskPreVote) for _, _, each in world.said), "it asks when there is room")


def test_nobody_follows_who_does_not_count() -> None:
    me = alone(Steps())
    empty, term = me.others[0], me.node.participant.core.term
    me.hear(empty, m.Status(stage=JOINING, cluster_id="", incarnation=FAKE, founding={}))
    assert me.hear(empty, append(term + 1, 1, (1, 0))) == []
    assert me.node.participant.core.term == term


def test_an_answer_to_what_was_never_sent_closes_the_link() -> None:
    """It would confirm every later read."""
    me = alone(Steps(), leads=True)
    term = me.node.participant.core.term
    me.hear(me.others[0], m.Ack(term=term, seq=1 << 40, next_index=2, success=True))
    assert me.world.closed == [(me.node.name, me.others[0], "an answer to what was never sent")]
    assert me.node.participant.peers[me.others[0]].acked_seq < 1 << 40


def test_another_nodes_read_is_answered_at_once_by_a_leader_that_is_none_any_more() -> None:
    me = alone(Steps(), leads=True)
    asker, other = me.others
    term = me.node.participant.core.term
    assert not any(isinstance(said, m.Read) for said in me.hear(asker, m.AskRead(number=5)))
    me.node.participant.received(other, m.Ack(term=term + 1, seq=0, next_index=0, success=False))
    assert m.Read(number=5, index=0) in me.hear(asker)


def test_a_command_that_may_be_in_a_snapshot_from_another_node_is_unknown_at_once() -> None:
    world = Steps(keep_behind=5, compact_entries=20)
    world.start()
    old = world.leader()
    world.isolate(old.name)
    answers = world.propose(old, b"perhaps")
    old.participant.tick()
    world.until(lambda: not old.participant.core.leads, "it leads no more")
    new = next(node for node in world.nodes.values() if node is not old and node.participant.core.leads)
    for number in range(60):
        world.commit(b"%d" % number, new)
    assert answers == []
    world.heal()
    world.until(lambda: old.participant.core.applied_index > 50, "it has the snapshot", within_s=2)
    assert answers == [(Answer.UNKNOWN, None)]


def test_who_does_not_count_gets_no_vote_and_gives_none() -> None:
    me = alone(Steps())
    participant = me.node.participant
    empty, term = me.others[0], participant.core.term
    me.hear(empty, m.Status(stage=JOINING, cluster_id="", incarnation=FAKE, founding={}))
    me.wait(0.35)
    (answer,) = me.hear(empty, m.AskPreVote(term=term + 1, last_index=1000, last_term=term))
    assert answer == m.PreVote(term=participant.core.term, asked=term + 1, granted=False)
    assert me.hear(empty, m.AskVote(term=participant.core.term + 1, last_index=1000, last_term=term)) == []
    me.wait(1.0)
    me.hear(empty, *(m.PreVote(term=term, asked=number, granted=True) for number in range(term, term + 5)))
    stood = [participant.core.stands]
    me.hear(me.leader, m.PreVote(term=term, asked=participant.core.term + 1, granted=True))
    me.wait(0.7)
    stood.append(participant.core.stands)
    me.hear(empty, m.Vote(term=participant.core.term, granted=True))
    led = [participant.core.leads]
    me.hear(me.leader, m.Vote(term=participant.core.term, granted=True))
    led.append(participant.core.leads)
    assert (stood, led) == ([False, True], [False, True])


def test_whoever_hears_a_leader_is_not_willing_to_vote_for_another() -> None:
    me = alone(Steps())
    term = me.node.participant.core.term
    me.hear(me.leader, append(term, 1, (1, 0)))
    asked = m.AskPreVote(term=term + 1, last_index=1000, last_term=term)
    assert me.hear(me.others[0], asked) == [m.PreVote(term=term, asked=term + 1, granted=False)]
    me.wait(0.3)
    assert m.PreVote(term=term, asked=term + 1, granted=True) in me.hear(me.others[0], asked)
