"""Snapshots: there whole or not at all, on every disk and through every death; a damaged one is never believed."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

import pytest

from raftsman.raft.chunks import pack_chunks
from raftsman.raft.disk import DiskFailed, DiskFull
from raftsman.raft.snapshots import (
    TRANSFER_BYTES,
    BadTransfer,
    SnapshotDamaged,
    SnapshotHead,
    SnapshotId,
    SnapshotStore,
    read_snapshot,
    snapshot_ids,
)
from tests.harness.simulated_disk import Crash, Operation, SimulatedDisk
from tests.unit.journals import at_once, dying_after, entry, failing, new_disk

CHUNKS = [b"one", b"", b"three" * 1000]


def head(index: int, term: int = 2) -> SnapshotHead:
    return SnapshotHead(entry(index - 1, term), entry(index, term))


def store_on(disk: SimulatedDisk) -> SnapshotStore:
    return SnapshotStore(disk, background=at_once)


def read(disk: SimulatedDisk) -> tuple[SnapshotHead, list[bytes]] | None:
    loaded = store_on(disk).load()
    return (loaded.head, [*loaded.chunks]) if loaded else None


def test_a_snapshot_that_was_written_is_there_after_a_power_cut() -> None:
    disk = new_disk()
    store = store_on(disk)
    assert store.write(head(9), CHUNKS) == SnapshotId(9, 2) == store.newest
    assert disk.open_files == 0
    disk.lose_power()
    assert read(disk) == (head(9), CHUNKS)
    assert disk.open_files == 0


def test_a_folder_without_a_snapshot_has_none() -> None:
    store = store_on(new_disk())
    assert store.newest is None
    assert store.load() is None
    assert store.sender() is None


def test_the_newest_takes_the_place_of_the_others() -> None:
    disk = new_disk()
    store = store_on(disk)
    store.write(head(9), CHUNKS)
    store.write(head(20), [b"newer"])
    store.write(head(15), [b"late"])
    assert disk.names() == ["snapshot-0000000000000020-0000000000000002"]
    assert read(disk) == (head(20), [b"newer"])


def test_a_large_snapshot_is_flushed_piece_by_piece() -> None:
    disk = new_disk()
    kinds: list[str] = []
    disk.before = lambda operation: kinds.append(operation.kind)
    store_on(disk).write(head(9), (bytes(1 << 20) for _ in range(20)))
    assert kinds.count("sync") == 3
    assert kinds[-2:] == ["rename", "sync-names"]


def test_it_is_written_in_the_background_and_says_when_it_is_done() -> None:
    disk = new_disk()
    waiting: list[Callable[[], None]] = []
    store = SnapshotStore(disk, background=waiting.append)
    writing = store.start(head(9), CHUNKS)
    assert not writing.done
    with pytest.raises(AssertionError, match="one snapshot at a time"):
        store.start(head(10), CHUNKS)
    waiting.pop()()
    assert (writing.done, writing.error) == (True, None)
    assert store.newest == SnapshotId(9, 2)


def test_a_full_disk_leaves_the_older_snapshot_and_no_rest() -> None:
    disk = new_disk()
    store = store_on(disk)
    store.write(head(9), CHUNKS)
    disk.capacity_bytes = disk.used_bytes + 3000
    writing = store.start(head(20), CHUNKS)
    assert writing.done
    assert isinstance(writing.error, DiskFull)
    assert (store.newest, len(disk.names()), disk.open_files) == (SnapshotId(9, 2), 1, 0)
    disk.capacity_bytes = None
    assert store.start(head(20), CHUNKS).error is None


def test_a_snapshot_counts_though_a_full_disk_cannot_even_remove_the_one_before() -> None:
    disk = new_disk()
    store = store_on(disk)
    store.write(head(9), CHUNKS)
    disk.before = failing("unlink", errno.ENOSPC)
    assert store.start(head(20), CHUNKS).error is None
    with pytest.raises(BadTransfer):
        store.receive(b"no snapshot", first=True, last=True)
    disk.before = lambda _operation: None
    assert (store.newest, len(disk.names())) == (SnapshotId(20, 2), 3)
    store.write(head(30), CHUNKS)
    assert [*snapshot_ids(disk)] == [SnapshotId(30, 2)]


@pytest.mark.parametrize("kind", ["write", "sync", "rename", "sync-names"])
def test_a_failing_disk_is_told_apart_from_a_full_one(kind: str) -> None:
    disk = new_disk()
    store = store_on(disk)
    disk.before = failing(kind, errno.EIO)
    writing = store.start(head(9), CHUNKS)
    assert isinstance(writing.error, DiskFailed)


def test_a_bug_in_what_makes_the_chunks_is_not_swallowed() -> None:
    def broken() -> Iterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    disk = new_disk()
    with pytest.raises(ZeroDivisionError):
        store_on(disk).start(head(9), broken())
    assert disk.names() == []


@pytest.mark.parametrize("power", [False, True])
def test_a_death_at_any_operation_leaves_the_old_one_or_the_new_one(*, power: bool) -> None:
    seen = set()
    for steps in range(16):
        for seed in range(5):
            disk = new_disk(seed)
            store_on(disk).write(head(9), CHUNKS)
            disk.before = dying_after(steps)
            with suppress(Crash):
                store_on(disk).write(head(20), CHUNKS)
            disk.before = lambda _operation: None
            if power:
                disk.lose_power()
            else:
                disk.kill()
            found = read(disk)
            assert found in [(head(9), CHUNKS), (head(20), CHUNKS)]
            assert {each.split("-")[0] for each in disk.names()} == {"snapshot"}
            assert found is not None
            seen.add(found[0].id.index)
    assert seen == {9, 20}


# --- transfer ---------------------------------------------------------------------------------


def transferred(source: SnapshotStore, target: SnapshotStore) -> SnapshotId | None:
    sender = source.sender()
    assert sender is not None
    while True:
        part, first, last = sender.next_part()
        received = target.receive(part, first=first, last=last)
        if last:
            sender.close()
            return received


def test_a_transfer_gives_the_same_snapshot() -> None:
    here, there = new_disk(), new_disk()
    store_on(here).write(head(9), [os.urandom(TRANSFER_BYTES), *CHUNKS])
    target = store_on(there)
    assert transferred(store_on(here), target) == SnapshotId(9, 2) == target.newest
    there.lose_power()
    assert read(there) == read(here)
    assert (here.open_files, there.open_files) == (0, 0)


def test_a_transfer_goes_on_with_its_snapshot_when_a_newer_one_replaces_it() -> None:
    here, there = new_disk(), new_disk()
    store, target = store_on(here), store_on(there)
    store.write(head(9), [bytes(TRANSFER_BYTES * 2)])
    sender = store.sender()
    assert sender is not None
    target.receive(sender.next_part()[0], first=True, last=False)
    store.write(head(20), CHUNKS)
    while (part := sender.next_part())[0]:
        target.receive(part[0], first=False, last=False)
    assert target.receive(b"", first=False, last=True) == SnapshotId(9, 2)


def test_a_damaged_or_interrupted_transfer_is_thrown_away() -> None:
    there = new_disk()
    target = store_on(there)
    whole = b"".join(pack_chunks([b"nothing"]))
    for raw in (whole, whole[:-1], b"", b"junk" * 100):
        with pytest.raises(BadTransfer):
            target.receive(raw, first=True, last=True)
        with pytest.raises(BadTransfer, match="beginning did not come"):
            target.receive(b"", first=False, last=True)
    assert (there.names(), there.open_files) == ([], 0)


def test_an_older_snapshot_does_not_replace_a_newer_one() -> None:
    here, there = new_disk(), new_disk()
    store_on(here).write(head(9), CHUNKS)
    target = store_on(there)
    target.write(head(20), CHUNKS)
    with pytest.raises(BadTransfer, match="older than"):
        transferred(store_on(here), target)
    assert read(there) == (head(20), CHUNKS)


def test_a_transfer_that_begins_again_forgets_what_came_before() -> None:
    here, there = new_disk(), new_disk()
    store_on(here).write(head(9), CHUNKS)
    target = store_on(there)
    target.receive(b"half of another", first=True, last=False)
    transferred(store_on(here), target)
    assert read(there) == (head(9), CHUNKS)
    target.receive(b"half", first=True, last=False)
    target.close()
    assert there.open_files == 0


def test_a_full_disk_ends_a_transfer_and_leaves_nothing() -> None:
    there = new_disk()
    there.capacity_bytes = 10
    target = store_on(there)
    with pytest.raises(DiskFull):
        target.receive(bytes(100), first=True, last=False)
    assert (there.names(), there.open_files) == ([], 0)


# --- rot --------------------------------------------------------------------------------------


def test_every_flipped_byte_of_a_snapshot_is_found() -> None:
    random = Random(3)
    disk = new_disk()
    store_on(disk).write(head(9), [random.randbytes(300), *CHUNKS])
    name = disk.names()[0]
    offsets = {*range(200), *range(len(disk.content(name)) - 60, len(disk.content(name)))}
    for offset in (*offsets, *random.choices(range(len(disk.content(name))), k=300)):
        bits = 1 << random.randrange(8)
        disk.flip(name, offset, bits)
        with pytest.raises(SnapshotDamaged) as caught:
            read(disk)
        assert caught.value.file == f"disk/{name}"
        assert caught.value.offset <= offset
        assert "start the node with an empty one under the same name" in caught.value.advice
        disk.flip(name, offset, bits)
    assert read(disk) is not None


def test_a_snapshot_that_ends_early_or_late_is_damaged() -> None:
    content = b"".join(pack_chunks([b"x" * 40, b"y" * 40]))
    for raw in (content[:0], content[:20], content[:60], content[:-1], content + b"\0", content + content):
        disk = new_disk()
        disk.create(SnapshotId(9, 2).name).write_at(0, raw)
        with pytest.raises(SnapshotDamaged):
            list(read_snapshot(disk, SnapshotId(9, 2)).chunks)


def test_a_snapshot_under_another_name_is_refused() -> None:
    disk = new_disk()
    store_on(disk).write(head(9), CHUNKS)
    disk.rename(SnapshotId(9, 2).name, SnapshotId(10, 2).name)
    with pytest.raises(SnapshotDamaged, match="the file was renamed"):
        read(disk)


def test_reading_a_failing_disk_is_no_damage() -> None:
    disk = new_disk()
    store_on(disk).write(head(9), CHUNKS)
    loaded = store_on(disk).load()
    assert loaded is not None
    disk.before = failing("read", errno.EIO)
    with pytest.raises(DiskFailed):
        list(loaded.chunks)


def test_operations_are_seen_by_name() -> None:
    seen: list[Operation] = []
    disk = SimulatedDisk(Random(1), before=seen.append)
    store_on(disk).write(head(9), CHUNKS)
    assert seen[0] == Operation("create", "snapshot.writing")
