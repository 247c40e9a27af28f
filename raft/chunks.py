"""The bytes of a snapshot file: checked chunks, and a footer over all of them. Pure: bytes in, bytes out.

Each chunk has a checksum, so that damage has an offset and no bad chunk is handed out; the footer's SHA-256 says that
nothing is missing. What the chunks hold is ``tablecodec``; files are ``snapshots``'s business.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from zlib import crc32

from raftsman.raft.frames import BadBytes

_MAGIC = b"\xf5RMs"
_CHUNK = Struct("<4sIII")  # Magic, length, checksum of place and length, checksum of the payload.
_PLACE = Struct("<QI")
_FOOTER_MAGIC = b"\xf5RM end."
_FOOTER_BYTES = len(_FOOTER_MAGIC) + hashlib.sha256().digest_size

ReadAt = Callable[[int, int], bytes]
"""Returns so many bytes (the second) from an offset (the first) on, or those that there are."""


def pack_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts of the file that holds *chunks*."""
    digest = hashlib.sha256()
    offset = 0
    for chunk in chunks:
        place = crc32(_PLACE.pack(offset, len(chunk)))
        part = _CHUNK.pack(_MAGIC, len(chunk), place, crc32(chunk, place)) + chunk
        digest.update(part)
        offset += len(part)
        yield part
    yield _FOOTER_MAGIC + digest.digest()


def unpack_chunks(read_at: ReadAt, size: int) -> Iterator[bytes]:
    """Yield the chunks of a file of *size* bytes; when all have come, it is whole. Raises BadBytes where it is not."""
    digest = hashlib.sha256()
    offset = 0
    while offset + _FOOTER_BYTES < size:
        header = read_at(offset, _CHUNK.size)
        length = _length(header, offset, size)
        payload = read_at(offset + _CHUNK.size, length)
        if crc32(payload, _CHUNK.unpack(header)[2]) != _CHUNK.unpack(header)[3]:
            raise BadBytes(offset, f"a damaged chunk of {length} bytes")
        yield payload
        digest.update(header)
        digest.update(payload)
        offset += _CHUNK.size + length
    if offset + _FOOTER_BYTES != size or read_at(offset, size) != _FOOTER_MAGIC + digest.digest():
        raise BadBytes(offset, "the end of the snapshot is damaged or missing")


class Passing:
    """A file that passes by in parts, as it lies on the disk: whether it is what was written is known at its end."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._footer = b""  # Or what would be it, if this were the end.

    def add(self, part: bytes) -> None:
        """Take the next part."""
        seen = self._footer + part
        self._digest.update(seen[:-_FOOTER_BYTES])
        self._footer = seen[-_FOOTER_BYTES:]

    @property
    def is_whole(self) -> bool:
        """Whether this is the end, and nothing is damaged or missing."""
        return self._footer == _FOOTER_MAGIC + self._digest.digest()


def _length(header: bytes, offset: int, size: int) -> int:
    magic, length, place, _ = _CHUNK.unpack(header)
    if magic != _MAGIC or place != crc32(_PLACE.pack(offset, length)):
        raise BadBytes(offset, "the header of a chunk is damaged")
    if offset + _CHUNK.size + length + _FOOTER_BYTES > size:
        raise BadBytes(offset, f"the file ends within a chunk of {length} bytes")
    assert isinstance(length, int)
    return length
