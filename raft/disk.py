"""The port to the file system that the log stands on: one flat folder of files, and the ways in which it may fail.

``RealDisk`` is the folder; the simulation puts its own page cache in its place. What the files hold is ``frames``,
``segments`` and ``snapshots``; this file knows bytes, names and errors.
"""

import errno
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Protocol

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ZEROS = bytes(1 << 18)

REPLACE_THE_NODE = (
    "this node must not go on with it: keep the data directory for a look, and start the node with an empty one under "
    "the same name; the other nodes hand everything back (a node alone has only its backup)"
)
"""What to do about damage: a majority holds every entry that was acknowledged, so the cluster repairs a disk."""
UPGRADE_THE_NODE = "start a raftsman that is at least as new as the one that wrote it"


class DiskFull(Exception):
    """There was no room. Nothing was promised, and the same work may be tried again when there is."""


class NoDescriptor(DiskFull):
    """No further file could be opened, so nothing was done to it. It passes as a full disk does, and more often."""


class DiskFailed(Exception):
    """The disk has failed; what it will still hold is not known. The process must end without another promise."""


class Damaged(Exception):
    """A file of the log does not hold what was written. The node must not start on it.

    ``file`` is its path, ``offset`` the byte at which the damage begins, ``advice`` what to do about it.
    """

    def __init__(self, file: str, offset: int, fault: str, advice: str) -> None:
        super().__init__(f"{file}: offset {offset}: {fault}; {advice}")
        self.file = file
        self.offset = offset
        self.fault = fault
        self.advice = advice


class DiskFile(Protocol):
    """An open file. Every method may raise OSError."""

    def size(self) -> int:
        """Return how many bytes the file has."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset* on, or those that there are."""

    def write_at(self, offset: int, content: bytes) -> None:
        """Write all of *content*. After an error any part of it may have been written."""

    def sync(self) -> None:
        """Return when everything written to this file will survive a loss of power."""

    def close(self) -> None:
        """Give the file back. It promises nothing about what was written."""


class Disk(Protocol):
    """One folder. Every method may raise OSError; changes of names are durable after ``sync_names``."""

    def names(self) -> list[str]:
        """Return the names of the files, sorted."""

    def create(self, name: str) -> DiskFile:
        """Return a new, empty file; one that exists under this name is emptied."""

    def open(self, name: str, *, writable: bool = False) -> DiskFile:
        """Return a file that exists."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in one step; a file that had it is gone."""

    def unlink(self, name: str) -> None:
        """Remove a file."""

    def sync_names(self) -> None:
        """Return when every create, rename and unlink so far will survive a loss of power."""

    def path(self, name: str) -> str:
        """Return how a person finds the file."""


class RealFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def size(self) -> int:
        """Return how many bytes the file has."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset* on, or those that there are."""
        parts = []
        while size > 0 and (part := os.pread(self._descriptor, size, offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write_at(self, offset: int, content: bytes) -> None:
        """Write all of *content*: in one call, unless the system takes less."""
        written = os.pwrite(self._descriptor, content, offset)
        while written < len(content):  # A full disk takes what fits and says so at the next call.
            written += os.pwrite(self._descriptor, memoryview(content)[written:], offset + written)

    def sync(self) -> None:
        """Flush the data, and of the metadata what is needed to read it."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class RealDisk:
    """A folder of the operating system, made when it does not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None  # Of the folder, kept: a sync must not fail for want of one.
        self._is_anchored = False  # The folder's own name, and those of the folders above it, are durable.

    def names(self) -> list[str]:
        """Return the names of the files, sorted."""
        if not self._folder.exists():
            return []
        self._opened_folder()
        return sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file())

    def create(self, name: str) -> RealFile:
        """Return a new, empty file that only this user may read."""
        self._folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return RealFile(os.open(self._folder / name, flags, 0o600))

    def open(self, name: str, *, writable: bool = False) -> RealFile:
        """Return a file that exists."""
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC
        return RealFile(os.open(self._folder / name, flags))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in one step."""
        (self._folder / old).rename(self._folder / new)

    def unlink(self, name: str) -> None:
        """Remove a file."""
        (self._folder / name).unlink()

    def sync_names(self) -> None:
        """Flush the folder; the first time also those above it, for they may be as new as the folder itself."""
        os.fsync(self._opened_folder())
        if not self._is_anchored:
            for parent in _parents_of_its_disk(self._folder):
                with suppress(PermissionError):  # Not ours, so it was there before.
                    _sync_folder(parent)
            self._is_anchored = True

    def _opened_folder(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._folder, _FOLDER)
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    def path(self, name: str) -> str:
        """Return the path."""
        return str(self._folder / name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parents_of_its_disk(folder: Path) -> Iterator[Path]:
    """Yield the folders above *folder*, up to where its file system is mounted."""
    device = folder.stat().st_dev
    return takewhile(lambda parent: parent.stat().st_dev == device, folder.absolute().parents)


@contextmanager
def typed_errors(doing: str) -> Iterator[None]:
    """Turn an OSError of work that may meet a full disk into DiskFull or DiskFailed. *doing* completes "while …"."""
    try:
        with fatal_errors(doing):
            yield
    except DiskFailed as failure:
        error = failure.__cause__
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise DiskFull(f"no room while {doing}: {error.strerror}") from error
        raise


@contextmanager
def fatal_errors(doing: str) -> Iterator[None]:
    """Turn every OSError into DiskFailed: after a failed sync, whatever its reason, pages in memory prove nothing.

    Only what could not be opened for want of a descriptor is NoDescriptor: reading, writing and syncing need none.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_DESCRIPTOR:
            raise NoDescriptor(f"no descriptor was free while {doing}: {error.strerror}") from error
        raise DiskFailed(f"the disk failed while {doing}: {error}") from error


def fill_with_zeros(file: DiskFile, start: int, end: int) -> None:
    """Write zeros from *start* to *end*, so that the room is there when it is needed. May raise OSError.

    Room that was only allocated (fallocate) would cost a commit of the file system's own journal at its first write.
    """
    for offset in range(start, end, len(_ZEROS)):
        file.write_at(offset, _ZEROS[: end - offset])


def discard(disk: Disk, name: str) -> None:
    """Remove a file that nobody will miss, if it is there."""
    with suppress(FileNotFoundError):
        disk.unlink(name)
