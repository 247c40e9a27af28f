"""What lies in a node's log folder, for a person who looks at it offline: ``raftsman log``.

It reads and changes nothing, and reads all it can: damage in one file does not hide the others. What the files are is
``raftsman.raft``'s business (``segments``, ``snapshots``), and so is the one judgement that counts, at a node's start.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raftsman.raft import codec, identity
from raftsman.raft.disk import REPLACE_THE_NODE, UPGRADE_THE_NODE, Damaged, Disk, DiskFailed, DiskFull, RealDisk
from raftsman.raft.frames import LogEntry, Record, unpack_records
from raftsman.raft.segments import (
    Replay,
    Segment,
    read_segment,
    read_segments,
    require_beginning,
    segment_name,
    segment_numbers,
)
from raftsman.raft.snapshots import SnapshotDamaged, SnapshotId, read_snapshot, snapshot_ids
from raftsman.raft.tablecodec import unpack_table

_NO_OP = b"\x01"
"""pysyncobj's type byte of the entry that a leader begins its term with; ours is 0, before the command's bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReport:
    """One segment of the journal."""

    file: str
    bytes: int
    written: int
    frames: int
    entries: int
    first_index: int | None
    last_index: int | None
    sealed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotReport:
    """One snapshot."""

    file: str
    index: int
    term: int
    bytes: int
    tasks: int
    state_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityReport:
    """Whose log it is, and how far its node has come to be a member."""

    node: str
    cluster: str
    cluster_id: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalReport:
    """The segments together, as a node would start on them."""

    first_index: int
    last_index: int
    last_term: int
    term: int
    vote: str | None
    commit_index: int
    kinds: dict[str, int]
    terms: dict[int, int]  # Entries by term.


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """Everything in a log folder. ``identity`` and ``journal`` are None when damaged, or when there is none."""

    folder: str
    identity: IdentityReport | None
    segments: list[SegmentReport]
    snapshots: list[SnapshotReport]
    journal: JournalReport | None
    torn: str  # Where the last write was not finished, "" when it was.
    damage: list[str]  # A line each: file, offset, fault and advice.

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return asdict(self, dict_factory=_camel_keys)


class Unreadable(Exception):
    """The folder, or a file in it, could not be read, so nothing is known of it; the text says which, and why."""


@contextmanager
def _saying_what_cannot_be_read() -> Iterator[None]:
    try:
        yield
    except (OSError, DiskFailed, DiskFull) as error:
        raise Unreadable(str(error)) from error


@_saying_what_cannot_be_read()
def log_folder(given: Path) -> Path | None:
    """Return the folder of the log in *given*, a data directory or that folder itself; None when there is no log.

    Raises Unreadable.
    """
    for folder in (given, given / "raft"):
        disk = RealDisk(folder)
        if segment_numbers(disk) or snapshot_ids(disk) or identity.NAME in disk.names():
            return folder
    return None


@_saying_what_cannot_be_read()
def report_on(folder: Path) -> LogReport:
    """Return what the folder holds, every byte of it checked. Raises Unreadable."""
    return _report(RealDisk(folder), str(folder))


def _report(disk: Disk, folder: str) -> LogReport:
    damage: list[Damaged] = []
    segments = _segments(disk, damage)
    snapshots = _snapshots(disk, damage)
    replay = None if damage else _replay(disk, damage)
    owner = _identity(disk, damage)
    return LogReport(
        folder=folder,
        identity=owner,
        segments=segments,
        snapshots=snapshots,
        journal=_journal(replay) if replay and replay.segments else None,
        torn=replay.torn_where(disk) if replay and replay.torn else "",
        damage=[str(each) for each in damage],
    )


def _identity(disk: Disk, damage: list[Damaged]) -> IdentityReport | None:
    try:
        found = identity.read_identity(disk)
        if found is None:
            return None
        identity.require_journal(disk, found, fresh=not segment_numbers(disk))
    except Damaged as error:
        damage.append(error)
        return None
    return IdentityReport(node=found.node, cluster=found.cluster, cluster_id=found.cluster_id, stage=found.stage)


def _segments(disk: Disk, damage: list[Damaged]) -> list[SegmentReport]:
    reports = []
    numbers = segment_numbers(disk)
    for number in numbers:
        try:
            segment = read_segment(disk, number, last=number == numbers[-1])
            reports.append(_segment(disk.path(segment_name(number)), segment))
        except Damaged as error:
            damage.append(error)
    return reports


def _segment(path: str, segment: Segment) -> SegmentReport:
    contents = segment.contents
    records = [record for _, payload in contents.frames for record in unpack_records(payload)]
    indexes = [entry[1] for entry in _entries(records)]
    return SegmentReport(
        file=path,
        bytes=contents.header.size,
        written=contents.end,
        frames=segment.frames,
        entries=len(indexes),
        first_index=min(indexes, default=None),
        last_index=max(indexes, default=None),
        sealed=contents.sealed,
    )


def _entries(records: Iterable[Record]) -> list[LogEntry]:
    return [record for record in records if isinstance(record, tuple)]


def _snapshots(disk: Disk, damage: list[Damaged]) -> list[SnapshotReport]:
    reports = []
    for snapshot in snapshot_ids(disk):
        try:
            reports.append(_snapshot(disk, snapshot))
        except Damaged as error:
            damage.append(error)
    return reports


def _snapshot(disk: Disk, snapshot: SnapshotId) -> SnapshotReport:
    path = disk.path(snapshot.name)
    file = disk.open(snapshot.name)
    size = file.size()
    file.close()
    loaded = read_snapshot(disk, snapshot)
    try:
        table = unpack_table(loaded.chunks)
    except codec.MalformedEntry as error:
        for _ in loaded.chunks:  # Damage further on explains it better.
            pass
        advice = UPGRADE_THE_NODE if isinstance(error, codec.UnknownFormat) else REPLACE_THE_NODE
        raise SnapshotDamaged(path, 0, f"its table cannot be read: {error}", advice) from error
    return SnapshotReport(
        file=path,
        index=snapshot.index,
        term=snapshot.term,
        bytes=size,
        tasks=len(table.live) + len(table.ended),
        state_hash=table.state_hash,
    )


def _replay(disk: Disk, damage: list[Damaged]) -> Replay | None:
    try:
        replay = read_segments(disk)
        newest = max(snapshot_ids(disk), default=None)
        require_beginning(disk, replay, newest.index if newest else 0)
    except Damaged as error:
        damage.append(error)
        return None
    return replay


def _journal(replay: Replay) -> JournalReport:
    last_index, last_term = replay.last
    return JournalReport(
        first_index=replay.base_index + 1,
        last_index=last_index,
        last_term=last_term,
        term=replay.meta.term,
        vote=replay.meta.vote,
        commit_index=replay.meta.commit_index,
        kinds=dict(Counter(_kind(command) for command, _, _ in replay.entries).most_common()),
        terms=dict(sorted(Counter(term for _, _, term in replay.entries).items())),
    )


def _kind(command: bytes) -> str:
    if command[:1] == _NO_OP:
        return "no-op"
    try:
        return codec.NAMES[type(codec.decode(command[1:]).command)]
    except codec.MalformedEntry:
        return "unknown"


def _camel_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_camel(key): value for key, value in pairs}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(each.capitalize() for each in rest)
