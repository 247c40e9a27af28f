"""Calls that block, and may block for ever: on a file system that is gone, most of all.

Each has a thread of its own, so that one that never returns is nobody else's matter: those of asyncio's own executor
are shared by everything, and one that hangs there is missing for good. They are daemons: a process that ends does not
wait for them. How many may hang at a time is bounded; what a refusal means is up to the caller.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class NoThread(Exception):
    """Nothing was called: too many earlier calls hang, or the machine has no room for another thread."""


class Threads:
    """At most *most* calls at a time. Belongs to the event loop."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self.busy = 0
        """How many calls have not returned, those included that nobody waits for any more."""

    def start(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        """Start *call*; return what holds its result once it has returned. Raises NoThread."""
        if self.busy >= self._most:
            raise NoThread(f"calls that hang: {self.busy}")
        loop = asyncio.get_running_loop()
        returned: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                settle = partial(returned.set_result, call())
            except BaseException as error:  # noqa: BLE001 — it is raised again where it is waited for.
                settle = partial(returned.set_exception, error)
            with contextlib.suppress(RuntimeError):  # The loop is closed: this process ends.
                loop.call_soon_threadsafe(self._settle, returned, settle)

        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except RuntimeError as error:
            raise NoThread("the machine has no room for another thread") from error
        self.busy += 1
        return returned

    async def run(self, call: Callable[[], T], within_s: float) -> T:
        """Return what *call* returns. Raises what it raises, TimeoutError after *within_s*, and NoThread."""
        async with asyncio.timeout(within_s):
            return await self.start(call)

    def _settle(self, returned: "asyncio.Future[T]", settle: Callable[[], None]) -> None:
        self.busy -= 1
        if not returned.done():  # Somebody may still wait.
            settle()
