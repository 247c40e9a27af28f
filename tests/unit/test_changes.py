"""The feed of committed changes: its ring, and who is woken by what."""

import asyncio
import threading

from raftsman.node.changes import ChangeFeed
from raftsman.raft.lifecycle import State
from raftsman.raft.records import Change, Instant, TaskId


def change(index: int, n: int = 0, task_id: str = "one") -> Change:
    return Change(
        index=index, n=n, at=Instant(index), task_id=TaskId(task_id), attempt=0, before=None, after=State.QUEUED
    )


def ids(changes: list[Change]) -> list[tuple[int, int]]:
    return [(each.index, each.n) for each in changes]


async def drained() -> None:
    """Let what was published reach the event loop."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_changes_are_given_in_order_behind_any_position() -> None:
    feed = ChangeFeed()
    feed.publish(3, (change(3, 0), change(3, 1)))
    feed.publish(5, (change(5),))
    await drained()
    assert ids(feed.after(0, 0, limit=10)) == [(3, 0), (3, 1), (5, 0)]
    assert ids(feed.after(3, 0, limit=10)) == [(3, 1), (5, 0)]
    assert ids(feed.after(3, 7, limit=10)) == [(5, 0)]
    assert ids(feed.after(0, 0, limit=2)) == [(3, 0), (3, 1)]
    assert feed.after(5, 0, limit=10) == []


async def test_an_entry_without_changes_moves_the_index_only() -> None:
    feed = ChangeFeed()
    feed.publish(7, ())
    await drained()
    assert feed.index == 7
    assert feed.after(0, 0, limit=10) == []
    assert feed.lost_index == 0


async def test_the_ring_drops_the_oldest_and_says_up_to_which_entry() -> None:
    feed = ChangeFeed(ring_changes=3)
    for index in range(1, 6):
        feed.publish(index, (change(index),))
    await drained()
    assert ids(feed.after(0, 0, limit=10)) == [(3, 0), (4, 0), (5, 0)]
    assert feed.lost_index == 2


async def test_an_entry_of_which_one_change_is_dropped_is_not_known_as_a_whole() -> None:
    feed = ChangeFeed(ring_changes=3)
    feed.publish(4, (change(4, 0), change(4, 1), change(4, 2)))
    await drained()
    assert feed.lost_index == 0
    feed.publish(9, (change(9),))
    await drained()
    assert feed.lost_index == 4


async def test_a_snapshot_takes_the_place_of_changes_that_are_not_known_here() -> None:
    feed = ChangeFeed()
    waiting = asyncio.create_task(feed.wait_for_task("one", 5))
    feed.publish(3, (change(3, task_id="two"),))
    await drained()
    assert not waiting.done()
    feed.begin_behind(8)
    feed.publish(9, (change(9, task_id="two"),))
    await drained()
    await waiting
    assert (feed.index, feed.lost_index) == (9, 8)
    assert ids(feed.after(0, 0, limit=10)) == [(9, 0)]


async def test_many_threads_lose_nothing() -> None:
    feed = ChangeFeed()

    def publish(first: int) -> None:
        for index in range(first, first + 500):
            feed.publish(index, (change(index),))

    threads = [threading.Thread(target=publish, args=(first,)) for first in (1, 1001, 2001)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await drained()
    found = {each.index for each in feed.after(0, 0, limit=10_000)}
    assert found == {*range(1, 501), *range(1001, 1501), *range(2001, 2501)}


async def test_who_waits_for_an_index_is_woken_by_it_from_another_thread() -> None:
    feed = ChangeFeed()
    waiting = asyncio.create_task(feed.wait_for_index(2, 5))
    await drained()
    await asyncio.to_thread(feed.publish, 1, ())
    await drained()
    assert not waiting.done()
    await asyncio.to_thread(feed.publish, 2, ())
    assert await waiting


async def test_an_index_that_was_applied_before_is_not_waited_for() -> None:
    feed = ChangeFeed()
    feed.publish(9, ())
    await drained()
    assert await feed.wait_for_index(9, 0)
    assert not await feed.wait_for_index(10, 0.01)


async def test_who_waits_for_a_task_is_not_woken_by_another() -> None:
    feed = ChangeFeed()
    waiting = asyncio.create_task(feed.wait_for_task("one", 5))
    await drained()
    feed.publish(1, (change(1, task_id="two"),))
    await drained()
    await drained()
    assert not waiting.done()
    feed.publish(2, (change(2, task_id="one"),))
    await waiting


async def test_who_waits_for_any_change_is_woken_or_gives_up() -> None:
    feed = ChangeFeed()
    waiting = asyncio.create_task(feed.wait_for_change(5))
    await drained()
    feed.publish(1, ())
    await waiting
    await feed.wait_for_change(0.01)
    await feed.wait_for_task("one", 0.01)


async def test_every_wakeup_is_set_by_a_change_until_it_is_let_go() -> None:
    feed = ChangeFeed()
    with feed.wakeup() as first, feed.wakeup() as second:
        feed.publish(1, ())
        await drained()
        assert first.is_set()
        assert second.is_set()
        first.clear()
    feed.publish(2, ())
    await drained()
    assert not first.is_set()


def test_what_is_published_after_the_loop_has_ended_harms_nobody() -> None:
    async def make() -> ChangeFeed:
        return ChangeFeed()

    feed = asyncio.run(make())
    feed.publish(1, (change(1),))
    feed.publish(2, (change(2),))
