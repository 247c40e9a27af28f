"""Who waits for what on a node: nobody for ever, and each for what became of its own command."""

from collections.abc import Callable

from raftsman.raft.waiting import DEADLINE_S, Answer, Reading, Waiting

NOW = 100.0


def noting(answers: list[tuple[str, Answer, object]], name: str) -> Callable[[Answer, object], None]:
    return lambda answer, result: answers.append((name, answer, result))


def answered(waiting: Waiting) -> None:
    while waiting.due:
        who, answer, result = waiting.due.popleft()
        who(answer, result)


def test_whatever_is_not_answered_is_given_up_at_its_deadline_and_takes_no_memory_then() -> None:
    answers: list[tuple[str, Answer, object]] = []
    waiting = Waiting()

    def reading(name: str) -> Reading:
        return Reading(noting(answers, name), NOW + DEADLINE_S)

    waiting.appended(7, 1, noting(answers, "appended"), NOW)
    waiting.handed("beta", noting(answers, "handed"), NOW)
    waiting.asked("beta", reading("asked"))
    waiting.unconfirmed(reading("unconfirmed"))
    waiting.told(waiting.asked("beta", reading("unapplied")), 9)
    waiting.unconfirmed(Reading(noting(answers, "of another node"), NOW + DEADLINE_S, origin=("beta", 1)))
    waiting.sweep(NOW + DEADLINE_S - 0.1)
    assert (len(waiting.due), len(waiting)) == (0, 6)
    waiting.sweep(NOW + DEADLINE_S)
    answered(waiting)
    assert sorted(answers) == [
        (name, Answer.UNKNOWN, None) for name in ("appended", "asked", "handed", "unapplied", "unconfirmed")
    ]
    assert len(waiting) == 0


def test_what_a_snapshot_took_the_place_of_is_unknown_and_the_rest_waits_on() -> None:
    answers: list[tuple[str, Answer, object]] = []
    waiting = Waiting()
    for index in (5, 6, 7):
        waiting.appended(index, 1, noting(answers, str(index)), NOW)
    waiting.skipped_to(6)
    waiting.applied(7, 2, "what another leader put there")
    answered(waiting)
    assert answers == [("5", Answer.UNKNOWN, None), ("6", Answer.UNKNOWN, None), ("7", Answer.NOT_LEADER, None)]
    assert len(waiting) == 0


def test_a_leader_no_more_answers_its_own_reads_and_says_which_others_there_are() -> None:
    answers: list[tuple[str, Answer, object]] = []
    waiting = Waiting()
    other = Reading(noting(answers, "other"), NOW, origin=("beta", 3))
    waiting.unconfirmed(Reading(noting(answers, "own"), NOW))
    waiting.unconfirmed(other)
    assert waiting.deposed() == [other]
    answered(waiting)
    assert (answers, len(waiting)) == ([("own", Answer.NOT_LEADER, None)], 0)
