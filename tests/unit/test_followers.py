"""Whom a follower follows, and what it does for whom: single messages, the rest of the cluster played by the test."""

from raftsman.raft import messages as m
from tests.harness.steps import Steps
from tests.unit.stepping import alone


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
