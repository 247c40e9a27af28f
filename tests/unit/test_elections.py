"""Who may stand and who votes, as values: positions, instants and votes in, answers out."""

from collections.abc import Callable

import pytest

from raftsman.raft.elections import Elections, Position
from raftsman.raft.messages import AskPreVote, AskVote

LOYAL_FOR_S, ROUND_S = 0.25, 0.5
NOW = 128.0
HERE = Position(term=4, last_index=9, last_term=3)


def elections(members: int = 3) -> Elections:
    return Elections(members=members, loyal_for_s=LOYAL_FOR_S, round_s=lambda: ROUND_S)


def pre_vote(term: int = 5, *, last: tuple[int, int] = (3, 9)) -> AskPreVote:
    """Return a question for term *term*; *last* is (term, index) of the asking node's last entry."""
    return AskPreVote(term=term, last_index=last[1], last_term=last[0])


# --- standing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("members", "needed"), [(2, 1), (3, 1), (4, 2), (5, 2)])
def test_a_node_stands_when_a_majority_with_itself_is_willing_in_this_round(members: int, needed: int) -> None:
    mine = elections(members)
    assert mine.begin_round(HERE, NOW) == pre_vote(5)
    for n in range(members - 1):
        assert mine.may_stand(HERE) is (n >= needed)
        mine.note_willing("twice", 4)
        mine.note_willing(str(n), 5)
        mine.note_willing(str(n), 5)
    assert mine.may_stand(HERE)
    assert not mine.may_stand(Position(term=5, last_index=9, last_term=3)), "in another term that was said of nothing"


def test_whoever_is_alone_or_was_asked_by_its_leader_stands_at_once() -> None:
    assert elections(1).may_stand(HERE)
    asked = elections()
    for transfer_term, stands in ((3, False), (4, True), (5, False)):
        asked.transfer_term = transfer_term
        assert asked.may_stand(HERE) is stands


def test_who_was_willing_is_forgotten_with_its_disk_with_the_round_and_with_the_next() -> None:
    mine = elections()
    ways: list[Callable[[], object]] = [
        lambda: mine.forget_willing("beta"),
        mine.end_round,
        lambda: mine.begin_round(HERE, NOW + ROUND_S),
    ]
    for forget in ways:
        mine.end_round()
        mine.begin_round(HERE, NOW)
        mine.note_willing("beta", 5)
        assert mine.may_stand(HERE)
        forget()
        assert not mine.may_stand(HERE)


def test_an_answer_to_a_round_that_has_ended_counts_for_nothing() -> None:
    mine = elections()
    mine.begin_round(HERE, NOW)
    mine.end_round()
    mine.note_willing("beta", 5)
    assert not mine.may_stand(HERE)


def test_a_round_lasts_its_time_and_a_new_term_begins_another_at_once() -> None:
    mine = elections()
    assert mine.begin_round(HERE, NOW) == pre_vote(5)
    assert mine.begin_round(HERE, NOW + ROUND_S - 0.01) is None
    assert mine.begin_round(HERE, NOW + ROUND_S) == pre_vote(5)
    later = Position(term=5, last_index=9, last_term=3)
    assert mine.begin_round(later, NOW + ROUND_S) == pre_vote(6)


def test_whoever_hears_a_leader_asks_nobody() -> None:
    mine = elections()
    mine.heard_leader_at = NOW
    assert mine.begin_round(HERE, NOW + LOYAL_FOR_S - 0.01) is None
    assert mine.begin_round(HERE, NOW + LOYAL_FOR_S) == pre_vote(5)


def test_a_voter_has_one_vote_a_term() -> None:
    mine = elections()
    assert [mine.is_first_vote(voter, 5) for voter in ("beta", "beta", "gamma", "beta")] == [True, False, True, False]
    assert [mine.has_voted(voter, term) for voter, term in (("beta", 5), ("beta", 6), ("delta", 5))] == [
        True,
        False,
        False,
    ]
    assert mine.is_first_vote("beta", 6)
    assert mine.has_voted("beta", 6)
    assert not mine.has_voted("gamma", 6), "that was in another term"


# --- voting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "votes"),
    [
        pytest.param(pre_vote(), True, id="a log that is equal"),
        pytest.param(pre_vote(4), False, id="this term, which may have a leader"),
        pytest.param(pre_vote(last=(3, 8)), False, id="an entry less"),
        pytest.param(pre_vote(last=(3, 10)), True, id="an entry more"),
        pytest.param(pre_vote(last=(2, 99)), False, id="a longer log of an earlier term"),
        pytest.param(pre_vote(last=(4, 1)), True, id="a shorter log of a later term"),
    ],
)
def test_a_node_would_vote_for_whoever_holds_as_much_as_itself(asked: AskPreVote, *, votes: bool) -> None:
    assert elections().would_vote(HERE, asked, NOW, leads=False) is votes
    assert not elections().would_vote(HERE, asked, NOW, leads=True), "a leader would vote for nobody"


@pytest.mark.parametrize(
    ("silent_s", "leads", "listens"), [(0.24, False, False), (0.25, False, True), (9, True, False)]
)
def test_nobody_listens_to_candidates_while_there_is_a_leader_that_did_not_send_them(
    silent_s: float, *, leads: bool, listens: bool
) -> None:
    mine = elections()
    mine.heard_leader_at = NOW
    now = NOW + silent_s
    for transfer in (False, True):
        asked = AskVote(term=5, last_index=9, last_term=3, transfer=transfer)
        assert mine.hears(asked, now, leads=leads) is (listens or transfer)
    assert mine.would_vote(HERE, pre_vote(), now, leads=leads) is listens
