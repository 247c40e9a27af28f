"""One seed from its beginning to its end: trouble, then peace, then everything acknowledged must be there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from tests.simulation import troubles
from tests.simulation.checks import Violation
from tests.simulation.parts import Parts
from tests.simulation.world import World

LEAST_FAULTS = 20
HEALS_WITHIN_S = 40.0
FOUNDED_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a seed."""

    seed: int
    nodes: int
    faults: Mapping[str, int]
    """How often each kind struck."""
    acknowledged: int
    """Commands of which somebody was told that they are in the log."""
    reads: int
    """Consistent reads that were answered."""
    seconds: float
    violation: str
    trace: str

    @property
    def fault_count(self) -> int:
        """All of them."""
        return sum(self.faults.values())


def run_seed(
    seed: int, *, nodes: int = 3, parts: Parts | None = None, show: Callable[[str], None] | None = None
) -> Result:
    """Run *seed*. Equal arguments give equal results, the trace's fingerprint included."""
    world = World(seed, nodes=nodes, parts=parts, show=show)
    violation = ""
    try:
        _live_through_trouble(world)
        _heal(world)
        if world.random.random() < 0.3:
            _lose_all_power(world)
    except Violation as broken:
        violation = str(broken)
        world.trace.note("VIOLATION", violation)
    return Result(
        seed=seed,
        nodes=nodes,
        faults=dict(sorted(world.faults.items())),
        acknowledged=len(world.checks.acknowledged),
        reads=world.checks.reads,
        seconds=world.timeline.now,
        violation=violation,
        trace=world.trace.digest(),
    )


def _live_through_trouble(world: World) -> None:
    random = Random(f"{world.seed}/troubles")
    weights = troubles.drawn(random)
    wanted = random.randint(LEAST_FAULTS, LEAST_FAULTS + 8)
    pace_s = random.choice((0.2, 0.4, 0.8))
    for host in world.hosts.values():
        host.clock.run_at(2 ** random.uniform(-1, 1))
        host.start_later(random.uniform(0, 0.3))
    world.clients.start()
    world.timeline.run(until=random.choice((0.0, 1.5, 1.5, 1.5)))
    while world.faults.total() < wanted:
        world.timeline.run(until=world.timeline.now + random.expovariate(1 / pace_s))
        (trouble,) = random.choices([*weights], weights=[*weights.values()])
        if trouble(world, random):
            world.faults[trouble.__name__.replace("_", " ")] += 1
    world.timeline.run(until=world.timeline.now + 1.0)


def _heal(world: World) -> None:
    """Let all trouble end; within a while every node must have everything."""
    world.trace.note("world", "all trouble ends")
    for sender, receiver in list(world.network.blocked):
        world.network.unblock(sender, receiver)
    world.network.slow_s.clear()
    for host in world.hosts.values():
        host.slow_disk_s, host.disk.capacity_bytes, host.fails_disk_in, host.stalls_in = 0.0, None, None, None
        host.resume()
        if host.clock.is_behind:
            host.clock.is_behind = False
            host.kill()
        if host.process is None:
            host.start_later(0.0)
    world.clients.stop()
    _settle(world)


def _lose_all_power(world: World) -> None:
    """Take the power from all at once: what was acknowledged is on the disks."""
    for host in world.running:
        host.kill(power=True)
        host.start_later(0.1)
    _settle(world)


def _settle(world: World) -> None:
    if not world.timeline.run(until=world.timeline.now + FOUNDED_WITHIN_S, over=lambda: world.is_founded):
        _begin_anew(world)
    until = world.timeline.now + HEALS_WITHIN_S
    if not world.timeline.run(until=until, over=lambda: not world.clients.open and _agree(world)):
        world.fail(f"no progress in {HEALS_WITHIN_S:g} s of peace: {_standing(world)}")
    wish = world.clients.submit()
    if not world.timeline.run(until=world.timeline.now + HEALS_WITHIN_S, over=lambda: wish.done and _agree(world)):
        world.fail(f"nothing new is accepted in {HEALS_WITHIN_S:g} s of peace: {_standing(world)}")
    for host in world.running:
        assert host.process is not None
        world.checks.log_read(host.name, host.process.journal)
        host.process.replica.read(
            lambda table, name=host.name: world.checks.holds_everything(  # type: ignore[misc]
                name, table, world.clients.acknowledged
            )
        )


def _begin_anew(world: World) -> None:
    """Do what the nodes ask for when a disk was lost while the cluster was being founded."""
    world.trace.note("world", "all directories are emptied")
    for host in world.hosts.values():
        host.kill()
        host.wipe()
        host.start_later(0.1)


def _agree(world: World) -> bool:
    """Whether all nodes run, count, and have applied the same, all of it."""
    processes = [host.process for host in world.running if host.process is not None]
    if len(processes) < len(world.names) or not all(each.identity.counts for each in processes):
        return False
    standings = [each.participant.standing() for each in processes]
    ends = {each.journal.last_index for each in processes}
    return (
        ends == {standing.applied_index for standing in standings}
        and len(ends) == 1
        and sum(standing.leads for standing in standings) == 1
    )


def _standing(world: World) -> str:
    parts = []
    for host in world.hosts.values():
        if host.process is None:
            parts.append(f"{host.name} is down")
        else:
            participant = host.process.participant
            core = participant.core
            parts.append(
                f"{host.name} {'leads' if core.leads else 'follows ' + str(core.leader)} in term {core.term}, "
                f"holds {host.process.journal.last_index}, applied {core.applied_index} {participant.waits_for()}"
            )
    return "; ".join(parts) + f"; {len(world.clients.open)} wishes open"
