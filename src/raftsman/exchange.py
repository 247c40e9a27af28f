"""One HTTP request to one address, and what came of it.

Every request opens a connection of its own, so threads may share what stands on this, and no idle connection can die
under a request. Redirects are not followed: a client that follows one sends its token to a stranger, or loses it.
Asking several addresses is ``raftsman.endpoints``; what is asked is ``raftsman.client``.
"""

import http.client
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

from raftsman.errors import ApiProblem, ConnectionFailed, UnexpectedAnswer, problem_from

CONNECT_TIMEOUT_S = 3.0
"""A node connects within milliseconds; a host that is gone must not use up the time of the others."""
ANSWER_TIMEOUT_S = 15.0
"""A node looks for the leader for 3 s and waits 8 s for its answer; one that takes longer hangs."""
SILENCE_TIMEOUT_S = 60.0
"""A stream that says nothing for so long is opened again: a connection whose other end is gone looks the same."""
ANSWER_BYTES = 64 * 1024 * 1024
"""A page of 1,000 tasks is far smaller; a server that sends more is not ours."""
LINE_BYTES = 8 * 1024 * 1024
"""Likewise for one line of a stream."""
_CHUNK_BYTES = 64 * 1024
_GATEWAY_ERRORS = frozenset({502, 504})
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
"""What OpenSSL makes of an answer that is none of TLS; its versions do not agree on the word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked, whoever answers. *path* is percent-encoded and begins with a slash."""

    path: str
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    answer_timeout_s: float = ANSWER_TIMEOUT_S
    changes_task: str | None = None
    """The task that the request changes, "" when it changes something else: its outcome can be unknown."""
    repeatable: bool = True
    """Whether it may be sent again although an earlier try may have had its effect."""
    streams: bool = False
    """Whether the answer goes on for as long as there is something to say."""

    @property
    def target(self) -> str:
        """The path and the query."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


class NoAnswer(Exception):
    """This address gave nothing usable; another one may."""

    def __init__(self, why: str, *, may_have_happened: bool, problem: ApiProblem | None = None) -> None:
        super().__init__(why)
        self.may_have_happened = may_have_happened
        """Whether the request may have had its effect all the same."""
        self.problem = problem
        """What the node said, when it said that it cannot serve."""


class Answer:
    """An answer below 300, or a 304, whose body is still to be read. A context manager that hangs up."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status

    def header(self, name: str) -> str | None:
        """Return a header's value, or None."""
        return self._response.getheader(name)

    def whole(self, deadline: float) -> bytes:
        """Return the body. Raises ConnectionFailed when it is cut or does not end before *deadline*."""
        chunks: list[bytes] = []
        size = 0
        while chunk := self._read():
            size += len(chunk)
            if size > ANSWER_BYTES:
                raise UnexpectedAnswer(f"the answer is longer than {ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise ConnectionFailed("the answer took too long")
            chunks.append(chunk)
        expected = self._response.getheader("Content-Length")
        if expected is not None and expected.isdigit() and size < int(expected) and self.status != 304:
            raise ConnectionFailed("the answer was cut")  # read1 does not say so itself, unlike read.
        return b"".join(chunks)

    def lines(self) -> Iterator[bytes]:
        """Yield whole lines without their line feed, as they come; return when the answer ends properly.

        Raises ConnectionFailed when it is cut, or silent for SILENCE_TIMEOUT_S. A last line without its line feed is
        part of a cut, and dropped.
        """
        rest = b""
        while chunk := self._read():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > LINE_BYTES:
                raise UnexpectedAnswer(f"a line is longer than {LINE_BYTES} bytes")

    def _read(self) -> bytes:
        try:
            return self._response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionFailed(f"the answer was cut: {_words(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._response.close()
        self._connection.close()


def checked_address(address: str) -> str:
    """Return the base URL without a trailing slash. Raises ValueError when it is not ``http[s]://host[:port]``."""
    parts = urlsplit(address)
    usable = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    if not usable or "@" in parts.netloc or any(c.isspace() for c in address):
        raise ValueError(f"{address!r} is not an address: write it like http://127.0.0.1:7117")
    if parts.path.strip("/"):
        base = f"{parts.scheme}://{parts.netloc}"
        raise ValueError(f"{address!r} is not an address: it goes on behind host and port; write {base}")
    _ = parts.port  # Raises ValueError itself when the port is no number.
    return address.rstrip("/")


def exchange(
    address: str, request: Request, headers: Mapping[str, str], *, tls: ssl.SSLContext | None, deadline: float
) -> Answer:
    """Send *request* to *address* and return the beginning of its answer.

    Raises NoAnswer when another address may do better, and the ApiProblem of a definite no.
    """
    connection = _connect(address, tls, deadline)
    try:
        response = _respond(connection, request, headers, deadline)
    except BaseException:
        connection.close()
        raise
    answer = Answer(connection, response)
    if response.status >= 300 and response.status != 304:
        with answer:
            raise _refusal(answer, response, request)
    return answer


def _connect(address: str, tls: ssl.SSLContext | None, deadline: float) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port
    timeout_s = _time_left(deadline, CONNECT_TIMEOUT_S)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls)
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise NoAnswer(_words(error), may_have_happened=False) from error
    return connection


def _respond(
    connection: http.client.HTTPConnection, request: Request, headers: Mapping[str, str], deadline: float
) -> http.client.HTTPResponse:
    socket = connection.sock  # Kept: http.client lets go of it once it knows that the answer is the last.
    socket.settimeout(_time_left(deadline, request.answer_timeout_s))
    try:
        sent = {**request.headers, **headers, "Connection": "close"}
        connection.request(request.method, request.target, request.body, sent)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(_words(error), may_have_happened=True) from error
    if request.streams:
        socket.settimeout(SILENCE_TIMEOUT_S)
    return response


def _refusal(answer: Answer, response: http.client.HTTPResponse, request: Request) -> Exception:
    """Return what to raise for an answer of 300 and above."""
    try:
        body = answer.whole(time.monotonic() + request.answer_timeout_s)
    except (ConnectionFailed, UnexpectedAnswer):
        body = b""  # The status alone has to do.
    problem = problem_from(response.status, body, title=response.reason, retry_after=response.getheader("Retry-After"))
    if response.status == 503:
        return NoAnswer(str(problem), may_have_happened=problem.code == "outcome-unknown", problem=problem)
    if response.status in _GATEWAY_ERRORS:  # A proxy that lost the node.
        return NoAnswer(str(problem), may_have_happened=True, problem=problem)
    return problem


def _time_left(deadline: float, limit_s: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise NoAnswer("no time was left", may_have_happened=False)
    return min(left, limit_s)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return "what answers there speaks http, not https"
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error) or type(error).__name__).lower()
