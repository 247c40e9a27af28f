"""Where connections come in: aiohttp's server, with some things that it leaves open.

A request that does not arrive whole within a bound is cut off, so that silent clients cannot collect. There is a bound
on connections, too: beyond it a request is told to come again, but for the probes, and far beyond it nobody is listened
to. What reaches no route is answered with a problem document like everything else. What the routes do is ``app``'s
business.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage

from raftsman.node.descriptors import CONNECTIONS
from raftsman.node.http.problems import Problem, invalid_parameter
from raftsman.node.http.site import SITE

log = logging.getLogger(__name__)

ARRIVAL_S = 15.0
"""The time for a whole request: 1 MiB over a connection of 1 Mbit/s takes nine seconds."""
LINE_BYTES = 8190
"""Of the request line and of one header, aiohttp's own default: a URL or a token is never so long."""
KEEP_ALIVE_S = 75.0
"""Longer than the minute after which most proxies drop a silent connection, so that they do it first. It also ends
half a request that came in one piece with a whole one: nothing tells the two apart before the next byte."""
CLOSE_STREAMS_S = 1.0
"""How long open answers may go on when the node stops; clients go on at another node."""

BACKLOG = 128
"""Connections that the system keeps until they are accepted."""
ACCEPTED_AT_ONCE = 1
"""asyncio accepts so many in one go. Of more, each would be one more line in the log, and one more try of which there
were as many again, when there is no descriptor left."""
PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Answered in any crowd: a node that is busy must not be taken for a dead one."""
SAY_EVERY_S = 60.0
"""So often the log speaks of a crowd."""


class CannotListen(Exception):
    """Nothing can listen at an address; the text is why, in a few words."""

    def __init__(self, error: OSError) -> None:
        if error.errno is None or isinstance(error, socket.gaierror):  # Whose numbers are not the system's.
            super().__init__(error.strerror or str(error))
        else:
            super().__init__(os.strerror(error.errno).lower())  # asyncio's own words repeat the address.


async def listen(
    app: web.Application,
    host: str,
    port: int,
    *,
    stack: AsyncExitStack,
    arrival_s: float = ARRIVAL_S,
    connections: int = CONNECTIONS,
) -> int:
    """Answer *app* at *host* and *port* until *stack* is left; return the port. Raises CannotListen.

    Beyond *connections* requests are refused; an eighth beyond that, connections are closed as they come.
    """
    application = web.AppRunner(app, handle_signals=False)
    await application.setup()
    stack.push_async_callback(application.cleanup)
    assert application.server is not None
    server = _Server(application.server, node=app[SITE].node, arrival_s=arrival_s, connections=connections)
    listening = web.ServerRunner(server, handle_signals=False, shutdown_timeout=CLOSE_STREAMS_S)
    await listening.setup()
    stack.push_async_callback(listening.cleanup)
    try:
        for opened in await _sockets(host, port):
            await web.SockSite(listening, opened, backlog=ACCEPTED_AT_ONCE).start()
            opened.listen(BACKLOG)
    except OSError as error:
        raise CannotListen(error) from error
    bound: int = listening.addresses[0][1]
    return bound


async def _sockets(host: str, port: int) -> list[socket.socket]:
    """Return a socket for every address that *host* stands for. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            opened.append(socket.create_server(address[:2], family=family))
    except OSError:
        for each in opened:
            each.close()
        raise
    return opened


class _Server(web.Server):
    """The application's server, with connections of our own."""

    def __init__(self, application: web.Server, *, node: str, arrival_s: float, connections: int) -> None:
        super().__init__(self._handle, request_factory=self._begin)
        self._answer: Callable[[Any], Awaitable[web.StreamResponse]] = application.request_handler
        self._request: Callable[..., web.BaseRequest] = application.request_factory
        self._node = node
        self._arrival_s = arrival_s
        self._most = connections
        self._open = 0
        self._spoke_at = -SAY_EVERY_S

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, node=self._node, arrival_s=self._arrival_s)

    def came(self) -> tuple[bool, bool]:
        """Count a connection; return whether it is one too many, and whether it is not even to be listened to."""
        self._open += 1
        crowded, overrun = self._open > self._most, self._open > self._most + self._most // 8
        now = asyncio.get_running_loop().time()
        if crowded and now - self._spoke_at >= SAY_EVERY_S:
            self._spoke_at = now
            log.warning("%d connections are open, as many as there may be; others are refused", self._most)
        return crowded, overrun

    def went(self) -> None:
        """Count a connection that is over."""
        self._open -= 1

    def _begin(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        assert isinstance(protocol, _Connection)
        protocol.head_arrived(payload)
        return self._request(message, payload, protocol, writer, task)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        try:
            if connection.crowded:
                return await self._handle_in_a_crowd(request, connection)
            return await self._answer(request)
        except web.HTTPExpectationFailed:
            expected = request.headers.get("Expect", "")
            return connection.refusal(invalid_parameter("Expect", f"{expected!r} is not 100-continue"), request.path)
        finally:
            connection.answered()

    async def _handle_in_a_crowd(self, request: web.BaseRequest, connection: "_Connection") -> web.StreamResponse:
        if request.path not in PROBES:
            problem = Problem("not-ready", "this node has as many connections as it may; try again, or another node")
            return connection.refusal(problem, request.path)
        answer = await self._answer(request)
        answer.force_close()
        return answer


class _Connection(web.RequestHandler):
    def __init__(self, server: _Server, *, node: str, arrival_s: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEP_ALIVE_S,
            max_line_size=LINE_BYTES,
            max_field_size=LINE_BYTES,
        )
        self._node = node
        self._arrival_s = arrival_s
        self._server = server
        self._serving = False
        self._cut_off: asyncio.TimerHandle | None = None
        self.crowded = False
        """It is one too many: its request is refused, and it is closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.crowded, overrun = self._server.came()
        if overrun:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
        else:
            self._expect_request()

    def connection_lost(self, error: BaseException | None) -> None:
        self._server.went()
        self._arrived()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if not self._serving:
            self._expect_request()
        super().data_received(data)

    def _expect_request(self) -> None:
        if self._cut_off is None:
            self._cut_off = asyncio.get_running_loop().call_later(self._arrival_s, self.force_close)

    def head_arrived(self, body: StreamReader) -> None:
        """A request begins to be answered; its *body* may still be on its way."""
        self._serving = True
        body.on_eof(self._arrived)

    def _arrived(self) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None

    def answered(self) -> None:
        """The answer is decided; what comes in next is another request."""
        self._serving = False

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what no route has seen, and close the connection."""
        if isinstance(exc, ConnectionError) or request.writer.output_size:
            raise ConnectionAbortedError("there is nobody left to answer")
        request_id = secrets.token_hex(8)
        if status == 400:
            problem = Problem("malformed-request", f"this is no HTTP request: {message or exc}")
        else:
            log.error("request %s failed outside its route", request_id, exc_info=exc)
            problem = Problem("internal", "the node's log has the details under this request's id")
        return self.refusal(problem, "", request_id)

    def refusal(self, problem: Problem, path: str, request_id: str = "") -> web.StreamResponse:
        """Return *problem* as the last answer of this connection."""
        request_id = request_id or secrets.token_hex(8)
        answer = problem.response(instance=path, request_id=request_id)
        answer.headers.update({"X-Request-Id": request_id, "Raftsman-Served-By": self._node})
        answer.force_close()
        return answer
