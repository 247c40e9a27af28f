"""Whose directory this is: a small file beside the journal, written before anything in it is promised.

It keeps a node from using another node's or another cluster's directory, and an empty directory from passing for a
full one. What the stages mean is ``founding``'s.
"""

from collections.abc import Iterable
from dataclasses import asdict
from zlib import crc32

import msgpack
import msgspec

from raftsman.raft.disk import UPGRADE_THE_NODE, Damaged, Disk, fatal_errors, typed_errors
from raftsman.raft.founding import MEMBER, NEW, STAGES, Identity
from raftsman.raft.structs import reader

NAME = "identity"
_TEMPORARY = "identity.writing"
_MAGIC = b"RMID\x01"
_CRC_BYTES = 4


class IdentityDamaged(Damaged):
    """The file does not hold what was written."""


class WrongDirectory(Exception):
    """The directory belongs to another node or cluster, or to one of other members; the text says to which."""


class _Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cluster: str
    node: str
    incarnation: str
    stage: str
    cluster_id: str
    founding: dict[str, str]


_read_stored = reader(_Stored)


def take_identity(disk: Disk, *, cluster: str, node: str, new_incarnation: str) -> Identity:
    """Return the identity of *disk*'s directory, a new one when it is empty.

    Raises WrongDirectory, IdentityDamaged, DiskFull, DiskFailed.
    """
    found = read_identity(disk)
    if found is not None:
        _require_ours(disk, found, cluster=cluster, node=node)
        return found
    fresh = Identity(cluster=cluster, node=node, incarnation=new_incarnation, stage=NEW, founding={})
    save_identity(disk, fresh)
    return fresh


def read_identity(disk: Disk) -> Identity | None:
    """Return whose *disk*'s directory is, None when it is empty. Raises IdentityDamaged, DiskFailed."""
    with fatal_errors("looking into the log's folder"):
        names = disk.names()
    if NAME in names:
        return _read(disk)
    if any(name.startswith(("journal-", "snapshot-")) for name in names):
        raise IdentityDamaged(disk.path(NAME), 0, "the file is missing, but there is a log beside it", _ADVICE)
    return None


def save_identity(disk: Disk, identity: Identity) -> None:
    """Make *identity* durable, in one step. Raises DiskFull, DiskFailed."""
    body = msgpack.packb({**asdict(identity), "founding": dict(identity.founding)})
    assert body is not None
    with typed_errors("writing the node's identity"):
        file = disk.create(_TEMPORARY)
    try:
        with typed_errors("writing the node's identity"):
            file.write_at(0, _MAGIC + crc32(body).to_bytes(_CRC_BYTES) + body)
        with fatal_errors("syncing the node's identity"):
            file.sync()
    finally:
        file.close()
    with typed_errors("naming the node's identity"):
        disk.rename(_TEMPORARY, NAME)
    with fatal_errors("naming the node's identity"):
        disk.sync_names()


def require_members(disk: Disk, identity: Identity, members: Iterable[str]) -> None:
    """Raise WrongDirectory when a member's directory was founded with others than *members*.

    A node that counts other majorities than the rest of its cluster would lead, and acknowledge, beside them.
    """
    listed = sorted(members)
    if identity.stage == MEMBER and listed != sorted(identity.founding):
        raise WrongDirectory(
            f"{disk.path('').rstrip('/')} is the log of a cluster of {', '.join(sorted(identity.founding))}, and "
            f"raft.members names {', '.join(listed)}: put the list back, for members cannot be added, removed or "
            "renamed, only their addresses changed"
        )


def require_journal(disk: Disk, identity: Identity, *, fresh: bool) -> None:
    """Raise IdentityDamaged when a member's journal is missing (*fresh*): it must not pass for one that is empty."""
    if identity.stage == MEMBER and fresh:
        raise IdentityDamaged(disk.path(NAME), 0, "it is a member's, and there is no journal beside it", _ADVICE)


_ADVICE = (
    "keep the data directory for a look, and start the node with an empty one under the same name; "
    "the other nodes hand it everything back"
)


def _read(disk: Disk) -> Identity:
    with fatal_errors(f"reading {disk.path(NAME)}"):
        file = disk.open(NAME)
        try:
            raw = file.read_at(0, file.size())
        finally:
            file.close()
    magic, body = raw[: len(_MAGIC)], raw[len(_MAGIC) + _CRC_BYTES :]
    if magic[:-1] != _MAGIC[:-1] or raw != magic + crc32(body).to_bytes(_CRC_BYTES) + body:
        raise IdentityDamaged(disk.path(NAME), 0, "the checksum does not match", _ADVICE)
    try:
        return _understood(magic, body)
    except (ValueError, msgspec.ValidationError) as error:  # It is what was written, so a newer program did.
        at = len(raw) - len(body)
        raise IdentityDamaged(disk.path(NAME), at, f"not understood: {error}", UPGRADE_THE_NODE) from error


def _understood(magic: bytes, body: bytes) -> Identity:
    if magic != _MAGIC:
        raise ValueError(f"format {magic[-1]}, this program knows {_MAGIC[-1]}")
    stored = _read_stored(msgpack.unpackb(body))
    if stored.stage not in STAGES:
        raise ValueError(f"a stage {stored.stage!r}")
    return Identity(**msgspec.structs.asdict(stored))


def _require_ours(disk: Disk, found: Identity, *, cluster: str, node: str) -> None:
    folder = disk.path("").rstrip("/")
    if found.cluster != cluster:
        raise WrongDirectory(
            f"{folder} is the log of a node of cluster {found.cluster!r}; this node's settings say {cluster!r}"
        )
    if found.node != node:
        raise WrongDirectory(f"{folder} is the log of node {found.node!r}; this node is {node!r}")
