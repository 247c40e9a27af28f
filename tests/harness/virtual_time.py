"""An event loop on virtual time: a pause takes none, and the same test takes the same course every time.

Whatever waits for the loop's clock (``asyncio.sleep``, timeouts, ``call_later``) works as it is. Threads and sockets
do not belong here: while everybody waits for one of those, the loop says so and fails.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from raftsman.executor.moments import Moment
from raftsman.raft.records import Instant

T = TypeVar("T")

EPOCH_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z, where the clock starts.


class _Schedule(selectors.SelectSelector):
    """In place of waiting, time goes on to what is due next."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; ``time`` is seconds of virtual time since it was made."""

    def __init__(self) -> None:
        self._schedule = _Schedule()
        super().__init__(self._schedule)

    def time(self) -> float:
        return self._schedule.now_s


def run(scene: Coroutine[Any, Any, T]) -> T:
    """Play *scene* on a virtual clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scene)


def now() -> Instant:
    """Return the virtual wall clock of the running loop."""
    return Instant(EPOCH_MS + round(1000 * asyncio.get_running_loop().time()))


def moment() -> Moment:
    """Return the running loop's clock, which nobody sets."""
    return Moment(round(1000 * asyncio.get_running_loop().time()))
