"""Raw calls to one context: dictionaries in, JSON or bytes out, every call with a deadline.

Knows verbs and paths, the rate limit and the errors of the port; knows nothing of Jobs and Pods (``client``) and
does not retry: its callers know what a repeated call would mean. Survives new credentials: ``use`` exchanges the
connection under it while calls on the old one run to their end.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp

from raftsman.executor.jobs import Json, KubernetesError, Unreachable
from raftsman.executor.kubernetes.answers import FOREIGN_BYTES, decode, error_of_answer, error_of_failure, not_json
from raftsman.executor.kubernetes.connection import Connection, RawClient
from raftsman.executor.kubernetes.timing import TokenBucket, Urgency

UNARY_S = 10.0
LIST_S = 30.0
PROBE_S = 3.0
CONNECT_S = 10.0  # For a stream: waiting for one of the pool's connections, and making it.
WATCH_IDLE_S = 90.0  # Bookmarks come every minute: silence of 90 s is a dead connection that nobody closed.
LOG_IDLE_S = 60.0  # A followed log stops without an end when the kubelet rotates it; the caller then resumes.
ERROR_BYTES = 64 * 1024  # Read of an error's body; Status objects reach 32 KiB.
ANSWER_BYTES = 256 * 1024 * 1024  # A page of 500 Jobs of the largest spec we write stays far below.

MERGE_PATCH = "application/merge-patch+json"
_AUTH = ["BearerToken"]  # What the official client calls the Authorization header.
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)

Query = Sequence[tuple[str, str]]
RequestHook = Callable[[str, str, str], None]


def ignore_request(_context: str, _verb: str, _code: str) -> None:
    """Count nothing."""


def ignore_error(_error: KubernetesError) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: *verb* in Kubernetes' words (get, list, watch, create, patch, delete, log), for the metrics."""

    verb: str
    method: str
    path: str
    query: Query = ()
    body: Json | None = None
    content_type: str = "application/json"
    urgency: Urgency = Urgency.FIRST
    timeout: aiohttp.ClientTimeout = field(default_factory=lambda: aiohttp.ClientTimeout(total=UNARY_S))


class Transport:
    """Calls to one context over the connection it is given, limited to a rate."""

    def __init__(
        self,
        context: str,
        connection: Connection,
        bucket: TokenBucket,
        *,
        on_request: RequestHook = ignore_request,
        on_error: Callable[[KubernetesError], None] = ignore_error,
    ) -> None:
        self._context = context
        self._connection = connection
        self._bucket = bucket
        self._on_request = on_request
        self._on_error = on_error

    @property
    def connection(self) -> Connection:
        """The connection new calls use."""
        return self._connection

    async def use(self, connection: Connection) -> None:
        """Send new calls over *connection*; the one before is closed when its calls have ended."""
        before, self._connection = self._connection, connection
        await before.retire()

    async def close(self) -> None:
        """Close the connection at once."""
        self._connection.retired = True
        await self._connection.close()

    async def send(self, call: Call) -> Json:
        """Return the JSON object the context answers. Raises KubernetesError."""
        await self._bucket.take(call.urgency)
        with self._heeding():
            return await self._exchange(call)

    async def probe(self, path: str) -> Json:
        """Return what the context answers on *path*, outside the rate limit: health must not wait behind work."""
        timeout = aiohttp.ClientTimeout(total=PROBE_S)
        return await self._exchange(Call(verb="probe", method="GET", path=path, timeout=timeout))

    async def ask(self, path: str) -> bytes:
        """Return the beginning of what the context answers on *path*, whatever its status; b"" without an answer."""
        timeout = aiohttp.ClientTimeout(total=PROBE_S)
        connection = self._connection
        connection.users += 1
        try:
            call = Call(verb="probe", method="GET", path=path, timeout=timeout)
            response = await self._request(connection, connection.unary, call)
            try:
                return await _read_some(response)
            finally:
                response.close()
        except Unreachable:
            return b""
        finally:
            await connection.leave()

    async def watch(self, call: Call) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of a watch: first an empty one, when the context has accepted it.

        Raises KubernetesError, also when the connection is cut or silent; a clean end just ends.
        """
        connection = self._connection
        with self._heeding():
            async with self._opened(connection, connection.watches, call) as response:
                yield b""
                async for chunk in _chunks(response, connection.server, _limit(call)):
                    yield chunk

    async def log(self, call: Call, *, follow: bool) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of an output. Raises KubernetesError; reason ``Timeout`` is a silent stream."""
        connection = self._connection
        client = connection.logs if follow else connection.last_logs
        with self._heeding():
            async with self._opened(connection, client, call) as response:
                async for chunk in _chunks(response, connection.server, _limit(call)):
                    yield chunk

    async def _exchange(self, call: Call) -> Json:
        connection = self._connection
        async with self._opened(connection, connection.unary, call) as response:
            raw = await _read(response, connection.server, _limit(call))
        answer = decode(raw)
        if answer is None:
            raise not_json(connection.server, raw[: 4 * FOREIGN_BYTES])
        return answer

    @contextlib.contextmanager
    def _heeding(self) -> Iterator[None]:
        """Let an error that passes through hold the rate, if it says for how long, and be known to the health."""
        try:
            yield
        except Unreachable as error:
            if error.retry_after_s is not None:
                self._bucket.hold(error.retry_after_s)
            self._on_error(error)
            raise

    @contextlib.asynccontextmanager
    async def _opened(
        self, connection: Connection, client: RawClient, call: Call
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send the request and hand out the response, whose status is good; count it, and close it at the end."""
        connection.users += 1
        try:
            response = await self._request(connection, client, call)
            try:
                if not 200 <= response.status <= 299:
                    body = await _read_some(response)
                    raise error_of_answer(response.status, response.headers, body)
                yield response
            finally:
                # Closing tears the connection down unless the body was read to its end, when it is back in the pool.
                response.close()
        finally:
            await connection.leave()

    async def _request(self, connection: Connection, client: RawClient, call: Call) -> aiohttp.ClientResponse:
        try:
            request = await client.param_serialize(
                call.method,
                call.path,
                query_params=list(call.query),
                header_params={"Accept": "application/json, */*", "Content-Type": call.content_type},
                body=call.body,
                auth_settings=_AUTH,
            )
            answer = await client.call_api(*request, _request_timeout=call.timeout)
        except _FAILURES as error:
            self._on_request(self._context, call.verb, "error")
            raise error_of_failure(error, connection.server, _limit(call)) from _without_headers(error)
        self._on_request(self._context, call.verb, str(answer.status))
        response: aiohttp.ClientResponse = answer.response
        return response


async def _chunks(response: aiohttp.ClientResponse, server: str, limit: str) -> AsyncIterator[bytes]:
    chunks = response.content.iter_any()
    while True:
        try:
            chunk = await anext(chunks, None)
        except _FAILURES as error:
            raise error_of_failure(error, server, limit) from error
        if chunk is None:
            return
        yield chunk


async def _read(response: aiohttp.ClientResponse, server: str, limit: str) -> bytes:
    content = bytearray()
    async for chunk in _chunks(response, server, limit):
        content += chunk
        if len(content) > ANSWER_BYTES:
            raise Unreachable(f"{server} answered more than {ANSWER_BYTES >> 20} MiB", reason="TooLarge")
    return bytes(content)


async def _read_some(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of an error's body, or what came before the connection was cut."""
    content = bytearray()
    with contextlib.suppress(*_FAILURES):
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) >= ERROR_BYTES:
                break
    return bytes(content[:ERROR_BYTES])


def _limit(call: Call) -> str:
    return f"{call.timeout.total or call.timeout.sock_read or CONNECT_S:g} s"


def _without_headers(error: Exception) -> Exception | None:
    """Return *error* as a cause, unless printing it could show the request's headers."""
    return None if isinstance(error, aiohttp.ClientResponseError | ValueError) else error
