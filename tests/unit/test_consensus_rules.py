"""Every rule around pysyncobj's core: what happens without it, and that it does not happen with it.

A rule is taken out by a subclass of ``Rules`` or ``Elections`` that exists in tests only; what is left then behaves as
the stock library does.
"""

from collections.abc import Callable, Iterable

import pytest

from raftsman.raft import messages as m
from raftsman.raft.elections import Elections
from raftsman.raft.identity import save_identity
from raftsman.raft.peers import Broken, Peer, Rules
from raftsman.raft.waiting import Answer
from tests.harness.steps import Node, Steps
from tests.simulation.stock import TruncatesAlways
from tests.unit.stepping import FAKE, alone, append, entry

FIVE = ("alpha", "beta", "delta", "gamma", "omega")


def told(messages: Iterable[m.Message], kind: type[m.Message]) -> list[m.Message]:
    return [each for each in messages if isinstance(each, kind)]


def log_of(node: Node) -> list[tuple[int, bytes]]:
    """Return the entries behind the first two (the core's own), as (term, command)."""
    return [(term, bytes(command[1:])) for command, index, term in node.journal.held if index > 2]


# --- 1: overlap -------------------------------------------------------------------------------


@pytest.mark.parametrize(("rules", "left"), [(TruncatesAlways, [b"one"]), (Rules, [b"one", b"two"])])
def test_an_append_that_comes_twice_takes_no_acknowledged_entry_away(rules: type[Rules], left: list[bytes]) -> None:
    played = alone(Steps(rules=rules))
    term = played.node.participant.core.term
    first = append(term, 100, (2, term), entry(term, b"one"), commit=2)
    second = append(term, 101, (3, term), entry(term, b"two"), commit=2)
    (ack,) = told(played.hear(played.leader, first, second), m.Ack)[-1:]
    assert isinstance(ack, m.Ack)
    assert ack.next_index == 5, "both are acknowledged"
    played.hear(played.leader, first)
    assert [command for _, command in log_of(played.node)] == left


def test_an_entry_that_conflicts_takes_the_place_of_the_old_one_and_of_all_behind_it() -> None:
    played = alone(Steps())
    term = played.node.participant.core.term
    played.hear(played.leader, append(term, 1, (2, term), entry(term, b"one"), entry(term, b"two"), commit=2))
    answers = played.hear(played.leader, append(term + 1, 2, (2, term), entry(term + 1, b"other"), commit=2))
    assert log_of(played.node) == [(term + 1, b"other")]
    assert told(answers, m.Ack) == [m.Ack(term=term + 1, seq=2, next_index=4, success=True)]


def test_a_leader_that_contradicts_what_was_committed_stops_the_node() -> None:
    played = alone(Steps())
    term = played.node.participant.core.term
    played.hear(played.leader, append(term, 1, (2, term), entry(term, b"one"), commit=3))
    with pytest.raises(Broken, match="another entry 3 than was committed here"):
        played.hear(played.leader, append(term + 1, 2, (2, term), entry(term + 1, b"other"), commit=3))


def test_of_a_message_with_old_and_new_entries_only_the_new_ones_are_written() -> None:
    played = alone(Steps())
    term = played.node.participant.core.term
    played.hear(played.leader, append(term, 1, (2, term), entry(term, b"one"), entry(term, b"two"), commit=2))
    answers = played.hear(
        played.leader, append(term, 2, (2, term), *(entry(term, each) for each in (b"one", b"two", b"three")), commit=2)
    )
    assert [command for _, command in log_of(played.node)] == [b"one", b"two", b"three"]
    assert told(answers, m.Ack) == [m.Ack(term=term, seq=2, next_index=6, success=True)]


# --- 2: the commit index ----------------------------------------------------------------------


class BelievesAnyCommit(Rules):
    """As stock: the leader's commit index, if only the log is long enough."""

    def commit_cap(self, leaders: int, verified: int, last_index: int) -> int:
        return min(leaders, last_index)


@pytest.mark.parametrize(("rules", "applied"), [(BelievesAnyCommit, [b"mine"]), (Rules, [])])
def test_an_entry_that_the_leader_did_not_confirm_is_not_committed(rules: type[Rules], applied: list[bytes]) -> None:
    played = alone(Steps(rules=rules))
    term = played.node.participant.core.term
    played.hear(played.leader, append(term, 1, (2, term), entry(term, b"mine"), commit=2))
    played.hear(played.leader, append(term + 1, 2, (2, term), commit=3))  # Its entry 3 is another one.
    played.hear(played.leader, append(term + 1, 3, (2, term), commit=3))
    assert played.node.commands == applied


# --- 3 and 4: acknowledgements ----------------------------------------------------------------


class CountsOldAcks(Rules):
    """As stock: an acknowledgement carries no term."""

    def is_of_term(self, answered: int, term: int) -> bool:
        return True


@pytest.mark.parametrize(("rules", "committed"), [(CountsOldAcks, True), (Rules, False)])
def test_an_acknowledgement_of_an_earlier_term_commits_nothing(rules: type[Rules], committed: bool) -> None:
    played = alone(Steps(rules=rules), leads=True)
    participant = played.node.participant
    other = next(iter(participant.peers))
    answers = played.world.propose(played.node, b"one")
    played.wait(0.02)
    old = m.Ack(term=participant.core.term - 1, seq=1, next_index=played.node.journal.last_index + 1, success=True)
    played.hear(other, old)
    played.wait(0.02)
    assert bool(answers) is committed
    assert (b"one" in played.node.commands) is committed


def test_an_acknowledgement_of_a_later_term_ends_a_leadership() -> None:
    played = alone(Steps(), leads=True)
    participant = played.node.participant
    later = participant.core.term + 5
    played.hear(next(iter(participant.peers)), m.Ack(term=later, seq=1, next_index=0, success=False))
    assert (participant.core.leads, participant.core.term) == (False, later)


def test_an_acknowledgement_of_what_the_leader_does_not_have_stops_the_node() -> None:
    played = alone(Steps(), leads=True)
    participant = played.node.participant
    beyond = played.node.journal.last_index + 2
    played.wait(0.1)
    with pytest.raises(Broken, match="which this leader does not have"):
        played.hear(
            next(iter(participant.peers)), m.Ack(term=participant.core.term, seq=1, next_index=beyond, success=True)
        )


class RewindsAlways(Rules):
    """As stock: every complaint sends the leader back, also one that has been answered."""

    def may_rewind(self, peer: Peer, ack: m.Ack) -> bool:
        return True


@pytest.mark.parametrize(("rules", "next_index"), [(RewindsAlways, 3), (Rules, 13)])
def test_a_complaint_about_what_was_sent_before_the_last_rewind_changes_nothing(
    rules: type[Rules], next_index: int
) -> None:
    played = alone(Steps(rules=rules), leads=True)
    participant, term = played.node.participant, played.node.participant.core.term
    other = next(iter(participant.peers))
    for number in range(10):
        played.world.propose(played.node, b"%d" % number)
    played.wait(0.12)
    seq = max(each.seq for _, _, each in played.world.said if isinstance(each, m.Append))
    complaint = m.Ack(term=term, seq=seq, next_index=3, success=False, reset=True)
    played.hear(other, complaint)  # The whole log is sent again with this tick or the next.
    played.wait(0.06)
    assert participant.core.next_index(other) == 13
    played.world.said.clear()
    participant.received(other, complaint)
    participant._take_inbox(played.world.now)
    assert participant.core.next_index(other) == next_index


def test_a_complaint_about_what_was_sent_over_an_earlier_link_changes_nothing() -> None:
    played = alone(Steps(), leads=True)
    participant, term = played.node.participant, played.node.participant.core.term
    other = next(iter(participant.peers))
    played.wait(0.12)
    seq = max(each.seq for _, _, each in played.world.said if isinstance(each, m.Append))
    participant.core.forget_match(other)
    participant.linked(other, FAKE)
    participant.received(other, m.Ack(term=term, seq=seq, next_index=1, success=False, reset=True))
    participant._take_inbox(played.world.now)
    assert participant.core.next_index(other) == played.node.journal.last_index + 1


class GoesBackOnSuccess(Rules):
    """As stock: with every acknowledgement the leader sends again what is under way."""

    def next_after_success(self, before: int, asked: int) -> int:
        return asked


@pytest.mark.parametrize(("rules", "sent_again"), [(GoesBackOnSuccess, True), (Rules, False)])
def test_what_is_under_way_is_not_sent_again_when_something_before_it_is_acknowledged(
    rules: type[Rules], sent_again: bool
) -> None:
    played = alone(Steps(rules=rules), leads=True)
    participant, term = played.node.participant, played.node.participant.core.term
    other = next(iter(participant.peers))
    seqs = []
    for command in (b"one", b"two"):
        played.world.propose(played.node, command)
        played.wait(0.01)
        seqs.append(max(each.seq for _, to, each in played.world.said if isinstance(each, m.Append) and to == other))
    played.world.said.clear()
    first = played.node.journal.last_index - 1
    played.hear(other, m.Ack(term=term, seq=seqs[0], next_index=first + 1, success=True))
    played.wait(0.06)
    sent = [each for _, to, each in played.world.said if isinstance(each, m.Append) and to == other]
    assert any(each.entries for each in sent) is sent_again


def test_a_conflict_is_answered_with_the_beginning_of_its_whole_term() -> None:
    played = alone(Steps())
    term = played.node.participant.core.term
    many = [entry(term, b"%d" % number) for number in range(50)]
    played.hear(played.leader, append(term, 1, (2, term), *many, commit=2))
    (ack,) = told(played.hear(played.leader, append(term + 2, 2, (50, term + 1), commit=2)), m.Ack)
    assert ack == m.Ack(term=term + 2, seq=2, next_index=3, success=False, reset=True)


# --- 6: elections -----------------------------------------------------------------------------


def without_pre_vote(elections: Elections) -> Elections:
    elections.pre_votes = elections.loyalty = False
    return elections


def as_it_is(elections: Elections) -> Elections:
    return elections


@pytest.mark.parametrize(("elections", "deposed"), [(without_pre_vote, True), (as_it_is, False)])
def test_a_node_that_was_cut_off_deposes_no_healthy_leader_when_it_comes_back(
    elections: Callable[[Elections], Elections], deposed: bool
) -> None:
    world = Steps(elections=elections)
    world.start()
    term = world.leader().participant.core.term
    away = world.followers()[0]
    world.isolate(away.name)
    world.run(5)
    world.heal()
    world.run(2)
    assert (world.leader().participant.core.term > term) is deposed


class CountsEveryVote(Elections):
    """As stock: votes have no voters."""

    def is_first_vote(self, voter: str, term: int) -> bool:
        return True


def counting_every_vote(elections: Elections) -> Elections:
    return CountsEveryVote(members=elections.members, loyal_for_s=elections.loyal_for_s, round_s=elections.round_s)


@pytest.mark.parametrize(("elections", "leads"), [(counting_every_vote, True), (as_it_is, False)])
def test_one_voter_has_one_vote_however_often_it_says_so(
    elections: Callable[[Elections], Elections], leads: bool
) -> None:
    played = alone(Steps(FIVE, elections=elections))
    participant, first, second = played.node.participant, *played.others[:2]
    played.wait(0.7)
    asked = participant.core.term + 1
    for willing in (first, second):
        played.hear(willing, m.PreVote(term=participant.core.term, asked=asked, granted=True))
    assert participant.core.stands
    vote = m.Vote(term=participant.core.term, granted=True)
    played.hear(first, vote, vote)
    assert participant.core.leads is leads


def test_a_leader_that_hears_no_majority_steps_down_within_the_longest_election_timeout() -> None:
    played = alone(Steps(), leads=True)
    played.wait(0.5)
    assert played.node.participant.core.leads
    played.wait(0.2)
    assert not played.node.participant.core.leads


@pytest.mark.parametrize(("transfer", "granted"), [(False, False), (True, True)])
def test_whoever_hears_a_leader_votes_only_for_whom_that_leader_asked_to_stand(transfer: bool, granted: bool) -> None:
    played = alone(Steps())
    core, journal = played.node.participant.core, played.node.journal
    played.hear(played.leader, append(core.term, 1, (journal.last_index, journal.last_term), commit=2))
    asked = m.AskVote(term=core.term + 1, last_index=journal.last_index, last_term=journal.last_term, transfer=transfer)
    answers = told(played.hear(played.others[0], asked), m.Vote)
    assert answers == ([m.Vote(term=asked.term, granted=True)] if granted else [])
    assert journal.vote == (played.others[0] if granted else journal.vote)


def test_a_vote_is_on_the_disk_before_it_is_given() -> None:
    played = alone(Steps())
    core, journal = played.node.participant.core, played.node.journal
    played.wait(0.7)
    asked = m.AskVote(term=core.term + 1, last_index=journal.last_index, last_term=journal.last_term)
    synced: list[bool] = []
    played.node.disk.before = lambda operation: (
        synced.append(any(isinstance(said, m.Vote) for _, _, said in played.world.said))
        if operation.kind == "sync"
        else None
    )
    assert told(played.hear(played.others[0], asked), m.Vote) == [m.Vote(term=asked.term, granted=True)]
    assert synced == [False], "one sync, and nothing had been said before it"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (m.AskVote(term=0, last_index=9, last_term=9), m.Vote),
        (m.AskPreVote(term=0, last_index=9, last_term=9), m.PreVote),
        (append(0, 7, (1, 0)), m.Ack),
    ],
    ids=lambda each: getattr(each, "__name__", type(each).__name__),
)
def test_whoever_lives_in_an_earlier_term_is_told_the_present_one(question: m.Message, answer: type) -> None:
    played = alone(Steps())
    (said,) = told(played.hear(played.others[0], question), answer)
    assert getattr(said, "term", None) == played.node.participant.core.term
    assert not getattr(said, "granted", False)
    assert not getattr(said, "success", False)


# --- 7: kinds of commands ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [2, 3, 200])
def test_an_entry_of_a_kind_that_stock_would_unpickle_closes_the_link(kind: int) -> None:
    played = alone(Steps())
    term = played.node.participant.core.term
    played.hear(played.leader, append(term, 1, (2, term), (term, bytes([kind]) + b"cos\nsystem\n"), commit=3))
    assert played.world.closed == [
        (played.node.name, played.leader, "an entry of a kind or size that raftsman never writes")
    ]
    assert log_of(played.node) == []


def test_a_command_that_the_core_could_only_send_as_a_pickle_comes_into_no_log() -> None:
    played = alone(Steps())
    term, giant = played.node.participant.core.term, bytes(1 << 20)
    played.hear(played.leader, append(term, 1, (2, term), entry(term, giant), commit=2))
    assert [peer for _, peer, _ in played.world.closed] == [played.leader]
    leading = alone(Steps(), leads=True)
    leading.hear(leading.others[0], m.Propose(number=1, command=giant))
    assert [peer for _, peer, _ in leading.world.closed] == [leading.others[0]]
    assert log_of(played.node) == log_of(leading.node) == []


# --- 8: no forwarding by the core -------------------------------------------------------------


def test_what_a_follower_handed_on_is_unknown_when_the_link_to_the_leader_dies() -> None:
    world = Steps()
    world.start()
    leader, (follower, _) = world.leader(), world.followers()
    answers = world.propose(follower, b"one")
    follower.participant.tick()
    world.cut(leader.name, follower.name)
    follower.participant.tick()
    assert answers == [(Answer.UNKNOWN, None)]


def test_a_command_that_another_leaders_took_the_place_of_is_certainly_not_in_the_log() -> None:
    world = Steps()
    world.start()
    old = world.leader()
    world.run(0.2)
    world.isolate(old.name)
    answers = world.propose(old, b"lost")
    world.run(1.5)
    new = next(node for node in world.nodes.values() if node.participant.core.leads)
    world.propose(new, b"kept")
    world.run(0.2)
    world.heal()
    world.run(1)
    assert answers == [(Answer.NOT_LEADER, None)]
    assert all(node.commands == [b"kept"] for node in world.nodes.values())


# --- 9: reads ---------------------------------------------------------------------------------


class ConfirmsItself(Rules):
    """As a leader that believes in itself: it answers reads without asking anybody."""

    def confirmed(self, peers: Iterable[Peer], seq: int, members: int) -> bool:
        return True


@pytest.mark.parametrize(("rules", "answered"), [(ConfirmsItself, [Answer.APPLIED]), (Rules, [Answer.NOT_LEADER])])
def test_a_leader_that_nobody_hears_answers_no_consistent_read(rules: type[Rules], answered: list[Answer]) -> None:
    world = Steps(rules=rules)
    world.start()
    old = world.leader()
    world.run(0.2)
    world.isolate(old.name)
    answers: list[Answer] = []
    old.participant.read(lambda answer, _index: answers.append(answer))
    world.run(1)
    assert answers == answered


def test_a_consistent_read_adds_nothing_to_the_log_and_sees_what_was_committed_before() -> None:
    world = Steps()
    world.start()
    world.commit(b"one")
    end = world.leader().journal.last_index
    for node in world.nodes.values():
        assert world.read(node) == (Answer.APPLIED, end)
        assert node.commands == [b"one"]
    assert world.leader().journal.last_index == end


# --- empty disks ------------------------------------------------------------------------------


@pytest.mark.parametrize("passes_for_a_member", [True, False])
def test_an_empty_node_cannot_cost_an_acknowledged_command(passes_for_a_member: bool) -> None:
    world = Steps()
    world.start()
    leader, (with_it, without_it) = world.leader(), world.followers()
    world.isolate(without_it.name)
    world.commit(b"acknowledged", leader)
    world.kill(leader.name)
    identity = with_it.participant.identity
    world.kill(with_it.name)
    world.wipe(with_it.name)
    if passes_for_a_member:  # As every log without this rule.
        world.start(with_it.name)
        empty = world.nodes[with_it.name]
        empty.participant._joining._become(identity)
        world.kill(with_it.name)
        save_identity(world.disks[with_it.name], identity)
    world.start(with_it.name)
    world.run(5)
    led = [node for node in world.nodes.values() if node.participant.core.leads]
    if passes_for_a_member:
        assert led, "the empty node and the one that never heard of it agree"
        assert b"acknowledged" not in led[0].commands
        return
    assert led == []
    assert f"and {leader.name} did not answer yet" in world.nodes[with_it.name].participant.waits_for()
    world.start(leader.name)
    world.run(3)
    assert all(node.commands == [b"acknowledged"] for node in world.nodes.values())
    assert {node.participant.waits_for() for node in world.nodes.values()} == {""}


def test_a_vote_of_a_disk_that_is_gone_is_void() -> None:
    played = alone(Steps(FIVE))
    participant, first, second = played.node.participant, *played.others[:2]
    played.wait(0.7)
    for willing in (first, second):
        played.hear(willing, m.PreVote(term=participant.core.term, asked=participant.core.term + 1, granted=True))
    term = participant.core.term
    played.hear(first, m.Vote(term=term, granted=True))
    participant.linked(first, "0000000000000000")
    answers = played.hear(first, m.Status(stage="joining", cluster_id="", incarnation="0000000000000000", founding={}))
    assert told(answers, m.Noted) == [m.Noted(incarnation="0000000000000000", term=term)]
    played.hear(second, m.Vote(term=term, granted=True))
    assert not participant.core.leads


def test_a_node_that_speaks_for_another_directory_than_its_hello_named_is_cut_off() -> None:
    played = alone(Steps())
    played.hear(played.others[0], m.Status(stage="member", cluster_id="", incarnation=FAKE[:8], founding={}))
    assert [peer for _, peer, _ in played.world.closed] == [played.others[0]]
