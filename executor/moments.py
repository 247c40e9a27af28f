"""Moments: when something was or will be by a clock that only goes on, for what one process compares with itself.

The wall clock can be set, by an hour and in both directions, and then a pause measured with it lasts an hour, or no
time. So how long ago, and not before, are said in moments; an ``Instant`` is what the table and Kubernetes write down,
and what is compared with them. The two have different types that no operator mixes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """Milliseconds of this process's own clock, from an origin that means nothing."""

    ms: int

    def __sub__(self, earlier: "Moment") -> int:
        """Return the milliseconds since *earlier*."""
        return self.ms - earlier.ms

    def __add__(self, pause_ms: int) -> "Moment":
        """Return the moment that comes *pause_ms* later."""
        return Moment(self.ms + pause_ms)
