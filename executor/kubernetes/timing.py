"""When to try again, and how often at most: the clock, backoff and the rate limit of one context.

Time and chance come in as ``Timing``, so that tests decide both. Who waits for what is up to the callers:
``transport`` for calls, ``reflector`` for watches, ``reachability`` for probes.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from raftsman.executor.jobs import NoTurn

LONGEST_PAUSE_S = 30.0  # A server that asks for more is asked again all the same: its answer may be a mistake.
LONGEST_TURN_S = 10.0  # A call that had to wait longer for its turn is refused here; its caller plans anew.
LONGEST_SPARE_TURN_S = 60.0  # The same for a call that takes what is spare: a thousand of them take turns in 50 s.
SPARE_POLL_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The clock, chance and sleep of the adapter."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time  # Unix seconds.
    random: Callable[[], float] = field(default=random.random)  # From [0, 1).
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def wall_ms(self) -> int:
        """Return the time as Unix milliseconds."""
        return int(self.wall() * 1000)

    def between(self, low: float, high: float) -> float:
        """Return a random number of the range."""
        return low + (high - low) * self.random()


class Backoff:
    """Pauses that double up to a limit, each shortened by up to a half so that many clients do not keep step."""

    def __init__(self, timing: Timing, *, first_s: float, most_s: float) -> None:
        self._timing = timing
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def reset(self) -> None:
        """Start again from the first pause."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """Return the pause before the next try, in seconds; never zero."""
        pause_s = self._next_s
        self._next_s = min(pause_s * 2, self._most_s)
        return self._timing.between(pause_s / 2, pause_s)


class TokenBucket:
    """At most *qps* calls a second in the long run and *burst* at once; a pause the server asked for holds all.

    Half of the burst is kept for calls that have to be made: the others are made with what is spare, one after another.
    """

    def __init__(self, timing: Timing, *, qps: float, burst: int) -> None:
        self._timing = timing
        self._qps = qps
        self._burst = burst
        self._tokens = float(burst)
        self._counted_at = timing.monotonic()
        self._held_until = self._counted_at
        self._spare_line = asyncio.Lock()  # Who came first is served first, so that all take turns.

    async def take(self) -> None:
        """Wait for this call's turn. Raises NoTurn when that is too far away."""
        wait_s = self._wait_s(kept=0)
        if wait_s > LONGEST_TURN_S:
            message = f"no call for another {wait_s:.0f} s: too many wait, or the server asked for a pause"
            raise NoTurn(message, retry_after_s=wait_s)
        self._tokens -= 1.0
        if wait_s > 0.0:
            await self._timing.sleep(wait_s)

    async def take_spare(self) -> None:
        """Wait until a turn is spare, for a call that can wait. Raises NoTurn when none was for a long time."""
        until = self._timing.monotonic() + LONGEST_SPARE_TURN_S
        async with self._spare_line:
            while (wait_s := self._wait_s(kept=self._burst // 2)) > 0.0:
                if self._timing.monotonic() + wait_s > until:
                    raise NoTurn(f"no turn was spare for {LONGEST_SPARE_TURN_S:.0f} s")
                await self._timing.sleep(max(wait_s, SPARE_POLL_S))
            self._tokens -= 1.0

    def hold(self, seconds: float) -> None:
        """Let nothing pass for *seconds* (bounded), as a 429 or 503 asked for."""
        until = self._timing.monotonic() + min(seconds, LONGEST_PAUSE_S)
        self._held_until = max(self._held_until, until)

    def _wait_s(self, *, kept: int) -> float:
        """Return how long it takes until a call can be made and *kept* others still could."""
        now = self._timing.monotonic()
        self._refill(now)
        return max(0.0, (1.0 + kept - self._tokens) / self._qps, self._held_until - now)

    def _refill(self, now: float) -> None:
        gained = (now - self._counted_at) * self._qps
        self._tokens = min(float(self._burst), self._tokens + gained)
        self._counted_at = now
