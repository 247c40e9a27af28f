"""Entries and rows as bytes: what is written can be read, and nothing else can."""

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftsman.raft import limits
from raftsman.raft.codec import (
    VERSION,
    MalformedEntry,
    UnknownFormat,
    decode,
    encode,
    pack_row,
    pack_spec,
    require_known,
    unpack_spec,
)
from raftsman.raft.commands import KINDS, Barrier, Cancel, Command, Entry, Refused, Submit
from raftsman.raft.records import Instant, Row, Task, TaskId, TaskSpec
from raftsman.raft.table import TaskTable
from tests.harness.arbitrary import commands, entries, rows_of

CANCEL = Entry(command_id="c1", command=Cancel(task_id=TaskId("t1")), at=Instant(5), principal="ann")
SPEC = TaskSpec(type="k8s_job", labels=(("run", "7"),))

few = settings(max_examples=40, deadline=None)
many = settings(max_examples=200, deadline=None)

json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3) | st.binary(max_size=3), inner),
    max_leaves=12,
)


def packed(value: Any) -> bytes:
    raw = msgpack.packb(value, use_bin_type=True)
    assert raw is not None
    return bytes([VERSION]) + raw


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_entry_of_every_kind_reads_as_it_was_written(kind: type[Command]) -> None:
    @few
    @given(entries(rows_of(kind)))
    def holds(entry: Entry) -> None:
        assert decode(encode(entry)) == entry

    holds()


@few
@given(rows_of(TaskSpec))
def test_a_specification_reads_as_it_was_written(spec: TaskSpec) -> None:
    assert unpack_spec(pack_spec(spec)) == spec


@few
@given(rows_of(Task))
def test_equal_rows_are_equal_bytes(row: Row) -> None:
    twin = msgpack.unpackb(pack_row(row), raw=False)
    assert pack_row(row) == msgpack.packb(twin, use_bin_type=True)


def test_an_entry_is_a_version_byte_and_five_fields_and_names_no_class() -> None:
    raw = encode(CANCEL)
    assert raw[0] == VERSION
    assert msgpack.unpackb(raw[1:], raw=False) == ["c1", "cancel", {"task_id": "t1"}, 5, "ann"]


def reads(raw: bytes) -> bool:
    """Return whether *raw* is an entry; anything but MalformedEntry escapes."""
    try:
        return encode(decode(raw)) != b""
    except MalformedEntry:
        return False


@many
@given(st.binary(max_size=64))
def test_bytes_by_chance_are_an_entry_or_malformed(raw: bytes) -> None:
    reads(raw)
    reads(bytes([VERSION]) + raw)


@many
@given(json_like)
def test_msgpack_by_chance_is_an_entry_or_malformed(value: object) -> None:
    reads(packed(value))
    reads(packed(["c", "submit", value, 1, ""]))
    reads(packed(["c", "member-joined", {"member": value}, 1, ""]))
    reads(packed(["c", "report", {"task_id": "t", "attempt": 1, "node": "a", "signal": "start", "job": value}, 1, ""]))


@many
@given(entries(commands()), st.data())
def test_a_damaged_entry_is_an_entry_or_malformed(entry: Entry, data: st.DataObject) -> None:
    raw = bytearray(encode(entry))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    reads(bytes(raw))
    assert not reads(encode(entry)[: data.draw(st.integers(0, len(encode(entry)) - 1))])


@pytest.mark.parametrize("value", [[], {}, ["c", "barrier", {}, 1], ["c", 7, {}, 1, ""], ["c", "barrier", {}, "1", ""],
                                   [None, "barrier", {}, 1, ""], ["c", "barrier", {}, 1, b""],
                                   ["c", "barrier", {}, True, ""], ["c", "cancel", {}, 1, ""],
                                   ["c", "cancel", {"task_id": 7}, 1, ""]])  # fmt: skip
def test_what_is_no_entry_is_malformed(value: object) -> None:
    with pytest.raises(MalformedEntry):
        decode(packed(value))


@pytest.mark.parametrize("raw", [b"", b"\x00", bytes([VERSION + 1]) + encode(CANCEL)[1:], b"\xff"])
def test_another_version_is_an_unknown_format(raw: bytes) -> None:
    with pytest.raises(UnknownFormat):
        decode(raw)
    with pytest.raises(UnknownFormat):
        unpack_spec(raw)


def test_another_kind_is_an_unknown_format_that_names_it() -> None:
    with pytest.raises(UnknownFormat, match="'cancel-all'"):
        decode(packed(["c", "cancel-all", {}, 1, ""]))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_field_that_is_not_known_is_an_unknown_format_that_names_it(kind: type[Command]) -> None:
    @few
    @given(entries(rows_of(kind)), st.data())
    def holds(entry: Entry, data: st.DataObject) -> None:
        fields = msgpack.unpackb(encode(entry)[1:], raw=False)
        data.draw(st.sampled_from([*maps_in(fields[2])]))["newer"] = data.draw(st.sampled_from([None, 7, "x", {}]))
        with pytest.raises(UnknownFormat, match="`newer`"):
            decode(packed(fields))

    holds()


def maps_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every map in *value*, itself included."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from maps_in(each)


def test_a_word_that_a_closed_list_does_not_have_is_an_unknown_format() -> None:
    report = {"task_id": "t", "attempt": 1, "node": "a", "signal": "start"}
    for newer in ({"signal": "hibernate"}, {"cause": "SolarFlare"}):
        with pytest.raises(UnknownFormat, match=r"'(hibernate|SolarFlare)'"):
            decode(packed(["c", "report", report | newer, 1, ""]))
    with pytest.raises(UnknownFormat, match="'whim'"):
        decode(packed(["c", "expire", {"task_id": "t", "attempt": 1, "kind": "whim"}, 1, ""]))


def submission(spec: bytes) -> Entry:
    return Entry(command_id="c", command=Submit(task_id=TaskId("t"), spec=spec), at=Instant(1))


@pytest.mark.parametrize("newer", [{"newer": 1}, {"k8s_job": {"context": "c", "image": "i", "newer": 1}}])
def test_a_specification_with_a_field_that_is_not_known_is_not_for_this_program(newer: dict[str, Any]) -> None:
    spec = packed({"type": "k8s_job"} | newer)
    with pytest.raises(UnknownFormat, match="`newer`"):
        require_known(submission(spec))
    with pytest.raises(UnknownFormat, match="`newer`"):
        unpack_spec(spec)


@pytest.mark.parametrize("spec", [b"", b"\x00x", packed(7), packed({"type": 7}), bytes([VERSION]) + b"\xc1"])
def test_a_specification_that_is_none_is_left_to_the_rule_which_refuses_it(spec: bytes) -> None:
    require_known(submission(spec))
    (verdict, _) = TaskTable().apply(submission(spec), 1)
    assert isinstance(verdict, Refused)
    assert verdict.code == "invalid-spec"


def test_an_entry_has_a_largest_size() -> None:
    entry = Entry(command_id="c", command=Submit(task_id=TaskId("t"), spec=b"x" * limits.COMMAND_BYTES), at=Instant(1))
    with pytest.raises(MalformedEntry, match="limit"):
        encode(entry)
    with pytest.raises(MalformedEntry, match="limit"):
        decode(bytes([VERSION]) + b"x" * (limits.COMMAND_BYTES + 1))


@pytest.mark.parametrize("text", ["\ud800", "t\udc00"])
def test_half_a_surrogate_pair_cannot_enter_the_log(text: str) -> None:
    with pytest.raises(MalformedEntry, match="surrogate"):
        encode(Entry(command_id="c", command=Cancel(task_id=TaskId(text)), at=Instant(1)))


def test_a_number_wider_than_64_bits_cannot_enter_the_log() -> None:
    with pytest.raises(MalformedEntry, match="Integer"):
        encode(Entry(command_id="c", command=Barrier(), at=Instant(2**64)))
