"""A simulated cluster: its machines, the network between them, those who use it, and the order of what happens."""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NoReturn

from tests.simulation.checks import Checks, Violation
from tests.simulation.clients import Clients
from tests.simulation.machines import Host
from tests.simulation.network import Network
from tests.simulation.parts import Parts, Sizes
from tests.simulation.timeline import Timeline
from tests.simulation.trace import Trace

NAMES = ("alpha", "beta", "gamma", "delta", "omega", "sigma", "theta")


class World:
    """Everything that one seed decides."""

    def __init__(
        self, seed: int, *, nodes: int = 3, parts: Parts | None = None, show: Callable[[str], None] | None = None
    ) -> None:
        self.seed = seed
        self.names = tuple(sorted(NAMES[:nodes]))
        self.addresses = {name: f"{name}:7118" for name in self.names}
        self.parts = parts or Parts()
        self.faults: Counter[str] = Counter()
        """What went wrong so far: how often each kind of trouble struck."""
        self.random = Random(f"{seed}/world")
        self.sizes = Sizes.drawn(self.random)
        self.timeline = Timeline()
        self.trace = Trace(lambda: self.timeline.now, show)
        self.checks = Checks()
        self.network = Network(self.timeline, Random(f"{seed}/network"), lambda name: self.hosts[name])
        self.hosts = {name: Host(self, name) for name in self.names}
        self.clients = Clients(self)

    def fail(self, what: str, cause: BaseException | None = None) -> NoReturn:
        """Say that a promise is broken."""
        raise Violation(what) from cause

    def clients_of_died(self, name: str) -> None:
        """Whoever waits for an answer of that node loses the connection."""
        self.clients.lost(name)

    @property
    def running(self) -> list[Host]:
        """The machines whose process runs."""
        return [host for host in self.hosts.values() if host.process is not None]

    @property
    def is_founded(self) -> bool:
        """Whether any node counts; before, nothing can have been acknowledged."""
        return any(host.is_member for host in self.hosts.values())

    def leaders(self) -> list[Host]:
        """Return who takes itself for the leader."""
        return [host for host in self.running if host.process is not None and host.process.participant.core.leads]
