"""Single keys from a terminal or a pipe. What they mean is the caller's.

The end of a pipe is no key and ends nothing: whoever starts the playground from a script may have nothing to say.
"""

import asyncio
import os
import sys
import termios
import tty
from types import TracebackType
from typing import Any, Self

_READ_BYTES = 1024


class Keys:
    """A context manager that reads stdin, if somebody can type there, while it is open."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._descriptor: int | None = None
        self._terminal: list[Any] | None = None

    async def next(self) -> str:
        """Return the next key, in lower case."""
        return await self._queue.get()

    def __enter__(self) -> Self:
        descriptor = _stdin()
        if descriptor is None:
            return self
        try:
            asyncio.get_running_loop().add_reader(descriptor, self._read)
        except OSError:  # A file, or nothing at all: nobody can type there.
            return self
        self._descriptor = descriptor
        if os.isatty(descriptor):
            self._terminal = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor)  # Keys come without Enter; Ctrl-C stays a signal.
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop_reading()
        if self._terminal is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._terminal)

    def _read(self) -> None:
        assert self._descriptor is not None
        try:
            typed = os.read(self._descriptor, _READ_BYTES)
        except OSError:
            typed = b""
        if not typed:
            self._stop_reading()
        for key in typed.decode("ascii", "ignore").lower():
            if not key.isspace():
                self._queue.put_nowait(key)

    def _stop_reading(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)


def _stdin() -> int | None:
    """Return the descriptor of stdin; None when there is none, or when it is a terminal that another job reads."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return None if os.isatty(descriptor) and _is_in_background(descriptor) else descriptor


def _is_in_background(terminal: int) -> bool:
    """Return whether reading from the terminal would stop us; a terminal that does not control us never does."""
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:
        return False
