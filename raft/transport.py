"""Links between nodes: msgpack frames over TCP, one connection for each pair, dialled by the lesser name.

A stranger gets 256 bytes and two seconds to say a hello that names this cluster and this node; whatever else comes is
answered by closing. What the frames hold is ``messages``, what they mean ``participant``. There is no encryption
and no proof of identity yet, so ``consensus`` lets nothing start off loopback.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

from raftsman.raft import messages as m

log = logging.getLogger(__name__)

HELLO_WITHIN_S = 2.0
STRANGERS = 32
"""Connections that have not said hello yet, at a time; one more closes the oldest."""
REDIAL_S = 0.1
DIAL_WITHIN_S = 1.0
LONGEST_UNSENT_BYTES = 64 << 20
"""Eight times what mutes a peer: whoever takes nothing at all loses the link."""
DEAD_AFTER_S = 5
"""TCP's own patience with a machine that has vanished."""


class Listener(Protocol):
    """Who is told what comes; on the event loop's thread."""

    def linked(self, peer: str, incarnation: str) -> None:
        """There is a new link."""

    def unlinked(self, peer: str) -> None:
        """The link is gone."""

    def received(self, peer: str, message: m.Message) -> None:
        """A message came."""


@dataclass(frozen=True, slots=True)
class Self:
    """How this node introduces itself at the moment."""

    cluster: str
    cluster_id: str
    node: str
    incarnation: str

    def hello(self, to: str) -> m.Hello:
        """Return the first frame to *to*."""
        return m.Hello(
            protocol=m.PROTOCOL,
            cluster=self.cluster,
            cluster_id=self.cluster_id,
            node=self.node,
            to=to,
            incarnation=self.incarnation,
        )


def fault_of(hello: m.Hello, me: Self, members: Mapping[str, str], dialled: str | None) -> str:
    """Return why *hello* is not answered, "" when it is. *dialled*: whom this node meant to reach."""
    if hello.protocol != m.PROTOCOL:
        return f"{hello.node} speaks version {hello.protocol} of the log's protocol, {me.node} speaks {m.PROTOCOL}"
    if hello.cluster != me.cluster:
        return f"{hello.node} is of cluster {hello.cluster!r}, {me.node} of cluster {me.cluster!r}"
    if hello.cluster_id and me.cluster_id and hello.cluster_id != me.cluster_id:
        return (
            f"{hello.node} is of another cluster named {me.cluster!r}: its id is {hello.cluster_id}, "
            f"that of {me.node} is {me.cluster_id}"
        )
    if hello.to != me.node:
        return f"{hello.node} looks for {hello.to}, and this is {me.node}"
    if dialled is not None and hello.node != dialled:
        return f"{dialled} was expected at {members[dialled]}, and {hello.node} answers there"
    if hello.node not in members or hello.node == me.node:
        return f"{hello.node} is no other member of this cluster; {me.node} knows {', '.join(sorted(members))}"
    return ""


class Transport:
    """All links of a node. Belongs to one event loop."""

    def __init__(self, *, members: Mapping[str, str], me: Callable[[], Self]) -> None:
        self._members = members
        self._me = me
        self._listener: Listener | None = None
        self._links: dict[str, _Link] = {}
        self._strangers: dict[_Link, None] = {}  # In the order they came.
        self._listening: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._greeting: set[asyncio.Task[None]] = set()
        self._stopped = False
        self.refused: dict[str, str] = {}
        """Why a member is not linked, by its name."""

    async def start(self, listener: Listener) -> None:
        """Listen on this node's address and begin to dial. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listener = listener
        me = self._me().node
        self._listening = await _listen(*split_address(self._members[me]))
        for listening in self._listening:
            loop.add_reader(listening, self._accept, listening)
        self._tasks = [loop.create_task(self._dial(peer)) for peer in sorted(self._members) if me < peer]

    async def stop(self) -> None:
        """Close everything."""
        self._stopped = True
        for listening in self._listening:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        await asyncio.gather(*self._greeting)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in [*self._links.values(), *self._strangers]:
            link.close()
        self._links.clear()
        await asyncio.sleep(0.001)  # A closed connection is gone one turn of the loop later.

    def _accept(self, listening: socket.socket) -> None:
        # By hand: asyncio's own server loses a connection that comes while it is being closed.
        try:
            connection, _ = listening.accept()
        except OSError as error:  # Such as: gone already; no more descriptors.
            log.debug("a connection to the log's port could not be accepted: %s", error)
            return
        connection.setblocking(False)
        greeting = asyncio.get_running_loop().create_task(self._greet(connection))
        self._greeting.add(greeting)
        greeting.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(lambda: _Link(self, None), connection)

    async def _dial(self, peer: str) -> None:
        while True:
            if peer not in self._links:
                with suppress(OSError, TimeoutError):
                    await self._dial_once(peer)
            await asyncio.sleep(REDIAL_S)

    async def _dial_once(self, peer: str) -> None:
        """Connect to *peer*, and return when that connection is over. Raises OSError, TimeoutError."""
        host, port = split_address(self._members[peer])
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DIAL_WITHIN_S):
            _, link = await loop.create_connection(lambda: _Link(self, peer), host, port)
        await link.over.wait()

    # --- sending ---

    def send(self, peer: str, message: m.Message) -> None:
        """Send *message* with the next flush, if there is a link."""
        link = self._links.get(peer)
        if link is not None:
            link.put(m.encode(message))

    def flush(self) -> None:
        """Let everything sent so far leave."""
        for link in list(self._links.values()):
            link.flush()

    def unsent_bytes(self, peer: str) -> int:
        """Return how much is under way to *peer* and has not left this node."""
        link = self._links.get(peer)
        return link.unsent_bytes if link is not None else 0

    def close(self, peer: str, why: str) -> None:
        """Close the link to *peer*."""
        link = self._links.get(peer)
        if link is not None:
            log.warning("the link to %s is closed: %s", peer, why)
            link.close()

    # --- what links tell ---

    def came(self, link: "_Link") -> None:
        """Take note of a connection that has not said who it is."""
        self._strangers[link] = None
        if self._stopped:
            link.close()
        elif len(self._strangers) > STRANGERS:
            next(iter(self._strangers)).close()

    def greeted(self, link: "_Link", hello: m.Hello, dialled: str | None) -> str:
        """Make *link* the link to who said *hello*; return why not, "" when it is."""
        me = self._me()
        fault = fault_of(hello, me, self._members, dialled)
        if fault:
            self._note_refusal(dialled or hello.node, fault)
            return fault
        self._strangers.pop(link, None)
        old, self._links[hello.node] = self._links.get(hello.node), link
        self.refused.pop(hello.node, None)
        if old is not None:
            old.close()
        if dialled is None:
            link.put(m.encode(me.hello(hello.node)))
            link.flush()
        assert self._listener is not None
        self._listener.linked(hello.node, hello.incarnation)
        return ""

    def said_farewell(self, peer: str, reason: str) -> None:
        """Take note that *peer* refuses this node."""
        self._note_refusal(peer, f"{peer} refuses: {reason}")

    def _note_refusal(self, peer: str, why: str) -> None:
        known = peer if peer in self._members else "another node"  # A stranger's names fill no memory.
        if self.refused.get(known) != why:
            log.error("no link: %s", why)
        self.refused[known] = why

    def received(self, peer: str, message: m.Message) -> None:
        """Hand on what came."""
        assert self._listener is not None
        self._listener.received(peer, message)

    def gone(self, link: "_Link", peer: str) -> None:
        """Forget a connection that is over."""
        self._strangers.pop(link, None)
        if peer and self._links.get(peer) is link:
            del self._links[peer]
            assert self._listener is not None
            self._listener.unlinked(peer)

    def hello_to(self, peer: str) -> bytes:
        """Return this node's hello to *peer*."""
        return m.encode(self._me().hello(peer))


class _Link(asyncio.Protocol):
    """One connection. *dialled*: whom this node called; None: somebody called this node."""

    def __init__(self, transport: Transport, dialled: str | None) -> None:
        self._all = transport
        self._dialled = dialled
        self._peer = ""  # Known once the hello has come.
        self._wire: asyncio.Transport | None = None
        self._coming = bytearray()
        self._going: list[bytes] = []
        self._going_bytes = 0
        self._timeout: asyncio.TimerHandle | None = None
        self.over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        _be_quick(self._wire.get_extra_info("socket"))
        self._timeout = asyncio.get_running_loop().call_later(HELLO_WITHIN_S, self._was_too_slow)
        self._all.came(self)
        if self._dialled is not None:
            self._wire.write(self._all.hello_to(self._dialled))

    def connection_lost(self, _error: Exception | None) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
        self.over.set()
        self._all.gone(self, self._peer)

    def _was_too_slow(self) -> None:
        if not self._peer:
            self.close()

    def close(self) -> None:
        """Drop the connection at once."""
        if self._wire is not None:
            self._wire.abort()

    # --- in ---

    def data_received(self, data: bytes) -> None:
        assert self._wire is not None
        self._coming += data
        taken = 0
        while not self._wire.is_closing():
            body = self._frame(taken)
            if body is None:
                break
            taken += m.LENGTH_BYTES + len(body)
            self._take(body)
        if self._wire.is_closing():
            self._coming.clear()
        else:
            del self._coming[:taken]

    def _frame(self, start: int) -> bytes | None:
        """Return the frame that begins at *start*, None while it is not there, or is too long."""
        have = len(self._coming) - start
        if have < m.LENGTH_BYTES:
            return None
        length = int.from_bytes(self._coming[start : start + m.LENGTH_BYTES])
        limit = m.FRAME_BYTES if self._peer else m.HELLO_BYTES
        if length > limit:
            self._refuse(f"a frame of {length} bytes, where {limit} are the most")
            return None
        if have < m.LENGTH_BYTES + length:
            return None
        return bytes(self._coming[start + m.LENGTH_BYTES : start + m.LENGTH_BYTES + length])

    def _take(self, body: bytes) -> None:
        try:
            message = m.decode(body)
        except m.MalformedFrame as error:
            self._refuse(f"what came is no message: {error}")
            return
        if self._peer:
            self._all.received(self._peer, message)
        elif isinstance(message, m.Hello):
            self._on_hello(message)
        elif isinstance(message, m.Farewell) and self._dialled is not None:
            self._all.said_farewell(self._dialled, message.reason)
            self.close()
        else:
            self._refuse("the first message must be a hello")

    def _on_hello(self, hello: m.Hello) -> None:
        self._peer = hello.node
        fault = self._all.greeted(self, hello, self._dialled)
        if fault:
            self._peer = ""
            assert self._wire is not None
            self._wire.write(m.encode(m.Farewell(reason=fault[:200])))
            self._wire.close()

    def _refuse(self, why: str) -> None:
        log.warning("a connection to the log's port is closed: %s", why)
        self.close()

    # --- out ---

    @property
    def unsent_bytes(self) -> int:
        """What waits here and in the event loop's buffer."""
        return self._going_bytes + (self._wire.get_write_buffer_size() if self._wire is not None else 0)

    def put(self, frame: bytes) -> None:
        """Keep *frame* until the next flush."""
        self._going.append(frame)
        self._going_bytes += len(frame)

    def flush(self) -> None:
        """Write what was put."""
        if not self._going or self._wire is None:
            return
        self._wire.write(b"".join(self._going))
        self._going.clear()
        self._going_bytes = 0
        if self.unsent_bytes > LONGEST_UNSENT_BYTES:
            self._refuse("it has taken nothing for too long")


def _be_quick(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, DEAD_AFTER_S - 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000)


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address that *host* stands for. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    try:
        for family, _, _, _, address in found:
            opened = socket.create_server(address[:2], family=family, backlog=STRANGERS)
            opened.setblocking(False)
            listening.append(opened)
    except OSError:
        for opened in listening:
            opened.close()
        raise
    return listening


def split_address(address: str) -> tuple[str, int]:
    """Return host and port; an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
