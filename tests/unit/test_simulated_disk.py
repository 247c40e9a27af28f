"""The simulated disk forgets what a real one may forget, and nothing else: what rests on it rests on this."""

import errno
from random import Random

import pytest

from tests.harness.simulated_disk import PAGE_BYTES, SECTOR_BYTES, Crash, Operation, SimulatedDisk, SimulatedFile

OLD, NEW = b"o" * 4 * PAGE_BYTES, b"n" * 4 * PAGE_BYTES


def overwritten(seed: int) -> tuple[SimulatedDisk, SimulatedFile]:
    """Return a disk with a file of four pages, synced, and written over without a sync."""
    disk = SimulatedDisk(Random(seed))
    file = disk.create("one")
    disk.sync_names()
    file.write_at(0, OLD)
    file.sync()
    file.write_at(0, NEW)
    return disk, file


def test_a_kill_keeps_the_cache() -> None:
    disk, _ = overwritten(1)
    disk.kill()
    assert disk.content("one") == NEW


def test_power_loss_keeps_any_pages_of_what_was_not_synced_and_tears_between_sectors() -> None:
    seen = set()
    for seed in range(200):
        disk, _ = overwritten(seed)
        disk.lose_power()
        content = disk.content("one")
        sectors = [content[at : at + SECTOR_BYTES] for at in range(0, len(content), SECTOR_BYTES)]
        assert {*sectors} <= {OLD[:SECTOR_BYTES], NEW[:SECTOR_BYTES]}
        seen.add(content)
    assert OLD in seen
    assert NEW in seen
    assert len(seen) > 20


def test_power_loss_never_touches_what_was_synced() -> None:
    for seed in range(50):
        disk, file = overwritten(seed)
        file.sync()
        file.close()
        disk.lose_power()
        assert disk.content("one") == NEW


def test_names_that_were_not_synced_may_be_undone() -> None:
    seen = set()
    for seed in range(100):
        disk = SimulatedDisk(Random(seed))
        disk.create("kept").sync()
        disk.sync_names()
        disk.create("new")
        disk.rename("new", "newer")
        disk.unlink("kept")
        disk.lose_power()
        seen.add(tuple(disk.names()))
    assert {("kept",), (), ("kept", "newer"), ("newer",)} <= seen


def test_after_a_failed_sync_the_next_one_succeeds_and_has_saved_nothing() -> None:
    disk, file = overwritten(1)

    def fail(operation: Operation) -> None:
        if operation.kind == "sync":
            raise OSError(errno.EIO, "Input/output error")

    disk.before = fail
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    disk.before = lambda _operation: None
    file.sync()
    disk.lose_power()
    assert disk.content("one") == OLD


def test_a_full_disk_takes_what_fits_and_room_inside_a_file_stays_its_own() -> None:
    disk, file = overwritten(1)
    disk.capacity_bytes = disk.used_bytes + 100
    with pytest.raises(OSError, match="No space left"):
        file.write_at(len(OLD), bytes(101))
    assert file.size() == len(OLD) + 100
    file.write_at(0, OLD)


def test_a_dead_process_has_no_effect_any_more() -> None:
    disk, file = overwritten(1)

    def die(_operation: Operation) -> None:
        raise Crash

    disk.before = die
    with pytest.raises(Crash):
        disk.rename("one", "two")
    disk.before = lambda _operation: None
    with pytest.raises(Crash):
        disk.unlink("one")
    disk.kill()
    with pytest.raises(Crash):
        file.write_at(0, b"from beyond")
    assert disk.names() == ["one"]
    assert disk.content("one") == NEW
