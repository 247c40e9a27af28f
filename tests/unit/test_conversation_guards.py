"""Whose word counts: single messages of nodes that do not count, do not lead, or speak of another term."""

import pytest

from raftsman.raft import messages as m
from raftsman.raft.limits import COMMAND_BYTES
from raftsman.raft.peers import Broken
from tests.harness.steps import ELECTION_TIMEOUT_S, Steps
from tests.unit.stepping import FAKE, Alone, alone, append, entry

SHORTEST_S, LONGEST_S = ELECTION_TIMEOUT_S


def told(said: list[m.Message], *kinds: type[m.Message]) -> list[m.Message]:
    return [each for each in said if isinstance(each, kinds)]


def made_empty(played: Alone, peer: str) -> None:
    """Let *peer* come back with an empty directory: it does not count."""
    played.node.participant.linked(peer, FAKE)
    played.hear(peer, m.Status(stage="joining", cluster_id="", incarnation=FAKE, founding={}))


def pre_vote(played: Alone) -> m.AskPreVote:
    position = played.node.participant._talk.position()
    return m.AskPreVote(term=position.term + 1, last_index=position.last_index, last_term=position.last_term)


def would_vote(played: Alone) -> bool:
    """Whether the node would vote for another, so that it follows nobody at the moment."""
    (answer,) = told(played.hear(played.others[0], pre_vote(played)), m.PreVote)
    assert isinstance(answer, m.PreVote)
    return answer.granted


def standing(played: Alone) -> int:
    """Let the node stand, and return the term."""
    core = played.node.participant.core
    played.wait(LONGEST_S + 0.1)
    played.hear(played.others[0], m.PreVote(term=core.term, asked=core.term + 1, granted=True))
    assert core.stands
    return core.term


# --- who leads --------------------------------------------------------------------------------


def test_whoever_hears_its_leader_would_vote_for_nobody_and_whoever_does_not_would() -> None:
    for says_something in (True, False):
        played = alone(Steps())
        core, journal = played.node.participant.core, played.node.journal
        played.wait(SHORTEST_S + 0.01)
        if says_something:
            played.hear(played.leader, append(core.term, 1, (journal.last_index, journal.last_term)))
        assert would_vote(played) is not says_something


def test_a_leader_whose_term_is_over_is_told_so_and_followed_in_nothing() -> None:
    played = alone(Steps())
    core, journal = played.node.participant.core, played.node.journal
    end, term = (journal.last_index, journal.last_term), core.term
    old = term - 1
    present = m.Ack(term=term, seq=7, next_index=0, success=False)
    for message in (
        append(old, 7, end, entry(term, b"late"), commit=end[0] + 1),
        m.Chunk(term=old, seq=7, index=99, index_term=old, offset=0, payload=b"?", last=False),
    ):
        played.wait(SHORTEST_S + 0.01)
        assert told(played.hear(played.leader, message), m.Ack, m.ChunkAck) == [present]
        assert (journal.last_index, core.commit_index) == (end[0], end[0])
        assert would_vote(played), "it was not taken for a leader"


def test_a_leader_that_does_not_count_is_not_followed_and_not_answered() -> None:
    played = alone(Steps())
    core, journal = played.node.participant.core, played.node.journal
    end, term = (journal.last_index, journal.last_term), core.term
    made_empty(played, played.leader)
    for message in (
        append(term, 7, end, entry(term, b"one"), commit=end[0] + 1),
        append(term + 1, 7, end, entry(term, b"one"), commit=end[0] + 1),
        m.Chunk(term=term, seq=7, index=99, index_term=term, offset=0, payload=b"?", last=False),
    ):
        played.wait(SHORTEST_S + 0.01)
        assert told(played.hear(played.leader, message), m.Ack, m.ChunkAck) == []
        assert (journal.last_index, core.term) == (end[0], term)
        assert would_vote(played)


def test_of_a_log_that_goes_on_only_what_the_leader_showed_is_acknowledged() -> None:
    """What stands behind may be of an earlier leader, and was confirmed by nobody."""
    played = alone(Steps())
    core, journal = played.node.participant.core, played.node.journal
    term, end = core.term, (journal.last_index, journal.last_term)
    played.hear(played.leader, append(term, 1, end, entry(term, b"one"), entry(term, b"two"), entry(term, b"three")))
    assert journal.last_index == end[0] + 3
    for seq, message, shown in (
        (2, append(term + 1, 2, end), 0),
        (3, append(term + 1, 3, end, entry(term, b"one"), commit=end[0] + 3), 1),
    ):
        (ack,) = told(played.hear(played.leader, message), m.Ack)
        assert ack == m.Ack(term=term + 1, seq=seq, next_index=end[0] + shown + 1, success=True)
        assert core.commit_index == end[0] + shown
    assert journal.last_index == end[0] + 3


# --- who votes --------------------------------------------------------------------------------


def test_an_empty_directory_is_neither_voted_for_nor_asked_for_its_vote() -> None:
    played = alone(Steps())
    core, empty = played.node.participant.core, played.others[0]
    made_empty(played, empty)
    played.wait(LONGEST_S + 0.1)
    asked, term = pre_vote(played), core.term
    assert told(played.hear(empty, asked), m.PreVote) == [m.PreVote(term=term, asked=asked.term, granted=False)]
    vote = m.AskVote(term=asked.term, last_index=asked.last_index, last_term=asked.last_term)
    assert told(played.hear(empty, vote), m.Vote) == []
    played.hear(empty, m.PreVote(term=term, asked=term + 1, granted=True))
    played.wait(0.05)
    assert (core.term, core.stands) == (term, False)


def test_a_candidate_counts_votes_of_its_term_by_nodes_that_count() -> None:
    played = alone(Steps())
    core, (voter, other) = played.node.participant.core, played.others
    term = standing(played)
    made_empty(played, other)
    played.hear(other, m.Vote(term=term, granted=True))
    played.hear(voter, m.Vote(term=term - 1, granted=True), m.Vote(term=term, granted=False))
    assert core.stands
    played.hear(voter, m.Vote(term=term, granted=True))
    assert core.leads


@pytest.mark.parametrize("kind", [m.Vote, m.PreVote])
def test_a_candidate_that_hears_of_a_later_term_stands_no_more(kind: type[m.Message]) -> None:
    played = alone(Steps())
    core = played.node.participant.core
    term = standing(played)
    later: m.Message = m.Vote(term=term + 5, granted=False)
    if kind is m.PreVote:
        later = m.PreVote(term=term + 5, asked=term + 1, granted=False)
    played.hear(played.others[0], later)
    assert (core.term, core.stands, core.leads) == (term + 5, False, False)


# --- who may ask a node to take over ----------------------------------------------------------


def test_only_the_leader_of_this_term_may_ask_a_node_to_take_over() -> None:
    """Whoever is asked stands without asking anybody, also later, when it hears of no leader."""
    for of_leader, ahead, stands in ((False, 0, False), (True, -1, False), (True, 1, False), (True, 0, True)):
        played = alone(Steps())
        core, journal = played.node.participant.core, played.node.journal
        term = core.term
        played.hear(played.leader, append(term, 1, (journal.last_index, journal.last_term), commit=2))
        played.hear(played.leader if of_leader else played.others[0], m.TimeoutNow(term=term + ahead))
        assert (core.term, core.stands) == ((term + 1, True) if stands else (term, False))
        played.wait(LONGEST_S + 0.1)
        assert core.stands is stands


# --- whose answers count ----------------------------------------------------------------------


@pytest.mark.parametrize("counts", [True, False])
def test_only_nodes_that_count_keep_a_leader_in_its_place(*, counts: bool) -> None:
    """An empty node answers what it is sent, too; a leader that hears nobody else has no majority."""
    played = alone(Steps(), leads=True)
    participant, peer = played.node.participant, played.others[0]
    core, talk = participant.core, participant._talk
    if not counts:
        made_empty(played, peer)
    for message in (
        m.Ack(term=core.term, seq=0, next_index=1, success=False),
        m.ChunkAck(term=core.term, seq=0, index=99, received=1),
    ):
        for _ in range(round(LONGEST_S / 0.1) + 1):
            played.wait(0.1)
            fields = {name: getattr(message, name) for name in message.__struct_fields__}
            played.hear(peer, type(message)(**(fields | {"seq": talk.seq})))
        assert core.leads is counts


def test_a_leader_takes_no_answer_to_what_it_never_sent() -> None:
    played = alone(Steps(), leads=True)
    participant, peer = played.node.participant, played.others[0]
    core, before = participant.core, participant.core.match_index(peer)
    participant.peers[peer].acked_seq = 0
    played.hear(peer, m.Ack(term=core.term, seq=participant._talk.seq + 99, next_index=before + 2, success=True))
    assert [(name, why) for _, name, why in played.world.closed] == [(peer, "an answer to what was never sent")]
    assert participant.peers[peer].acked_seq == 0


def test_a_complaint_rewinds_no_further_than_to_what_is_known_to_be_there() -> None:
    played = alone(Steps(), leads=True)
    participant, peer = played.node.participant, played.others[0]
    core, talk = participant.core, participant._talk
    played.wait(0.06)
    last = played.node.journal.last_index
    played.hear(peer, m.Ack(term=core.term, seq=talk.seq, next_index=last + 1, success=True))
    assert core.match_index(peer) == last
    played.wait(0.06)
    complaint = m.Ack(term=core.term, seq=talk.seq, next_index=1, success=False, reset=True)
    talk.on_ack(participant.peers[peer], complaint)
    assert core.next_index(peer) == last + 1


# --- two leaders, long entries, long transfers ------------------------------------------------


def test_two_leaders_of_one_term_stop_the_node_that_hears_of_it() -> None:
    played = alone(Steps(), leads=True)
    core, journal = played.node.participant.core, played.node.journal
    with pytest.raises(Broken, match="and so does this node"):
        played.hear(played.others[0], append(core.term, 1, (journal.last_index, journal.last_term)))


def test_the_longest_command_is_taken_and_a_byte_more_is_not() -> None:
    played = alone(Steps())
    core, journal = played.node.participant.core, played.node.journal
    for surplus in (0, 1):
        end = (journal.last_index, journal.last_term)
        long = entry(core.term, bytes(COMMAND_BYTES + surplus))
        played.hear(played.leader, append(core.term, 1 + surplus, end, long))
        assert journal.last_index == end[0] + 1 - surplus
        assert bool(played.world.closed) is bool(surplus)


def test_whoever_hears_nothing_but_parts_of_a_snapshot_follows_who_sends_them() -> None:
    played = alone(Steps())
    participant, core = played.node.participant, played.node.participant.core
    term = core.term + 1
    part = m.Chunk(term=term, seq=1, index=99, index_term=term, offset=0, payload=b"?", last=False)
    assert told(played.hear(played.leader, part), m.ChunkAck) == [m.ChunkAck(term=term, seq=1, index=99, received=1)]
    assert (core.term, core.leader, participant.standing().leader) == (term, played.leader, played.leader)


def test_who_was_willing_before_a_leader_was_heard_is_asked_again() -> None:
    played = alone(Steps())
    core, journal = played.node.participant.core, played.node.journal
    played.wait(LONGEST_S + 0.1)
    played.hear(played.leader, append(core.term, 1, (journal.last_index, journal.last_term)))
    played.hear(played.others[0], m.PreVote(term=core.term, asked=core.term + 1, granted=True))
    said = played.wait(LONGEST_S + 0.1)
    assert [each for _, each in said if isinstance(each, m.AskPreVote)]
    assert not core.stands
