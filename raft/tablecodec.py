"""The whole table as bytes, in chunks that are quickly made: the log's thread waits for the one being packed.

A chunk is msgpack: ``[section, rows]``, each row packed as everywhere (``codec``); the first is ``["table", format,
index, cluster UUID, state hash]``. Rows keep their order, for that of the ended tasks is part of the table. Checksums
and files are ``chunks`` and ``snapshots``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgpack
import msgspec

from raftsman.raft.codec import MalformedEntry, UnknownFormat, pack_row, unreadable
from raftsman.raft.commands import CommandResult
from raftsman.raft.records import KeyUse, Member, Row, Task
from raftsman.raft.rows import Rows
from raftsman.raft.table import TaskTable, digest_of

FORMAT = 1
ROWS_PER_CHUNK = 128
"""Packed in less than a millisecond; then the writing of the chunk lets other threads run."""

_HEAD = "table"


@dataclass(frozen=True, slots=True)
class _Section:
    """One dictionary of the table: what its rows are, and the key of each."""

    kind: type[Row]
    rows: Callable[[Rows], dict[Any, Any]]
    key: Callable[[Any], Any]
    decode: Callable[[bytes], Any]


_SECTIONS = {
    "members": _Section(
        Member, lambda rows: rows.members, lambda row: row.node, msgspec.msgpack.Decoder(Member).decode
    ),
    "ended": _Section(Task, lambda rows: rows.ended, lambda row: row.task_id, msgspec.msgpack.Decoder(Task).decode),
    "keys": _Section(KeyUse, lambda rows: rows.keys, lambda row: row.key, msgspec.msgpack.Decoder(KeyUse).decode),
    "results": _Section(
        CommandResult,
        lambda rows: rows.results,
        lambda row: row.command_id,
        msgspec.msgpack.Decoder(CommandResult).decode,
    ),
    "live": _Section(Task, lambda rows: rows.live, lambda row: row.task_id, msgspec.msgpack.Decoder(Task).decode),
}


def pack_table(table: TaskTable) -> Iterator[bytes]:
    """Yield the chunks of *table*, which must not change meanwhile: give it a copy."""
    yield _pack([_HEAD, FORMAT, table.index, table.cluster_uuid, table.state_hash])
    for name, section in _SECTIONS.items():
        rows = iter(section.rows(table).values())
        while part := [pack_row(row) for row in islice(rows, ROWS_PER_CHUNK)]:
            yield _pack([name, part])


def unpack_table(chunks: Iterable[bytes]) -> TaskTable:
    """Return the table that ``pack_table`` packed. Raises MalformedEntry, or UnknownFormat when a newer program did."""
    remaining = iter(chunks)
    index, cluster_uuid, state_hash = _head(next(remaining, b""))
    rows, digests = Rows(), 0
    for chunk in remaining:
        section, packed = _section(chunk)
        into = section.rows(rows)
        for raw in packed:
            digests += digest_of(section.kind, raw)
            row = _decoded(section, raw)
            into[section.key(row)] = row
    rows.index, rows.cluster_uuid = index, cluster_uuid
    table = TaskTable.restored(rows, digests)
    if table.state_hash != state_hash:
        raise MalformedEntry(
            f"the rows have the hash {table.state_hash}, the table they were taken from had {state_hash}"
        )
    return table


def _pack(value: object) -> bytes:
    packed = msgpack.packb(value, use_bin_type=True)
    assert packed is not None
    return packed


def _unpack(chunk: bytes) -> list[Any]:
    try:
        value = msgpack.unpackb(chunk, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedEntry(f"a chunk that is not msgpack: {error}") from error
    if not isinstance(value, list) or not value:
        raise MalformedEntry("a chunk that is no list")
    return value


def _head(chunk: bytes) -> tuple[int, str, str]:
    match _unpack(chunk):
        case ["table", 1, int(index), str(cluster_uuid), str(state_hash)]:
            return index, cluster_uuid, state_hash
        case ["table", int(other), *_] if other != FORMAT:
            raise UnknownFormat(f"a table of format {other}, this program knows {FORMAT}")
        case _:
            raise MalformedEntry("the chunks do not begin with a table")


def _section(chunk: bytes) -> tuple[_Section, list[bytes]]:
    match _unpack(chunk):
        case [str(name), list(packed)] if name in _SECTIONS:
            return _SECTIONS[name], packed
        case [name, *_]:
            raise UnknownFormat(f"a table with rows of kind {name!r}, which this program does not know")
        case _:
            raise MalformedEntry("a chunk without a name")


def _decoded(section: _Section, raw: bytes) -> Any:
    try:
        return section.decode(raw)
    except msgspec.MsgspecError as error:
        raise unreadable(section.kind.__name__, error) from error
