"""Whose turn it is when a context may be called so often only: those that take what is spare hold up nobody."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from raftsman.executor.jobs import NoTurn
from raftsman.executor.kubernetes.timing import Timing, TokenBucket, Urgency
from raftsman.raft.lifecycle import State
from tests.harness.executors import Executors, play
from tests.harness.executors import played as scene_of
from tests.harness.fake_jobs import Life
from tests.harness.fake_link import Fault, denied, slow
from tests.harness.virtual_time import run

# --- the bucket -----------------------------------------------------------------------------------


def played(scene: Callable[[TokenBucket], Awaitable[None]]) -> None:
    """Play *scene* on a virtual clock, with a bucket of 20 calls a second and 40 at once."""

    async def whole() -> None:
        clock = asyncio.get_running_loop().time
        await scene(TokenBucket(Timing(monotonic=clock), qps=20, burst=40))

    run(whole())


@asynccontextmanager
async def readers(bucket: TokenBucket, count: int) -> AsyncIterator[list[int]]:
    """So many attempts that wait read their Events, again and again; how often each has had a turn."""
    turns = [0] * count

    async def read_again(number: int) -> None:
        while True:
            await bucket.take(Urgency.SPARE)
            turns[number] += 1
            await asyncio.sleep(2)

    reading = [asyncio.create_task(read_again(number)) for number in range(count)]
    try:
        yield turns
    finally:
        for each in reading:
            each.cancel()


@pytest.mark.parametrize("count", [20, 300, 1000])
def test_no_call_waits_behind_those_that_take_what_is_spare(count: int) -> None:
    async def scene(bucket: TokenBucket) -> None:
        loop = asyncio.get_running_loop()
        async with readers(bucket, count) as turns:
            await asyncio.sleep(60)
            for _ in range(50):
                began = loop.time()
                await bucket.take()
                assert loop.time() == began
                await asyncio.sleep(0.37)
            assert sum(turns) > 0.8 * min(20, count / 2) * loop.time() - 50, "and nothing is left unused"

    played(scene)


def test_whoever_takes_what_is_spare_takes_turns() -> None:
    async def scene(bucket: TokenBucket) -> None:
        async with readers(bucket, 300) as turns:
            await asyncio.sleep(100)
            assert max(turns) - min(turns) <= 1

    played(scene)


def test_a_call_for_which_nothing_was_spare_for_a_minute_is_refused() -> None:
    async def scene(bucket: TokenBucket) -> None:
        async def all_there_is() -> None:
            while True:
                await bucket.take()

        taking = asyncio.create_task(all_there_is())
        await asyncio.sleep(1)
        ends = await asyncio.gather(*(bucket.take(Urgency.SPARE) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(end, NoTurn) for end in ends)
        assert asyncio.get_running_loop().time() - 1 == pytest.approx(60, abs=2)
        taking.cancel()
        await asyncio.sleep(5)
        await bucket.take(Urgency.SPARE)

    played(scene)


def test_a_stop_does_not_wait_behind_creations_and_every_creation_has_its_turn() -> None:
    async def scene(bucket: TokenBucket) -> None:
        loop = asyncio.get_running_loop()
        creations = [asyncio.create_task(bucket.take(Urgency.NEW)) for _ in range(200)]
        for _ in range(20):
            await asyncio.sleep(0.3)
            began = loop.time()
            await bucket.take()
            assert loop.time() == began
        await asyncio.gather(*creations)
        assert loop.time() == pytest.approx((200 + 20 - 30) / 20, abs=0.1), "and nothing is left unused"

    played(scene)


def test_creations_that_would_wait_too_long_are_refused_at_once_and_told_for_how_long() -> None:
    async def scene(bucket: TokenBucket) -> None:
        loop = asyncio.get_running_loop()
        ends = await asyncio.gather(*(bucket.take(Urgency.NEW) for _ in range(300)), return_exceptions=True)
        assert sum(end is None for end in ends) == pytest.approx(30 + 10 * 20, abs=1)
        refused = [end for end in ends if isinstance(end, NoTurn)]
        assert all(end.retry_after_s is not None and 10.0 < end.retry_after_s < 14.0 for end in refused)
        assert loop.time() <= 11.0

    played(scene)


def test_a_creation_that_waits_behind_too_much_that_is_more_urgent_is_refused_in_time() -> None:
    async def scene(bucket: TokenBucket) -> None:
        async def all_there_is() -> None:
            while True:
                await bucket.take()

        creation = asyncio.create_task(bucket.take(Urgency.NEW))
        await creation
        taking = asyncio.create_task(all_there_is())
        await asyncio.sleep(3)
        began = asyncio.get_running_loop().time()
        with pytest.raises(NoTurn):
            await bucket.take(Urgency.NEW)
        assert asyncio.get_running_loop().time() - began <= 11.0
        taking.cancel()

    played(scene)


# --- attempts -------------------------------------------------------------------------------------

NO_TURN = Fault(error=NoTurn("no call for another 12 s: too many wait", retry_after_s=1.5))


@scene_of
async def test_a_create_that_got_no_turn_was_not_sent_and_its_task_says_what_it_waits_for(executors: Executors) -> None:
    link = executors.links["alpha"]
    link.plan("create", NO_TURN, denied("exceeded quota: jobs"))
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: "no call for another 12 s" in executors.task("t").reason, within_s=1)
    assert (await executors.ended("t")).state is State.COMPLETED
    assert "get" not in link.calls, "nobody asks after what was never sent"
    assert executors.counted == {"created": 1}


@pytest.mark.parametrize("what", ["cancel", "start"])
def test_an_attempt_whose_events_are_slow_to_come_goes_on_all_the_same(tmp_path: Path, what: str) -> None:
    async def scene(executors: Executors) -> None:
        executors.kubernetes.life = lambda _name: Life(starts_after_s=5.0)
        link = executors.links["alpha"]
        link.plan("events", *[slow(60.0)] * 100)
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: "events" in link.calls)
        if what == "cancel":
            executors.cancel("t")
            assert (await executors.ended("t", within_s=2)).state is State.CANCELLED
        else:
            assert (await executors.ended("t", within_s=8)).state is State.COMPLETED
        assert link.calls.count("events") == 1, "one at a time"

    play(tmp_path, scene)
