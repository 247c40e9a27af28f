"""The rules between wire and core as values: a log, a message, and what the core may see of it."""

from dataclasses import dataclass

import pytest

from raftsman.raft import messages as m
from raftsman.raft.peers import Broken, Peer, Repaired, Rules
from tests.unit.stepping import append


@dataclass(frozen=True)
class Log:
    """A log by its terms; *base* is the entry that the first one follows."""

    terms: tuple[int, ...]
    base: tuple[int, int] = (0, 0)

    @property
    def first_index(self) -> int:
        return self.base[0] + 1

    @property
    def last_index(self) -> int:
        return self.base[0] + len(self.terms)

    @property
    def last_term(self) -> int:
        return self.terms[-1]

    def term_at(self, index: int) -> int | None:
        held = range(self.first_index, self.last_index + 1)
        return (
            self.base[1] if index == self.base[0] else self.terms[index - self.first_index] if index in held else None
        )


LOG = Log((1, 1, 2, 2))
COMPACTED = Log((2, 2), base=(2, 1))


def entries(*terms: int) -> tuple[tuple[int, bytes], ...]:
    return tuple((term, b"%d" % n) for n, term in enumerate(terms))


def repaired(log: Log, prev: tuple[int, int], *terms: int, leaders: int = 9, commit: int = 1) -> Repaired:
    return Rules().repair(log, append(3, 1, prev, *entries(*terms), commit=leaders), commit)


@pytest.mark.parametrize(
    ("log", "prev", "terms", "after", "new", "verified"),
    [
        pytest.param(LOG, (4, 2), (), (4, 2), [], 4, id="a heartbeat"),
        pytest.param(LOG, (4, 2), (2, 3), (4, 2), [(b"0", 5, 2), (b"1", 6, 3)], 6, id="new entries"),
        pytest.param(LOG, (3, 2), (2, 3), (4, 2), [(b"1", 5, 3)], 5, id="an old one and a new one"),
        pytest.param(LOG, (2, 1), (2, 2), (4, 2), [], 4, id="old ones up to the end"),
        pytest.param(LOG, (1, 1), (1,), (4, 2), [], 2, id="old ones, and the log goes on"),
        pytest.param(LOG, (1, 1), (), (4, 2), [], 1, id="a heartbeat that is late"),
        pytest.param(LOG, (2, 1), (2, 3, 3), (3, 2), [(b"1", 4, 3), (b"2", 5, 3)], 5, id="a conflict"),
        pytest.param(COMPACTED, (1, 1), (1, 2, 2, 3), (4, 2), [(b"3", 5, 3)], 5, id="from before a compaction"),
        pytest.param(COMPACTED, (2, 1), (2, 3), (3, 2), [(b"1", 4, 3)], 4, id="from where a compaction ended"),
        pytest.param(COMPACTED, (1, 1), (1,), (4, 2), [], 3, id="all of it before a compaction"),
    ],
)
def test_of_an_append_the_core_sees_what_is_new_and_commits_no_further_than_it_goes(
    *,
    log: Log,
    prev: tuple[int, int],
    terms: tuple[int, ...],
    after: tuple[int, int],
    new: list[tuple[bytes, int, int]],
    verified: int,
) -> None:
    found = repaired(log, prev, *terms)
    assert found == Repaired(prev_index=after[0], prev_term=after[1], commit=verified, entries=new, verified=verified)
    assert repaired(log, prev, *terms, leaders=1).commit == 1, "nor further than the leader"


@pytest.mark.parametrize(("leaders", "commit", "told"), [(9, 2, 2), (1, 2, 1)])
def test_an_append_that_does_not_fit_commits_nothing(leaders: int, commit: int, told: int) -> None:
    for prev in ((4, 3), (5, 2)):
        found = repaired(LOG, prev, 3, leaders=leaders, commit=commit)
        assert found == Repaired(prev_index=prev[0], prev_term=prev[1], commit=told)


def test_an_entry_is_replaced_only_behind_what_is_committed() -> None:
    assert repaired(LOG, (2, 1), 3, commit=2).entries == [(b"0", 3, 3)]
    with pytest.raises(Broken, match="another entry 3 than was committed here"):
        repaired(LOG, (2, 1), 3, commit=3)


@pytest.mark.parametrize("prev", [(1, 1), (2, 1)])
def test_a_leader_that_contradicts_what_was_compacted_stops_the_node(prev: tuple[int, int]) -> None:
    agreed = (1,) if prev == (1, 1) else ()
    with pytest.raises(Broken, match="another entry 3 than was committed here"):
        repaired(COMPACTED, prev, *agreed, 3)


@pytest.mark.parametrize(
    ("prev_index", "commit", "asked"),
    [(9, 1, 7), (7, 1, 7), (6, 1, 6), (5, 1, 3), (5, 2, 3), (5, 3, 4), (5, 4, 5), (5, 5, 6), (2, 1, 2)],
)
def test_a_conflict_is_answered_with_the_first_entry_of_its_term_that_may_be_wrong(
    prev_index: int, commit: int, asked: int
) -> None:
    assert Rules().conflict_next(Log((1, 1, 2, 2, 2, 3)), prev_index, commit) == asked


def test_only_what_was_sent_since_the_last_rewind_may_rewind() -> None:
    peer = Peer("beta", rewound_seq=5)
    complaints = [m.Ack(term=1, seq=seq, next_index=1, success=False, reset=True) for seq in (4, 5, 6)]
    assert [Rules().may_rewind(peer, each) for each in complaints] == [False, True, True]


@pytest.mark.parametrize(("members", "needed"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_a_majority_that_counts_has_echoed_the_number_or_a_later_one(members: int, needed: int) -> None:
    others = [Peer(str(n), counted=True) for n in range(members - 1)]
    for echoed in range(members):
        for n, peer in enumerate(others):
            peer.acked_seq = 7 + n if n < echoed else 6
        assert Rules().confirmed(others, 7, members) is (echoed >= needed)
    for peer in others:
        peer.counted = False
    assert Rules().confirmed(others, 7, members) is (members == 1)
