"""Committed changes, handed from the log's thread to everybody in the event loop who waits for them.

The feed keeps the newest changes in a ring (for ``/v1/events``), wakes the loops, and lets requests wait
for an index or for a task. It decides nothing; a slow listener loses nothing but time, for it reads the
ring at its own pace.
"""

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from raftsman.raft.records import Change

RING_CHANGES = 100_000
"""About 60 MB of changes; whoever is further behind is told so (410) and reads the tasks instead."""


class ChangeFeed:
    """What was applied, in order. Create it in the event loop; ``publish`` may be called from any thread."""

    def __init__(self, ring_changes: int = RING_CHANGES) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[tuple[int, tuple[Change, ...] | None]] = deque()
        self._inbox_lock = threading.Lock()
        self._scheduled = False
        self._ring: deque[Change] = deque(maxlen=ring_changes)
        self._wakeups: set[asyncio.Event] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._task_waiters: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self.index = 0
        """The last applied index that the event loop knows of."""
        self.lost_index = 0
        """Changes of entries up to this one are not all in the ring: it was too short, or a snapshot came."""

    # --- from the log's thread ---

    def publish(self, index: int, changes: tuple[Change, ...]) -> None:
        """Take note of an applied entry."""
        self._put(index, changes)

    def begin_behind(self, index: int) -> None:
        """Take note of a snapshot of everything up to entry *index*: what changed by it is not known."""
        self._put(index, None)

    def _put(self, index: int, changes: tuple[Change, ...] | None) -> None:
        with self._inbox_lock:
            self._inbox.append((index, changes))
            if self._scheduled:
                return
            self._scheduled = True
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # The event loop is closed: the node is stopping, and nobody waits any more.
            return

    # --- in the event loop ---

    def _drain(self) -> None:
        with self._inbox_lock:
            batch, self._inbox, self._scheduled = self._inbox, deque(), False
        waiting = set(self._waiters)
        for index, changes in batch:
            self.index = index
            waiting |= self._forget(index) if changes is None else self._keep(changes)
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
        for wakeup in self._wakeups:
            wakeup.set()

    def _keep(self, changes: tuple[Change, ...]) -> "set[asyncio.Future[None]]":
        """Add *changes*; return who waits for one of these tasks."""
        for change in changes:
            if len(self._ring) == self._ring.maxlen:
                self.lost_index = self._ring[0].index
            self._ring.append(change)
        return set().union(*(self._task_waiters.get(change.task_id, ()) for change in changes))

    def _forget(self, index: int) -> "set[asyncio.Future[None]]":
        """Drop everything up to *index*; return who waits for any task."""
        self._ring.clear()
        self.lost_index = index
        return set().union(*self._task_waiters.values())

    @contextmanager
    def wakeup(self) -> Iterator[asyncio.Event]:
        """Give an event that is set after every change, for a loop that clears it before it looks."""
        event = asyncio.Event()
        self._wakeups.add(event)
        try:
            yield event
        finally:
            self._wakeups.discard(event)

    async def wait_for_index(self, index: int, deadline_s: float) -> bool:
        """Wait until entry *index* is applied here; return whether it was in time."""
        try:
            async with asyncio.timeout(deadline_s):
                while self.index < index:
                    await self._next(self._waiters)
        except TimeoutError:
            return False
        return True

    async def wait_for_change(self, deadline_s: float) -> None:
        """Wait for any change, or until the time is up."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._next(self._waiters)
        except TimeoutError:
            return

    async def wait_for_task(self, task_id: str, deadline_s: float) -> None:
        """Wait for a change of the task, or until the time is up."""
        waiters = self._task_waiters[task_id]
        try:
            async with asyncio.timeout(deadline_s):
                await self._next(waiters)
        except TimeoutError:
            return
        finally:
            if not waiters:
                self._task_waiters.pop(task_id, None)

    async def _next(self, waiters: "set[asyncio.Future[None]]") -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)

    # --- the ring ---

    def after(self, index: int, n: int, limit: int) -> list[Change]:
        """Return at most *limit* changes behind change *n* of entry *index*, the oldest first."""
        found: list[Change] = []
        for change in reversed(self._ring):
            if (change.index, change.n) <= (index, n):
                break
            found.append(change)
        found.reverse()
        return found[:limit]
