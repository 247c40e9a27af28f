"""Time that passes only when something happens: a queue of what is to be done, by its instant."""

from collections.abc import Callable
from heapq import heappop, heappush

Work = Callable[[], None]


class Timeline:
    """What happens when. Instants are seconds since the beginning; equal ones happen in the order they were planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self._planned: list[tuple[float, int, Work]] = []
        self._count = 0

    def after(self, delay_s: float, work: Work) -> None:
        """Do *work* in *delay_s*."""
        self._count += 1
        heappush(self._planned, (self.now + max(0.0, delay_s), self._count, work))

    def run(self, until: float, over: Callable[[], bool] | None = None) -> bool:
        """Let time pass until *until*, or until *over* is true, and return whether it is."""
        planned = self._planned
        while planned and planned[0][0] <= until:
            if over is not None and over():
                return True
            self.now, _, work = heappop(planned)
            work()
        self.now = max(self.now, until)
        return over is not None and over()
