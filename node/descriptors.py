"""How many files and connections this process may have open, and how many of them its users may hold.

The log, Kubernetes and the commands of this machine need descriptors, too: a node whose streams took them all could
neither compact its log nor accept another connection, so users get a share that leaves the others theirs.
"""

import resource
from contextlib import suppress
from dataclasses import dataclass

from raftsman.node.forward import RELAYS

MOST = 65_536
"""More is not asked for: commands inherit the limit, and some programs walk through all that there might be."""
CONNECTIONS = 4096
"""Of HTTP, however many there might be: each costs some 30 KiB, a stream some more."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How many users may hold at a time."""

    connections: int  # Of HTTP.
    relays: int  # Of those, streams that are passed on from another node: each is a second connection.


def raise_limit() -> None:
    """Let this process open as many files as it may give itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS refuses what is above a bound of its own; then all stays as it was.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def shares() -> Shares:
    """Return what users get of this process's limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return shares_of(MOST if soft == resource.RLIM_INFINITY else soft)


def shares_of(limit: int) -> Shares:
    """Return what users get of *limit* descriptors: of few, three in eight, and a quarter of that for relays."""
    connections = min(CONNECTIONS, limit * 3 // 8)
    return Shares(connections=connections, relays=min(RELAYS, connections // 4))
