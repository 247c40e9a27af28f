"""Looking at real processes from tests."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Return whether the process is there and has not ended: one that nobody has waited for yet does not count."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def processes_with(text: str) -> list[int]:
    """Return the living processes whose command line holds *text*, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in command and is_alive(int(entry.name)):
            found.append(int(entry.name))
    return found


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until *holds*; fail when it does not *within_s*."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + within_s
    while not holds():
        assert loop.time() < limit, f"not within {within_s:g} s"
        await asyncio.sleep(0.01)


async def read_pid(file: Path) -> int:
    """Return the process id that a command writes into *file*, once it is there."""
    found: list[int] = []

    def look() -> bool:
        text = file.read_text() if file.exists() else ""
        found.extend(map(int, text.split() if text.endswith("\n") else ()))
        return bool(found)

    await until(look)
    return found[0]
