"""Keys that need a look, each at most once in the queue: the shape of every controller.

A look may ask for another one later. A look that fails is logged and repeated: a controller must outlive one odd
object. Used by ``deletion`` and ``jobcontroller``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

AGAIN_S = 1.0
"""When a look that failed is repeated."""

Item = TypeVar("Item", bound=Hashable)


class WorkQueue(Generic[Item]):
    """Calls *look* for each key that was added, in turn."""

    def __init__(self, look: Callable[[Item], Awaitable[float | None]]) -> None:
        """*look* returns after how many seconds to look again, or None."""
        self._look = look
        self._waiting: dict[Item, None] = {}  # Ordered, and without doubles.
        self._timers: dict[Item, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()

    def add(self, item: Item) -> None:
        """Look at the key soon."""
        self._waiting[item] = None
        self._filled.set()

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self._waiting:
                    await self._take(next(iter(self._waiting)))
                    await asyncio.sleep(0)  # Requests come between two looks.
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _take(self, item: Item) -> None:
        del self._waiting[item]
        timer = self._timers.pop(item, None)
        if timer is not None:
            timer.cancel()
        try:
            again_s = await self._look(item)
        except Exception:
            logger.exception("a look at %s failed", item)
            again_s = AGAIN_S
        if again_s is not None:
            self._timers[item] = asyncio.get_running_loop().call_later(max(again_s, 0.001), self._fire, item)

    def _fire(self, item: Item) -> None:
        self._timers.pop(item, None)
        self.add(item)
