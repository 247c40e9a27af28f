"""Who waits for what: how each wait ends, what it is told then, and that nobody is told twice or not at all."""

from typing import Any

import pytest

from raftsman.raft.waiting import DEADLINE_S, Answer, Answered, Reading, Waiting

NOW = 100.0


class Told:
    """What those who wait are told, by name, in order."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._answers: list[tuple[str, Answer, Any]] = []

    def one(self, name: str) -> Answered:
        return lambda answer, result: self._answers.append((name, answer, result))

    def reading(self, name: str, *, expires_at: float = NOW, index: int = 0, origin: str = "") -> Reading:
        return Reading(self.one(name), expires_at, index=index, origin=(origin, 7) if origin else None)

    @property
    def answers(self) -> list[tuple[str, Answer, Any]]:
        """Everything told since the last look."""
        for answered, answer, result in self._waiting.due:
            answered(answer, result)
        self._waiting.due.clear()
        answers, self._answers = self._answers, []
        return answers


@pytest.fixture
def waiting() -> Waiting:
    return Waiting(number=40)


@pytest.fixture
def told(waiting: Waiting) -> Told:
    return Told(waiting)


# --- commands ---------------------------------------------------------------------------------


def test_of_two_that_wait_for_one_index_the_one_of_the_applied_term_has_its_result(
    waiting: Waiting, told: Told
) -> None:
    waiting.appended(5, 2, told.one("of the old leader"), NOW)
    waiting.appended(5, 3, told.one("of the new leader"), NOW)
    waiting.applied(4, 3, "another")
    assert told.answers == []
    waiting.applied(5, 3, "result")
    assert told.answers == [
        ("of the old leader", Answer.NOT_LEADER, None),
        ("of the new leader", Answer.APPLIED, "result"),
    ]
    waiting.applied(5, 3, "again")
    assert (told.answers, len(waiting)) == ([], 0)


def test_what_a_snapshot_took_the_place_of_is_unknown_and_what_follows_it_goes_on(waiting: Waiting, told: Told) -> None:
    for index in (4, 5, 6):
        waiting.appended(index, 1, told.one(str(index)), NOW)
    waiting.skipped_to(5)
    assert told.answers == [("4", Answer.UNKNOWN, None), ("5", Answer.UNKNOWN, None)]
    waiting.applied(6, 1, "result")
    assert told.answers == [("6", Answer.APPLIED, "result")]


def test_a_command_that_was_handed_on_waits_for_the_place_that_the_leader_gave_it(waiting: Waiting, told: Told) -> None:
    numbers = [waiting.handed("beta", told.one(name), NOW) for name in ("refused", "gone by", "placed", "open")]
    assert numbers == [41, 42, 43, 44], "each has its own number"
    waiting.placed(numbers[0], 0, 0, applied_index=6, now=NOW)
    assert told.answers == [("refused", Answer.NOT_LEADER, None)]
    waiting.placed(numbers[1], 6, 1, applied_index=6, now=NOW)
    assert told.answers == [("gone by", Answer.UNKNOWN, None)]
    waiting.placed(numbers[2], 7, 1, applied_index=6, now=NOW)
    assert (told.answers, len(waiting)) == ([], 2)
    waiting.placed(numbers[2], 8, 1, applied_index=6, now=NOW)
    waiting.applied(7, 1, "result")
    assert told.answers == [("placed", Answer.APPLIED, "result")], "the first place counts"
    assert len(waiting) == 1


def test_an_answer_that_nobody_asked_for_is_dropped(waiting: Waiting, told: Told) -> None:
    waiting.placed(41, 7, 1, applied_index=6, now=NOW)
    waiting.told(41, 7)
    assert (told.answers, len(waiting)) == ([], 0)


# --- reads ------------------------------------------------------------------------------------


def test_a_read_that_a_leader_was_asked_for_is_answered_when_its_index_is_applied(waiting: Waiting, told: Told) -> None:
    refused, open_ = (waiting.asked("beta", told.reading(name)) for name in ("refused", "open"))
    waiting.told(refused, 0)
    assert told.answers == [("refused", Answer.NOT_LEADER, None)]
    waiting.told(open_, 7)
    waiting.applied_up_to(6)
    assert (told.answers, len(waiting)) == ([], 1)
    waiting.applied_up_to(7)
    assert told.answers == [("open", Answer.APPLIED, 7)]
    waiting.applied_up_to(8)
    assert (told.answers, len(waiting)) == ([], 0)


def test_reads_are_confirmed_in_their_order_and_those_of_others_are_not_this_nodes_to_answer(
    waiting: Waiting, told: Told
) -> None:
    own, others = told.reading("own", index=7), told.reading("others'", index=7, origin="beta")
    own.seq, others.seq = 3, 5
    waiting.unconfirmed(own)
    waiting.unconfirmed(others)
    assert (waiting.oldest_unconfirmed_seq, waiting.newest_unconfirmed_seq) == (3, 5)
    assert [waiting.confirmed(), waiting.confirmed()] == [own, others]
    assert (waiting.oldest_unconfirmed_seq, waiting.newest_unconfirmed_seq) == (None, None)
    waiting.applied_up_to(7)
    assert told.answers == [("own", Answer.APPLIED, 7)]


def test_whoever_is_deposed_refuses_its_own_reads_and_gives_those_of_others_back(waiting: Waiting, told: Told) -> None:
    own, others = told.reading("own"), told.reading("others'", origin="beta")
    waiting.unconfirmed(own)
    waiting.unconfirmed(others)
    assert waiting.deposed() == [others]
    assert told.answers == [("own", Answer.NOT_LEADER, None)]
    assert (waiting.deposed(), told.answers, len(waiting)) == ([], [], 0)


# --- the rest ---------------------------------------------------------------------------------


def test_with_a_link_goes_what_was_asked_over_it_and_nothing_else(waiting: Waiting, told: Told) -> None:
    for peer in ("beta", "gamma"):
        waiting.handed(peer, told.one(f"a command at {peer}"), NOW)
        waiting.asked(peer, told.reading(f"a read at {peer}"))
    waiting.lost("beta")
    assert told.answers == [("a command at beta", Answer.UNKNOWN, None), ("a read at beta", Answer.NOT_LEADER, None)]
    assert len(waiting) == 2


def test_when_another_one_leads_nothing_is_expected_of_those_before_it(waiting: Waiting, told: Told) -> None:
    waiting.led_by("beta")
    for peer in ("beta", "gamma"):
        waiting.handed(peer, told.one(f"a command at {peer}"), NOW)
        waiting.asked(peer, told.reading(f"a read at {peer}"))
    for leader in (None, "gamma", None, "gamma"):
        waiting.led_by(leader)
    assert told.answers == [("a command at beta", Answer.UNKNOWN, None), ("a read at beta", Answer.NOT_LEADER, None)]
    waiting.led_by("alpha")
    assert told.answers == [("a command at gamma", Answer.UNKNOWN, None), ("a read at gamma", Answer.NOT_LEADER, None)]
    assert len(waiting) == 0


def test_what_nobody_waits_for_any_more_is_given_up_as_unknown(waiting: Waiting, told: Told) -> None:
    for at in (NOW, NOW + 1):
        waiting.appended(5, 1, told.one(f"placed {at:g}"), at)
        waiting.handed("beta", told.one(f"handed {at:g}"), at)
        expires_at = at + DEADLINE_S
        waiting.asked("beta", told.reading(f"asked {at:g}", expires_at=expires_at))
        waiting.unconfirmed(told.reading(f"unconfirmed {at:g}", expires_at=expires_at))
        waiting.unconfirmed(told.reading(f"others' {at:g}", expires_at=expires_at, origin="beta"))
        waiting.told(waiting.asked("beta", told.reading(f"unapplied {at:g}", expires_at=expires_at)), 9)
    assert len(waiting) == 12
    waiting.sweep(NOW + DEADLINE_S - 0.1)
    assert (told.answers, len(waiting)) == ([], 12)
    kinds = ("placed", "handed", "asked", "unconfirmed", "unapplied")
    for at, left in ((NOW, 6), (NOW + 1, 0)):
        waiting.sweep(at + DEADLINE_S)
        assert told.answers == [(f"{kind} {at:g}", Answer.UNKNOWN, None) for kind in kinds]
        assert len(waiting) == left
