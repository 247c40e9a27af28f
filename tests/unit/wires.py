"""The log's port under test: a transport that listens, strangers that talk to it, and links without a network."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from raftsman.raft import link as links
from raftsman.raft import messages as m
from raftsman.raft.complaints import Kind
from raftsman.raft.transport import Self, Transport
from tests.harness.nodes import free_port

ME = Self("test", "0011223344556677", "beta", "b1")
HELLO = m.Hello(protocol=m.PROTOCOL, cluster="test", cluster_id="", node="alpha", to="beta", incarnation="a1")


@dataclass(slots=True)
class Heard:
    """What the node above the transport is told."""

    told: list[tuple[str, object]] = field(default_factory=list)

    def linked(self, peer: str, incarnation: str) -> None:
        self.told.append((peer, incarnation))

    def unlinked(self, peer: str) -> None:
        self.told.append((peer, None))

    def received(self, peer: str, message: m.Message) -> None:
        self.told.append((peer, message))


def members_of(me: Self, port: int, **addresses: str) -> dict[str, str]:
    """Return three members; nobody is at an address that is not given."""
    nobody = dict.fromkeys(("alpha", "beta", "gamma"), "127.0.0.1:1")
    return nobody | addresses | {me.node: f"127.0.0.1:{port}"}


@asynccontextmanager
async def listening(me: Self = ME, **addresses: str) -> AsyncIterator[tuple[Transport, Heard, int]]:
    """Give a transport of *me* that listens."""
    port = free_port()
    heard = Heard()
    transport = Transport(members=members_of(me, port, **addresses), me=lambda: me)
    await transport.start(heard)
    try:
        yield transport, heard, port
    finally:
        await transport.stop()


async def says(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Connect, say *parts*, and return everything that comes until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def answer_in(raw: bytes) -> m.Message:
    return m.decode(raw[m.LENGTH_BYTES :])


# --- links without a network ------------------------------------------------------------------


class Taken:
    """What a link tells the transport above it. *fault*: why a hello is refused; complaints are one, too."""

    def __init__(self, *, fault: str = "", complains: bool = False) -> None:
        self.messages: list[m.Message] = []
        self.story: list[tuple[str, ...]] = []
        self._fault = fault
        self._complains = complains

    def came(self, _link: links.Link) -> None:
        self.story.append(("came",))

    def hello_to(self, peer: str) -> bytes:
        return m.encode(ME.hello(peer))

    def greeted(self, _link: links.Link, hello: m.Hello) -> str:
        self.story.append(("greeted", hello.node))
        return self._fault

    def said_farewell(self, peer: str, reason: str) -> None:
        self.story.append(("farewell", peer, reason))

    def complain(self, link: links.Link, kind: Kind, why: str) -> None:
        assert self._complains, f"{link}: {why}"
        self.story.append(("complaint", kind, f"{link}: {why}"))

    def received(self, _peer: str, message: m.Message) -> None:
        self.messages.append(message)

    def gone(self, _link: links.Link) -> None:
        self.story.append(("gone",))


class NoWire(asyncio.Transport):
    """A connection of which only this side is there: it keeps what is written, and how it was ended."""

    def __init__(self, own: socket.socket) -> None:
        super().__init__({"socket": own, "peername": ("127.0.0.1", 7)})
        self.written: list[bytes] = []
        self.unsent = 0
        self.ended = ""

    def write(self, raw: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "nothing is written to what is closed"
        self.written.append(bytes(raw))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)


@contextmanager
def made(exchange: links.Exchange, dialled: str | None = None) -> Iterator[tuple[links.Link, NoWire]]:
    """Give a link whose bytes the test puts into its buffer, and what it is connected by."""
    link = links.Link(exchange, dialled)
    with socket.socket() as own:
        wire = NoWire(own)
        link.connection_made(wire)
        yield link, wire
    link.connection_lost(None)


def feed(link: links.Link, raw: bytes) -> int:
    """Let as much of *raw* come as there is room for; return how much."""
    room = link.get_buffer(-1)
    count = min(len(room), len(raw))
    assert count, "there must always be room"
    room[:count] = raw[:count]
    link.buffer_updated(count)
    return count
