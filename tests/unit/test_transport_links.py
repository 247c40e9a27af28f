"""Which links a transport makes, keeps, gives up and tells of; its ends, and the addresses that it listens at."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import cast

import pytest

from raftsman.raft import link as links
from raftsman.raft import messages as m
from raftsman.raft import transport as wire
from raftsman.raft.transport import Self, Transport, fault_of, split_address
from tests.harness.nodes import free_port
from tests.unit.replicas import until
from tests.unit.wires import HELLO, ME, Heard, answer_in, feed, hang_up, listening, made, members_of, says

MEMBERS = members_of(ME, 2)
TO_GAMMA = m.Hello(protocol=m.PROTOCOL, cluster="test", cluster_id="", node="gamma", to="beta", incarnation="c1")


def quiet() -> tuple[Transport, Heard]:
    """Return a transport of beta that neither listens nor calls: the test hands it its links."""
    transport, heard = Transport(members=MEMBERS, me=lambda: ME), Heard()
    transport._listener = heard
    return transport, heard


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that were logged since it was asked."""
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


# --- who a hello is from ----------------------------------------------------------------------


@pytest.mark.parametrize(("theirs", "ours"), [("", ""), ("", "11"), ("11", ""), ("11", "11")])
def test_a_cluster_that_is_not_founded_yet_has_no_id_to_differ_in(theirs: str, ours: str) -> None:
    me, other = Self("test", ours, "beta", "b1"), Self("test", theirs, "alpha", "a1")
    assert fault_of(other.hello("beta"), me, MEMBERS, None) == ""
    assert fault_of(other.hello("beta"), me, MEMBERS, "alpha") == ""


def test_a_node_that_answers_a_call_may_have_the_greater_name_and_one_that_calls_may_not() -> None:
    assert fault_of(TO_GAMMA, ME, MEMBERS, "gamma") == ""
    assert fault_of(TO_GAMMA, ME, MEMBERS, None) == "beta calls gamma, and not gamma beta"
    assert fault_of(HELLO, ME, MEMBERS, None) == ""


def test_a_node_that_is_no_member_is_none_at_an_address_that_was_dialled_either() -> None:
    left = {name: address for name, address in MEMBERS.items() if name != "gamma"}
    assert fault_of(TO_GAMMA, ME, left, "gamma").startswith("gamma is no other member of this cluster")


# --- links ------------------------------------------------------------------------------------


async def test_a_link_is_made_told_of_used_and_forgotten_with_its_end() -> None:
    transport, heard = quiet()
    transport.refused["alpha"] = "it was away"
    with made(transport) as (link, line):
        assert (transport.linked, heard.told) == (0, [])
        feed(link, m.encode(HELLO))
        assert (transport.linked, heard.told, transport.refused) == (1, [("alpha", "a1")], {})
        assert line.written == [m.encode(ME.hello("alpha"))]
        transport.send("alpha", m.AskRead(number=1))
        assert (len(line.written), transport.unsent_bytes("alpha") > 0) == (1, True)
        transport.flush()
        assert line.written[1:] == [m.encode(m.AskRead(number=1))]
        feed(link, m.encode(m.AskRead(number=2)))
        assert heard.told[1:] == [("alpha", m.AskRead(number=2))]
    assert (transport.linked, heard.told[2:]) == (0, [("alpha", None)])
    assert not transport._strangers
    assert transport.complaints == 0


async def test_what_is_sent_to_whom_there_is_no_link_is_lost_and_closing_it_does_nothing() -> None:
    transport, heard = quiet()
    transport.send("alpha", m.AskRead(number=1))
    transport.flush()
    transport.close("alpha", "for the test")
    assert transport.unsent_bytes("alpha") == 0
    assert heard.told == []


async def test_a_link_that_this_node_closes_is_closed_at_once_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport, _ = quiet()
    with made(transport) as (link, line):
        feed(link, m.encode(HELLO))
        transport.close("alpha", "for the test")
        assert line.ended == "aborted"
    assert told(caplog) == ["the link to alpha is closed: for the test"]


async def test_whoever_was_called_has_the_hello_already_and_is_told_no_other() -> None:
    transport, heard = quiet()
    with made(transport, "gamma") as (link, line):
        assert set(transport._calling) == {link}
        feed(link, m.encode(TO_GAMMA))
        assert heard.told == [("gamma", "c1")]
        assert line.written == [m.encode(ME.hello("gamma"))]
        assert not transport._calling


async def test_a_connection_that_ends_without_a_hello_is_forgotten_and_nobody_told() -> None:
    transport, heard = quiet()
    with made(transport), made(transport, "gamma"):
        assert (len(transport._strangers), len(transport._calling)) == (1, 1)
    assert (len(transport._strangers), len(transport._calling)) == (0, 0)
    assert heard.told == []


async def test_a_new_link_takes_the_place_of_one_that_is_silent_whose_end_then_says_nothing() -> None:
    transport, heard = quiet()
    with made(transport) as (new, line):
        with made(transport) as (old, old_line):
            feed(old, m.encode(HELLO))
            old.heard_at = asyncio.get_running_loop().time() - wire.QUIET_S
            feed(new, m.encode(HELLO))
            assert (old_line.ended, line.ended) == ("aborted", "")
            assert line.written == [m.encode(ME.hello("alpha"))]
        assert heard.told == [("alpha", "a1"), ("alpha", "a1")]
        assert transport._links == {"alpha": new}
    assert heard.told[2:] == [("alpha", None)]


async def test_a_link_that_is_heard_of_stays_and_who_wanted_its_place_is_complained_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport, heard = quiet()
    with made(transport) as (old, old_line), made(transport) as (new, line):
        feed(old, m.encode(HELLO))
        old.heard_at = asyncio.get_running_loop().time() + 60
        feed(new, m.encode(HELLO))
        assert (old_line.ended, line.ended) == ("", "closed")
        assert answer_in(line.written[0]) == m.Farewell(reason="alpha is linked to beta already, and heard of")
        assert heard.told == [("alpha", "a1")]
        assert (transport.complaints, transport.refused) == (1, {})
    (line_told,) = told(caplog)
    assert line_told.endswith("is closed: it says that it is alpha, which is linked already and heard of")


# --- refusals ---------------------------------------------------------------------------------


async def test_a_refusal_is_noted_for_the_member_that_was_meant_and_of_strangers_the_last_one_only() -> None:
    transport, _ = quiet()
    with made(transport, "gamma") as (link, _):
        feed(link, m.encode(HELLO))
    assert transport.refused == {"gamma": f"gamma was expected at {MEMBERS['gamma']}, and alpha answers there"}
    transport.refused.clear()
    for name in ("omega", "psi"):
        with made(transport) as (link, _):
            feed(link, m.encode(Self("test", "", name, "o1").hello("beta")))
    assert [*transport.refused] == ["another node"]
    assert transport.refused["another node"].startswith("psi is no other member")
    assert transport.complaints == 3


async def test_a_refusal_that_repeats_itself_is_counted_and_logged_when_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport, _ = quiet()
    counts = []
    for reason in ("no", "no", "no", "never"):
        with made(transport, "gamma") as (link, line):
            feed(link, m.encode(m.Farewell(reason=reason)))
            assert line.ended == "aborted"
        counts.append(transport.complaints)
    assert counts == [1, 2, 3, 4]
    assert told(caplog) == ["no link: gamma refuses: no", "no link: gamma refuses: never"]
    assert transport.refused == {"gamma": "gamma refuses: never"}


async def test_complaints_are_counted_though_only_some_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    transport, _ = quiet()
    for number in range(5):
        with made(transport) as (link, _):
            feed(link, b"\xff" * m.LENGTH_BYTES)
            assert transport.complaints == number + 1
    long = (
        "a connection from 127.0.0.1 to the log's port is closed: a frame of 4294967295 bytes, where 256 are the most"
    )
    assert told(caplog) == [long, long]


async def test_as_many_strangers_as_may_wait_do_and_one_more_closes_the_oldest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport, _ = quiet()
    with ExitStack() as stack:
        stack.enter_context(made(transport, "gamma"))
        lines = [stack.enter_context(made(transport))[1] for _ in range(wire.STRANGERS)]
        assert ({line.ended for line in lines}, told(caplog)) == ({""}, [])
        stack.enter_context(made(transport))
        assert [line.ended for line in lines] == ["aborted", *[""] * (wire.STRANGERS - 1)]
    (line_told,) = told(caplog)
    assert line_told.endswith("is closed: 32 others came after it, and it has not said hello")


# --- the end ----------------------------------------------------------------------------------


async def test_a_transport_that_stops_closes_links_calls_and_strangers_and_whoever_comes_then() -> None:
    transport, _ = quiet()
    with made(transport) as (link, linked), made(transport) as (_, stranger), made(transport, "gamma") as (_, call):
        feed(link, m.encode(HELLO))
        await transport.stop()
        assert [linked.ended, stranger.ended, call.ended] == ["aborted"] * 3
        assert transport.linked == 0
        with made(transport) as (_, late):
            assert late.ended == "aborted"


async def test_a_transport_that_has_stopped_listens_and_calls_no_more() -> None:
    port = free_port()
    transport = Transport(members=members_of(ME, port), me=lambda: ME)
    await transport.start(Heard())
    (sock,), (call,) = transport._listening, transport._tasks
    number = sock.fileno()
    await transport.stop()
    assert sock.fileno() == -1
    assert not asyncio.get_running_loop().remove_reader(number), "it may be another's now"
    assert call.cancelled()
    with pytest.raises(ConnectionRefusedError):
        await says(port)
    with socket.socket() as another:
        transport._accept_again(another)
        assert not asyncio.get_running_loop().remove_reader(another)


# --- calls ------------------------------------------------------------------------------------


async def test_a_node_calls_the_greater_names_only() -> None:
    async with listening() as (transport, _, _):
        assert len(transport._tasks) == 1
    async with listening(Self("test", "", "alpha", "a1")) as (transport, _, _):
        assert len(transport._tasks) == 2
    async with listening(Self("test", "", "gamma", "c1")) as (transport, _, _):
        assert len(transport._tasks) == 0


async def test_a_node_that_is_away_is_called_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "REDIAL_S", 0.001)
    monkeypatch.setattr(wire, "DIAL_WITHIN_S", 0.001)
    calls = 0
    create = asyncio.get_running_loop().create_connection

    async def away(factory: Callable[[], links.Link], host: str, port: int) -> tuple[asyncio.Transport, links.Link]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionRefusedError
        if calls == 2:
            await asyncio.sleep(60)
        monkeypatch.setattr(wire, "DIAL_WITHIN_S", 60.0)
        return await create(factory, host, port)

    gamma = Self("test", "", "gamma", "c1")
    async with listening(gamma) as (_, heard, port):
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", away)
        async with listening(gamma=f"127.0.0.1:{port}"):
            await until(lambda: heard.told, "the third call is answered")
    assert heard.told[0] == ("beta", "b1")


async def turns(count: int) -> None:
    """Let everything that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def calls_of(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let beta call gamma, which is away; return how often it did in many turns of the loop."""
    calls = 0

    async def away(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", away)
    calling = asyncio.create_task(transport._dial("gamma"))
    await turns(50)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    return calls


async def test_between_two_calls_there_is_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "REDIAL_S", 600.0)
    transport, _ = quiet()
    assert await calls_of(transport, monkeypatch) == 1


async def test_whoever_is_linked_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "REDIAL_S", 0.0)
    transport, _ = quiet()
    assert await calls_of(transport, monkeypatch) > 1
    with made(transport, "gamma") as (link, _):
        feed(link, m.encode(TO_GAMMA))
        assert await calls_of(transport, monkeypatch) == 0


async def test_a_call_that_waits_for_its_answer_is_not_repeated_until_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "REDIAL_S", 0.0)
    transport, _ = quiet()
    calls: list[links.Link] = []

    async def taken(factory: Callable[[], links.Link], *_: object) -> tuple[None, links.Link]:
        calls.append(factory())
        return None, calls[-1]

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", taken)
    calling = asyncio.create_task(transport._dial("gamma"))
    await turns(50)
    assert [call.dialled for call in calls] == ["gamma"]
    calls[0].over.set()
    await turns(50)
    assert len(calls) == 2
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


# --- addresses --------------------------------------------------------------------------------


def test_an_address_is_a_host_without_brackets_and_a_port() -> None:
    assert split_address("localhost:7118") == ("localhost", 7118)
    assert split_address("[::1]:7118") == ("::1", 7118)


def resolve(monkeypatch: pytest.MonkeyPatch, *hosts: tuple[str, int]) -> None:
    """Let every name stand for *hosts*."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", host) for host in hosts]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)


async def test_every_address_of_a_name_is_listened_at_without_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    resolve(monkeypatch, ("127.0.0.1", port), ("127.0.0.2", port))
    found = await wire._listen("two", port)
    assert [each.getsockname() for each in found] == [("127.0.0.1", port), ("127.0.0.2", port)]
    assert not any(each.getblocking() for each in found)
    for each in found:
        each.close()


async def test_an_address_that_is_taken_is_an_error_and_leaves_no_other_open(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    resolve(monkeypatch, ("127.0.0.1", port), ("127.0.0.2", port))
    with socket.create_server(("127.0.0.2", port)):
        with pytest.raises(OSError, match="in use") as caught:
            await wire._listen("two", port)
        assert caught.value.errno == errno.EADDRINUSE
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("missing", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
async def test_an_address_of_a_kind_that_this_machine_has_not_is_none(
    monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    def refuse(*_args: object, **_options: object) -> socket.socket:
        raise OSError(missing, "not here")

    monkeypatch.setattr(socket, "create_server", refuse)
    assert wire._listening_at(socket.AF_INET, ("127.0.0.1", 1)) is None


# --- accepting --------------------------------------------------------------------------------


class Failing:
    """A listening socket of which the first accept fails."""

    def __init__(self, real: socket.socket, number: int) -> None:
        self._real = real
        self._number = number
        self.tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if self.tries == 1:
            raise OSError(self._number, "for the test")
        return self._real.accept()

    def fileno(self) -> int:
        return self._real.fileno()


async def test_a_connection_that_breaks_before_it_is_taken_is_nobodys_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", broken)
    transport, _ = quiet()
    with socket.socket() as connection:
        await transport._greet(connection)
    assert not transport._strangers


async def test_a_connection_is_greeted_while_others_come() -> None:
    async with listening() as (transport, _, port):
        (real,) = transport._listening
        asyncio.get_running_loop().add_reader(real, lambda: None)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        transport._accept(real)
        assert len(transport._greeting) == 1
        await until(lambda: not transport._greeting, "it is greeted")
        assert len(transport._strangers) == 1
        await hang_up(writer)


@pytest.mark.parametrize(
    ("number", "rests"),
    [
        (errno.EMFILE, True),
        (errno.ENFILE, True),
        (errno.ENOBUFS, True),
        (errno.ENOMEM, True),
        (errno.ECONNABORTED, False),
    ],
)
async def test_an_accept_that_fails_is_tried_again_after_a_rest_if_something_ran_out(
    monkeypatch: pytest.MonkeyPatch, number: int, rests: bool
) -> None:
    monkeypatch.setattr(wire, "ACCEPT_AGAIN_S", 0.001)
    async with listening() as (transport, _, port):
        loop = asyncio.get_running_loop()
        (real,) = transport._listening
        failing = Failing(real, number)
        loop.add_reader(real, lambda: None)
        transport._accept(cast("socket.socket", failing))
        assert loop.remove_reader(real) is not rests
        if rests:
            await says(port, b"\xff" * 8)
            assert failing.tries == 2
        assert not transport._greeting
        loop.add_reader(real, lambda: None)
