"""Complaints about strangers, few enough for a log: whoever can connect must not fill a disk with lines."""

from dataclasses import dataclass, field
from typing import Literal

WINDOW_S = 10.0
PER_WINDOW = 2
"""Lines of one kind in that time: the kinds are few, so a flood of one hides no other."""

Kind = Literal["crowd", "frame", "hello", "impostor", "member", "slow"]


@dataclass(slots=True)
class _Told:
    since: float
    lines: int = 0
    untold: int = 0


@dataclass(slots=True)
class Complaints:
    """Says which complaints are worth a line. Instants are given, in seconds."""

    total: int = 0
    _told: dict[Kind, _Told] = field(default_factory=dict)

    def line(self, kind: Kind, what: str, now: float) -> str:
        """Count *what*, and return it as it is to be logged; "" when there were enough of its kind for now."""
        self.total += 1
        told = self._told.setdefault(kind, _Told(now))
        if now - told.since >= WINDOW_S:
            told.since, told.lines = now, 0
        if told.lines == PER_WINDOW:
            told.untold += 1
            return ""
        told.lines += 1
        untold, told.untold = told.untold, 0
        return f"{what} ({untold} more like this were not logged)" if untold else what
