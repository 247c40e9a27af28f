"""What happened, line by line: a fingerprint that is equal for equal runs, and a text for people when they ask."""

from collections.abc import Callable
from hashlib import sha256

from raftsman.raft import messages as m

NOTES_AT_A_TIME = 512


class Trace:
    """Takes note of everything. *show* gets each line, heartbeats and their answers excepted."""

    def __init__(self, now: Callable[[], float], show: Callable[[str], None] | None = None) -> None:
        self._now = now
        self._show = show
        self._digest = sha256()
        self._notes: list[bytes] = []

    def note(self, who: str, what: str) -> None:
        """Take note of *what* happened to *who* now."""
        line = f"{self._now():11.6f} {who:9} {what}"
        self._keep(line.encode())
        if self._show is not None:
            self._show(line)

    def heard(self, who: str, peer: str, frame: bytes, message: m.Message) -> None:
        """Take note that *who* got *message* from *peer*, which was *frame*; by its bytes, for words take time."""
        self._keep(f"{self._now():.6f} {who} {peer} ".encode() + frame)
        if self._show is not None and not _is_dull(message):
            self._show(f"{self._now():11.6f} {who:9} ← {peer} {message}")

    def digest(self) -> str:
        """Return the fingerprint of everything so far."""
        self._take()
        return self._digest.hexdigest()

    def _keep(self, note: bytes) -> None:
        self._notes.append(note)
        if len(self._notes) >= NOTES_AT_A_TIME:
            self._take()

    def _take(self) -> None:
        self._digest.update(b"\n".join(self._notes))
        self._notes.clear()


def _is_dull(message: m.Message) -> bool:
    match message:
        case m.Append():
            return not message.entries
        case m.Ack():
            return message.success
        case _:
            return False
