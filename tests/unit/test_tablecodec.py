"""The table as chunks: what was packed is unpacked alike, and nothing else passes for a table."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftsman.raft.codec import MalformedEntry, UnknownFormat
from raftsman.raft.commands import Cancel, Command, Entry, FoundCluster
from raftsman.raft.records import Instant, TaskId
from raftsman.raft.table import TaskTable
from raftsman.raft.tablecodec import ROWS_PER_CHUNK, pack_table, unpack_table
from tests.harness.arbitrary import commands, entries
from tests.harness.tables import joined, submit, table_of


def many_tasks(count: int) -> TaskTable:
    ids = [f"t{n}" for n in range(count)]
    table = table_of(FoundCluster(uuid="u"), joined("alpha"), *(submit(each) for each in ids))
    for each in reversed(ids[::3]):
        table.apply(Entry(command_id="", command=Cancel(task_id=TaskId(each)), at=Instant(9)), table.index + 1)
    return table


def assert_alike(found: TaskTable, table: TaskTable) -> None:
    for one, other in ((found.members, table.members), (found.live, table.live), (found.ended, table.ended)):
        assert [*one.items()] == [*other.items()]  # In order.
    assert [*found.results.items()] == [*table.results.items()]
    assert [*found.keys.items()] == [*table.keys.items()]
    assert (found.index, found.cluster_uuid, found.state_hash) == (table.index, table.cluster_uuid, table.state_hash)


@settings(max_examples=100, deadline=None)
@given(st.lists(entries(commands(), ("", "a", "b", "c", "d")), max_size=30))
def test_a_table_comes_back_as_it_was(history: list[Entry]) -> None:
    table = TaskTable()
    for index, entry in enumerate(history, 1):
        table.apply(entry, index)
    assert_alike(unpack_table(pack_table(table)), table)


def test_a_restored_table_goes_on_as_the_first_one_does() -> None:
    table = many_tasks(10)
    twin = unpack_table(pack_table(table))
    commands: list[Command] = [submit("new"), Cancel(task_id=TaskId("t1"))]
    for command in commands:
        entry = Entry(command_id="", command=command, at=Instant(7))
        assert twin.apply(entry, 99) == table.apply(entry, 99)
    assert_alike(twin, table)


def test_a_large_table_is_packed_in_chunks_and_keeps_its_order() -> None:
    table = many_tasks(ROWS_PER_CHUNK * 3 + 1)
    chunks = [*pack_table(table)]
    assert len(chunks) == 1 + 1 + 2 + 2
    assert_alike(unpack_table(chunks), table)


def test_equal_tables_have_equal_bytes() -> None:
    assert [*pack_table(many_tasks(9))] == [*pack_table(many_tasks(9))]


def test_a_table_that_misses_a_chunk_is_refused() -> None:
    chunks = [*pack_table(many_tasks(5))]
    for missing in range(1, len(chunks)):
        with pytest.raises(MalformedEntry, match="the rows have the hash"):
            unpack_table(chunks[:missing] + chunks[missing + 1 :])


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([], "not msgpack"),
        ([b"\xc1"], "not msgpack"),
        ([["rows", []]], "do not begin with a table"),
        ([["table", 1, "1", "u", "h"]], "do not begin with a table"),
        ([7], "no list"),
        ([["table", 1, 1, "u", "0" * 32], ["members", [b"\xc0"]]], "not a Member"),
        ([["table", 1, 1, "u", "0" * 32], [7]], "of kind 7"),
    ],
)
def test_what_is_no_table_is_refused(chunks: list[object], message: str) -> None:
    packed = [each if isinstance(each, bytes) else msgpack.packb(each) or b"" for each in chunks]
    with pytest.raises(MalformedEntry, match=message):
        unpack_table(packed)


@pytest.mark.parametrize("chunk", [["table", 2, {}], ["table", 1, 1, "u", "0" * 32]])
def test_what_a_newer_program_packed_is_told_apart(chunk: list[object]) -> None:
    packed = [msgpack.packb(each) or b"" for each in (chunk, ["hats", []])]
    with pytest.raises(UnknownFormat):
        unpack_table(packed)


def test_a_row_with_a_field_that_is_not_known_is_a_newer_programs() -> None:
    head, *chunks = pack_table(many_tasks(3))
    for place, chunk in enumerate(chunks):
        section, packed = msgpack.unpackb(chunk, raw=False)
        row = msgpack.packb(msgpack.unpackb(packed[0], raw=False) | {"newer": 1})
        told = msgpack.packb([section, [row, *packed[1:]]]) or b""
        with pytest.raises(UnknownFormat, match="`newer`"):
            unpack_table([head, *chunks[:place], told, *chunks[place + 1 :]])
