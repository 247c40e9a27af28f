"""A task's output and events as they come, side by side: two streams of the client, each read by a thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

from raftsman.client import Client, LogCut, LogEnd, LogLine
from raftsman.wire.views import EventView

Item = LogLine | LogCut | LogEnd | EventView


async def follow_both(client: Client, task_id: str) -> AsyncIterator[Item]:
    """Yield output and events of a task until both have ended. Raises what the client raises."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Item | Exception | None] = asyncio.Queue()

    def read(open_stream: Callable[[], Iterator[Item]]) -> None:
        # When the loop is closed, nobody listens any more; the thread, a daemon, holds nobody up.
        with suppress(RuntimeError):
            try:
                for item in open_stream():
                    loop.call_soon_threadsafe(queue.put_nowait, item)
            except Exception as error:  # noqa: BLE001 — raised again where somebody waits for it.
                loop.call_soon_threadsafe(queue.put_nowait, error)
            else:
                loop.call_soon_threadsafe(queue.put_nowait, None)

    streams: list[Callable[[], Iterator[Item]]] = [
        lambda: client.events(task_id, follow=True),
        lambda: client.logs(task_id, follow=True),
    ]
    for stream in streams:
        threading.Thread(target=read, args=(stream,), daemon=True).start()
    left = len(streams)
    while left:
        item = await queue.get()
        if isinstance(item, Exception):
            raise item
        if item is None:
            left -= 1
        else:
            yield item
