"""Clocks that are wrong in all the ways of clocks: ahead or behind, too fast or too slow, and jumping."""

from random import Random

from tests.simulation.timeline import Timeline

BOOTED_S = 1000.0
EPOCH_MS = 1_760_000_000_000
BACK_AT_MOST_S = 2.0


class Clock:
    """One machine's monotonic clock and wall clock."""

    def __init__(self, timeline: Timeline, random: Random) -> None:
        self._timeline = timeline
        self._since = timeline.now
        self._reading = BOOTED_S + random.uniform(0, 1e6)
        self._wall_offset_ms = random.randint(-3_600_000, 3_600_000)
        self.rate = 1.0
        self.is_behind = False
        """Whether it has gone back so far that what waits for an instant may wait for long."""

    def monotonic(self, ahead_s: float = 0.0) -> float:
        """Return what the machine takes, in *ahead_s*, for the time since some instant, in seconds."""
        return self._reading + (self._timeline.now + ahead_s - self._since) * self.rate

    def wall_ms(self) -> int:
        """Return what the machine takes for the time of day, in milliseconds since the epoch."""
        return EPOCH_MS + self._wall_offset_ms + int(self._timeline.now * 1000)

    def run_at(self, rate: float) -> None:
        """Go on at *rate* seconds a second."""
        self._reading, self._since = self.monotonic(), self._timeline.now
        self.rate = rate

    def jump(self, seconds: float) -> None:
        """Let the monotonic clock jump."""
        self._reading += seconds
        self.is_behind = self.is_behind or seconds < -BACK_AT_MOST_S

    def jump_wall(self, milliseconds: int) -> None:
        """Let somebody set the time of day."""
        self._wall_offset_ms += milliseconds
