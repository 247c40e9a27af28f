"""The way of one node to one context, and what can happen to a call on it.

A link can be down, slow or behind, refuse, and lose the answer of a call that had its effect. What is at its other
end is ``fake_jobs``.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from raftsman.executor.jobs import Denied, KubernetesError, Unreachable

T = TypeVar("T")

CALL_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a call meets: *error* is its answer, its effect happens (or not) after *delay_s*."""

    error: KubernetesError | None = None
    happens: bool = False
    delay_s: float = 0.0


DOWN = Fault(error=Unreachable("connection refused"))
LOST = Fault(error=Unreachable("the connection was cut"), happens=True)
SERVED = Fault(happens=True)


def slow(delay_s: float) -> Fault:
    """Return a call that is answered late."""
    return Fault(happens=True, delay_s=delay_s)


def late(delay_s: float) -> Fault:
    """Return a call that is given up before it has its effect."""
    return Fault(error=Unreachable("no answer in time"), happens=True, delay_s=delay_s)


def denied(message: str, status: int = 403) -> Fault:
    """Return a call that is denied."""
    return Fault(error=Denied(message, status=status))


def fails(message: str) -> Fault:
    """Return a call that the API server answers with an error of its own, such as a webhook that is down."""
    return Fault(error=Unreachable(message, status=500))


class Copy(Protocol):
    """Something that follows the other end."""

    def start_over(self) -> None:
        """Trust nothing any more that was followed."""


class Link:
    """The way of one node to one context."""

    def __init__(self) -> None:
        self.up = True
        self.refusal = ""
        """Why nothing may be listed."""
        self.lag_s = 0.005
        """How long the mirror takes to show a change."""
        self.faults: dict[str, deque[Fault]] = {}
        """By verb: what the next calls meet."""
        self.chance: Callable[[str], Fault] = lambda _verb: SERVED
        self.calls: list[str] = []
        self.mirrors: list[Copy] = []

    def plan(self, verb: str, *faults: Fault) -> None:
        """Let the next calls of *verb* meet *faults*."""
        self.faults.setdefault(verb, deque()).extend(faults)

    def set_up(self, up: bool) -> None:
        """Cut the way, or repair it: the mirrors then list again."""
        self.up = up
        for mirror in self.mirrors:
            mirror.start_over()

    def refuse(self, refusal: str) -> None:
        """Let nothing be listed any more, or ("") everything again."""
        self.refusal = refusal
        self.set_up(self.up)

    async def call(self, verb: str, effect: Callable[[], T]) -> T:
        """Have *effect* at the other end, as far as faults allow. A caller that is cancelled does not stop it."""
        self.calls.append(verb)
        planned = self.faults.get(verb)
        fault = DOWN if not self.up else planned.popleft() if planned else self.chance(verb)
        loop = asyncio.get_running_loop()
        landed: asyncio.Future[T | KubernetesError] = loop.create_future()

        def land() -> None:
            try:
                result: T | KubernetesError = effect()
            except KubernetesError as error:
                result = error
            if not landed.done():
                landed.set_result(result)

        if fault.happens:
            loop.call_later(CALL_S + fault.delay_s, land)
        if fault.error is not None:
            await asyncio.sleep(2 * CALL_S)
            raise fault.error
        answer = await landed
        await asyncio.sleep(CALL_S)
        if not self.up:
            raise Unreachable("the connection was cut")
        if isinstance(answer, KubernetesError):
            raise answer
        return answer
