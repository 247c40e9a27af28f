"""Commands and rows as bytes: one version byte, then msgpack.

An entry is ``[id, kind, payload, at, principal]``, its payload a map of the fields that are not at their
defaults. No class name and no code is ever read from bytes: ``commands.KINDS`` lists what exists. A kind, a
version, a field or a word of a closed list that this program does not know raises ``UnknownFormat``: skipping it
would make tables differ.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgpack
import msgspec

from raftsman.raft import limits
from raftsman.raft.commands import KINDS, Command, Entry, Submit
from raftsman.raft.records import Instant, Row, TaskSpec
from raftsman.raft.structs import reader

VERSION = 1
_NEWER = ("Object contains unknown field ", "Invalid enum value ")
"""How msgspec's complaints begin about what a later version may have added to a type."""
R = TypeVar("R")
NAMES: dict[type[Command], str] = {kind: name for name, kind in KINDS.items()}
_READERS: dict[str, Callable[[object], Command]] = {name: reader(kind) for name, kind in KINDS.items()}
_read_spec = reader(TaskSpec)


class MalformedEntry(ValueError):
    """Bytes that are no entry."""


class UnknownFormat(MalformedEntry):
    """An entry of a newer program: its version, its kind or a field of it is not known here."""


def _pack(value: object) -> bytes:
    try:
        packed = msgpack.packb(value, use_bin_type=True)
    except (UnicodeEncodeError, OverflowError) as error:  # Half a surrogate pair; a number wider than 64 bits.
        raise MalformedEntry(f"cannot be packed: {error}") from error
    assert packed is not None
    return packed


def _unpack(raw: bytes, limit: int) -> Any:
    if len(raw) > limit:
        raise MalformedEntry(f"{len(raw)} bytes are more than the limit of {limit}")
    try:
        return msgpack.unpackb(raw, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedEntry(f"not msgpack: {error}") from error


def pack_row(row: Row) -> bytes:
    """Return the one byte form of a row: equal rows, equal bytes."""
    return _pack(msgspec.to_builtins(row, builtin_types=(bytes,)))


def pack_spec(spec: TaskSpec) -> bytes:
    """Return the stored form of a specification: equal specs, equal bytes."""
    return bytes([VERSION]) + pack_row(spec)


def unpack_spec(raw: bytes) -> TaskSpec:
    """Return the specification that ``pack_spec`` packed. Raises MalformedEntry."""
    if raw[:1] != bytes([VERSION]):
        raise UnknownFormat(f"a specification of format {raw[:1].hex() or 'nothing'}, this program knows {VERSION}")
    return _read(_read_spec, _unpack(raw[1:], limits.SPEC_BYTES), "TaskSpec")


def encode(entry: Entry) -> bytes:
    """Return the entry as it stands in the log.

    Raises MalformedEntry when it is over ``limits.COMMAND_BYTES`` or holds a value that msgpack cannot.
    """
    command = entry.command
    payload = msgspec.to_builtins(command, builtin_types=(bytes,))
    raw = bytes([VERSION]) + _pack([entry.command_id, NAMES[type(command)], payload, entry.at, entry.principal])
    if len(raw) > limits.COMMAND_BYTES:
        raise MalformedEntry(f"a command of {len(raw)} bytes; the limit is {limits.COMMAND_BYTES}")
    return raw


def decode(raw: bytes) -> Entry:
    """Return the entry that ``encode`` wrote. Raises MalformedEntry, or UnknownFormat when a newer program wrote it."""
    if raw[:1] != bytes([VERSION]):
        raise UnknownFormat(f"an entry of format {raw[:1].hex() or 'nothing'}, this program knows {VERSION}")
    fields = _unpack(raw[1:], limits.COMMAND_BYTES)
    if not isinstance(fields, list) or len(fields) != 5 or not isinstance(fields[1], str):
        raise MalformedEntry("an entry is [id, kind, payload, at, principal]")
    command_id, kind, payload, at, principal = fields
    if kind not in KINDS:
        raise UnknownFormat(f"a command of kind {kind!r}, which this program does not know")
    if not (isinstance(command_id, str) and type(at) is int and isinstance(principal, str)):
        raise MalformedEntry("an entry's id and principal are texts and its instant is a whole number")
    command = _read(_READERS[kind], payload, KINDS[kind].__name__)
    return Entry(command_id=command_id, command=command, at=Instant(at), principal=principal)


def require_known(entry: Entry) -> None:
    """Raise UnknownFormat when the entry's specification is in a format that only a newer program knows.

    The rule would refuse it as invalid where newer nodes accept it, and the tables would differ from then on.
    """
    command = entry.command
    if not isinstance(command, Submit) or command.spec[:1] < bytes([VERSION]):
        return
    try:
        unpack_spec(command.spec)
    except UnknownFormat:
        raise
    except MalformedEntry:  # To every program, and every one refuses it.
        return


def _read(read: Callable[[object], R], value: object, what: str) -> R:
    try:
        return read(value)
    except msgspec.ValidationError as error:
        raise unreadable(what, error) from error


def unreadable(what: str, error: msgspec.MsgspecError) -> MalformedEntry:
    """Return what is to be raised where *error* kept a *what* from being read."""
    if str(error).startswith(_NEWER):
        return UnknownFormat(f"a {what} of a newer program: {error}")
    return MalformedEntry(f"not a {what}: {error}")
