"""Who counts as alive: with a leader by its word, without one by what this node hears itself."""

from math import inf

import pytest

from raftsman.node.http.cluster import is_alive


@pytest.mark.parametrize(
    ("lost", "silent_s", "alive"),
    [(False, 0.1, True), (False, 100.0, True), (True, 0.1, False), (True, inf, False)],
)
def test_while_there_is_a_leader_its_word_counts(lost: bool, silent_s: float, alive: bool) -> None:
    assert is_alive(heard_directly=False, lost=lost, silent_s=silent_s, leaderless_s=None) == alive


@pytest.mark.parametrize(
    ("lost", "silent_s", "leaderless_s", "alive"),
    [
        (False, 100.0, 0.5, True),  # Followers do not talk: the next leader will know.
        (False, 6.0, 6.0, False),
        (False, 0.3, 60.0, True),  # It is asked for its vote, and answers.
        (True, 100.0, 0.5, False),  # The last leader had lost it.
        (True, 0.3, 0.5, True),
        (True, inf, 60.0, False),  # Before the founding: it has never been heard of.
        (True, 0.3, 60.0, True),
    ],
)
def test_without_a_leader_silence_counts(lost: bool, silent_s: float, leaderless_s: float, alive: bool) -> None:
    assert is_alive(heard_directly=False, lost=lost, silent_s=silent_s, leaderless_s=leaderless_s) == alive


@pytest.mark.parametrize("leaderless_s", [None, 60.0])
def test_the_node_that_answers_is_alive_whatever_the_table_says(leaderless_s: float | None) -> None:
    assert is_alive(heard_directly=True, lost=True, silent_s=inf, leaderless_s=leaderless_s)
