"""Who may hold one of a bounded number of streams, in turn.

Nobody has to give a stream back while nobody else waits. When somebody does, those that have held theirs the longest
are asked to, each once it has had its time. Those that wait are served in the order they came.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any


class GaveWay(Exception):
    """The turn is over: others wait."""


class Turn:
    """The right to a stream, until ``over``."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()
        self._began_at = loop.time()
        self._end: asyncio.TimerHandle | None = None

    def end_after(self, turn_s: float) -> None:
        """Let it be over once it has had *turn_s*."""
        if self._end is None:
            self._end = asyncio.get_running_loop().call_at(self._began_at + turn_s, self._be_over)

    def close(self) -> None:
        """It is given back."""
        if self._end is not None:
            self._end.cancel()
        self._be_over()

    def _be_over(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class Turns:
    """So many turns at a time. Belongs to one event loop."""

    def __init__(self, most: int, *, turn_s: float) -> None:
        self._free = most
        self._turn_s = turn_s
        self._held: dict[Turn, None] = {}  # The oldest first.
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Turn]:
        """Wait for a turn and have it. How long is worth waiting is known to the caller, who may be cancelled."""
        await self._wait()
        turn = Turn()
        self._held[turn] = None
        self._hurry()
        try:
            yield turn
        finally:
            turn.close()
            del self._held[turn]
            self._release()

    async def _wait(self) -> None:
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._hurry()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self._release()  # It had come to its turn at that very moment.
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    def _release(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _hurry(self) -> None:
        """Ask as many holders to give way as wait; one more for each that comes."""
        for turn in islice(self._held, len(self._waiting)):
            turn.end_after(self._turn_s)


async def during(turn: Turn, chunks: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """Yield *chunks* while *turn* lasts. Raises GaveWay when it is over before they are; they are cut then."""
    while True:
        following = asyncio.ensure_future(anext(chunks, None))
        try:
            either: set[asyncio.Future[Any]] = {following, turn.over}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise GaveWay
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        chunk = following.result()
        if chunk is None:
            return
        yield chunk
        if turn.over.done():
            raise GaveWay
