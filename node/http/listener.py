"""Where connections come in: aiohttp's server, with two things that it leaves open.

A request that does not arrive whole within a bound is cut off, so that silent clients cannot collect; and what is
no HTTP at all is answered with a problem document like everything else. What the routes do is ``app``'s business.
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

from raftsman.node.http.problems import Problem
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


class CannotListen(Exception):
    """Nothing can listen at an address; the text is why, in a few words."""

    def __init__(self, error: OSError) -> None:
        if error.errno is None or isinstance(error, socket.gaierror):  # Whose numbers are not the system's.
            super().__init__(error.strerror or str(error))
        else:
            super().__init__(os.strerror(error.errno).lower())  # asyncio's own words repeat the address.


async def listen(
    app: web.Application, host: str, port: int, *, stack: AsyncExitStack, arrival_s: float = ARRIVAL_S
) -> int:
    """Answer *app* at *host* and *port* until *stack* is left; return the port. Raises CannotListen."""
    application = web.AppRunner(app, handle_signals=False)
    await application.setup()
    stack.push_async_callback(application.cleanup)
    assert application.server is not None
    server = _Server(application.server, node=app[SITE].node, arrival_s=arrival_s)
    listening = web.ServerRunner(server, handle_signals=False, shutdown_timeout=CLOSE_STREAMS_S)
    await listening.setup()
    stack.push_async_callback(listening.cleanup)
    try:
        await web.TCPSite(listening, host, port, reuse_address=True).start()
    except OSError as error:
        raise CannotListen(error) from error
    bound: int = listening.addresses[0][1]
    return bound


class _Server(web.Server):
    """The application's server, with connections of our own."""

    def __init__(self, application: web.Server, *, node: str, arrival_s: float) -> None:
        super().__init__(self._handle, request_factory=self._begin)
        self._answer: Callable[[Any], Awaitable[web.StreamResponse]] = application.request_handler
        self._request: Callable[..., web.BaseRequest] = application.request_factory
        self._node = node
        self._arrival_s = arrival_s

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, node=self._node, arrival_s=self._arrival_s)

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
        assert isinstance(request.protocol, _Connection)
        try:
            return await self._answer(request)
        finally:
            request.protocol.answered()


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
        self._serving = False
        self._cut_off: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, error: BaseException | None) -> None:
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
        answer = problem.response(instance="", request_id=request_id)
        answer.headers.update({"X-Request-Id": request_id, "Raftsman-Served-By": self._node})
        answer.force_close()
        return answer
