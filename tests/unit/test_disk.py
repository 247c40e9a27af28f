"""The port to the disk: the real one and the simulated one are used alike, and errors say what may still be hoped."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from raftsman.raft.disk import (
    Disk,
    DiskFailed,
    DiskFull,
    NoDescriptor,
    RealDisk,
    RealFile,
    _parents_of_its_disk,
    discard,
    fatal_errors,
    typed_errors,
)
from raftsman.raft.journal import Journal
from raftsman.raft.snapshots import SnapshotHead, SnapshotStore
from tests.harness.simulated_disk import SimulatedDisk
from tests.unit.journals import entries_of, entry


@pytest.fixture(params=["real", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return RealDisk(tmp_path / "made" / "when needed") if request.param == "real" else SimulatedDisk(Random(1))


def test_a_file_holds_what_was_written_to_it(disk: Disk) -> None:
    assert disk.names() == []
    file = disk.create("one")
    file.write_at(10, b"later")
    file.write_at(0, b"first")
    file.sync()
    assert file.size() == 15
    assert file.read_at(0, 99) == b"first\0\0\0\0\0later"
    assert file.read_at(12, 2) == b"te"
    assert file.read_at(99, 5) == b""
    file.close()
    again = disk.open("one", writable=True)
    again.write_at(0, b"FIRST")
    assert again.read_at(0, 5) == b"FIRST"
    again.close()


def test_creating_a_file_anew_empties_it(disk: Disk) -> None:
    for content in (b"long content", b"short"):
        file = disk.create("one")
        file.write_at(0, content)
        file.close()
    file = disk.open("one")
    assert file.read_at(0, 99) == b"short"
    file.close()


def test_names_change_in_one_step_and_open_files_stay_open(disk: Disk) -> None:
    for name in ("old", "new"):
        file = disk.create(name)
        file.write_at(0, name.encode())
        file.close()
    replaced = disk.open("new")
    disk.rename("old", "new")
    disk.sync_names()
    assert disk.names() == ["new"]
    assert replaced.read_at(0, 9) == b"new"
    disk.unlink("new")
    disk.sync_names()
    discard(disk, "new")
    assert disk.names() == []
    assert replaced.read_at(0, 9) == b"new"
    replaced.close()
    with pytest.raises(FileNotFoundError):
        disk.open("new")
    with pytest.raises(FileNotFoundError):
        disk.unlink("new")


def test_only_the_user_may_read_the_files_and_no_child_inherits_them(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.create("one")
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(file._descriptor)
    file.close()
    assert disk.path("one") == str(tmp_path / "one")


def test_a_relative_folder_and_new_parents_are_made_durable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    disk = RealDisk(Path("some/new/folder"))
    disk.create("one").close()
    disk.sync_names()
    assert [*_parents_of_its_disk(Path("some/new/folder"))][:3] == [
        tmp_path / "some" / "new",
        tmp_path / "some",
        tmp_path,
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_apart_from_a_failed_one() -> None:
    file = RealFile(os.open("/dev/full", os.O_RDWR | os.O_CLOEXEC))
    with pytest.raises(DiskFull, match="no room while writing entries"), typed_errors("writing entries"):
        file.write_at(0, b"something")
    file.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES, errno.EBADF])
def test_every_other_error_of_a_write_is_a_failure(number: int) -> None:
    with pytest.raises(DiskFailed), typed_errors("writing"):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_every_error_of_a_sync_is_a_failure(number: int) -> None:
    with pytest.raises(DiskFailed), fatal_errors("syncing"):
        raise OSError(number, os.strerror(number))


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_without_a_descriptor_no_file_is_opened_and_the_disk_has_not_failed(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.create("old").close()
    disk.sync_names()
    with no_descriptor_left():
        for errors in (typed_errors, fatal_errors):
            with pytest.raises(NoDescriptor, match="no descriptor was free while looking: Too many"), errors("looking"):
                disk.create("new")
            with pytest.raises(NoDescriptor), errors("looking"):
                disk.open("old")
            with pytest.raises(NoDescriptor), errors("looking"):
                disk.names()
        disk.rename("old", "older")
        disk.sync_names()
    assert disk.names() == ["older"]


def test_a_snapshot_that_found_no_descriptor_is_written_later(tmp_path: Path) -> None:
    store = SnapshotStore(RealDisk(tmp_path), background=lambda work: work())
    head = SnapshotHead((b"", 4, 2), (b"", 5, 2))
    with no_descriptor_left():
        writing = store.start(head, [b"a table"])
    assert isinstance(writing.error, DiskFull)
    assert store.start(head, [b"a table"]).error is None
    assert store.newest == head.id


WRITER = """
import sys
from pathlib import Path
from raftsman.raft.disk import RealDisk
from raftsman.raft.journal import Journal
from raftsman.raft.snapshots import SnapshotHead, SnapshotStore
from tests.unit.journals import entry

journal = Journal.open(RealDisk(Path(sys.argv[1])), segment_bytes=1 << 16)
while True:
    journal.append(*entry(journal.last_index + 1, size=300))
    journal.sync()
    print(journal.synced_index, flush=True)
"""


def test_a_killed_process_has_lost_nothing_that_it_was_told(tmp_path: Path) -> None:
    told = 0
    for _ in range(3):
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
        arguments = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            for _ in range(400):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            told = max([told, *map(int, process.stdout.read().split())])
        journal = Journal.open(RealDisk(tmp_path), segment_bytes=1 << 16)
        assert journal.last_index >= told >= 400
        assert entries_of(journal) == [entry(index, size=300) for index in range(1, journal.last_index + 1)]
        journal.abandon()
