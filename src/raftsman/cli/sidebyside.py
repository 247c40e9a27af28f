"""Streams that are read at the same time, each by a thread, and told by one: a task's output beside its states.

The client is synchronous, and a stream that waits would keep the others from being heard. Only reading is done in the
threads; whoever takes the items prints, so that words and data never mix within a line.
"""

import queue
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar

ITEMS_AHEAD = 1000
"""Read but not taken yet: a fast task must not fill the memory of whoever prints slowly."""

THREAD = "side by side"
"""What the threads are called."""

T = TypeVar("T")


class SideBySide(Generic[T]):
    """Several streams as one. A context manager: behind it nothing more is read.

    A thread that waits for a node cannot be woken; it is a daemon, so that it never holds up the end of the command.
    """

    def __init__(self) -> None:
        self._items: queue.Queue[T | Exception] = queue.Queue(ITEMS_AHEAD)
        self._closed = threading.Event()

    def read(self, stream: Iterable[T]) -> None:
        """Begin to read *stream*."""
        threading.Thread(target=self._read, args=(stream,), name=THREAD, daemon=True).start()

    def take(self) -> T:
        """Return the next item of any stream, once there is one. Raises what a stream has raised."""
        item = self._items.get()
        if isinstance(item, Exception):
            raise item
        return item

    def _read(self, stream: Iterable[T]) -> None:
        try:
            for item in stream:
                self._items.put(item)
                if self._closed.is_set():
                    return
        except Exception as error:  # noqa: BLE001 — raised again where the items are taken.
            self._items.put(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()
        while not self._items.empty():  # Whoever waits for room sees then that nobody takes anything any more.
            self._items.get_nowait()
