"""The log's port: who gets in, and what strangers can make a node do."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import cast

import msgspec
import pytest

from raftsman.raft import link as links
from raftsman.raft import messages as m
from raftsman.raft import transport as wire
from raftsman.raft.complaints import PER_WINDOW, WINDOW_S, Complaints
from raftsman.raft.limits import COMMAND_BYTES
from raftsman.raft.transport import Self, fault_of
from tests.unit.replicas import until
from tests.unit.wires import HELLO, ME, Taken, answer_in, feed, hang_up, listening, made, says

BOMB = b"\x80\x02cos\nsystem\nq\x00X\x10\x00\x00\x00touch /tmp/bombsq\x01\x85q\x02Rq\x03."


# --- who gets in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": 9}, "alpha speaks version 9 of the log's protocol, beta speaks 1"),
        ({"cluster": "prod"}, "alpha is of cluster 'prod', beta of cluster 'test'"),
        ({"cluster_id": "ffff"}, "alpha is of another cluster named 'test': its id is ffff, that of beta is 00112233"),
        ({"to": "gamma"}, "alpha looks for gamma, and this is beta"),
        ({"node": "omega"}, "omega is no other member of this cluster; beta knows alpha, beta, gamma"),
        ({"node": "beta"}, "beta is no other member"),
        ({"node": "gamma"}, "beta calls gamma, and not gamma beta"),
    ],
)
async def test_a_hello_that_is_not_meant_for_this_node_is_refused_with_a_sentence(
    changes: dict[str, object], words: str
) -> None:
    hello = m.Hello(**{name: getattr(HELLO, name) for name in HELLO.__struct_fields__} | changes)
    async with listening() as (transport, heard, port):
        answer = answer_in(await says(port, m.encode(hello)))
        assert isinstance(answer, m.Farewell)
        assert answer.reason.startswith(words)
        assert heard.told == []
        assert [why.startswith(words) for why in transport.refused.values()] == [True]


async def test_a_newer_version_whose_hello_says_more_is_told_which_versions_there_are() -> None:
    body = msgspec.msgpack.encode(["hello", 2, *msgspec.structs.astuple(HELLO)[1:], "what version 2 adds"])
    async with listening() as (transport, heard, port):
        answer = answer_in(await says(port, len(body).to_bytes(m.LENGTH_BYTES) + body))
        assert answer == m.Farewell(reason="alpha speaks version 2 of the log's protocol, beta speaks 1")
        assert heard.told == []
        assert transport.refused == {"alpha": answer.reason}


def test_whoever_answers_at_another_nodes_address_is_refused() -> None:
    hello = m.Hello(protocol=m.PROTOCOL, cluster="test", cluster_id="", node="gamma", to="beta", incarnation="c1")
    members = {"alpha": "127.0.0.1:7", "beta": "127.0.0.1:8", "gamma": "127.0.0.1:9"}
    assert fault_of(hello, ME, members, "alpha") == "alpha was expected at 127.0.0.1:7, and gamma answers there"
    assert fault_of(hello, ME, members, "gamma") == ""


async def test_two_nodes_link_whoever_starts_first_and_messages_keep_their_order() -> None:
    me = Self("test", "", "alpha", "a1")
    async with listening() as (beta, heard, port), listening(me, beta=f"127.0.0.1:{port}") as (alpha, other, _):
        await until(lambda: heard.told and other.told, "they are linked")
        assert (heard.told, other.told) == ([("alpha", "a1")], [("beta", "b1")])
        sent = [m.AskRead(number=number) for number in range(1000)]
        for message in sent:
            alpha.send("beta", message)
        beta.send("alpha", m.Propose(number=1, command=b"x" * COMMAND_BYTES))
        alpha.flush()
        beta.flush()
        await until(lambda: len(heard.told) == 1001 and len(other.told) == 2, "everything has come")
        assert [message for _, message in heard.told[1:]] == sent
        assert alpha.unsent_bytes("beta") == 0
        alpha.close("beta", "for the test")
        await until(lambda: heard.told.count(("alpha", "a1")) == 2, "they are linked again")
        assert ("alpha", None) in heard.told


async def test_a_link_that_is_heard_of_is_not_given_up_for_a_new_one_and_a_silent_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "QUIET_S", 0.5)
    async with listening() as (_, heard, port):
        first = await asyncio.open_connection("127.0.0.1", port)
        first[1].write(m.encode(HELLO))
        await until(lambda: heard.told, "the first link")
        answer = answer_in(await says(port, m.encode(HELLO)))
        assert answer == m.Farewell(reason="alpha is linked to beta already, and heard of")
        assert heard.told == [("alpha", "a1")], "and no word of an end"
        await asyncio.sleep(0.5)
        second = await asyncio.open_connection("127.0.0.1", port)
        second[1].write(m.encode(HELLO))
        assert (await first[0].read()).startswith(m.encode(ME.hello("alpha")))
        assert [each for _, each in heard.told] == ["a1", "a1"]
        for _, writer in (first, second):
            await hang_up(writer)


async def test_localhost_is_listened_at_where_ipv6_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def without_ipv6(address: tuple[str, int], *, family: int, backlog: int) -> socket.socket:
        if family == socket.AF_INET6 or address[0] == "127.0.0.9":
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return create(address, family=family, backlog=backlog)

    def both(_host: str, port: int, *_: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    with pytest.raises(OSError, match="this machine has no address"):
        await wire._listen("127.0.0.9", 0)
    monkeypatch.setattr(socket, "getaddrinfo", both)
    (listening,) = await wire._listen("localhost", 0)
    assert listening.getsockname()[0] == "127.0.0.1"
    listening.close()


async def test_two_nodes_that_have_nothing_to_say_show_that_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "SIGN_OF_LIFE_S", 0.05)
    monkeypatch.setattr(wire, "QUIET_S", 0.5)
    me = Self("test", "", "alpha", "a1")
    async with listening() as (beta, heard, port), listening(me, beta=f"127.0.0.1:{port}") as (alpha, other, _):
        await until(lambda: heard.told and other.told, "they are linked")
        before = [side._links[peer].heard_at for side, peer in ((alpha, "beta"), (beta, "alpha"))]
        await asyncio.sleep(0.6)
        after = [side._links[peer].heard_at for side, peer in ((alpha, "beta"), (beta, "alpha"))]
        assert all(late - early > 0.3 for early, late in zip(before, after, strict=True))
        assert isinstance(answer_in(await says(port, m.encode(HELLO))), m.Farewell), "so no impostor takes its place"
        assert (heard.told, other.told) == ([("alpha", "a1")], [("beta", "b1")])


# --- strangers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        BOMB,
        len(BOMB).to_bytes(4) + BOMB,
        (257).to_bytes(4),
        (1 << 31).to_bytes(4) + bytes(100),
        b"\x00\x00\x00\x01\xc1",
        m.encode(m.AskVote(term=1 << 60, last_index=1, last_term=1)),
        (0).to_bytes(4),
        m.encode(HELLO)[:4] + b"\x91" * 80,
    ],
    ids=["http", "a pickle", "a framed pickle", "257 bytes", "2 GiB", "no msgpack", "a vote", "nothing", "nested"],
)
async def test_junk_is_answered_by_closing_at_once(junk: bytes) -> None:
    async with listening() as (_, heard, port):
        began = time.monotonic()
        assert await says(port, junk) == b""
        assert time.monotonic() - began < 1
        assert heard.told == []


async def test_a_frame_that_is_too_long_closes_the_link_before_it_has_come() -> None:
    async with listening() as (_, heard, port):
        answer = await says(port, m.encode(HELLO), (m.FRAME_BYTES + 1).to_bytes(4), pause_s=0.05)
        assert answer == m.encode(ME.hello("alpha"))
        assert heard.told == [("alpha", "a1"), ("alpha", None)]


async def test_whoever_says_nothing_or_says_it_byte_by_byte_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "HELLO_WITHIN_S", 0.2)
    async with listening() as (_, heard, port):
        began = time.monotonic()
        drops = [bytes([byte]) for byte in m.encode(HELLO)]
        assert [*await asyncio.gather(says(port), says(port, *drops, pause_s=0.05))] == [b"", b""]
        assert time.monotonic() - began < 4.5
        assert heard.told == []


async def test_many_strangers_cost_few_connections() -> None:
    async with listening() as (transport, _, port):
        strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(wire.STRANGERS * 2)]
        await until(lambda: len(transport._strangers) == wire.STRANGERS, "the oldest are closed")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(m.encode(HELLO))
        assert await reader.readexactly(len(m.encode(ME.hello("alpha")))) == m.encode(ME.hello("alpha"))
        for _, each in [*strangers, (reader, writer)]:
            await hang_up(each)


async def test_a_flood_of_strangers_closes_no_call_of_this_node() -> None:
    async with silent_server() as silent, listening(gamma=f"127.0.0.1:{silent}") as (transport, _, port):
        await until(lambda: transport._calling, "beta calls gamma, who says nothing")
        call = next(iter(transport._calling))
        strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(wire.STRANGERS * 2)]
        await until(lambda: len(transport._strangers) == wire.STRANGERS, "the oldest are closed")
        assert call in transport._calling
        for _, each in strangers:
            await hang_up(each)


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Accept connections and say nothing; give the port."""
    callers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: callers.append(writer), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for caller in callers:
        await hang_up(caller)


async def test_half_of_the_longest_frame_takes_a_frame_of_memory_and_the_rest_of_it_is_taken() -> None:
    async with listening() as (transport, heard, port):
        frame = m.encode(m.Propose(number=1, command=bytes(COMMAND_BYTES)))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(m.encode(HELLO) + frame[: len(frame) // 2])
        await writer.drain()
        await until(lambda: "alpha" in transport._links, "the link")
        link = transport._links["alpha"]
        await until(lambda: link._have >= len(frame) // 2, "half of it")
        assert len(link._coming) <= m.LENGTH_BYTES + m.FRAME_BYTES < 1 << 20
        writer.write(frame[len(frame) // 2 :])
        await until(lambda: len(heard.told) == 2, "all of it")
        assert len(link._coming) == links.READ_BYTES
        await hang_up(writer)


async def test_whoever_takes_nothing_loses_the_link_before_a_mebibyte_is_kept_for_it() -> None:
    async with listening() as (transport, heard, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(m.encode(HELLO))
        await until(lambda: heard.told, "the link")
        most = 0
        for _ in range(1000):
            transport.send("alpha", m.Propose(number=1, command=bytes(64 << 10)))
            transport.flush()
            most = max(most, transport.unsent_bytes("alpha"))
            await asyncio.sleep(0)
            if heard.told[-1] == ("alpha", None):
                break
        assert heard.told == [("alpha", "a1"), ("alpha", None)]
        assert most <= links.LONGEST_UNSENT_BYTES + (65 << 10)
        await hang_up(writer)


def test_strangers_do_not_fill_the_log() -> None:
    complaints, began = Complaints(), 1_000.0
    lines = [complaints.line("hello", "who are you", now=began + 0.001 * number) for number in range(1000)]
    assert [line for line in lines if line] == ["who are you"] * PER_WINDOW
    assert complaints.line("frame", "too long", now=began + 1) == "too long", "a flood of one kind hides no other"
    later = [complaints.line("hello", "who are you", now=began + WINDOW_S + number) for number in range(2)]
    assert later == [f"who are you ({1000 - PER_WINDOW} more like this were not logged)", "who are you"]
    assert complaints.total == 1003


# --- frames -----------------------------------------------------------------------------------


def test_the_longest_hello_fits_in_what_a_stranger_may_send() -> None:
    name = "n" * 63
    hello = Self(name, "f" * 16, name, "f" * 16).hello(name)
    assert len(m.encode(hello)) - m.LENGTH_BYTES <= m.HELLO_BYTES


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc0", b"\x91\xa5hello", b"\x93\xa5noted\xa1x\xd3" + b"\xff" * 8, b"\x92\xa3eat\x01", b"\x9f" * 1000],
)
def test_what_is_no_message_is_refused_while_it_is_decoded(body: bytes) -> None:
    with pytest.raises(m.MalformedFrame):
        m.decode(body)


@pytest.mark.parametrize("seed", range(20))
async def test_frames_are_the_same_however_tcp_cuts_them_and_the_buffer_holds_one_frame_at_most(seed: int) -> None:
    random = Random(seed)
    sizes, longest = ((0, 10, 3_000), 7) if seed % 2 else ((0, 5_000, 200_000, COMMAND_BYTES), 100_000)
    sent = [m.Propose(number=number, command=random.randbytes(random.choice(sizes))) for number in range(10)]
    stream = m.encode(HELLO) + b"".join(m.encode(message) for message in sent)
    taken = Taken()
    with made(taken) as (link, _):
        start = 0
        while start < len(stream):
            start += feed(link, stream[start : start + random.randint(1, longest)])
            assert len(link._coming) <= m.LENGTH_BYTES + m.FRAME_BYTES
        assert taken.messages == sent


@pytest.mark.parametrize("beginning", [b"\xff", b"\xff\xff", b"\xff\xff\xff"])
async def test_the_beginning_of_a_length_is_not_believed(beginning: bytes) -> None:
    with made(Taken()) as (link, _):
        feed(link, m.encode(HELLO))
        feed(link, m.encode(m.AskRead(number=1)) + beginning)
        assert len(link._coming) == links.READ_BYTES


async def test_without_descriptors_nothing_is_accepted_and_the_loop_rests_until_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "ACCEPT_AGAIN_S", 0.05)
    async with listening() as (transport, _, port):
        tries = 0

        class Exhausted:
            def __init__(self, real: socket.socket) -> None:
                self._real = real

            def accept(self) -> tuple[socket.socket, object]:
                nonlocal tries
                tries += 1
                if tries <= 3:
                    raise OSError(errno.EMFILE, "Too many open files")
                return self._real.accept()

            def fileno(self) -> int:
                return self._real.fileno()

        loop = asyncio.get_running_loop()
        for real in transport._listening:
            loop.remove_reader(real)
            transport._accept_again(cast("socket.socket", Exhausted(real)))
        await says(port, b"\xff" * 8)  # Which closes the connection that was accepted at last.
        assert tries == 4
