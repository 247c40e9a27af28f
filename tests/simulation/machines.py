"""A machine: a disk, a clock, power, and at most one process at a time, which may die at any step that it takes."""

from collections import deque
from collections.abc import Callable
from errno import EIO
from random import Random
from typing import TYPE_CHECKING

from raftsman.raft.disk import DiskFailed, DiskFull
from tests.harness.simulated_disk import Crash, Operation, SimulatedDisk
from tests.simulation.clocks import Clock
from tests.simulation.processes import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

AGAIN_S = 1.0
"""When a process that could not start is started again."""
DISK_WORK = frozenset({"write", "sync", "create", "rename", "sync-names"})


class Host:
    """One machine of the cluster."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.random = Random(f"{world.seed}/{name}")
        self.clock = Clock(world.timeline, self.random)
        self.disk = self._new_disk()
        self.process: Process | None = None
        self.lives = 0
        self.has_power = True
        self.is_paused = False
        self.is_member = False
        """Whether its disk holds all that it ever acknowledged, and counts."""
        self.slow_disk_s = 0.0
        self.fails_disk_in: int | None = None
        """After so many operations the disk fails."""
        self.stalls_in: int | None = None
        """After so many looks at the clock the process stands still for a moment, in the middle of whatever it does."""
        self._dies_in: int | None = None
        self._dies_with_power = False
        self._dies_only = ""
        self._dies_again = False
        self._disk_has_failed = False
        self._deferred: deque[Callable[[], None]] = deque()
        self._is_starting = False

    def note(self, what: str) -> None:
        """Write down what happens here."""
        self.world.trace.note(self.name, what)

    def _new_disk(self) -> SimulatedDisk:
        return self.world.parts.disk(Random(self.random.random()), before=self._before)

    # --- steps at which it may die ---

    def _before(self, operation: Operation) -> None:
        if operation.kind == "sync" and self.process is not None:
            self.process.lag_s += self.world.sizes.sync_s * (0.5 + self.random.random()) + self.slow_disk_s
        self.burn(operation.kind)
        if self.fails_disk_in is not None and operation.kind in DISK_WORK:
            self.fails_disk_in -= 1
            if self.fails_disk_in <= 0:
                self.fails_disk_in, self._disk_has_failed = None, True
                self.world.faults["failing disk"] += 1
                self.note(f"the disk fails at {operation.kind} {operation.name}")
                raise OSError(EIO, "Input/output error")

    def stall_s(self) -> float:
        """Return for how long the process stands still at this look at the clock."""
        if self.stalls_in is None:
            return 0.0
        self.stalls_in -= 1
        if self.stalls_in > 0:
            return 0.0
        self.stalls_in = None
        seconds = self.random.choice((0.06, 0.06, 0.3, 1.0))
        self.world.faults["stall"] += 1
        self.note(f"it stands still for {seconds} s within a step")
        return seconds

    def burn(self, step: str) -> None:
        """Come one step nearer to the death that was planned. Raises Crash."""
        if self._dies_in is not None and (not self._dies_only or step.startswith(self._dies_only)):
            self._dies_in -= 1
            if self._dies_in <= 0:
                self._dies_in = None
                self.world.faults[f"death at {step.split(maxsplit=1)[0]}"] += 1
                self.note(f"dies at {step}")
                raise Crash(step)

    def die_within(self, steps: int, *, power: bool, only: str = "", again: bool = False) -> None:
        """Let it die at a step soon, of the kind *only* if one is named; *again*: and once more after its start."""
        self._dies_in, self._dies_with_power, self._dies_only, self._dies_again = steps, power, only, again

    def guarded(self, work: Callable[[], None]) -> None:
        """Do *work* of the process; what ends it, ends it."""
        try:
            work()
        except Crash:
            self.kill(power=self._dies_with_power)
            self.start_later(self.random.uniform(0.05, 3))
        except DiskFailed as error:
            if not self._disk_has_failed:
                self.world.fail(f"{self.name} ends, and no disk has failed: {error}")
            self.note(f"ends: {error}")
            self.kill(power=self.random.random() < 0.5)
            self.start_later(self.random.uniform(0.05, 3))
        except Exception as error:  # noqa: BLE001 - whatever a node raises is what the simulation looks for.
            self.world.fail(f"{self.name} raises {type(error).__name__}: {error}", error)

    # --- its time ---

    def later(self, delay_s: float, work: Callable[[], None], process: Process) -> None:
        """Do *work* in *delay_s*, if *process* still lives; after its pause, if it stands still."""

        def run() -> None:
            if process.is_over:
                return
            if self.is_paused:
                self._deferred.append(run)
            else:
                self.guarded(work)

        self.world.timeline.after(delay_s, run)

    def pause(self, seconds: float) -> None:
        """Let the process stand still."""
        if self.process is None or self.is_paused:
            return
        self.is_paused = True
        process = self.process
        self.world.timeline.after(seconds, lambda: self._resume(process))

    def _resume(self, process: Process) -> None:
        if self.process is process and self.is_paused:
            self.resume()

    def resume(self) -> None:
        """Let it go on."""
        if not self.is_paused:
            return
        self.is_paused = False
        self.note("goes on")
        deferred, self._deferred = self._deferred, deque()
        for work in deferred:
            work()
        if self.process is not None:
            self.process.tick_soon()
        late_s = self.random.choice((0.0, 0.01))  # What has come meanwhile may be read after a few ticks only.
        self.world.timeline.after(late_s, lambda: self.world.network.wake(self.name))

    # --- its life ---

    def start(self) -> None:
        """Start the process on what the disk holds."""
        self._is_starting = False
        if self.process is not None:
            return
        self.has_power = True
        self.guarded(self._start)

    def _start(self) -> None:
        self.lives += 1
        if self._dies_again:
            only, steps = self.random.choice((("send an Ack", 3), ("send", 12), ("", 12)))
            self.die_within(self.random.randint(1, steps), power=True, only=only)
        try:
            self.process = Process(self)
        except DiskFull as error:
            self.note(f"cannot start: {error}")
            self.disk.kill()
            self.start_later(AGAIN_S)
            return
        self.note(f"has started, holds {self.process.journal.last_index}")
        self.process.dial_all()
        self.process.tick_soon()

    def start_later(self, delay_s: float) -> None:
        """Start the process in a while, if nobody has until then."""
        if not self._is_starting:
            self._is_starting = True
            self.world.timeline.after(delay_s, self._start_if_due)

    def _start_if_due(self) -> None:
        if self._is_starting:
            self.start()

    def kill(self, *, power: bool = False) -> None:
        """End the process: by a signal, or with the machine, whose memory is lost."""
        process, self.process = self.process, None
        self._dies_in = self.fails_disk_in = None
        self._disk_has_failed = False
        self.is_paused = False
        self._deferred.clear()
        self.has_power = not power
        if process is not None:
            process.end(told=not power, drains=self.random.random() < 0.5)
            self.world.clients_of_died(self.name)
        if power:
            self.disk.lose_power()
            self.clock = Clock(self.world.timeline, self.random)
        else:
            self.disk.kill()
        self.note("has lost its power" if power else "is killed")

    def stop(self) -> None:
        """End the process cleanly."""
        process = self.process
        if process is None or self.is_paused:
            return
        self.guarded(process.stop)
        if self.process is not None:
            self.note("stops")
            self.kill()

    def wipe(self) -> None:
        """Put an empty disk in."""
        assert self.process is None
        self.disk = self._new_disk()
        self.is_member = False
        self.note("has an empty disk")
