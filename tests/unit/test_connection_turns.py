"""Turns at a bounded number of streams: nobody gives way for nothing, and nobody waits for ever."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from raftsman.executor.kubernetes.turns import GaveWay, Turns, during
from tests.unit.replicas import until

TURN_S = 0.05


async def hold(turns: Turns, story: list[str], name: str) -> None:
    """Take a turn and have it until it is over."""
    async with turns.take() as turn:
        story.append(name)
        await turn.over


async def stop(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_turn_lasts_while_nobody_waits() -> None:
    turns, story = Turns(2, turn_s=TURN_S), list[str]()
    holders = [asyncio.create_task(hold(turns, story, name)) for name in "ab"]
    await asyncio.sleep(4 * TURN_S)
    assert not any(holder.done() for holder in holders)
    await stop(*holders)


async def test_the_oldest_gives_way_and_those_that_wait_come_in_their_order() -> None:
    turns, story = Turns(2, turn_s=TURN_S), list[str]()
    tasks = []
    for name in "abcde":
        tasks.append(asyncio.create_task(hold(turns, story, name)))
        await asyncio.sleep(0.005)
    assert story == ["a", "b"]
    async with asyncio.timeout(2):
        await asyncio.gather(*tasks[:3])
    assert story == ["a", "b", "c", "d", "e"]
    await asyncio.sleep(2 * TURN_S)
    assert [task.done() for task in tasks] == [True, True, True, False, False]
    await stop(*tasks)


async def test_who_goes_away_leaves_the_place_to_the_next() -> None:
    turns, story = Turns(1, turn_s=TURN_S), list[str]()
    first, gone, last = [asyncio.create_task(hold(turns, story, name)) for name in ("first", "gone", "last")]
    await asyncio.sleep(0)
    await stop(gone)
    async with asyncio.timeout(2):
        await first
        await until(lambda: "last" in story, "the last one has its turn")
    await stop(last)
    assert story == ["first", "last"]
    async with asyncio.timeout(1), turns.take():
        pass  # Nothing is lost on the way.


async def test_a_turn_that_comes_as_its_waiter_goes_away_is_passed_on() -> None:
    turns, story = Turns(1, turn_s=TURN_S), list[str]()
    async with turns.take():
        gone, last = [asyncio.create_task(hold(turns, story, name)) for name in ("gone", "last")]
        await asyncio.sleep(0)
    gone.cancel()  # The turn was given to it just now.
    async with asyncio.timeout(1):
        await until(lambda: story == ["last"], "the turn is passed on")
    await stop(gone, last)
    async with asyncio.timeout(1), turns.take():
        pass


@pytest.mark.parametrize("chatty", [False, True])
async def test_a_stream_is_cut_when_its_turn_is_over(chatty: bool) -> None:
    closed = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            while chatty:
                yield b"x"
                await asyncio.sleep(0.001)
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def read(source: AsyncIterator[bytes]) -> int:
        return sum([len(chunk) async for chunk in source])

    turns = Turns(1, turn_s=TURN_S)
    async with turns.take() as turn, asyncio.timeout(2):
        waiting = asyncio.create_task(hold(turns, [], "next"))
        source = chunks()
        with pytest.raises(GaveWay):
            await read(during(turn, source))
        await source.aclose()
        assert closed.is_set()
    await stop(waiting)
