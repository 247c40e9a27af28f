"""Exec plugins, the programs that a kubeconfig names to fetch credentials: none outlives what waits for it.

The official client starts them with ``asyncio.create_subprocess_exec`` and forgets those that it does not wait for to
their end. So it runs on an event loop that knows what was started on it, in a process group of its own where that is
possible, and that ends all of it. What plugins are asked and what they answer is the client's business.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_POLL_S = 0.01
_KILLED_POLLS = 100
"""A killed process that is still there after a second hangs in the kernel."""


def run_with_plugins(work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> T:
    """Return what *work* returns, on a loop of its own. Raises what it raises, and TimeoutError.

    After a timeout the plugins that it started are killed. What one that has answered leaves in the background is left
    alone: some keep an agent there.
    """

    async def whole(loop: _PluginLoop) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                return await work()
        except TimeoutError:
            await loop.end_plugins()
            raise

    with asyncio.Runner(loop_factory=_PluginLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, _PluginLoop)
        return runner.run(whole(loop))


class _PluginLoop(asyncio.SelectorEventLoop):
    """A loop that ends the processes which were started on it."""

    def __init__(self) -> None:
        super().__init__()
        # A group that is not the terminal's may not read from it, and some plugins ask for a password.
        self._grouped = not os.isatty(0)
        self._plugins: list[asyncio.SubprocessTransport] = []

    async def subprocess_exec(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        if self._grouped:
            kwargs["process_group"] = 0
        transport, protocol = await super().subprocess_exec(protocol_factory, *args, **kwargs)
        self._plugins.append(transport)
        return transport, protocol

    async def end_plugins(self) -> None:
        """Kill what is left of them, and let the loop hear of it."""
        for plugin in self._plugins:
            self._kill(plugin)
        for _ in range(_KILLED_POLLS):
            if all(plugin.get_returncode() is not None for plugin in self._plugins):
                break
            await asyncio.sleep(_POLL_S)
        for plugin in self._plugins:
            plugin.close()

    def _kill(self, plugin: asyncio.SubprocessTransport) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._grouped:  # Also when it has ended itself: then somebody of its group holds its output open.
                os.killpg(plugin.get_pid(), signal.SIGKILL)
            elif plugin.get_returncode() is None:
                plugin.kill()
