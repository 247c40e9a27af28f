"""Reading the journal's files: the segments of a folder, put together again, or refused for what cannot be.

How bytes become frames is ``frames``; who writes segments is ``segment_writer``; what is made of them is ``journal``.
"""

import re
from dataclasses import dataclass, field, replace

from raftsman.raft import frames
from raftsman.raft.disk import REPLACE_THE_NODE, UPGRADE_THE_NODE, Damaged, Disk, fatal_errors
from raftsman.raft.frames import BadBytes, Contents, LogEntry, Meta, Record, Reset, UnknownBytes

_NAME = re.compile(r"journal-(\d{16})")


class JournalDamaged(Damaged):
    """The journal does not hold what was written."""


def segment_name(number: int) -> str:
    """Return the file name of a segment."""
    return f"journal-{number:016d}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was read."""

    name: str
    contents: Contents
    frames: int = 0  # How many it had; they are let go of once their records are taken.


@dataclass(slots=True, kw_only=True)
class Replay:
    """What the segments of a folder say, together."""

    segments: list[Segment] = field(default_factory=list)
    meta: Meta = field(default_factory=Meta)
    base_index: int = 0
    base_term: int = 0
    entries: list[LogEntry] = field(default_factory=list)
    base_is_trimmed: bool = False  # Older segments were removed, so that a truncation may reach below the base.

    @property
    def last(self) -> tuple[int, int]:
        """Index and term of the last entry."""
        return self.entries[-1][1:] if self.entries else (self.base_index, self.base_term)

    @property
    def torn(self) -> bool:
        """Whether the journal ends in a write that was not finished."""
        return bool(self.segments) and self.segments[-1].contents.torn

    def torn_where(self, disk: Disk) -> str:
        """Return the file, offset and length of the unfinished write."""
        name, contents = self.segments[-1].name, self.segments[-1].contents
        length = contents.blank_from - contents.end
        return f"{disk.path(name)}: offset {contents.end}: a write of at least {length} bytes was not finished"

    def take(self, record: Record) -> str:
        """Go on by one record; return what is wrong with it, "" when nothing is."""
        if isinstance(record, Meta):
            fault = f"term {record.term} follows term {self.meta.term}" if record.term < self.meta.term else ""
            self.meta = record
            return fault
        if isinstance(record, Reset):
            self.entries, self.base_index, self.base_term = [], record.index, record.term
            self.base_is_trimmed = False
            return ""
        return self._take_entry(record)

    def _take_entry(self, entry: LogEntry) -> str:
        index, term = entry[1:]
        last = self.base_index + len(self.entries)
        if index > last + 1:
            return f"entry {index} follows entry {last}: entries are missing between them"
        if index <= last:
            fault = self._truncate(index)
            if fault:
                return fault
        if term < self.last[1]:
            return f"entry {index} has term {term}, the one before it term {self.last[1]}"
        self.entries.append(entry)
        return ""

    def _truncate(self, index: int) -> str:
        if index > self.base_index:
            del self.entries[index - self.base_index - 1 :]
        elif self.base_is_trimmed:
            self.entries, self.base_index, self.base_term = [], index - 1, 0
        else:
            return f"entry {index} stands behind the snapshot that replaced everything up to entry {self.base_index}"
        return ""


def segment_numbers(disk: Disk) -> list[int]:
    """Return the numbers of the segments in the folder, ascending."""
    return sorted(int(found[1]) for found in map(_NAME.fullmatch, disk.names()) if found)


def read_segments(disk: Disk) -> Replay:
    """Read every segment. Raises JournalDamaged, or DiskFailed when a file cannot be read."""
    replay = Replay()
    numbers = segment_numbers(disk)
    for number in numbers:
        if replay.segments and number - 1 not in numbers:
            path = disk.path(segment_name(number - 1))
            raise JournalDamaged(path, 0, "the file is missing, although the next one is there", REPLACE_THE_NODE)
        _take_segment(disk, replay, read_segment(disk, number, last=number == numbers[-1]))
    if replay.segments:
        _require_whole_end(disk, replay)
    return replay


def require_beginning(disk: Disk, replay: Replay, snapshot_index: int) -> None:
    """Raise JournalDamaged when the journal begins behind what a snapshot up to *snapshot_index* (0: none) holds."""
    if replay.segments and replay.base_index > snapshot_index:
        path = disk.path(replay.segments[0].name)
        held = f"the newest snapshot ends at entry {snapshot_index}" if snapshot_index else "there is no snapshot"
        raise JournalDamaged(
            path, 0, f"the journal begins at entry {replay.base_index + 1}, but {held}", REPLACE_THE_NODE
        )


def _require_whole_end(disk: Disk, replay: Replay) -> None:
    path, end = disk.path(replay.segments[-1].name), replay.segments[-1].contents.end
    if replay.segments[0].contents.header.number > 1 and not any(each.frames for each in replay.segments):
        raise JournalDamaged(
            path, end, "nothing was written here, although older segments were removed", REPLACE_THE_NODE
        )
    last, committed = replay.last[0], replay.meta.commit_index
    if committed > last:
        raise JournalDamaged(
            path, end, f"the journal ends at entry {last}, although {committed} was committed", REPLACE_THE_NODE
        )


def read_segment(disk: Disk, number: int, *, last: bool) -> Segment:
    """Read one segment by itself; *last*: none follows it. Raises JournalDamaged, DiskFailed."""
    name = segment_name(number)
    path = disk.path(name)
    with fatal_errors(f"reading {path}"):
        file = disk.open(name)
        try:
            raw = file.read_at(0, file.size())
        finally:
            file.close()
    try:
        contents = frames.unpack_segment(raw, last=last)
    except BadBytes as error:
        raise _damaged(path, error.offset, error) from error
    if contents.header.number != number:
        fault = f"this is segment {contents.header.number}: the file was renamed or copied"
        raise JournalDamaged(path, 0, fault, REPLACE_THE_NODE)
    return Segment(name, contents, len(contents.frames))


def _take_segment(disk: Disk, replay: Replay, segment: Segment) -> None:
    path, header = disk.path(segment.name), segment.contents.header
    if not replay.segments:
        replay.base_index, replay.base_term = header.base_index, header.base_term
        replay.base_is_trimmed = header.number > 1
    elif (header.base_index, header.base_term) != replay.last:
        fault = f"the segment follows entry {header.base_index}, the one before it ends at entry {replay.last[0]}"
        raise JournalDamaged(path, 0, fault, REPLACE_THE_NODE)
    contents = segment.contents
    replay.segments.append(Segment(segment.name, replace(contents, frames=()), len(contents.frames)))
    for offset, payload in contents.frames:
        fault = _take_frame(replay, path, offset, payload)
        if fault:
            raise JournalDamaged(path, offset, fault, REPLACE_THE_NODE)


def _take_frame(replay: Replay, path: str, offset: int, payload: memoryview) -> str:
    """Go on by the records of a frame; return what is wrong with one, "" when nothing is."""
    try:
        return next(filter(None, map(replay.take, frames.unpack_records(payload))), "")
    except BadBytes as error:
        raise _damaged(path, offset, error) from error


def _damaged(path: str, offset: int, error: BadBytes) -> JournalDamaged:
    advice = UPGRADE_THE_NODE if isinstance(error, UnknownBytes) else REPLACE_THE_NODE
    return JournalDamaged(path, offset, error.fault, advice)
