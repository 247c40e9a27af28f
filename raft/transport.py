"""Links between nodes: msgpack frames over TCP, one connection for each pair, dialled by the lesser name.

A stranger gets 256 bytes and two seconds to say a hello that names this cluster and this node; whatever else comes is
answered by closing. A single connection is ``link``, what the frames hold ``messages``, what they mean ``participant``.
There is no encryption and no proof of identity yet, so ``consensus`` lets nothing start off loopback.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from raftsman.raft import messages as m
from raftsman.raft.complaints import Complaints, Kind
from raftsman.raft.link import Link

log = logging.getLogger(__name__)

STRANGERS = 32
"""Connections made by others that have not said hello yet, at a time; one more closes the oldest."""
REDIAL_S = 0.1
DIAL_WITHIN_S = 1.0
ACCEPT_AGAIN_S = 1.0
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""``localhost`` stands for ::1, too, also where IPv6 is switched off: one address that there is will do."""
QUIET_S = 1.0
"""A link that was heard of so recently is not given up for a new one: four signs of life, see ``link``."""


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
        return f"{hello.node} looks for {hello.to}, and this is {me.node}: see name and raft.members of both"
    if dialled is not None and hello.node != dialled:
        return f"{dialled} was expected at {members[dialled]}, and {hello.node} answers there"
    if hello.node not in members or hello.node == me.node:
        return f"{hello.node} is no other member of this cluster; {me.node} knows {', '.join(sorted(members))}"
    if dialled is None and hello.node > me.node:
        return f"{me.node} calls {hello.node}, and not {hello.node} {me.node}"
    return ""


class Transport:
    """All links of a node. Belongs to one event loop."""

    def __init__(self, *, members: Mapping[str, str], me: Callable[[], Self]) -> None:
        self._members = members
        self._me = me
        self._listener: Listener | None = None
        self._links: dict[str, Link] = {}
        self._strangers: dict[Link, None] = {}  # In the order they came.
        self._calling: set[Link] = set()  # Dialled, and not answered yet.
        self._complaints = Complaints()
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
        for link in [*self._links.values(), *self._calling, *self._strangers]:
            link.close()
        self._links.clear()
        await asyncio.sleep(0.001)  # A closed connection is gone one turn of the loop later.

    def _accept(self, listening: socket.socket) -> None:
        # By hand: asyncio's own server loses a connection that comes while it is being closed.
        try:
            connection, _ = listening.accept()
        except OSError as error:
            log.debug("a connection to the log's port could not be accepted: %s", error)
            if error.errno in _NO_RESOURCES:  # It stays there to be accepted, and would be tried without a rest.
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(ACCEPT_AGAIN_S, self._accept_again, listening)
            return
        connection.setblocking(False)
        greeting = asyncio.get_running_loop().create_task(self._greet(connection))
        self._greeting.add(greeting)
        greeting.add_done_callback(self._greeting.discard)

    def _accept_again(self, listening: socket.socket) -> None:
        if not self._stopped:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    async def _greet(self, connection: socket.socket) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Link(self, None), connection)

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
            _, link = await loop.create_connection(lambda: Link(self, peer), host, port)
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

    @property
    def linked(self) -> int:
        """How many other nodes there is a link to."""
        return len(self._links)

    @property
    def complaints(self) -> int:
        """How many connections were closed, or calls refused, for what the other side did."""
        return self._complaints.total

    def close(self, peer: str, why: str) -> None:
        """Close the link to *peer*."""
        link = self._links.get(peer)
        if link is not None:
            log.warning("the link to %s is closed: %s", peer, why)
            link.close()

    # --- what links tell ---

    def came(self, link: Link) -> None:
        """Take note of a connection that has not said who it is."""
        if link.dialled is None:
            self._strangers[link] = None
        else:
            self._calling.add(link)
        if self._stopped:
            link.close()
        elif len(self._strangers) > STRANGERS:
            oldest = next(iter(self._strangers))
            self.complain(oldest, "crowd", f"{STRANGERS} others came after it, and it has not said hello")
            oldest.close()

    def greeted(self, link: Link, hello: m.Hello) -> str:
        """Make *link* the link to who said *hello*; return why not, "" when it is."""
        me = self._me()
        fault = fault_of(hello, me, self._members, link.dialled)
        if fault:
            self._note_refusal(link.dialled or hello.node, fault)
            return fault
        old = self._links.get(hello.node)
        if old is not None and asyncio.get_running_loop().time() - old.heard_at < QUIET_S:
            self.complain(link, "impostor", f"it says that it is {hello.node}, which is linked already and heard of")
            return f"{hello.node} is linked to {me.node} already, and heard of"
        self._forget(link)
        self._links[hello.node] = link
        self.refused.pop(hello.node, None)
        if old is not None:
            old.close()
        if link.dialled is None:
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
            self._warn("hello", f"no link: {why}")
        else:
            self._complaints.total += 1
        self.refused[known] = why

    def complain(self, link: Link, kind: Kind, why: str) -> None:
        """Say why *link* is closed, unless strangers made it say so much already."""
        self._warn(kind, f"{link} is closed: {why}")

    def _warn(self, kind: Kind, what: str) -> None:
        line = self._complaints.line(kind, what, asyncio.get_running_loop().time())
        if line:
            log.warning("%s", line)

    def received(self, peer: str, message: m.Message) -> None:
        """Hand on what came."""
        assert self._listener is not None
        self._listener.received(peer, message)

    def gone(self, link: Link) -> None:
        """Forget a connection that is over."""
        self._forget(link)
        if link.peer and self._links.get(link.peer) is link:
            del self._links[link.peer]
            assert self._listener is not None
            self._listener.unlinked(link.peer)

    def _forget(self, link: Link) -> None:
        self._strangers.pop(link, None)
        self._calling.discard(link)

    def hello_to(self, peer: str) -> bytes:
        """Return this node's hello to *peer*."""
        return m.encode(self._me().hello(peer))


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address that *host* stands for. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    try:
        for family, _, _, _, address in found:
            opened = _listening_at(family, address[:2])
            if opened is not None:
                listening.append(opened)
    except OSError:
        for opened in listening:
            opened.close()
        raise
    if not listening:
        raise OSError(errno.EADDRNOTAVAIL, f"this machine has no address {host}")
    return listening


def _listening_at(family: int, address: tuple[Any, ...]) -> socket.socket | None:
    """Return a socket that listens at *address*, None when this machine has none of the kind. Raises OSError."""
    try:
        opened = socket.create_server(address, family=family, backlog=STRANGERS)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise
    opened.setblocking(False)
    return opened


def split_address(address: str) -> tuple[str, int]:
    """Return host and port; an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
