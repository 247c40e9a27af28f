"""The bytes of the journal: segment headers, frames, records and seals. Pure: bytes in, values out.

A segment is a header, then frames, one per sync; what has not been written yet is zeros. A frame is whole or it is
nothing: its checksums also cover where it stands (segment, offset) and the segment's salt, so that neither an old
frame nor bytes in somebody's command can pass for one. Files, and what a journal is, are ``segments``'s business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct, error
from zlib import crc32

LogEntry = tuple[bytes, int, int]
"""(command, index, term), in pysyncobj's order. A plain tuple: a million of them are no work for the collector."""

VERSION = 1
SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""

_HEADER_MAGIC = b"raftsman"
_HEADER = Struct("<8sIIQQQQ")  # Magic, version, salt, number, size, base index, base term.
_CHECKSUM = Struct("<I")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size

_FRAME_MAGIC = b"\xf5RMf"
_FRAME = Struct("<4sIII")  # Magic, length of the payload, checksum of place and length, checksum of the payload.
_PLACE = Struct("<QQI")  # Segment, offset, length.

_SEAL_MAGIC = b"\xf5RM seal"
SEAL_BYTES = 32
SEAL_ROOM_BYTES = SEAL_BYTES + SECTOR_BYTES
"""What a seal may need behind the last frame."""

_ENTRY = Struct("<BQQI")  # Kind, index, term, length of the command.
_META = Struct("<BQQ?H")  # Kind, term, commit index, whether there is a vote, its length.
_RESET = Struct("<BQQ")  # Kind, index, term.
_ENTRY_KIND, _META_KIND, _RESET_KIND = 1, 2, 3


class BadBytes(ValueError):
    """Bytes that were not written so; ``offset`` says where they begin."""

    def __init__(self, offset: int, fault: str) -> None:
        super().__init__(fault)
        self.offset = offset
        self.fault = fault


class UnknownBytes(BadBytes):
    """Bytes of a newer program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """The beginning of a segment: where it stands in the journal, and the entry that its first frame follows."""

    number: int
    size: int
    base_index: int
    base_term: int
    salt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What a node must not forget besides entries; the commit index is a hint that saves work after a start."""

    term: int = 0
    vote: str | None = None
    commit_index: int = 0


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget every entry: a snapshot up to *index* has taken their place."""

    index: int
    term: int


Record = LogEntry | Meta | Reset


# --- segments -----------------------------------------------------------------------------------


def pack_header(header: SegmentHeader) -> bytes:
    """Return the first bytes of a segment."""
    raw = _HEADER.pack(
        _HEADER_MAGIC, VERSION, header.salt, header.number, header.size, header.base_index, header.base_term
    )
    return raw + _CHECKSUM.pack(crc32(raw))


def unpack_header(raw: bytes) -> SegmentHeader:
    """Return the header at the beginning of *raw*. Raises BadBytes."""
    if len(raw) < HEADER_BYTES:
        raise BadBytes(len(raw), f"the file ends within its header of {HEADER_BYTES} bytes")
    magic, version, salt, number, size, base_index, base_term = _HEADER.unpack_from(raw)
    if _CHECKSUM.unpack_from(raw, _HEADER.size)[0] != crc32(raw[: _HEADER.size]) or magic != _HEADER_MAGIC:
        raise BadBytes(0, "the header of the segment is damaged")
    if version != VERSION:
        raise UnknownBytes(0, f"a segment of format {version}, this program knows {VERSION}")
    return SegmentHeader(number=number, size=size, base_index=base_index, base_term=base_term, salt=salt)


# --- frames -------------------------------------------------------------------------------------


def frame_bytes(payload: bytes) -> int:
    """Return how long the frame of *payload* is."""
    return _FRAME.size + len(payload)


def pack_frame(payload: bytes, header: SegmentHeader, offset: int) -> bytes:
    """Return the frame that holds *payload* at *offset* of the segment."""
    place = _place_checksum(header, offset, len(payload))
    return _FRAME.pack(_FRAME_MAGIC, len(payload), place, crc32(payload, place)) + payload


def payload_at(raw: bytes, header: SegmentHeader, offset: int) -> memoryview | None:
    """Return the payload of the frame at *offset*, None when there is no whole frame."""
    start = offset + _FRAME.size
    if start > len(raw):
        return None
    magic, length, place, checksum = _FRAME.unpack_from(raw, offset)
    if magic != _FRAME_MAGIC or start + length > len(raw) or place != _place_checksum(header, offset, length):
        return None
    payload = memoryview(raw)[start : start + length]
    return payload if crc32(payload, place) == checksum else None


def _place_checksum(header: SegmentHeader, offset: int, length: int) -> int:
    return crc32(_PLACE.pack(header.number, offset, length), header.salt)


def seal_offset(end: int) -> int:
    """Return where the seal behind *end* stands: within one sector, so that it is there whole or not at all."""
    room = SECTOR_BYTES - end % SECTOR_BYTES
    return end if room >= SEAL_BYTES else end + room


def pack_seal(header: SegmentHeader, offset: int) -> bytes:
    """Return the seal at *offset*: it says that what stands before it was stopped cleanly, and cannot be torn."""
    place = blake2b(_PLACE.pack(header.number, offset, header.salt), digest_size=SEAL_BYTES - len(_SEAL_MAGIC))
    return _SEAL_MAGIC + place.digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a segment holds."""

    header: SegmentHeader
    frames: Sequence[tuple[int, memoryview]]  # Offset and payload.
    end: int  # Behind the last frame or seal.
    sealed: bool  # The last is a seal.
    blank_from: int  # Everything from here on is zeros; above `end` when something stands there.
    torn: bool  # What stands behind the end may be a frame that was being written.


def unpack_segment(raw: bytes, *, last: bool) -> Contents:
    """Return what the segment holds; *last*: no other follows it. Raises BadBytes where something good follows damage.

    At the end of the last segment a frame without a good one behind it is a write that power or process did not live
    to finish, unless a seal follows. Segments before the last always end in a seal.
    """
    header = unpack_header(raw)
    if len(raw) != header.size:
        raise BadBytes(min(len(raw), header.size), f"the file has {len(raw)} bytes, its header says {header.size}")
    frames, end, sealed = _walk(raw, header)
    _require_whole_seal(raw, header, end)
    follows = _next_good(raw, header, end)
    if follows is not None:
        raise BadBytes(end, f"a damaged frame, although what follows at offset {follows} is whole")
    if not last and not sealed:
        raise BadBytes(end, "a damaged frame or no seal, although another segment follows")
    blank_from = max(end, len(raw.rstrip(b"\0"))) if last else end
    torn = blank_from > end and (not sealed or raw.startswith(_FRAME_MAGIC, end))
    return Contents(header=header, frames=frames, end=end, sealed=sealed, blank_from=blank_from, torn=torn)


def _walk(raw: bytes, header: SegmentHeader) -> tuple[list[tuple[int, memoryview]], int, bool]:
    frames: list[tuple[int, memoryview]] = []
    end, sealed = HEADER_BYTES, False
    while True:
        payload = payload_at(raw, header, end)
        seal = seal_offset(end)
        if payload is not None:
            frames.append((end, payload))
            end, sealed = end + _FRAME.size + len(payload), False
        elif raw[seal : seal + SEAL_BYTES] == pack_seal(header, seal):
            end, sealed = seal + SEAL_BYTES, True
        else:
            return frames, end, sealed


def _require_whole_seal(raw: bytes, header: SegmentHeader, end: int) -> None:
    """Raise BadBytes when what stands where a seal would stand resembles one: a sector cannot be half written."""
    offset = seal_offset(end)
    found, whole = raw[offset : offset + SEAL_BYTES], pack_seal(header, offset)
    if sum(a == b for a, b in zip(found, whole, strict=False)) * 2 >= SEAL_BYTES:
        raise BadBytes(offset, "the seal of a clean stop is damaged")


def _next_good(raw: bytes, header: SegmentHeader, start: int) -> int | None:
    """Return the offset of the first whole frame or seal from *start* on."""
    frames = (at for at in _occurrences(raw, _FRAME_MAGIC, start) if payload_at(raw, header, at) is not None)
    seals = (at for at in _occurrences(raw, _SEAL_MAGIC, start) if raw[at : at + SEAL_BYTES] == pack_seal(header, at))
    return min((at for at in (next(frames, None), next(seals, None)) if at is not None), default=None)


def _occurrences(raw: bytes, magic: bytes, start: int) -> Iterator[int]:
    at = raw.find(magic, start)
    while at >= 0:
        yield at
        at = raw.find(magic, at + 1)


# --- records ------------------------------------------------------------------------------------


def pack_entry(entry: LogEntry) -> bytes:
    """Return the record of an entry."""
    command, index, term = entry
    return _ENTRY.pack(_ENTRY_KIND, index, term, len(command)) + command


def pack_meta(meta: Meta) -> bytes:
    """Return the record of a Meta."""
    vote = (meta.vote or "").encode()
    return _META.pack(_META_KIND, meta.term, meta.commit_index, meta.vote is not None, len(vote)) + vote


def pack_reset(reset: Reset) -> bytes:
    """Return the record of a Reset."""
    return _RESET.pack(_RESET_KIND, reset.index, reset.term)


def unpack_records(payload: memoryview) -> Iterator[Record]:
    """Yield the records of a frame. Raises BadBytes (its offset counts from the payload's beginning)."""
    offset, end = 0, len(payload)
    while offset < end:
        kind = payload[offset]
        try:
            if kind == _ENTRY_KIND:  # First, for nearly all are entries.
                _, index, term, length = _ENTRY.unpack_from(payload, offset)
                offset += _ENTRY.size
                yield bytes(payload[offset : offset + length]), index, term
                offset += length
            elif kind == _META_KIND:
                _, term, commit_index, voted, length = _META.unpack_from(payload, offset)
                offset += _META.size
                vote = bytes(payload[offset : offset + length]).decode() if voted else None
                yield Meta(term=term, vote=vote, commit_index=commit_index)
                offset += length
            elif kind == _RESET_KIND:
                _, index, term = _RESET.unpack_from(payload, offset)
                offset += _RESET.size
                yield Reset(index, term)
            else:
                raise UnknownBytes(offset, f"a record of kind {kind}, which this program does not know")
        except (error, UnicodeDecodeError) as reason:
            raise BadBytes(offset, f"a record that is none: {reason}") from reason
    if offset != end:
        raise BadBytes(end, "the frame ends within a record")
