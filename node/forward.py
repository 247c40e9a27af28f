"""Handing a request on to another node, and answering what it answers.

Never a redirect: curl, requests, httpx and aiohttp drop ``Authorization`` when they follow one. One hop at
most: a node that receives a forwarded request and cannot serve it says so, and the sender looks again. When the leader
dies over a write, its successor is asked again, under the same id of the command: it is carried out once.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

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
"""What is left to a node that leads no more: it may be about to answer what it decided while it led."""
_POLL_S = 0.05


class NobodyThere(Exception):
    """The request certainly had no effect: there was nobody to hand it to."""


class HungUp(Exception):
    """A node that the request was handed to did not answer; it may have had its effect."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the other node answered."""

    status: int
    headers: Mapping[str, str]  # aiohttp's own: names in any case.
    body: bytes


class Forwarder:
    """Sends requests to other nodes over one pool of connections."""

    def __init__(self, *, node: str, url_of_leader: Callable[[], str | None], leads: Callable[[], bool]) -> None:
        self._node = node
        self._url_of_leader = url_of_leader
        self._leads = leads
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=ANSWER_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False)

    async def stop(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def to_leader(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, repeatable: bool = False
    ) -> Forwarded:
        """Hand the request to the leader, looking for one while there is none, and for the next when it falls silent.

        Only what is *repeatable* is handed on again after it may have had its effect.
        Raises NobodyThere or, after somebody fell silent, HungUp, also when this node has come to lead meanwhile.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LEADER_WAIT_S
        silence: HungUp | None = None
        while True:
            url = self._url_of_leader()
            try:
                answer = await self._try(url, method, path, headers, body) if url else None
            except HungUp as error:
                answer, silence = None, error
            if answer is not None and not _says_no_leader(answer):
                if silence and answer.status == HTTPStatus.INSUFFICIENT_STORAGE:
                    raise silence  # Not this time; of the time before it says nothing.
                return answer
            if self._leads() or loop.time() >= deadline or (silence and not repeatable):
                raise silence or NobodyThere("no leader could be reached")
            await asyncio.sleep(_POLL_S)

    async def _try(self, url: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Forwarded | None:
        asking = asyncio.ensure_future(self._ask(url, method, path, headers, body))
        try:
            await self._until_answered_or_deposed(asking, url)
            async with asyncio.timeout(None if self._url_of_leader() == url else GRACE_S):
                return await asking
        except aiohttp.ClientConnectorError:
            return None  # Nothing was sent.
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise HungUp(f"the leader did not answer: {str(error) or 'it leads no more'}") from error
        finally:
            asking.cancel()

    async def _ask(self, url: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Forwarded:
        async with self.open(url, method, path, headers, body) as response:
            return Forwarded(response.status, response.headers, await response.read())

    async def _until_answered_or_deposed(self, asking: "asyncio.Future[Forwarded]", url: str) -> None:
        while not asking.done() and self._url_of_leader() == url:
            await asyncio.wait({asking}, timeout=_POLL_S)

    def open(
        self, url: str, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> "aiohttp.client._RequestContextManager":
        """Begin a request to the node at *url*, for an answer that is read as it comes."""
        assert self._session is not None
        sent = {**headers, FORWARDED_BY: self._node}
        return self._session.request(method, url + path, headers=sent, data=body or None, allow_redirects=False)


def _says_no_leader(answer: Forwarded) -> bool:
    return answer.status == 503 and b'"no-leader"' in answer.body
