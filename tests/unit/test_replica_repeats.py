"""Proposals whose outcome stays open: the replica proposes them again, and they happen once."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from raftsman.raft import codec
from raftsman.raft.commands import Accepted, Command, Submit
from raftsman.raft.consensus import Answer, Standing
from raftsman.raft.records import Instant, K8sJobSpec, TaskId, TaskSpec
from raftsman.raft.replica import Applied, NoRoom, NotLeader, Replica, Unknown

SPEC = codec.pack_spec(TaskSpec(type="k8s_job", k8s_job=K8sJobSpec(context="dev", image="busybox")))
SUBMIT = Submit(task_id=TaskId("t"), spec=SPEC)
STANDING = Standing(leader="beta", leads=False, term=1, commit_index=0, applied_index=0)

COMMITTED_UNHEARD = "the entry is committed; its proposer hears that nobody knows"


class Scripted:
    """A log that answers as it was told to, one proposal after another."""

    def __init__(self, *answers: Answer | str) -> None:
        self.answers = list(answers)
        self.proposed: list[bytes] = []
        self.index = 0
        self.replica: Replica | None = None

    def start(self) -> None:
        pass

    def standing(self) -> Standing:
        return STANDING

    def propose(self, raw: bytes, answered: Callable[[Answer, Any], None]) -> None:
        self.proposed.append(raw)
        answer = self.answers.pop(0)
        if answer in (Answer.APPLIED, COMMITTED_UNHEARD):
            assert self.replica is not None
            self.index += 1
            result = self.replica.apply(raw, self.index)
            if answer is Answer.APPLIED:
                answered(Answer.APPLIED, result)
                return
        answered(Answer.UNKNOWN if isinstance(answer, str) else answer, None)


async def replica_on(log: Scripted) -> Replica:
    ids = itertools.count(1)
    replica = Replica(now=lambda: Instant(7), new_id=lambda: f"c{next(ids)}", on_applied=lambda _index, _changes: None)
    log.replica = replica
    await replica.start(log)  # type: ignore[arg-type]
    return replica


async def propose(log: Scripted, command: Command = SUBMIT, *, deadline_s: float = 5.0) -> Any:
    return await (await replica_on(log)).propose(command, deadline_s=deadline_s)


async def test_what_was_committed_unheard_is_told_when_it_is_proposed_again() -> None:
    log = Scripted(COMMITTED_UNHEARD, Answer.UNKNOWN, Answer.APPLIED)
    assert await propose(log) == Applied(Accepted(), 1)  # Not "repeated", and where it stood first.
    assert log.index == 2
    assert {codec.decode(raw).command_id for raw in log.proposed} == {"c1"}


async def test_what_never_came_into_the_log_comes_into_it_once() -> None:
    log = Scripted(Answer.UNKNOWN, Answer.APPLIED)
    assert await propose(log) == Applied(Accepted(), 1)


@pytest.mark.parametrize(
    ("answer", "outcome"), [(Answer.NOT_LEADER, NotLeader("beta")), (Answer.DISK_FULL, NoRoom())], ids=str
)
async def test_a_certain_no_is_answered_at_once(answer: Answer, outcome: NotLeader | NoRoom) -> None:
    log = Scripted(answer)
    assert await propose(log) == outcome
    assert len(log.proposed) == 1


@pytest.mark.parametrize("no", [Answer.NOT_LEADER, Answer.DISK_FULL], ids=str)
async def test_in_doubt_no_is_not_certain_any_more(no: Answer) -> None:
    log = Scripted(Answer.UNKNOWN, *[no] * 100)
    assert await propose(log, deadline_s=0.3) == Unknown()
    assert 1 < len(log.proposed) < 100
    again = Scripted(COMMITTED_UNHEARD, no, Answer.APPLIED)
    assert await propose(again) == Applied(Accepted(), 1)


async def test_two_proposals_are_two_commands_unless_they_bear_one_id() -> None:
    log = Scripted(*[Answer.APPLIED] * 4)
    replica = await replica_on(log)
    assert await replica.propose(SUBMIT) == Applied(Accepted(), 1)
    assert await replica.propose(SUBMIT) == Applied(Accepted(repeated=True), 2)
    named = "0123456789abcdef"
    other = Submit(task_id=TaskId("u"), spec=SPEC)
    assert await replica.propose(other, command_id=named) == Applied(Accepted(), 3)
    assert await replica.propose(other, command_id=named) == Applied(Accepted(), 3)
