"""A disk that forgets as real ones do: a page cache in front, power that fails, room that ends, crashes at every step.

``kill`` ends the process and keeps the cache. ``lose_power`` keeps what was synced, and of the rest what the generator
likes: any pages of it, or those written first, one of them perhaps torn between two sectors. Names are the same: what
``sync_names`` has not made durable may be undone. Equal generators and equal calls give equal disks.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

PAGE_BYTES = 4096
SECTOR_BYTES = 512


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing of ours may catch it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is about to happen: the places where a schedule may let it fail."""

    kind: str  # create | open | read | write | sync | rename | unlink | sync-names
    name: str
    offset: int = 0
    size: int = 0


@dataclass(slots=True, eq=False)
class _Inode:
    cached: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: dict[int, None] = field(default_factory=dict)  # Pages, in the order of their first write.


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of names that is not durable yet."""

    removed: str | None
    added: str | None
    inode: _Inode | None


class SimulatedFile:
    """An open file; it is of no use any more once its process has died."""

    def __init__(self, disk: "SimulatedDisk", inode: _Inode, name: str) -> None:
        self._disk = disk
        self._inode = inode
        self._name = name
        self._life = disk.life
        disk.open_files += 1

    def size(self) -> int:
        return len(self._inode.cached)

    def read_at(self, offset: int, size: int) -> bytes:
        self._disk.step(Operation("read", self._name, offset, size), self._life)
        return bytes(self._inode.cached[offset : offset + size])

    def write_at(self, offset: int, content: bytes) -> None:
        try:
            self._disk.step(Operation("write", self._name, offset, len(content)), self._life)
        except Crash:
            pages = self._disk.random.randint(0, len(content) // PAGE_BYTES + 1)
            end = (offset // PAGE_BYTES + pages) * PAGE_BYTES  # Signals are looked at between two pages.
            self._put(offset, content[: max(0, end - offset)])
            raise
        room = self._disk.room_for(self._inode, offset + len(content))
        self._put(offset, content[: max(0, room - offset)])
        if room < offset + len(content):
            self._disk.refusals += 1
            raise OSError(errno.ENOSPC, "No space left on device")

    def _put(self, offset: int, content: bytes) -> None:
        if not content:
            return
        cached = self._inode.cached
        if len(cached) < offset + len(content):
            cached.extend(bytes(offset + len(content) - len(cached)))
        cached[offset : offset + len(content)] = content
        for page in range(offset // PAGE_BYTES, (offset + len(content) - 1) // PAGE_BYTES + 1):
            self._inode.dirty.setdefault(page)

    def sync(self) -> None:
        inode = self._inode
        try:
            self._disk.step(Operation("sync", self._name), self._life)
        except OSError:
            inode.dirty.clear()  # As the kernel does: the next sync would succeed, and these pages are lost.
            raise
        for page in inode.dirty:
            _write_back(inode, page, PAGE_BYTES)
        inode.dirty.clear()

    def close(self) -> None:
        if self._life == self._disk.life:
            self._disk.open_files -= 1


def _write_back(inode: _Inode, page: int, size: int) -> None:
    start = page * PAGE_BYTES
    content = inode.cached[start : start + size]
    if len(inode.durable) < start:
        inode.durable.extend(bytes(start - len(inode.durable)))
    inode.durable[start : start + len(content)] = content


class SimulatedDisk:
    """A folder in memory. *before* is called before each operation: what it raises happens instead.

    An OSError is the disk's; anything else (``Crash``) ends the process, after which nothing has an effect until
    ``kill`` or ``lose_power`` lets the next one begin. *capacity_bytes* can be changed at any time.
    """

    def __init__(
        self,
        random: Random,
        *,
        capacity_bytes: int | None = None,
        before: Callable[[Operation], None] = lambda _operation: None,
    ) -> None:
        self.random = random
        self.capacity_bytes = capacity_bytes
        self.before = before
        self.life = 0
        self.operations = 0
        self.open_files = 0
        self.refusals = 0
        """How many writes found no room."""
        self._down = False
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._changes: list[_Change] = []

    # --- the port ---

    def names(self) -> list[str]:
        return sorted(self._names)

    def create(self, name: str) -> SimulatedFile:
        self.step(Operation("create", name), self.life)
        if name in self._names:
            inode = self._names[name]
            inode.cached.clear()
            inode.durable.clear()  # Truncating is as if it were durable: nobody relies on what a file held before.
            inode.dirty.clear()
        else:
            inode = _Inode()
            self._change(_Change(None, name, inode))
        return SimulatedFile(self, inode, name)

    def open(self, name: str, *, writable: bool = False) -> SimulatedFile:
        self.step(Operation("open", name), self.life)
        return SimulatedFile(self, self._inode(name), name)

    def rename(self, old: str, new: str) -> None:
        self.step(Operation("rename", new), self.life)
        self._change(_Change(old, new, self._inode(old)))

    def unlink(self, name: str) -> None:
        inode = self._inode(name)  # First, so that removing what is not there is no crash point.
        self.step(Operation("unlink", name), self.life)
        assert inode is not None
        self._change(_Change(name, None, None))

    def sync_names(self) -> None:
        self.step(Operation("sync-names", ""), self.life)
        self._durable_names = dict(self._names)
        self._changes.clear()

    def path(self, name: str) -> str:
        return f"disk/{name}"

    # --- faults ---

    def kill(self) -> None:
        """End the process: the next one finds everything that was written."""
        self.life += 1
        self.open_files = 0
        self._down = False

    def lose_power(self) -> None:
        """End the process, and forget what was not synced, or some of it."""
        for inode in {id(each): each for each in (*self._durable_names.values(), *self._names.values())}.values():
            self._lose_pages(inode)
        names = dict(self._durable_names)
        for change in self._survivors():
            _carry_out(names, change)
        self._names, self._durable_names = names, dict(names)
        self._changes.clear()
        self.kill()

    def flip(self, name: str, offset: int, bits: int = 1) -> None:
        """Change one byte of a file, on the disk and in the cache."""
        inode = self._names[name]
        inode.cached[offset] ^= bits
        inode.durable[offset] ^= bits

    def content(self, name: str) -> bytes:
        """Return what a process would read of a file."""
        return bytes(self._names[name].cached)

    @property
    def used_bytes(self) -> int:
        """The room that files take."""
        return sum(len(inode.cached) for inode in self._names.values())

    # --- inside ---

    def step(self, operation: Operation, life: int) -> None:
        if self._down or life != self.life:
            raise Crash("the process is dead")
        self.operations += 1
        try:
            self.before(operation)
        except OSError:
            raise
        except BaseException:
            self._down = True
            raise

    def room_for(self, inode: _Inode, end: int) -> int:
        """Return how far a file may reach that shall reach to *end*. Room inside the file is reserved already."""
        size = len(inode.cached)
        if end <= size or self.capacity_bytes is None:
            return end
        free = self.capacity_bytes - self.used_bytes
        return min(end, size + max(0, free))

    def _inode(self, name: str) -> _Inode:
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        return self._names[name]

    def _change(self, change: _Change) -> None:
        _carry_out(self._names, change)
        self._changes.append(change)

    def _lose_pages(self, inode: _Inode) -> None:
        pages = [*inode.dirty]
        if self.random.random() < 0.5:
            pages = pages[: self.random.randint(0, len(pages))]
        else:
            pages = [page for page in pages if self.random.random() < 0.5]
        torn = self.random.choice(pages) if pages and self.random.random() < 0.5 else None
        for page in pages:
            sectors = self.random.randrange(PAGE_BYTES // SECTOR_BYTES) if page == torn else PAGE_BYTES // SECTOR_BYTES
            _write_back(inode, page, sectors * SECTOR_BYTES)
        inode.cached = bytearray(inode.durable)
        inode.dirty.clear()

    def _survivors(self) -> list[_Change]:
        if self.random.random() < 0.5:
            return self._changes[: self.random.randint(0, len(self._changes))]
        return [change for change in self._changes if self.random.random() < 0.5]


def _carry_out(names: dict[str, _Inode], change: _Change) -> None:
    if change.removed is not None:
        names.pop(change.removed, None)
    if change.added is not None:
        assert change.inode is not None
        names[change.added] = change.inode
