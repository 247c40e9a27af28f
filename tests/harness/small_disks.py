"""File systems in memory of a size of their own, so that a real process meets a full disk.

Mounting needs root, or a user namespace in which one is root; where neither is to be had, ``NoSmallDisks`` says why.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_WITHIN_S = 5.0
_BALLAST = "ballast"
_PART = bytes(1 << 16)


class NoSmallDisks(Exception):
    """This machine lets nobody mount anything; the text says what was tried."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A mounted file system. *seen_at*: its folder as this process reaches it; *within*: a command that is inside."""

    seen_at: Path
    within: Sequence[str] = ()

    def fill(self) -> None:
        """Leave no room."""
        with (self.seen_at / _BALLAST).open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(_PART)

    def make_room(self) -> None:
        """Give back what ``fill`` took."""
        (self.seen_at / _BALLAST).unlink(missing_ok=True)


@contextmanager
def small_disk(at: Path, size_mib: int, *, as_root: bool | None = None) -> Iterator[SmallDisk]:
    """Mount *size_mib* MiB at the folder *at*. *as_root*: how; None: as it goes. Raises NoSmallDisks."""
    at.mkdir(parents=True, exist_ok=True)
    ways = [_mounted, _in_a_namespace] if as_root is None else [_mounted if as_root else _in_a_namespace]
    refusals: list[str] = []
    for way in ways:
        try:
            mounting = way(at, size_mib)
            disk = next(mounting)
        except (OSError, subprocess.SubprocessError) as error:
            refusals.append(str(error))
            continue
        try:
            yield disk
        finally:
            next(mounting, None)
        return
    raise NoSmallDisks(f"no file system of a size of its own can be mounted: {'; '.join(refusals)}")


def _mounted(at: Path, size_mib: int) -> Iterator[SmallDisk]:
    subprocess.run(_mount(at, size_mib), check=True, capture_output=True, timeout=_WITHIN_S)
    yield SmallDisk(at)
    subprocess.run(["umount", "--lazy", str(at)], check=True, capture_output=True, timeout=_WITHIN_S)


def _in_a_namespace(at: Path, size_mib: int) -> Iterator[SmallDisk]:
    """A process that sleeps keeps the namespace, and the file system with it; nodes are started inside."""
    mounted = " ".join([*_mount(at, size_mib), "&& echo mounted && exec sleep infinity"])
    holder = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            _, said = holder.communicate(timeout=_WITHIN_S)
            raise OSError(said.decode(errors="replace").strip())
        enter = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(holder.pid)]
        yield SmallDisk(Path(f"/proc/{holder.pid}/root{at.absolute()}"), enter)
    finally:
        holder.kill()
        holder.communicate(timeout=_WITHIN_S)


def _mount(at: Path, size_mib: int) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "none", str(at)]
