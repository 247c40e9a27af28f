"""Every check finds what it is there for: a history that breaks one promise is told from one that keeps it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from raftsman.raft import codec
from raftsman.raft.commands import Accepted, Barrier, Entry
from raftsman.raft.journal import Journal
from raftsman.raft.lifecycle import State
from raftsman.raft.messages import Ack, AskVote, Vote
from raftsman.raft.records import Change, Instant, TaskId
from raftsman.raft.table import TaskTable
from raftsman.raft.waiting import Answer
from tests.simulation.checks import MAX_OPEN_FILES, MAX_UNDER_WAY, MAX_WAITING, Checks, Proposal, Violation
from tests.simulation.watched import watched_journal
from tests.unit.journals import at_once, entry, new_disk


@dataclass(slots=True)
class Log:
    """As much of a core and its journal as checks look at."""

    leads: bool = True
    term: int = 2
    commit_index: int = 3
    applied_index: int = 3
    synced_index: int = 3
    first_index: int = 1
    terms: tuple[int, ...] = (1, 1, 2)
    vote: str | None = None

    @property
    def last_index(self) -> int:
        return len(self.terms)

    @property
    def held(self) -> list[tuple[bytes, int, int]]:
        return [(b"command", index, term) for index, term in enumerate(self.terms, 1)]

    def term_at(self, index: int) -> int | None:
        return self.terms[index - 1] if 1 <= index <= len(self.terms) else None if index else 0


def seen(checks: Checks, node: str, log: Any, life: int = 1) -> None:
    for command, index, term in log.held:
        checks.appended(node, log, command, index, term)
    checks.ticked(node, life, log, log)


def raw(command_id: str, at: int = 1) -> bytes:
    return codec.encode(Entry(command_id=command_id, command=Barrier(), at=Instant(at)))


def applied(
    checks: Checks, command: bytes, index: int = 3, node: str = "alpha", table: TaskTable | None = None
) -> None:
    checks.executed(node, index, command, table or TaskTable())


def change(before: State | None, after: State, attempt: int = 1, task_id: str = "t") -> Change:
    return Change(index=1, n=0, at=Instant(1), task_id=TaskId(task_id), attempt=attempt, before=before, after=after)


def another_table() -> TaskTable:
    table = TaskTable()
    table._hash = 1
    return table


def answer(checks: Checks, command: bytes, what: Answer, index: int = 3) -> Proposal:
    proposal = Proposal(command, "alpha")
    checks.answered(proposal, what, (Accepted(), index) if what is Answer.APPLIED else None)
    return proposal


Steps = tuple[Callable[[Checks], object], ...]
LOG: dict[str, Steps] = {
    "two leaders in term 2": (
        lambda checks: seen(checks, "alpha", Log()),
        lambda checks: seen(checks, "beta", Log()),
    ),
    "without entry 3 of term 2, which was committed": (
        lambda checks: seen(checks, "alpha", Log()),
        lambda checks: seen(checks, "beta", Log(term=3, terms=(1, 1), commit_index=2, applied_index=2, synced_index=2)),
    ),
    "for committed, it was that of term 2": (
        lambda checks: seen(checks, "alpha", Log()),
        lambda checks: seen(checks, "beta", Log(leads=False, term=3, terms=(1, 1, 3))),
    ),
    "log matching": (
        lambda checks: checks.appended("alpha", Log(), b"one", 3, 2),  # type: ignore[arg-type]
        lambda checks: checks.appended("beta", Log(), b"other", 3, 2),  # type: ignore[arg-type]
    ),
    "that nobody ever appended": (lambda checks: checks.log_read("alpha", Log()),),  # type: ignore[arg-type]
    "goes back: term 2 → 1": (
        lambda checks: seen(checks, "alpha", Log(leads=False)),
        lambda checks: seen(checks, "alpha", Log(leads=False, term=1)),
    ),
    "has applied 3, committed 2": (lambda checks: seen(checks, "alpha", Log(commit_index=2)),),
    "counts itself for entry 3": (lambda checks: seen(checks, "alpha", Log(synced_index=2)),),
}
PROMISES: dict[str, Steps] = {
    "votes for beta in term 5": (
        lambda checks: checks.said("alpha", "disk", "gamma", Vote(term=5, granted=True)),
        lambda checks: checks.said("alpha", "disk", "beta", Vote(term=5, granted=True)),
    ),
    "votes for alpha in term 4": (
        lambda checks: checks.said("alpha", "disk", "gamma", Vote(term=5, granted=True)),
        lambda checks: checks.said("alpha", "disk", "beta", AskVote(term=4, last_index=1, last_term=1)),
    ),
    "it has acknowledged 9": (
        lambda checks: checks.said("alpha", "disk", "beta", Ack(term=2, seq=1, next_index=10, success=True)),
        lambda checks: checks.started("alpha", "disk", Log()),  # type: ignore[arg-type]
    ),
    "has forgotten its vote for beta in term 2": (
        lambda checks: checks.said("alpha", "disk", "beta", Vote(term=2, granted=True)),
        lambda checks: checks.started("alpha", "disk", Log()),  # type: ignore[arg-type]
    ),
}
TABLE: dict[str, Steps] = {
    "applies another command as entry 3": (
        lambda checks: applied(checks, raw("one")),
        lambda checks: applied(checks, raw("other"), node="beta"),
    ),
    "has another table at entry 3": (
        lambda checks: applied(checks, raw("one")),
        lambda checks: applied(checks, raw("one"), node="beta", table=another_table()),
    ),
    "has another table from a snapshot of entry 4": (
        lambda checks: applied(checks, raw("one")),
        lambda checks: checks.restored("beta", 4, another_table()),
    ),
    "is admitted twice": (
        lambda checks: checks.changed(1, [change(None, State.QUEUED, attempt=0)], TaskTable()),
        lambda checks: checks.changed(2, [change(None, State.QUEUED, attempt=0)], TaskTable()),
    ),
    "its key was used for task t": (
        lambda checks: checks.keys.update({"t": "key", "u": "key"}),
        lambda checks: checks.changed(1, [change(None, State.QUEUED, attempt=0)], TaskTable()),
        lambda checks: checks.changed(2, [change(None, State.QUEUED, attempt=0, task_id="u")], TaskTable()),
    ),
    "goes back from": (
        lambda checks: checks.changed(1, [change(State.QUEUED, State.RUNNING)], TaskTable()),
        lambda checks: checks.changed(2, [change(State.RUNNING, State.QUEUED)], TaskTable()),
    ),
}
ANSWERS: dict[str, Steps] = {
    "which is another command": (
        lambda checks: applied(checks, raw("one")),
        lambda checks: answer(checks, raw("other"), Answer.APPLIED),
    ),
    "is answered twice": (
        lambda checks: applied(checks, raw("one")),
        lambda checks: checks.answered(answer(checks, raw("one"), Answer.APPLIED), Answer.UNKNOWN, None),
    ),
    "that was answered": (
        lambda checks: applied(checks, raw("one")),
        lambda checks: applied(checks, raw("one", at=2), index=4),
        lambda checks: answer(checks, raw("one"), Answer.APPLIED),
        lambda checks: answer(checks, raw("one", at=2), Answer.APPLIED, index=4),
    ),
    "and the command is in the log": (
        lambda checks: applied(checks, raw("one")),
        lambda checks: answer(checks, raw("one"), Answer.NOT_LEADER),
    ),
    "certainly not in the log": (
        lambda checks: answer(checks, raw("one"), Answer.DISK_FULL),
        lambda checks: applied(checks, raw("one")),
    ),
    "a consistent read on alpha sees entry 4, 5 was acknowledged": (lambda checks: checks.read("alpha", 5, 4, 9),),
    "a consistent read on alpha sees entry 5, 5 was acknowledged": (lambda checks: checks.read("alpha", 5, 6, 5),),
    "has lost 1 acknowledged submissions": (lambda checks: checks.holds_everything("alpha", TaskTable(), ["t"]),),
}
BOUNDS: dict[str, Steps] = {
    "wait on alpha": (lambda checks: checks.counted("alpha", waiting=MAX_WAITING + 1, open_files=0, under_way=0),),
    "files open": (lambda checks: checks.counted("alpha", waiting=0, open_files=MAX_OPEN_FILES + 1, under_way=0),),
    "frames under way": (lambda checks: checks.counted("alpha", waiting=0, open_files=0, under_way=MAX_UNDER_WAY + 1),),
}


@pytest.mark.parametrize(("said", "steps"), [*(LOG | PROMISES | TABLE | ANSWERS | BOUNDS).items()])
def test_what_breaks_a_promise_is_found(said: str, steps: Steps) -> None:
    checks = Checks()
    *before, last = steps
    for step in before:
        step(checks)
    with pytest.raises(Violation, match=said):
        last(checks)


def test_what_keeps_the_promises_is_let_through() -> None:
    checks = Checks()
    seen(checks, "alpha", Log())
    seen(checks, "beta", Log(leads=False))
    seen(checks, "beta", Log(term=3))
    checks.started("alpha", "disk", Log())  # type: ignore[arg-type]
    checks.said("alpha", "disk", "gamma", Vote(term=5, granted=True))
    checks.said("alpha", "disk", "gamma", Vote(term=5, granted=True))
    applied(checks, raw("one"))
    applied(checks, raw("one"), node="beta")
    answer(checks, raw("one"), Answer.APPLIED)
    checks.changed(1, [change(None, State.QUEUED, attempt=0)], TaskTable())
    checks.changed(2, [change(State.QUEUED, State.RUNNING)], TaskTable())
    checks.read("alpha", 3, 3, 3)
    checks.counted("alpha", waiting=10, open_files=3, under_way=20)


@pytest.mark.parametrize(
    ("last", "term", "kept"),
    [(5, 2, False), (5, 1, True), (12, 2, True)],
    ids=["a snapshot that contradicts it takes it back", "one that agrees does not", "nor does one that goes further"],
)
def test_what_a_snapshot_takes_the_place_of_is_promised_unless_it_contradicts_it(
    last: int, term: int, kept: bool
) -> None:
    checks = Checks()
    disk = new_disk()
    watched = watched_journal(Journal, "alpha", "disk", checks)
    journal = watched.open(disk, snapshot_index=0, background=at_once, new_salt=lambda: 1)
    for index in range(1, 10):
        journal.append(*entry(index))
    checks.said("alpha", "disk", "beta", Ack(term=1, seq=1, next_index=10, success=True))
    journal.reset(last - 2, 0)
    journal.append(*entry(last - 1, term))
    journal.append(*entry(last, term))
    assert checks.promised["disk"] == (9 if kept else 5)
