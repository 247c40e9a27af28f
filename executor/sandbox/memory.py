"""Kills containers that take more memory than their limit: the kernel does it for real ones, here a look does.

Sums the resident memory of a container's session several times a second, which counts shared pages twice and misses
short peaks; both are good enough to show what an OOM kill looks like. ``podrun`` says whom to watch.
"""

import asyncio
import os
from collections.abc import Callable

from raftsman.executor.sandbox.reaper import processes

LOOK_S = 0.05
_SESSION_FIELD = 3
_RESIDENT_FIELD = 21
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Looks at all containers that have a limit."""

    def __init__(self) -> None:
        self._limits: dict[int, tuple[int, Callable[[], None]]] = {}
        self._watching = asyncio.Event()

    def watch(self, session: int, limit_bytes: int, on_excess: Callable[[], None]) -> None:
        """Call *on_excess* once when the session takes more than *limit_bytes*."""
        self._limits[session] = (limit_bytes, on_excess)
        self._watching.set()

    def forget(self, session: int) -> None:
        """The container has ended."""
        self._limits.pop(session, None)

    async def run(self) -> None:
        """Look until cancelled; rests while there is no limit to watch."""
        while True:
            await self._watching.wait()
            while self._limits:
                self._look()
                await asyncio.sleep(LOOK_S)
            self._watching.clear()

    def _look(self) -> None:
        used = resident_bytes(set(self._limits))
        for session, (limit_bytes, on_excess) in list(self._limits.items()):
            if used.get(session, 0) > limit_bytes:
                self.forget(session)
                on_excess()


def resident_bytes(sessions: set[int]) -> dict[int, int]:
    """Return the resident memory of all processes of these sessions."""
    used: dict[int, int] = {}
    for _, fields in processes():
        session = int(fields[_SESSION_FIELD])
        if session in sessions:
            used[session] = used.get(session, 0) + int(fields[_RESIDENT_FIELD]) * PAGE_BYTES
    return used
