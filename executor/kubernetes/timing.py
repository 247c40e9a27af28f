"""When to try again, and how often at most: the clock, backoff and the rate limit of one context.

Time and chance come in as ``Timing``, so that tests decide both. Who waits for what is up to the callers:
``transport`` for calls, ``reflector`` for watches, ``reachability`` for probes.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import assert_never

from raftsman.executor.jobs import NoTurn

LONGEST_PAUSE_S = 30.0  # A server that asks for more is asked again all the same: its answer may be a mistake.
LONGEST_TURN_S = 10.0  # A call that had to wait longer for its turn is refused here; its caller plans anew.
LONGEST_SPARE_TURN_S = 60.0  # The same for a call that takes what is spare: a thousand of them take turns in 50 s.
ESTIMATE_S = 1.0  # By so much the estimate with which a call is let into a line may be wrong.
POLL_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The clock, chance and sleep of the adapter."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time  # Unix seconds.
    random: Callable[[], float] = field(default=random.random)  # From [0, 1).
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def sleep_unless(self, event: asyncio.Event, seconds: float) -> None:
        """Wait *seconds*, or until *event* is set."""
        waits = {asyncio.ensure_future(self.sleep(seconds)), asyncio.ensure_future(event.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

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


class Urgency(Enum):
    """Which calls a context's rate lets pass first. The members are in that order."""

    FIRST = auto()  # What is there: it is released, stopped, looked at. Each waits for all that came before it.
    NEW = auto()  # Creations: there may be thousands, and a stop must not wait behind them.
    SPARE = auto()  # What loses nothing by waiting.


class _Line:
    """Calls of one urgency, which are made one after another, in the order they came."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        """How many turns are left to those that are more urgent."""
        self.waiting = 0
        self.head = asyncio.Lock()


class TokenBucket:
    """At most *qps* calls a second in the long run and *burst* at once; a pause the server asked for holds all.

    A quarter of the burst is kept for what is more urgent than a creation, a half for all that has to be made.
    """

    def __init__(self, timing: Timing, *, qps: float, burst: int) -> None:
        self._timing = timing
        self._qps = qps
        self._burst = burst
        self._tokens = float(burst)
        self._counted_at = timing.monotonic()
        self._held_until = self._counted_at
        self._new, self._spare = _Line(burst // 4), _Line(burst // 2)

    async def take(self, urgency: Urgency = Urgency.FIRST) -> None:
        """Wait for this call's turn. Raises NoTurn when that is too far away."""
        match urgency:
            case Urgency.FIRST:
                await self._take_first()
            case Urgency.NEW:
                self._refuse_beyond(LONGEST_TURN_S, self._wait_s(ahead=self._new.waiting + self._new.kept))
                await self._take_in(self._new, LONGEST_TURN_S)
            case Urgency.SPARE:
                await self._take_in(self._spare, LONGEST_SPARE_TURN_S)
            case _:
                assert_never(urgency)

    async def _take_first(self) -> None:
        wait_s = self._wait_s()
        self._refuse_beyond(LONGEST_TURN_S, wait_s)
        self._tokens -= 1.0
        if wait_s > 0.0:
            await self._timing.sleep(wait_s)

    async def _take_in(self, line: _Line, longest_s: float) -> None:
        until = self._timing.monotonic() + longest_s + ESTIMATE_S
        line.waiting += 1
        try:
            async with line.head:
                while (wait_s := self._wait_s(ahead=line.kept)) > 0.0:
                    self._refuse_beyond(until - self._timing.monotonic(), wait_s)
                    await self._timing.sleep(max(wait_s, POLL_S))
                self._tokens -= 1.0
        finally:
            line.waiting -= 1

    def _refuse_beyond(self, longest_s: float, wait_s: float) -> None:
        if wait_s > longest_s:
            message = f"no call for another {wait_s:.0f} s: too many wait, or the server asked for a pause"
            raise NoTurn(message, retry_after_s=wait_s)

    def hold(self, seconds: float) -> None:
        """Let nothing pass for *seconds* (bounded), as a 429 or 503 asked for."""
        until = self._timing.monotonic() + min(seconds, LONGEST_PAUSE_S)
        self._held_until = max(self._held_until, until)

    def _wait_s(self, *, ahead: int = 0) -> float:
        """Return how long it takes until a call can be made and *ahead* others, too."""
        now = self._timing.monotonic()
        self._refill(now)
        return max(0.0, (1.0 + ahead - self._tokens) / self._qps, self._held_until - now)

    def _refill(self, now: float) -> None:
        gained = (now - self._counted_at) * self._qps
        self._tokens = min(float(self._burst), self._tokens + gained)
        self._counted_at = now
