"""The identity's file: written in one step, given back, and refused when it holds what nobody wrote."""

import errno
from random import Random
from zlib import crc32

import msgpack
import pytest

from raftsman.raft.disk import DiskFailed, DiskFull
from raftsman.raft.founding import MEMBER, NEW, Identity
from raftsman.raft.identity import IdentityDamaged, read_identity, require_journal, save_identity, take_identity
from tests.harness.simulated_disk import SimulatedDisk
from tests.unit.journals import failing, recorded

MINE = Identity(
    cluster="test", node="alpha", incarnation="a1", stage=MEMBER, cluster_id="1" * 16, founding={"alpha": "a1"}
)
FRESH = Identity(cluster="test", node="alpha", incarnation="a1", stage=NEW, founding={})
FIELDS = {"cluster": "test", "node": "alpha", "incarnation": "a1", "stage": "new", "cluster_id": "", "founding": {}}


def stored(value: object) -> SimulatedDisk:
    """Return a disk with *value* in the place of an identity, and a checksum that fits."""
    disk, body = SimulatedDisk(Random(1)), msgpack.packb(value) or b""
    disk.create("identity").write_at(0, b"RMID\x01" + crc32(body).to_bytes(4) + body)
    disk.kill()
    return disk


def test_it_is_written_aside_synced_named_and_the_name_synced() -> None:
    disk = SimulatedDisk(Random(1))
    seen = recorded(disk)
    save_identity(disk, MINE)
    assert [(each.kind, each.name) for each in seen] == [
        ("create", "identity.writing"),
        ("write", "identity.writing"),
        ("sync", "identity.writing"),
        ("rename", "identity"),
        ("sync-names", ""),
    ]
    assert (read_identity(disk), disk.open_files) == (MINE, 0)


@pytest.mark.parametrize(
    ("kind", "number", "error"),
    [
        ("create", errno.ENOSPC, DiskFull),
        ("write", errno.ENOSPC, DiskFull),
        ("sync", errno.ENOSPC, DiskFailed),
        ("rename", errno.EIO, DiskFailed),
        ("sync-names", errno.EIO, DiskFailed),
    ],
)
def test_what_fails_leaves_no_file_open_and_the_old_one_in_its_place(
    kind: str, number: int, error: type[Exception]
) -> None:
    disk = SimulatedDisk(Random(1))
    save_identity(disk, FRESH)
    disk.before = failing(kind, number)
    with pytest.raises(error):
        save_identity(disk, MINE)
    disk.before = lambda _operation: None
    assert disk.open_files == 0
    assert read_identity(disk) == (MINE if kind == "sync-names" else FRESH)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"?", "not understood"),
        ([1, 2], "not understood"),
        ({**FIELDS, "extra": 1}, "not understood"),
        ({**FIELDS, "node": 7}, "not understood"),
        ({**FIELDS, "stage": "observer"}, "not understood: a stage 'observer'"),
    ],
)
def test_what_nobody_wrote_is_refused_though_its_checksum_fits(value: object, words: str) -> None:
    disk = stored(value)
    with pytest.raises(IdentityDamaged, match=words):
        take_identity(disk, cluster="test", node="alpha", new_incarnation="never")
    assert disk.open_files == 0
    assert read_identity(stored(FIELDS)) == FRESH


@pytest.mark.parametrize("beside", ["journal-0000000000000001", "snapshot-0000000000000009-0000000000000001"])
def test_a_log_of_either_kind_without_an_identity_is_refused_and_other_files_are_none(beside: str) -> None:
    disk = SimulatedDisk(Random(1))
    for name in ("lock", "journal.spare", "identity.writing"):
        disk.create(name)
    assert read_identity(disk) is None
    disk.create(beside)
    with pytest.raises(IdentityDamaged, match="there is a log beside it"):
        read_identity(disk)


def test_only_a_members_journal_may_not_be_missing() -> None:
    disk = SimulatedDisk(Random(1))
    require_journal(disk, FRESH, fresh=True)
    require_journal(disk, MINE, fresh=False)
    with pytest.raises(IdentityDamaged, match="no journal beside it"):
        require_journal(disk, MINE, fresh=True)
