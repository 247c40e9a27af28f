"""Processes that have ended and that nobody waits for, and processes whose parent is gone.

A process that has ended stays as a zombie until its parent waits for it; that of an orphan is the init of the machine
or of the container. Some inits never wait, and in a container without one it is this process: so a group of zombies has
to be told from a living one, and who is first in its container has to wait for strangers, too. What groups are for is
said in ``processes``; the ends of its own commands are heard of in ``exits``.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

CENSUS_EVERY_S = 0.5
"""A look at every process of a busy machine takes some 20 ms, in which nothing else happens."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    ended: bool
    parent: int
    group: int
    session: int


class Census:
    """Which process groups have a living member, as of the last look; one for all that ask."""

    def __init__(self) -> None:
        self._at_s = float("-inf")
        self._groups: frozenset[int] = frozenset()

    def take(self, now_s: float, since_s: float) -> tuple[float, frozenset[int]] | None:
        """Return when it was taken, and the living groups; None when that was before *since_s*, or cannot be done."""
        if now_s - self._at_s >= CENSUS_EVERY_S:
            self._at_s = now_s
            self._groups = frozenset(each.group for each in _processes() if not each.ended)
        return (self._at_s, self._groups) if self._groups and self._at_s >= since_s else None


def reap_group(group: int) -> None:
    """Wait for those of the group that have ended and have become this process's children. Their first one has been."""
    try:
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def reap_strangers(known: Collection[int]) -> int:
    """Wait for ended children that this process has not started; return how many those were.

    What it has started is in *known*, or in its own session: an exec plugin, whose end somebody waits for in a thread.
    """
    me, session = os.getpid(), os.getsid(0)
    found = [
        each.pid
        for each in _processes()
        if each.ended and each.parent == me and each.session != session and each.pid not in known
    ]
    for pid in found:
        os.waitpid(pid, os.WNOHANG)
    return len(found)


def _processes() -> Iterator[_Process]:
    """Yield every process there is; nothing where there is no /proc."""
    try:
        entries = list(_PROC.iterdir())
    except OSError:
        return
    for entry in entries:
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text(errors="replace")
        except OSError:  # It has gone meanwhile.
            continue
        # See proc(5): the name, in parentheses, may hold anything.
        state, parent, group, session = stat.rpartition(")")[2].split(maxsplit=4)[:4]
        yield _Process(int(entry.name), state in ("Z", "X"), int(parent), int(group), int(session))
