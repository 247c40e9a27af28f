"""An empty directory among members that the test plays: what each of its conditions to count keeps it from."""

import pytest

from raftsman.raft import messages as m
from raftsman.raft.core import NO_OP
from raftsman.raft.founding import JOINING, MEMBER
from raftsman.raft.identity import read_identity
from tests.harness.simulated_disk import Operation
from tests.harness.steps import NAMES, Steps
from tests.unit.stepping import FAKE, Alone, alone, append

CLUSTER_ID = "c" * 16
LIST = dict.fromkeys(NAMES, FAKE)
EMPTY, OTHER, LEADER = NAMES
TERM = 5


def said(stage: str = MEMBER) -> m.Status:
    return m.Status(stage=stage, cluster_id=CLUSTER_ID, incarnation=FAKE, founding=LIST if stage == MEMBER else {})


def empty() -> Alone:
    """Let a node with an empty directory come to a cluster that was founded without it."""
    world = Steps()
    world.start(EMPTY)
    node = world.nodes[EMPTY]
    for name in (OTHER, LEADER):
        world.links.add(frozenset((EMPTY, name)))
        node.participant.linked(name, FAKE)
        node.participant.received(name, said())
    node.participant.tick()
    world.said.clear()
    assert (node.participant.identity.stage, node.participant.identity.founding) == (JOINING, {})
    return Alone(world, node, LEADER)


def noted(played: Alone, term: int = TERM, incarnation: str = "") -> m.Noted:
    return m.Noted(incarnation=incarnation or played.node.participant.identity.incarnation, term=term)


def first_entry(term: int = TERM, *, seq: int = 1, commit: int = 2) -> m.Append:
    """Return a new leader's first append."""
    return append(term, seq, (1, 0), (term, bytes([NO_OP])), commit=commit)


def heartbeat(term: int = TERM, *, seq: int = 2, commit: int = 2) -> m.Append:
    return append(term, seq, (2, term), commit=commit)


def counts(played: Alone) -> bool:
    return played.node.participant.identity.counts


def test_it_counts_when_all_have_noted_it_and_it_holds_what_a_leader_has_committed_in_its_term() -> None:
    played = empty()
    participant, disk = played.node.participant, played.node.disk
    played.hear(OTHER, noted(played))
    assert not counts(played)
    played.hear(LEADER, noted(played))
    assert not counts(played)
    order: list[str] = []

    def note(operation: Operation) -> None:
        if operation.kind in ("sync", "rename"):
            order.append(f"{operation.kind} {operation.name.partition('-')[0].partition('.')[0]}")

    disk.before = note
    played.hear(LEADER, first_entry())
    assert counts(played)
    assert order == ["sync journal", "sync journal", "sync identity", "rename identity"], "entries, vote, and then this"
    assert (played.node.journal.term, played.node.journal.vote) == (TERM, LEADER)
    assert read_identity(disk) == participant.identity
    assert (participant.identity.cluster_id, participant.identity.founding) == (CLUSTER_ID, LIST)
    assert participant.waits_for() == ""


def test_a_leader_whose_link_ended_since_is_not_joined() -> None:
    played = empty()
    participant = played.node.participant
    played.hear(OTHER, noted(played))
    played.hear(LEADER, noted(played))
    participant.received(LEADER, first_entry())
    participant.unlinked(LEADER)
    participant.tick()
    assert not counts(played)
    participant.linked(LEADER, FAKE)
    played.hear(LEADER, said(), heartbeat())
    assert counts(played)


def test_a_note_for_another_directory_of_this_node_is_none() -> None:
    played = empty()
    played.hear(OTHER, noted(played))
    played.hear(LEADER, noted(played, incarnation=FAKE), first_entry(), heartbeat())
    assert not counts(played)
    assert f"and {LEADER} did not answer yet" in played.node.participant.waits_for()


def test_what_a_leader_said_before_it_noted_the_directory_does_not_count() -> None:
    """It may have counted the lost one until then."""
    played = empty()
    played.hear(OTHER, noted(played))
    played.hear(LEADER, first_entry(), noted(played))
    assert not counts(played)
    played.hear(LEADER, heartbeat())
    assert counts(played)


def test_a_leader_of_a_term_in_which_the_lost_directory_may_have_acted_is_not_enough() -> None:
    played = empty()
    core = played.node.participant.core
    played.hear(OTHER, noted(played, TERM + 2), noted(played, TERM + 1))
    played.hear(LEADER, noted(played))
    assert core.term == TERM + 2, "the highest that was noted, whatever came later"
    said_to_leader = played.hear(LEADER, first_entry())
    assert not counts(played)
    assert [each.term for each in said_to_leader if isinstance(each, m.Ack)] == [TERM + 2]
    played.hear(LEADER, first_entry(TERM + 2))
    assert counts(played)


def test_a_leader_that_has_committed_nothing_of_its_own_term_is_not_enough() -> None:
    played = empty()
    played.hear(OTHER, noted(played))
    played.hear(LEADER, noted(played), first_entry(commit=1))
    assert not counts(played)
    played.hear(LEADER, heartbeat(commit=1))
    assert not counts(played)
    played.hear(LEADER, heartbeat(seq=3))
    assert counts(played)


def test_a_leader_whose_commit_lies_ahead_of_what_has_come_is_not_enough() -> None:
    played = empty()
    played.hear(OTHER, noted(played))
    played.hear(LEADER, noted(played), first_entry(commit=3))
    assert not counts(played)
    played.hear(LEADER, append(TERM, 2, (2, TERM), (TERM, bytes([NO_OP])), commit=3))
    assert counts(played)


def test_while_it_waits_it_says_again_and_again_who_it_is_and_asks_for_no_vote() -> None:
    played = empty()
    words = played.wait(3.0)
    statuses = [to for to, each in words if isinstance(each, m.Status)]
    assert {statuses.count(name) for name in (OTHER, LEADER)} <= {2, 3}
    assert not [each for _, each in words if not isinstance(each, m.Status)]


def test_while_it_waits_it_votes_for_nobody() -> None:
    played = empty()
    term, vote = played.node.journal.term, m.AskVote(term=TERM, last_index=99, last_term=TERM, transfer=True)
    asked = m.AskPreVote(term=TERM, last_index=99, last_term=TERM)
    answers = played.hear(OTHER, asked, vote)
    assert [each for each in answers if isinstance(each, m.Vote | m.PreVote)] == [
        m.PreVote(term=term, asked=TERM, granted=False)
    ]
    assert (played.node.journal.term, played.node.journal.vote) == (term, None)


@pytest.mark.parametrize("leads", [True, False])
def test_what_a_lost_directory_said_is_forgotten_before_that_is_noted(*, leads: bool) -> None:
    played = alone(Steps(), leads=leads)
    participant, lost = played.node.participant, played.others[0]
    core = participant.core
    if leads:
        last = played.node.journal.last_index
        played.wait(0.06)
        played.hear(lost, m.Ack(term=core.term, seq=participant._talk.seq, next_index=last + 1, success=True))
        assert core.match_index(lost) == last
    else:
        played.wait(0.7)
        participant._talk.elections.note_willing(lost, core.term + 1)
    new = "0" * 16
    participant.linked(lost, new)
    answers = played.hear(lost, m.Status(stage=JOINING, cluster_id="", incarnation=new, founding={}))
    assert [each for each in answers if isinstance(each, m.Noted)] == [m.Noted(incarnation=new, term=core.term)]
    assert not participant.peers[lost].counted
    if leads:
        assert core.match_index(lost) == 0
    else:
        played.wait(0.1)
        assert not core.stands, "its willingness is gone"


def test_what_a_member_says_of_itself_again_forgets_nothing() -> None:
    played = alone(Steps(), leads=True)
    participant, peer = played.node.participant, played.others[0]
    core, identity = participant.core, participant.identity
    last = played.node.journal.last_index
    played.wait(0.06)
    played.hear(peer, m.Ack(term=core.term, seq=participant._talk.seq, next_index=last + 1, success=True))
    again = m.Status(
        stage=MEMBER, cluster_id=identity.cluster_id, incarnation=FAKE, founding=dict(identity.founding), disk_full=True
    )
    assert not [each for each in played.hear(peer, again) if isinstance(each, m.Noted)]
    assert (core.match_index(peer), participant.peers[peer].counted) == (last, True)
    assert participant.peers[peer].disk_full


def test_what_is_said_for_another_directory_than_the_hello_named_is_not_taken() -> None:
    played = alone(Steps())
    participant, peer = played.node.participant, played.others[0]
    participant.peers[peer].counted = False
    other = m.Status(stage=MEMBER, cluster_id="", incarnation="0" * 16, founding={})
    participant._joining.on_status(participant.peers[peer], other)
    assert [name for _, name, _ in played.world.closed] == [peer]
    assert not participant.peers[peer].counted
