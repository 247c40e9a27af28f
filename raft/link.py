"""One connection between two nodes, as bytes: frames out of a bounded buffer, frames into one, and signs of life.

What a stranger can make a node keep is a hello's length, what a member can is one frame; both are bounds of the buffer
that is read into, so whatever is announced or sent beyond them never enters the process. Who may connect, and what
messages mean, is ``transport``'s.
"""

import asyncio
import socket
from typing import Protocol, cast

from raftsman.raft import messages as m
from raftsman.raft.complaints import Kind

HELLO_WITHIN_S = 2.0
READ_BYTES = 64 << 10
"""Read at a time: what comes of it, thousands of the smallest messages, is a mebibyte at most."""
LONGEST_UNSENT_BYTES = 1 << 20
"""Whoever takes nothing at all loses the link. Entries and snapshots stop earlier: ``peers.UNSENT_BYTES``."""
SIGN_OF_LIFE_S = 0.25
"""After so much silence a link says that it is there, by an empty frame: followers have nothing to tell each other."""
DEAD_AFTER_S = 5
"""TCP's own patience with a machine that has vanished."""

_SIGN_OF_LIFE = bytes(m.LENGTH_BYTES)


class Exchange(Protocol):
    """Where the links of a node meet; on the event loop's thread."""

    def came(self, link: "Link") -> None:
        """There is a connection that has not said who it is."""

    def hello_to(self, peer: str) -> bytes:
        """Return this node's hello to *peer*."""

    def greeted(self, link: "Link", hello: m.Hello) -> str:
        """Make *link* the link to who said *hello*; return why not, "" when it is."""

    def said_farewell(self, peer: str, reason: str) -> None:
        """*peer* refuses this node."""

    def complain(self, link: "Link", kind: Kind, why: str) -> None:
        """The connection is closed because of what it did."""

    def received(self, peer: str, message: m.Message) -> None:
        """A message came."""

    def gone(self, link: "Link") -> None:
        """The connection is over."""


class Link(asyncio.BufferedProtocol):
    """One connection. *dialled*: whom this node called; None: somebody called this node."""

    def __init__(self, exchange: Exchange, dialled: str | None) -> None:
        self.dialled = dialled
        self.peer = ""
        """Known once the hello has come."""
        self.over = asyncio.Event()
        self.heard_at = 0.0  # By the event loop's clock.
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._wire: asyncio.Transport | None = None
        self._coming = bytearray(m.LENGTH_BYTES + m.HELLO_BYTES)
        self._have = 0  # So many bytes of it have come.
        self._going: list[bytes] = []
        self._going_bytes = 0
        self._has_written = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (called by asyncio, as are the next ones)."""
        self._wire = cast("asyncio.Transport", transport)
        _be_quick(self._wire.get_extra_info("socket"))
        self._timer = self._loop.call_later(HELLO_WITHIN_S, self._was_too_slow)
        self._exchange.came(self)
        if self.dialled is not None:
            self._wire.write(self._exchange.hello_to(self.dialled))

    def connection_lost(self, _error: Exception | None) -> None:
        """Say that it is over."""
        if self._timer is not None:
            self._timer.cancel()
        self.over.set()
        self._exchange.gone(self)

    def _was_too_slow(self) -> None:
        self._refuse("slow", f"no hello within {HELLO_WITHIN_S:g} s")

    def __str__(self) -> str:
        if self.peer or self.dialled:
            return f"the link to {self.peer or self.dialled}"
        name = self._wire.get_extra_info("peername") if self._wire is not None else None
        return f"a connection from {name[0]} to the log's port" if name else "a connection to the log's port"

    def close(self) -> None:
        """Drop the connection at once."""
        if self._wire is not None:
            self._wire.abort()

    def _refuse(self, kind: Kind, why: str) -> None:
        self._exchange.complain(self, kind, why)
        self.close()

    # --- in ---

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return memoryview(self._coming)[self._have : self._have + READ_BYTES]

    def buffer_updated(self, count: int) -> None:
        """Take the frames that are whole now that *count* bytes more have come."""
        assert self._wire is not None
        self._have += count
        self.heard_at = self._loop.time()
        taken = self._take_frames(memoryview(self._coming)[: self._have])
        if not self._wire.is_closing():
            self._make_room(taken)

    def _take_frames(self, coming: memoryview) -> int:
        """Take every frame that is there whole; return how many bytes they were."""
        assert self._wire is not None
        taken = 0
        while not self._wire.is_closing():
            body = self._frame(coming[taken:])
            if body is None:
                break
            taken += m.LENGTH_BYTES + len(body)
            if body or not self.peer:
                self._take(body)
        return taken

    def _frame(self, coming: memoryview) -> memoryview | None:
        """Return the first frame's body, None while it is not there, or is too long."""
        if len(coming) < m.LENGTH_BYTES:
            return None
        length = int.from_bytes(coming[: m.LENGTH_BYTES])
        limit = m.FRAME_BYTES if self.peer else m.HELLO_BYTES
        if length > limit:
            self._refuse("frame", f"a frame of {length} bytes, where {limit} are the most")
            return None
        if len(coming) < m.LENGTH_BYTES + length:
            return None
        return coming[m.LENGTH_BYTES : m.LENGTH_BYTES + length]

    def _make_room(self, taken: int) -> None:
        """Keep what is behind the first *taken* bytes, in a buffer that holds the frame that it begins."""
        rest = self._have - taken
        needed = m.LENGTH_BYTES
        if rest >= m.LENGTH_BYTES:  # Of less nothing can be said, and certainly no length believed.
            needed += int.from_bytes(self._coming[taken : taken + m.LENGTH_BYTES])
        size = max(needed, READ_BYTES) if self.peer else len(self._coming)
        if taken == 0 and size <= len(self._coming):
            return  # A long frame that comes in drops is not copied with each of them.
        kept, self._coming = self._coming[taken : self._have], bytearray(size)
        self._coming[:rest] = kept
        self._have = rest

    def _take(self, body: memoryview) -> None:
        try:
            message = m.decode(body)
        except m.MalformedFrame as error:
            self._refuse("frame", f"what came is no message: {error}")
            return
        if self.peer:
            self._exchange.received(self.peer, message)
        elif isinstance(message, m.Hello):
            self._on_hello(message)
        elif isinstance(message, m.Farewell) and self.dialled is not None:
            self._exchange.said_farewell(self.dialled, message.reason)
            self.close()
        else:
            self._refuse("hello", "the first message must be a hello")

    def _on_hello(self, hello: m.Hello) -> None:
        assert self._wire is not None
        assert self._timer is not None
        fault = self._exchange.greeted(self, hello)
        if fault:
            self._wire.write(m.encode(m.Farewell(reason=fault[:200])))
            self._wire.close()
            return
        self.peer = hello.node
        self._timer.cancel()
        self._timer = self._loop.call_later(SIGN_OF_LIFE_S, self._show_life)

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
        self._has_written = True
        self._going.clear()
        self._going_bytes = 0
        if self.unsent_bytes > LONGEST_UNSENT_BYTES:
            self._refuse("member", "it takes nothing of what it is sent")

    def _show_life(self) -> None:
        if not self._has_written:
            self.put(_SIGN_OF_LIFE)
            self.flush()
        self._has_written = False
        self._timer = self._loop.call_later(SIGN_OF_LIFE_S, self._show_life)


def _be_quick(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, DEAD_AFTER_S - 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000)
