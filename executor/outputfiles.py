"""The files in which a node keeps the output of one attempt.

``draft`` grows while the output does, holds the head only and is all that a killed node leaves. ``output``
takes its place at the end: one line of JSON on how it ended, then the records of the head and of the tail, as
``lines`` writes them, so that an operator can read both with ``less``. When which is written is up to ``output``.

Nothing is synced to the disk: output is no promise, and after a power failure a torn file is read as a draft.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from raftsman.executor.lines import KeptLines

Ending = Literal["complete", "truncated", "unavailable"]

_NOT_OURS = (FileNotFoundError, NotADirectoryError, PermissionError)
"""What is met where something has just gone, or lies that is no output."""

_DRAFT, _FINAL, _UNFINISHED = "draft", "output", "output.tmp"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """How an output ended, and where in it lines are missing: the first line of the final file."""

    end: Ending
    reason: str = ""
    head_lines: int = 0
    cut_lines: int = 0
    cut_bytes: int = 0


_HEADER = msgspec.json.Decoder(Header)

_INTERRUPTED = Header(end="truncated", reason="the node was restarted")


class OutputFiles:
    """The files of one attempt. Every method blocks; those that write raise OSError when the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append_draft(self, records: list[bytes]) -> None:
        """Write *records* behind those in the draft."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _DRAFT).open("ab") as draft:
            draft.write(b"".join(records))

    def write_final(self, kept: KeptLines, end: Ending, reason: str) -> None:
        """Put everything that was kept in the draft's place."""
        header = Header(
            end=end, reason=reason, head_lines=len(kept.head), cut_lines=kept.cut_lines, cut_bytes=kept.cut_bytes
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / _UNFINISHED
        unfinished.write_bytes(b"".join([msgspec.json.encode(header), b"\n", *kept.head, *kept.tail]))
        unfinished.replace(self.folder / _FINAL)
        (self.folder / _DRAFT).unlink(missing_ok=True)

    def read_header(self) -> Header | None:
        """Return how the output ended (a draft: with the node that wrote it), or None when there is none."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError), (self.folder / _FINAL).open("rb") as final:
            return _HEADER.decode(final.readline())
        return _INTERRUPTED if (self.folder / _DRAFT).exists() else None

    def read(self) -> KeptLines | None:
        """Return the lines, or None when there are no files any more."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            first, _, rest = (self.folder / _FINAL).read_bytes().partition(b"\n")
            return _restored(_HEADER.decode(first), rest)
        with contextlib.suppress(FileNotFoundError):
            return _restored(_INTERRUPTED, (self.folder / _DRAFT).read_bytes())
        return None

    def remove(self) -> None:
        """Remove the files, and the task's folder when this was the last attempt in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()


def _restored(header: Header, text: bytes) -> KeptLines:
    # Not splitlines(), which takes a CR for a line end. What is torn (the last record of a draft) is left out.
    records = [record + b"\n" for record in text.split(b"\n")[:-1] if record.count(b" ") >= 2]
    return KeptLines.restored(
        records, head_lines=header.head_lines, cut_lines=header.cut_lines, cut_bytes=header.cut_bytes
    )


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """The files of one attempt as the disk shows them."""

    folder: Path
    changed_at: float  # Unix seconds; of an output that has ended: when it did.
    size_bytes: int


def _inside(folder: Path) -> list[Path]:
    with contextlib.suppress(*_NOT_OURS):
        return list(folder.iterdir())
    return []


def stored_outputs(root: Path) -> Iterator[StoredOutput]:
    """Yield every output below *root*; what disappears meanwhile is left out."""
    # Not glob("*/*"): it raises when a folder disappears between its listing and that of its parent.
    for folder in (attempt for task in _inside(root) for attempt in _inside(task)):
        with contextlib.suppress(*_NOT_OURS):
            size_bytes = sum(each.stat().st_size for each in folder.iterdir())
            yield StoredOutput(folder, folder.stat().st_mtime, size_bytes)
