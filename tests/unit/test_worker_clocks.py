"""The wall clock of a node is set, forth and back by an hour, while its executor waits for something."""

import asyncio
from pathlib import Path

import pytest

from raftsman.raft.lifecycle import State
from tests.harness.executors import TTL_S, Executors, play
from tests.harness.fake_jobs import Life
from tests.harness.fake_link import DOWN, Fault, denied

HOUR_S = 3_600.0
either_way = pytest.mark.parametrize("wrong_by_s", [-HOUR_S, HOUR_S], ids=["back", "ahead"])


@either_way
@pytest.mark.parametrize("fault", [DOWN, denied("exceeded quota: jobs")], ids=["no answer", "refused"])
def test_a_create_is_tried_again_neither_later_nor_sooner(tmp_path: Path, fault: Fault, wrong_by_s: float) -> None:
    async def scene(executors: Executors) -> None:
        calls = executors.links["alpha"].calls
        executors.links["alpha"].plan("create", fault)
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: "create" in calls)
        await asyncio.sleep(0.1)
        executors.set_clock("alpha", wrong_by_s)
        await asyncio.sleep(0.5)
        assert calls.count("create") == 1, "no pause is cut short"
        assert (await executors.ended("t", within_s=10)).state is State.COMPLETED

    play(tmp_path, scene)


@either_way
def test_a_context_that_does_not_answer_makes_its_attempts_unreachable_after_the_same_time(
    tmp_path: Path, wrong_by_s: float
) -> None:
    async def scene(executors: Executors) -> None:
        executors.kubernetes.life = lambda _name: Life(runs_s=None)
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: executors.task("t").state is State.RUNNING)
        executors.links["alpha"].set_up(False)
        await asyncio.sleep(1.0)
        executors.set_clock("alpha", wrong_by_s)
        await asyncio.sleep(3.0)
        assert not executors.task("t").unreachable
        await executors.until(lambda: executors.task("t").unreachable, within_s=3)

    play(tmp_path, scene)


@either_way
def test_a_finished_job_is_told_when_to_leave_although_the_clock_was_set(tmp_path: Path, wrong_by_s: float) -> None:
    async def scene(executors: Executors) -> None:
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: executors.task("t").state is State.RUNNING)
        executors.set_clock("alpha", wrong_by_s)
        await executors.ended("t", within_s=10)
        await executors.until(lambda: bool(executors.kubernetes.times_to_live), within_s=10)
        assert [seconds for _, seconds, _ in executors.kubernetes.times_to_live] == [TTL_S]

    play(tmp_path, scene)
