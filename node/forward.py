"""Handing a request on to another node, and answering what it answers, or passing on its stream as it comes.

Never a redirect: curl, requests, httpx and aiohttp drop ``Authorization`` when they follow one. One hop at
most: a node that receives a forwarded request and cannot serve it says so, and the sender looks again. When the leader
dies over a write, its successor is asked again, under the same id of the command: it is carried out once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from yarl import URL

FORWARDED_BY = "Raftsman-Forwarded-By"
MADE_ID = "Raftsman-Made-Id"
"""Says that the sending node, and not the user, made the id of the task that the body names."""
COMMAND_ID = "Raftsman-Command-Id"
"""The id of the command that the sending node has made; it is the same when the request is handed on again."""
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 8.0
"""The leader answers within its own deadline of 5 s; past this it hangs."""
LEADER_WAIT_S = 3.0
"""How long a request waits for a leader, or for the next one when that falls silent: several elections."""
GRACE_S = 1.0
"""What is left to a node that leads no more: it may be about to answer what it decided while it led. What may be asked
again is asked again as soon as somebody else leads, and waits for no grace."""
HANDED_ON_AT_ONCE = 100
"""Requests under way to leaders: a leader that hangs must not be given all that its cluster is asked."""
TURN_WAIT_S = 3.0
"""How long one more waits until one of those is answered."""
RELAYS = 256
"""Streams of other nodes passed on at a time; each holds a connection for as long as its reader likes."""
RELAY_SILENCE_S = 40.0
"""A stream of records says something every 15 s: the node that has missed that twice is dead, or hangs."""
_RECORD_BYTES = 256 * 1024  # A line of output has 16 KiB, of which JSON makes at most six times as much.
_POLL_S = 0.05


class NobodyThere(Exception):
    """The request certainly had no effect: there was nobody to hand it to."""


class Crowded(NobodyThere):
    """As many as are allowed are under way; the request certainly had no effect."""


class HungUp(Exception):
    """A node that the request was handed to did not answer; it may have had its effect."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the other node answered."""

    status: int
    headers: Mapping[str, str]  # aiohttp's own: names in any case.
    body: bytes


class Forwarder:
    """Sends requests to other nodes. What is handed on and what is passed on have bounds and connections of their own.

    They are counted here and not by the pools, which let one more wait without a word, and for ever.
    """

    def __init__(
        self,
        *,
        node: str,
        url_of_leader: Callable[[], str | None],
        leads: Callable[[], bool],
        relays: int = RELAYS,
        silence_s: float = RELAY_SILENCE_S,
    ) -> None:
        self._node = node
        self._url_of_leader = url_of_leader
        self._leads = leads
        self._turns = asyncio.Semaphore(HANDED_ON_AT_ONCE)
        self._free_relays = relays
        self._silence_s = silence_s
        self._handing: aiohttp.ClientSession | None = None
        self._relaying: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pools."""
        answered = aiohttp.ClientTimeout(
            total=CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=ANSWER_TIMEOUT_S
        )
        streamed = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._silence_s)
        self._handing, self._relaying = _session(answered), _session(streamed)

    async def stop(self) -> None:
        """Close the pools."""
        for session in (self._handing, self._relaying):
            if session is not None:
                await session.close()

    async def to_leader(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, repeatable: bool = False
    ) -> Forwarded:
        """Hand the request to the leader, looking for one while there is none, and for the next when it falls silent.

        Only what is *repeatable* is handed on again after it may have had its effect.
        Raises NobodyThere (Crowded when it did not come to its turn) or, after somebody fell silent, HungUp, also when
        this node has come to lead meanwhile.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LEADER_WAIT_S

        def ask(url: str) -> Coroutine[None, None, Forwarded]:
            return self._ask(url, method, path, headers, body)

        silence: HungUp | None = None
        while True:
            url = self._url_of_leader()
            try:
                answer = await self._in_turn(url, ask, repeatable) if url else None
            except HungUp as error:
                answer, silence = None, error
            except Crowded as error:
                raise silence or error from error
            if answer is not None and not _says_no_leader(answer):
                if silence and answer.status == HTTPStatus.INSUFFICIENT_STORAGE:
                    raise silence  # Not this time; of the time before it says nothing.
                return answer
            if self._leads() or loop.time() >= deadline or (silence and not repeatable):
                raise silence or NobodyThere("no leader could be reached")
            await asyncio.sleep(_POLL_S)

    async def _in_turn(
        self, url: str, ask: Callable[[str], Coroutine[None, None, Forwarded]], repeatable: bool
    ) -> Forwarded | None:
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise Crowded(f"{HANDED_ON_AT_ONCE} requests are under way to the leader already") from None
        try:
            return await self._try(url, ask(url), repeatable)
        finally:
            self._turns.release()

    async def _try(self, url: str, answering: Coroutine[None, None, Forwarded], repeatable: bool) -> Forwarded | None:
        asking = asyncio.ensure_future(answering)
        try:
            await self._while(lambda: self._url_of_leader() == url, asking)
            async with asyncio.timeout(None if asking.done() else GRACE_S):
                if repeatable and not await self._while(lambda: not self._has_successor(url), asking):
                    raise HungUp("the leader did not answer: another one leads")
                return await asking
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return None  # Nothing was sent.
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise HungUp(f"the leader did not answer: {str(error) or 'it leads no more'}") from error
        finally:
            asking.cancel()

    async def _ask(self, url: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Forwarded:
        assert self._handing is not None
        sent = self._sent(headers)
        async with self._handing.request(
            method, _address(url, path), headers=sent, data=body or None, allow_redirects=False
        ) as response:
            return Forwarded(response.status, response.headers, await response.read())

    def _has_successor(self, url: str) -> bool:
        return self._leads() or self._url_of_leader() not in (None, url)

    @staticmethod
    async def _while(holds: Callable[[], bool], asking: "asyncio.Future[Forwarded]") -> bool:
        """Wait for the answer while something holds; return whether it has come."""
        while not asking.done() and holds():
            await asyncio.wait({asking}, timeout=_POLL_S)
        return asking.done()

    @asynccontextmanager
    async def relay(self, url: str, path: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Begin a stream of the node at *url*, to be read as it comes. Raises Crowded, ClientError, TimeoutError."""
        if not self._free_relays:
            raise Crowded("this node passes on as many streams of other nodes as it may")
        self._free_relays -= 1
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S):
                assert self._relaying is not None
                sent = self._sent(headers)
                answer = await self._relaying.get(_address(url, path), headers=sent, allow_redirects=False)
            async with answer:
                yield answer
        finally:
            self._free_relays += 1

    def _sent(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers, FORWARDED_BY: self._node}


def _address(url: str, path: str) -> URL:
    """Return *path* at *url* as it came: %2e%2e is a task's bad name, and not the way to another address."""
    return URL(url + path, encoded=True)


def _session(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=timeout,
        trust_env=False,
        auto_decompress=False,
        read_bufsize=_RECORD_BYTES,
    )


def _says_no_leader(answer: Forwarded) -> bool:
    return answer.status == 503 and b'"no-leader"' in answer.body
