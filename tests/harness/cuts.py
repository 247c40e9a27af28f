"""The connections between nodes, led through this process, so that a test can cut them: each direction by itself.

No root is needed, and nodes know nothing of it: in the list of members that a node is given, the others' addresses are
proxies'. What nodes ask each other over HTTP does not come through here.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

_READ_BYTES = 1 << 16
_PATIENCE_S = 10.0


class Cut(Enum):
    """How a direction is cut."""

    HOLD = "hold"
    """Bytes wait, and arrive when it is healed: what TCP makes of a network that drops packets."""
    SWALLOW = "swallow"
    """Bytes are lost, and with them the connection when it is healed: what a firewall does that forgets."""
    RESET = "reset"
    """Connections end, and new ones too, as soon as they are there."""


@dataclass(eq=False, slots=True)
class _Flow:
    """One direction between two nodes, over all their connections."""

    cut: Cut | None = None
    healed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class _Connection:
    """Two sockets that belong together. *spoiled*: bytes were lost, so it must not be heard again."""

    ends: frozenset[str]
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    spoiled: bool = False

    def abort(self) -> None:
        """End both sides at once."""
        for writer in self.writers:
            writer.transport.abort()


class Cuts:
    """Proxies for every pair of *members* (``host:port`` by name). A context manager; call it from one thread."""

    def __init__(self, members: Mapping[str, str]) -> None:
        self._members = dict(members)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cuts", daemon=True)
        self._servers: dict[tuple[str, str], asyncio.Server] = {}
        self._flows: dict[tuple[str, str], _Flow] = {}
        self._connections: set[_Connection] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    def members_of(self, name: str) -> dict[str, str]:
        """Return the list of members that node *name* is to be given: its own address, and proxies."""
        found = {}
        for other, address in self._members.items():
            port = self._servers[name, other].sockets[0].getsockname()[1] if other != name else 0
            found[other] = address if other == name else f"127.0.0.1:{port}"
        return found

    def cut(self, sender: str, receiver: str, how: Cut) -> None:
        """Cut what *sender* says to *receiver*; the other direction stays, but for RESET, which ends connections."""
        self._run(self._cut(sender, receiver, how))

    def isolate(self, name: str, how: Cut) -> None:
        """Cut *name* off from all others, in both directions."""
        for other in self._members:
            if other != name:
                self.cut(name, other, how)
                self.cut(other, name, how)

    def heal(self) -> None:
        """Let everything through again."""
        self._run(self._heal())

    # --- on the loop's thread ---

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    async def _listen(self) -> None:
        for caller in self._members:
            for called in self._members.keys() - {caller}:
                self._flows[caller, called] = _Flow()
                serve = self._server(caller, called)
                self._servers[caller, called] = await asyncio.start_server(serve, "127.0.0.1", 0)

    def _server(
        self, caller: str, called: str
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with suppress(OSError, asyncio.CancelledError):
                    await self._serve(caller, called, reader, writer)
            finally:
                writer.transport.abort()

        return serve

    async def _serve(
        self, caller: str, called: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, here = self._flows[caller, called], self._flows[called, caller]
        if Cut.RESET in (there.cut, here.cut):
            return
        host, _, port = self._members[called].rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return  # As if nobody listened.
        connection = _Connection(frozenset((caller, called)), (writer, far_writer))
        if Cut.RESET in (there.cut, here.cut):  # Meanwhile.
            connection.abort()
            return
        self._connections.add(connection)
        try:
            await asyncio.gather(
                _pump(connection, there, reader, far_writer), _pump(connection, here, far_reader, writer)
            )
        finally:
            connection.abort()
            self._connections.discard(connection)

    async def _cut(self, sender: str, receiver: str, how: Cut) -> None:
        flow = self._flows[sender, receiver]
        flow.cut = how
        flow.healed.clear()
        if how is Cut.RESET:
            self._abort({sender, receiver})

    def _abort(self, ends: set[str]) -> None:
        for connection in list(self._connections):
            if connection.ends == ends:
                connection.abort()

    async def _heal(self) -> None:
        for connection in list(self._connections):
            if connection.spoiled:
                connection.abort()
        for flow in self._flows.values():
            flow.cut = None
            flow.healed.set()

    async def _close(self) -> None:
        for server in self._servers.values():
            server.close()
        await asyncio.sleep(0)  # What was just accepted comes to its task, which closes it.
        await self._heal()
        for connection in list(self._connections):
            connection.abort()
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _pump(
    connection: _Connection, flow: _Flow, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry bytes one way until the sender closes, which is news like any other: a cut keeps it back, too."""
    while True:
        content = await reader.read(_READ_BYTES)
        if flow.cut is Cut.SWALLOW:
            connection.spoiled = True
            if content:
                continue
        if flow.cut is not None:
            await flow.healed.wait()
        if not content:
            connection.abort()
            return
        writer.write(content)
        await writer.drain()
