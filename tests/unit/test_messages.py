"""What a frame may hold: bounds of names and numbers, what may be left out, and what a newer version may add."""

from typing import Any

import msgspec
import pytest

from raftsman.raft import messages as m

HELLO: dict[str, Any] = {
    "protocol": 1,
    "cluster": "c",
    "cluster_id": "",
    "node": "alpha",
    "to": "beta",
    "incarnation": "",
}
ACK: dict[str, Any] = {"term": 1, "seq": 2, "next_index": 3, "success": False}
MOST = (1 << 62) - 1
DEEP = b"\x98" + msgspec.msgpack.encode(["hello", *HELLO.values()])[1:] + b"\x91" * 100_000
"""A hello, and behind it arrays in arrays where a newer version may say more."""


def sent(message: m.Message) -> m.Message:
    """Return *message* as it comes."""
    frame = m.encode(message)
    body = frame[m.LENGTH_BYTES :]
    assert int.from_bytes(frame[: m.LENGTH_BYTES]) == len(body)
    return m.decode(body)


@pytest.mark.parametrize("field", ["cluster", "node", "to"])
def test_a_name_has_1_to_63_characters(field: str) -> None:
    for good in ("x", "x" * 63):
        hello = m.Hello(**HELLO | {field: good})
        assert sent(hello) == hello
    for bad in ("", "x" * 64):
        with pytest.raises(m.MalformedFrame):
            sent(m.Hello(**HELLO | {field: bad}))


@pytest.mark.parametrize("field", ["cluster_id", "incarnation"])
def test_an_id_has_16_digits_at_most_and_may_be_unknown(field: str) -> None:
    for good in ("", "f" * 16):
        hello = m.Hello(**HELLO | {field: good})
        assert sent(hello) == hello
    with pytest.raises(m.MalformedFrame):
        sent(m.Hello(**HELLO | {field: "f" * 17}))


@pytest.mark.parametrize("field", ["term", "seq", "next_index"])
def test_a_number_is_neither_negative_nor_so_great_that_another_cannot_be_added(field: str) -> None:
    for good in (0, MOST):
        ack = m.Ack(**ACK | {field: good})
        assert sent(ack) == ack
    for bad in (-1, MOST + 1):
        with pytest.raises(m.MalformedFrame):
            sent(m.Ack(**ACK | {field: bad}))


def test_a_newer_version_may_add_to_hello_and_farewell_and_to_nothing_else() -> None:
    for message in (m.Hello(**HELLO), m.Farewell(reason="no")):
        tag = type(message).__name__.lower()
        assert m.decode(msgspec.msgpack.encode([tag, *msgspec.structs.astuple(message), "more"])) == message
    with pytest.raises(m.MalformedFrame):
        m.decode(msgspec.msgpack.encode(["read", 1, 2, "more"]))


def test_what_is_left_out_claims_nothing() -> None:
    assert sent(m.Ack(**ACK)) == m.Ack(**ACK, reset=False)
    asked = m.AskVote(term=1, last_index=2, last_term=3)
    assert sent(asked) == m.AskVote(term=1, last_index=2, last_term=3, transfer=False)
    status = m.Status(stage="new", cluster_id="", incarnation="", founding={})
    assert sent(status) == m.Status(stage="new", cluster_id="", incarnation="", founding={}, disk_full=False)
    append = m.Append(term=1, seq=2, prev_index=3, prev_term=4, commit=5)
    assert sent(append) == m.Append(term=1, seq=2, prev_index=3, prev_term=4, commit=5, entries=())


@pytest.mark.parametrize(
    "body", [b"\xc1", b"\x92\xa8farewell\xa2\xff\xff", DEEP], ids=["no msgpack", "no UTF-8", "too deep"]
)
def test_bytes_that_are_no_message_are_one_kind_of_error_whatever_is_wrong_with_them(body: bytes) -> None:
    with pytest.raises(m.MalformedFrame):
        m.decode(body)
