"""Connections that never become a request: cut off in time, or told what is wrong with them."""

import asyncio
import errno
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from raftsman.node.http.listener import CannotListen
from tests.harness.descriptors import no_descriptor_left
from tests.unit.one_node import OneNode, one_node
from tests.unit.replicas import META_LEFT_OPEN

pytestmark = META_LEFT_OPEN

ARRIVAL_S = 0.3
BOUND_S = 5.0
HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


async def _slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(2 * ARRIVAL_S)
    return web.Response(text="at last")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OneNode]:
    async with one_node(tmp_path, routes=[web.get("/test/slow", _slow)], arrival_s=ARRIVAL_S) as started:
        yield started


async def send(node: OneNode, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send *parts* with pauses, and return all that comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(BOUND_S):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"G",
        b"GET /v1/tasks HTTP/1.1\r\n",
        b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-Long",
        HEAD,
        HEAD + b'{"taskId"',
    ],
    ids=["nothing", "a letter", "a line", "half a head", "no body", "half a body"],
)
async def test_half_a_request_is_cut_off_and_not_worth_a_line_in_the_log(
    node: OneNode, half: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert await send(node, half) == b""
    assert caplog.text == ""
    async with node.session.get(f"{node.url}/livez") as answer:
        assert answer.status == 200


async def test_half_a_request_after_a_whole_one_is_cut_off(node: OneNode) -> None:
    answers = await send(node, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /li", pause_s=0.1)
    assert answers.count(b"HTTP/1.1 200 OK") == 1


async def test_a_request_that_trickles_in_is_cut_off(node: OneNode) -> None:
    assert await send(node, *(b"x" for _ in range(15)), pause_s=ARRIVAL_S / 10) == b""


async def test_an_answer_may_take_longer_than_the_request(node: OneNode) -> None:
    answer = await send(node, b"GET /test/slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"at last")


async def test_a_connection_may_rest_between_requests(node: OneNode) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = await send(node, one, last, pause_s=2 * ARRIVAL_S)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


async def test_a_request_may_come_in_pieces(node: OneNode) -> None:
    body = b'{"taskId": 7, "a": "' + b"x" * 78 + b'"}'
    answer = await send(
        node, HEAD.replace(b"Host: x", b"Host: x\r\nConnection: close"), body[:50], body[50:], pause_s=0.02
    )
    assert answer.startswith(b"HTTP/1.1 422 ")


async def test_what_is_no_http_is_told_so_in_a_problem(node: OneNode) -> None:
    head, _, body = (await send(node, b"nonsense\r\n\r\n")).partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert b"Content-Type: application/problem+json" in head
    assert b"Raftsman-Served-By: alpha" in head
    document = json.loads(body)
    assert (document["status"], document["code"], document["instance"]) == (400, "malformed-request", "")
    assert document["detail"].startswith("this is no HTTP request: ")
    assert f"X-Request-Id: {document['requestId']}".encode() in head


async def test_what_is_no_http_leaves_no_trace_in_the_log(node: OneNode, caplog: pytest.LogCaptureFixture) -> None:
    await send(node, b"\x16\x03\x01\x02\x00")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EADDRINUSE, "error while attempting to bind on address"), "address already in use"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (OSError("could not bind on any address"), "could not bind on any address"),
    ],
)
def test_why_nothing_can_listen_is_said_in_a_few_words(error: OSError, words: str) -> None:
    assert str(CannotListen(error)) == words


# --- too many ---------------------------------------------------------------------------------------------

MOST = 16
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def crowded(tmp_path: Path) -> AsyncIterator[OneNode]:
    """A node with as many connections as it may have."""
    async with one_node(tmp_path, connections=MOST) as started, crowd(started):
        yield started


@asynccontextmanager
async def crowd(node: OneNode) -> AsyncIterator[None]:
    """Streams that go on."""
    async with AsyncExitStack() as stack:
        for _ in range(MOST):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            stack.callback(writer.close)
            writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        yield


async def test_one_connection_more_than_there_may_be_is_told_to_come_again(
    crowded: OneNode, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        head, _, body = (await send(crowded, GET % b"/v1/tasks")).partition(b"\r\n\r\n")
        assert b" 503 " in head.splitlines()[0]
        assert b"Retry-After: 1" in head
        document = json.loads(body)
        assert (document["code"], document["instance"]) == ("not-ready", "/v1/tasks")
    assert caplog.text.count("16 connections are open") == 1


@pytest.mark.parametrize("path", [b"/livez", b"/readyz", b"/metrics"])
async def test_a_crowded_node_answers_its_probes(crowded: OneNode, path: bytes) -> None:
    assert (await send(crowded, GET % path)).startswith(b"HTTP/1.1 200 ")


async def test_far_too_many_connections_are_closed_as_they_come(crowded: OneNode) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(MOST // 8):
            _, writer = await asyncio.open_connection("127.0.0.1", crowded.port)
            stack.callback(writer.close)
        await asyncio.sleep(0.1)
        assert await send(crowded, GET % b"/livez") == b""


async def test_when_the_crowd_is_gone_everybody_is_answered(tmp_path: Path) -> None:
    async with one_node(tmp_path, connections=MOST) as node:
        async with crowd(node):
            assert (await send(node, GET % b"/v1/tasks")).startswith(b"HTTP/1.1 503 ")
        await asyncio.sleep(0.1)
        last = b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await send(node, last)).startswith(b"HTTP/1.1 200 ")


async def test_an_expectation_that_cannot_be_met_is_refused_in_a_problem(node: OneNode) -> None:
    for path in (b"/v1/tasks", b"/nowhere"):
        head, _, body = (await send(node, b"GET %s HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\n\r\n" % path)).partition(
            b"\r\n\r\n"
        )
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"Content-Type: application/problem+json" in head
        assert json.loads(body)["detail"] == "Expect: '200-maybe' is not 100-continue"


async def test_without_a_descriptor_connections_wait_and_the_log_says_so_once_a_second(
    node: OneNode, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.socket()) for _ in range(20)]
        stack.enter_context(no_descriptor_left())
        for each in waiting:
            each.connect(("127.0.0.1", node.port))
        await asyncio.sleep(2.5)
    assert 1 <= caplog.text.count("socket.accept() out of system resource") <= 3
    await asyncio.sleep(1.1)
    async with node.session.get(f"{node.url}/livez") as answer:
        assert answer.status == 200
