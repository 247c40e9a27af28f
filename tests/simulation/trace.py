"""What happened, line by line: a fingerprint that is equal for equal runs, and a text for people when they ask."""

from collections.abc import Callable
from hashlib import sha256

LINES_AT_A_TIME = 512


class Trace:
    """Takes note of everything. *show* gets each line, those that are *dull* (heartbeats, reads of a disk) excepted."""

    def __init__(self, now: Callable[[], float], show: Callable[[str], None] | None = None) -> None:
        self._now = now
        self._show = show
        self._digest = sha256()
        self._lines: list[str] = []

    def note(self, who: str, what: str, *, dull: bool = False) -> None:
        """Take note of *what* happened to *who* now."""
        line = f"{self._now():11.6f} {who:9} {what}"
        self._lines.append(line)
        if self._show is not None and not dull:
            self._show(line)
        if len(self._lines) >= LINES_AT_A_TIME:
            self._take()

    def digest(self) -> str:
        """Return the fingerprint of everything so far."""
        self._take()
        return self._digest.hexdigest()

    def _take(self) -> None:
        self._digest.update("\n".join(self._lines).encode())
        self._lines.clear()
