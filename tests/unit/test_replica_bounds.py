"""A replica on a log that answers when the test says so: bounds, deadlines, and a table that is put in its place."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from raftsman.raft import codec
from raftsman.raft import replica as under_test
from raftsman.raft.commands import Accepted, Barrier, Checkpoint, Entry, Submit
from raftsman.raft.consensus import Answer, Standing
from raftsman.raft.marks import MARK_EVERY
from raftsman.raft.records import Instant, TaskId
from raftsman.raft.replica import Applied, NotLeader, Replica, Unknown
from raftsman.raft.tablecodec import pack_table
from tests.harness.tables import submit, table_of


@dataclass
class Silent:
    """A log that answers nothing by itself."""

    proposed: list[tuple[bytes, Callable[[Answer, Any], None]]] = field(default_factory=list)
    asked: list[Callable[[Answer, Any], None]] = field(default_factory=list)
    stopped: int = 0

    def start(self) -> None: ...

    def stop(self) -> None:
        self.stopped += 1

    def standing(self) -> Standing:
        return Standing(leader="beta", leads=False, term=1, commit_index=0, applied_index=0)

    def propose(self, raw: bytes, answered: Callable[[Answer, Any], None]) -> None:
        self.proposed.append((raw, answered))

    def read(self, answered: Callable[[Answer, Any], None]) -> None:
        self.asked.append(answered)


async def on(log: Silent, **options: Any) -> Replica:
    replica = Replica(now=lambda: Instant(7), new_id=lambda: "c1", on_applied=lambda _index, _changes: None, **options)
    await replica.start(log)  # type: ignore[arg-type]
    return replica


@pytest.mark.parametrize("ask", ["propose", "barrier"])
async def test_so_many_wait_at_a_time_and_the_next_is_told_at_once(monkeypatch: pytest.MonkeyPatch, ask: str) -> None:
    monkeypatch.setattr(under_test, "MAX_PROPOSALS", 2)
    log = Silent()
    replica = await on(log)

    async def one(deadline_s: float) -> object:
        if ask == "propose":
            return await replica.propose(Barrier(), deadline_s=deadline_s)
        return await replica.barrier(deadline_s)

    for _ in range(2):
        waiting = [asyncio.create_task(one(0.05)) for _ in range(2)]
        await asyncio.sleep(0.01)
        for again in (replica.propose(Barrier()), replica.barrier()):
            assert await again == NotLeader("beta")
        assert [await each for each in waiting] == [Unknown(), Unknown()], "and when they are told, there is room"


class Electing(Silent):
    """A log without a leader until it was asked so often."""

    def __init__(self, tries: int) -> None:
        super().__init__()
        self.tries = tries

    def read(self, answered: Callable[[Answer, Any], None]) -> None:
        self.tries -= 1
        if self.tries < 0:
            answered(Answer.APPLIED, 7)
        else:
            answered(Answer.NOT_LEADER, None)


async def test_a_barrier_waits_for_a_leader_as_long_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "REPEAT_EVERY_S", 0.001)
    assert await (await on(Electing(3))).barrier(leader_wait_s=60) == Applied(Accepted(), 7)
    assert await (await on(Electing(1))).barrier() == NotLeader("beta")
    assert await (await on(Electing(10_000))).barrier(leader_wait_s=0.02) == NotLeader("beta")
    assert await (await on(Electing(10_000))).barrier(0.02, leader_wait_s=60) == Unknown()


async def test_an_answer_that_comes_behind_the_deadline_is_nobodys() -> None:
    log, took = Silent(), list[float]()
    replica = await on(log, on_committed=took.append)
    assert await replica.propose(submit("t1"), deadline_s=0.01) == Unknown()
    (raw, answered), *_ = log.proposed
    answered(Answer.APPLIED, replica.apply(raw, 1))
    await asyncio.sleep(0.01)
    assert took == []
    proposing = asyncio.create_task(replica.propose(submit("t2"), deadline_s=5.0, command_id="c2"))
    await asyncio.sleep(0.01)
    raw, answered = log.proposed[-1]
    answered(Answer.APPLIED, replica.apply(raw, 2))
    assert isinstance(await proposing, Applied)
    assert len(took) == 1
    assert 0 <= took[0] < 5


async def test_a_table_that_is_put_in_its_place_is_told_of_and_has_no_marks_of_the_old_one() -> None:
    restored: list[int] = []
    log = Silent()
    replica = await on(log, on_restored=restored.append)
    for index in range(1, MARK_EVERY + 1):
        replica.apply(codec.encode(Entry(command_id="", command=Barrier(), at=Instant(0))), index)
    assert replica.checkpoint() == Checkpoint(index=MARK_EVERY, state_hash="0" * 32)
    other = table_of(submit("t1"))
    replica.restore(pack_table(other), 1)
    assert restored == [1]
    assert replica.checkpoint() is None
    assert replica.read(lambda table: (table.index, table.state_hash)) == (other.index, other.state_hash)
    assert replica.size() == 1
    await replica.stop()
    assert log.stopped == 1


async def test_a_copy_and_what_is_frozen_stay_as_they_were() -> None:
    replica = await on(Silent())
    first, second = (
        codec.encode(Entry(command_id="", command=command, at=Instant(0)))
        for command in (submit("t1"), Submit(task_id=TaskId("t2"), spec=submit("t2").spec))
    )
    replica.apply(first, 1)
    frozen, copy = replica.freeze(), replica.copy()
    replica.apply(second, 2)
    assert (len(copy.live), replica.size()) == (1, 2)
    twin = await on(Silent())
    twin.restore(frozen, 1)
    assert twin.read(lambda table: list(table.live)) == ["t1"]
