"""What a node's log says of itself: where it stands, figures of the moment, and how long things took."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


def _ignore(_seconds: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Who is told how long something took, in seconds; on the log's thread."""

    synced: Callable[[float], None] = _ignore
    """The write and the fdatasync of a tick."""
    snapshot_written: Callable[[float], None] = _ignore
    """A snapshot, from the freezing of the table to its name on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where this node stands in the cluster, at one moment."""

    leads: bool
    leader: str | None  # Node name.
    term: int
    commit_index: int
    applied_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One node's log at one moment."""

    log_bytes: int  # Of the segments in use.
    entries: int  # Held in the journal.
    commit_index: int
    snapshot_index: int  # 0: there is none.
    torn_ends_cut: int  # By this process, when it started.
    disk_full: bool
    linked: int  # Other nodes that there is a link to.
    refused_connections: int
    """To the log's port, and calls of ours that were refused, since this process started."""
    behind: Mapping[str, int]
    """Entries that every other node is not known to have; empty when this node does not lead."""
