"""Complaints about strangers, few enough for a log: whoever can connect must not fill a disk with lines."""

from dataclasses import dataclass

WINDOW_S = 10.0
PER_WINDOW = 5


@dataclass(slots=True)
class Complaints:
    """Says which complaints are worth a line. Instants are given, in seconds."""

    total: int = 0
    _began: float = float("-inf")
    _told: int = 0
    _untold: int = 0

    def line(self, what: str, now: float) -> str:
        """Count *what*, and return it as it is to be logged; "" when there were enough lines for now."""
        self.total += 1
        if now - self._began >= WINDOW_S:
            self._began, self._told = now, 0
        if self._told == PER_WINDOW:
            self._untold += 1
            return ""
        self._told += 1
        untold, self._untold = self._untold, 0
        return f"{what} ({untold} more like this were not logged)" if untold else what
