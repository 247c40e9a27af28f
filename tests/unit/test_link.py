"""One connection as bytes: what it takes, what it writes, and how it ends."""

import asyncio
import socket

import pytest

from raftsman.raft import link as links
from raftsman.raft import messages as m
from raftsman.raft.limits import COMMAND_BYTES
from tests.unit.wires import HELLO, ME, NoWire, Taken, answer_in, feed, made

ASK = m.AskRead(number=1)
NOTHING = bytes(m.LENGTH_BYTES)


# --- the beginning ----------------------------------------------------------------------------


async def test_a_connection_waits_for_nothing_and_gives_a_machine_that_has_vanished_up_after_five_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as own:
        link = links.Link(Taken(), None)
        link.connection_made(NoWire(own))
        link.connection_lost(None)
        tcp = {
            name: own.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_NODELAY", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        }
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert tcp == {
            "TCP_NODELAY": 1,
            "TCP_KEEPIDLE": 2,
            "TCP_KEEPINTVL": 1,
            "TCP_KEEPCNT": links.DEAD_AFTER_S - 2,
            "TCP_USER_TIMEOUT": links.DEAD_AFTER_S * 1000,
        }


async def test_whoever_calls_says_hello_first_and_whoever_is_called_waits_for_it() -> None:
    with made(Taken(), "gamma") as (_, wire):
        assert wire.written == [m.encode(ME.hello("gamma"))]
    with made(Taken()) as (_, wire):
        assert wire.written == []


async def test_a_link_is_called_by_its_peer_and_a_stranger_by_where_it_comes_from() -> None:
    taken = Taken()
    assert str(links.Link(taken, None)) == "a connection to the log's port"
    assert str(links.Link(taken, "gamma")) == "the link to gamma"
    with made(taken) as (link, _):
        assert str(link) == "a connection from 127.0.0.1 to the log's port"
        feed(link, m.encode(HELLO))
        assert str(link) == "the link to alpha"


async def test_who_has_said_no_hello_in_time_is_closed_and_the_clock_stops_with_the_hello() -> None:
    taken = Taken(complains=True)
    began = asyncio.get_running_loop().time()
    with made(taken) as (link, wire):
        timer = link._timer
        assert timer is not None
        assert timer.when() >= began + links.HELLO_WITHIN_S
        link._was_too_slow()
        assert wire.ended == "aborted"
        slow = "a connection from 127.0.0.1 to the log's port: no hello within 2 s"
        assert taken.story == [("came",), ("complaint", "slow", slow)]
    with made(Taken()) as (link, wire):
        timer = link._timer
        assert timer is not None
        feed(link, m.encode(HELLO))
        assert timer.cancelled()
        assert link._timer is not None
        assert link._timer is not timer
        assert not link._timer.cancelled(), "from now on it shows life"


async def test_a_connection_that_is_over_says_so_once_and_does_nothing_more() -> None:
    taken = Taken()
    with made(taken) as (link, _):
        feed(link, m.encode(HELLO))
        assert not link.over.is_set()
    assert link.over.is_set()
    assert link._timer is not None
    assert link._timer.cancelled()
    assert taken.story == [("came",), ("greeted", "alpha"), ("gone",)]


# --- the hello --------------------------------------------------------------------------------


async def test_a_refused_hello_is_answered_by_a_farewell_and_what_follows_it_is_not_read() -> None:
    taken = Taken(fault="no")
    with made(taken) as (link, wire):
        timer = link._timer
        feed(link, m.encode(HELLO) + m.encode(HELLO) + m.encode(ASK))
        assert (wire.written, wire.ended) == ([m.encode(m.Farewell(reason="no"))], "closed")
        assert (taken.story, taken.messages) == ([("came",), ("greeted", "alpha")], [])
        assert link.peer == ""
        assert timer is not None
        assert not timer.cancelled(), "who takes no farewell is closed, too"


async def test_a_refusal_is_cut_to_what_a_farewell_may_hold() -> None:
    with made(Taken(fault="x" * 1000)) as (link, wire):
        feed(link, m.encode(HELLO))
        assert answer_in(wire.written[0]) == m.Farewell(reason="x" * 200)


async def test_a_farewell_is_heard_from_whom_this_node_calls_only() -> None:
    farewell = m.encode(m.Farewell(reason="no"))
    taken = Taken()
    with made(taken, "gamma") as (link, wire):
        feed(link, farewell)
        assert taken.story == [("came",), ("farewell", "gamma", "no")]
        assert wire.ended == "aborted"
    taken = Taken(complains=True)
    with made(taken) as (link, wire):
        feed(link, farewell)
        first = "a connection from 127.0.0.1 to the log's port: the first message must be a hello"
        assert taken.story == [("came",), ("complaint", "hello", first)]
        assert wire.ended == "aborted"


@pytest.mark.parametrize("first", [NOTHING, m.encode(ASK), b"\x00\x00\x00\x01\xc1"])
@pytest.mark.parametrize("dialled", [None, "alpha"])
async def test_nothing_counts_before_the_hello(first: bytes, dialled: str | None) -> None:
    taken = Taken(complains=True)
    with made(taken, dialled) as (link, wire):
        feed(link, first + m.encode(HELLO))
        assert [event[0] for event in taken.story] == ["came", "complaint"]
        assert wire.ended == "aborted"


# --- frames -----------------------------------------------------------------------------------


async def test_an_empty_frame_is_a_sign_of_life_and_no_message() -> None:
    taken = Taken()
    with made(taken) as (link, _):
        feed(link, m.encode(HELLO))
        link.heard_at = 0.0
        feed(link, NOTHING)
        assert link.heard_at > 0
        feed(link, NOTHING + m.encode(ASK) + NOTHING)
        assert taken.messages == [ASK]


async def test_the_longest_frame_is_taken_and_one_byte_more_is_refused_by_its_length_alone() -> None:
    taken = Taken(complains=True)
    with made(taken) as (link, wire):
        feed(link, m.encode(HELLO))
        feed(link, m.FRAME_BYTES.to_bytes(m.LENGTH_BYTES))
        assert wire.ended == ""
        assert len(link._coming) == m.LENGTH_BYTES + m.FRAME_BYTES
    with made(taken) as (link, wire):
        feed(link, m.encode(HELLO) + m.encode(ASK) + (m.FRAME_BYTES + 1).to_bytes(m.LENGTH_BYTES) + m.encode(ASK))
        assert wire.ended == "aborted"
        long = f"the link to alpha: a frame of {m.FRAME_BYTES + 1} bytes, where {m.FRAME_BYTES} are the most"
        assert taken.story[-1] == ("complaint", "frame", long)
        assert taken.messages == [ASK], "nothing behind it"


async def test_a_stranger_may_say_as_many_bytes_as_a_hello_may_have() -> None:
    for length, ended in ((m.HELLO_BYTES, ""), (m.HELLO_BYTES + 1, "aborted")):
        with made(Taken(complains=True)) as (link, wire):
            feed(link, length.to_bytes(m.LENGTH_BYTES))
            assert wire.ended == ended


async def test_a_message_that_is_none_closes_the_link_and_what_follows_it_is_not_read() -> None:
    taken = Taken(complains=True)
    with made(taken) as (link, wire):
        feed(link, m.encode(HELLO))
        feed(link, b"\x00\x00\x00\x01\xc1" + m.encode(ASK))
        assert wire.ended == "aborted"
        assert taken.messages == []
        kind, why = taken.story[-1][1:]
        assert kind == "frame"
        assert why.startswith("the link to alpha: what came is no message: ")


async def test_a_long_frame_that_comes_in_drops_is_not_copied_with_each_of_them() -> None:
    frame = m.encode(m.Propose(number=1, command=bytes(COMMAND_BYTES)))
    taken = Taken()
    with made(taken) as (link, _):
        feed(link, m.encode(HELLO))
        start = feed(link, frame[:10])
        buffer = link._coming
        while start < len(frame) - 1:
            start += feed(link, frame[start : min(start + 50_000, len(frame) - 1)])
            assert link._coming is buffer
        feed(link, frame[start:])
        assert [type(message) for message in taken.messages] == [m.Propose]


# --- what it writes ---------------------------------------------------------------------------


async def test_what_is_put_leaves_with_the_flush_in_its_order_and_counts_as_unsent_until_it_is_taken() -> None:
    link = links.Link(Taken(), None)
    link.put(b"one")
    link.flush()
    assert link.unsent_bytes == 3, "it is not connected yet"
    with made(Taken()) as (link, wire):
        link.put(b"one")
        link.put(b"two2")
        assert (wire.written, link.unsent_bytes) == ([], 7)
        wire.unsent = 10
        assert link.unsent_bytes == 17
        link.flush()
        assert (wire.written, link.unsent_bytes) == ([b"onetwo2"], 10)
        link.flush()
        assert wire.written == [b"onetwo2"]


async def test_whoever_takes_less_than_a_mebibyte_behind_is_kept_and_beyond_it_the_link_is_closed() -> None:
    taken = Taken(complains=True)
    with made(taken) as (link, wire):
        feed(link, m.encode(HELLO))
        wire.unsent = links.LONGEST_UNSENT_BYTES
        link.put(b"one")
        link.flush()
        assert wire.ended == ""
        wire.unsent += 1
        link.put(b"two")
        link.flush()
        assert wire.ended == "aborted"
        assert taken.story[-1] == ("complaint", "member", "the link to alpha: it takes nothing of what it is sent")


async def test_a_link_shows_life_after_each_turn_in_which_it_wrote_nothing() -> None:
    with made(Taken()) as (link, wire):
        assert link._timer is not None
        feed(link, m.encode(HELLO))
        turns = []
        for written in (False, True, False, False):
            if written:
                link.put(b"one")
                link.flush()
            wire.written.clear()
            before = link._timer
            link._show_life()
            assert link._timer is not before, "there will be a next turn"
            before.cancel()
            turns.append([*wire.written])
        assert turns == [[NOTHING], [], [NOTHING], [NOTHING]]
