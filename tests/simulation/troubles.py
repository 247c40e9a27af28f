"""Everything that happens to a cluster besides work, by chance: each kind of trouble is one short function.

How many troubles there are and when is ``run``'s; what they do to a machine or to the network is theirs.
"""

from collections.abc import Callable
from random import Random

from tests.simulation.machines import Host
from tests.simulation.world import World

Trouble = Callable[[World, Random], bool]
"""Makes trouble; False: there is nothing to trouble at the moment, or it strikes later and is counted then."""
RARE_STEPS = ("create", "rename", "unlink")
"""A death at the tenth of them from now would come too late."""


def _one(world: World, random: Random, *, leads: float = 0.4) -> Host | None:
    """Return a machine whose process runs: the leader's more often than by chance."""
    running = world.running
    leaders = world.leaders()
    if leaders and random.random() < leads:
        return random.choice(leaders)
    return random.choice(running) if running else None


def _pair(world: World, random: Random) -> tuple[str, str]:
    one, other = random.sample(world.names, 2)
    return one, other


def _downtime_s(random: Random) -> float:
    return random.choice((0.02, 0.3, 1.0, 4.0)) * (0.5 + random.random())


# --- processes and machines -------------------------------------------------------------------


def kill(world: World, random: Random) -> bool:
    """End one process between two of its steps."""
    host = _one(world, random)
    if host is None:
        return False
    host.kill(power=random.random() < 0.3)
    host.start_later(_downtime_s(random))
    return True


def kill_at_a_step(world: World, random: Random) -> bool:
    """Let a process die at one of its next steps: any, or a write, a sync, a change of names, a send."""
    host = _one(world, random)
    if host is None:
        return False
    steps = random.randint(1, random.choice((1, 3, 10, 40)))
    only = random.choice(("", "", "write", "write", "sync", "sync", "send", *RARE_STEPS))
    host.die_within(
        steps if only not in RARE_STEPS else 1, power=random.random() < 0.5, only=only, again=random.random() < 0.5
    )
    return False


def kill_all(world: World, random: Random) -> bool:
    """Take the power from the whole cluster, or kill all its processes."""
    power = random.random() < 0.7
    for host in world.running:
        host.kill(power=power)
        host.start_later(random.uniform(0.02, 1.5))
    return True


def stop(world: World, random: Random) -> bool:
    """Stop a process cleanly."""
    host = _one(world, random)
    if host is None or host.is_paused:
        return False
    host.stop()
    host.start_later(_downtime_s(random))
    return True


def pause(world: World, random: Random) -> bool:
    """Let a process stand still, for up to nine seconds."""
    host = _one(world, random, leads=0.6)
    if host is None or host.is_paused:
        return False
    seconds = random.choice((0.1, 0.5, 1.5, 9.0)) * random.random()
    host.note(f"stands still for {seconds:.3f} s")
    host.pause(seconds)
    return True


def replace(world: World, random: Random) -> bool:
    """Put an empty machine in the place of a dead one, if a majority of disks is left that hold everything."""
    host = world.hosts[random.choice(world.names)]
    incomplete = sum(not each.is_member for each in world.hosts.values() if each is not host)
    if world.is_founded and (incomplete + 1) * 2 >= len(world.names):
        return False
    host.kill(power=random.random() < 0.5)
    host.wipe()
    host.start_later(_downtime_s(random))
    return True


def transfer(world: World, random: Random) -> bool:
    """Ask the leader to hand over."""
    leaders = world.leaders()
    if not leaders:
        return False
    host = random.choice(leaders)
    assert host.process is not None
    target = random.choice((None, *(name for name in world.names if name != host.name)))
    host.note(f"is asked to hand over to {target or 'anybody'}")
    host.process.participant.transfer(target, host.clock.monotonic() + random.uniform(0.1, 2))
    host.process.tick_soon()
    return True


def stall(world: World, random: Random) -> bool:
    """Let a busy process stand still between two looks at the clock: no CPU, no GIL, SIGSTOP."""
    host = _one(world, random)
    if host is None:
        return False
    host.stalls_in = random.randint(1, 12)
    world.clients.burst(random.randint(1, 20))
    return False


# --- clocks -----------------------------------------------------------------------------------


def clock_jump(world: World, random: Random) -> bool:
    """Let a clock jump by up to an hour, ahead or (which no monotonic clock should) back; the time of day, too."""
    host = world.hosts[random.choice(world.names)]
    seconds = random.choice((0.2, 1.0, 60.0, 3600.0)) * random.random()
    if random.random() < 0.3:
        seconds = -seconds
    host.clock.jump(seconds)
    host.clock.jump_wall(random.randint(-3_600_000, 3_600_000))
    host.note(f"its clock jumps by {seconds:.3f} s")
    return True


def clock_rate(world: World, random: Random) -> bool:
    """Let a clock go at half to double speed."""
    host = world.hosts[random.choice(world.names)]
    host.clock.run_at(2 ** random.uniform(-1, 1))
    host.note(f"its clock goes {host.clock.rate:.3f} times as fast")
    return True


# --- the network ------------------------------------------------------------------------------


def _block(world: World, random: Random, ways: list[tuple[str, str]]) -> None:
    seconds = random.choice((0.2, 1.0, 3.0, 8.0)) * (0.5 + random.random())
    for sender, receiver in ways:
        world.trace.note("network", f"nothing from {sender} reaches {receiver} for {seconds:.3f} s")
        world.network.block(sender, receiver)
        world.timeline.after(seconds, lambda way=(sender, receiver): world.network.unblock(*way))  # type: ignore[misc]


def block_one_way(world: World, random: Random) -> bool:
    """Lose everything in one direction between two machines."""
    _block(world, random, [_pair(world, random)])
    return True


def isolate(world: World, random: Random) -> bool:
    """Cut one machine off, in both directions or in one."""
    host = _one(world, random, leads=0.6)
    if host is None:
        return False
    others = [name for name in world.names if name != host.name]
    out = [(host.name, other) for other in others]
    into = [(other, host.name) for other in others]
    _block(world, random, random.choice((out, into, out + into, out + into)))
    return True


def divide(world: World, random: Random) -> bool:
    """Cut the cluster into two parts."""
    names = random.sample(world.names, len(world.names))
    cut = random.randint(1, len(names) - 1)
    ways = [(one, other) for one in names[:cut] for other in names[cut:]]
    _block(world, random, ways + [(other, one) for one, other in ways])
    return True


def reset(world: World, random: Random) -> bool:
    """Reset connections: what is under way is lost."""
    links = world.network.links
    if not links:
        return False
    for link in random.sample(links, random.randint(1, len(links))):
        end = random.choice((link.dialer, link.acceptor))
        world.trace.note("network", f"{end} loses its connection to {link.other(end)}")
        world.network.close(link, end)
    return True


def half_open(world: World, random: Random) -> bool:
    """Let one end of a connection be gone without the other hearing of it."""
    links = world.network.links
    if not links:
        return False
    link = random.choice(links)
    end = random.choice((link.dialer, link.acceptor))
    world.trace.note("network", f"{end} loses its connection to {link.other(end)}, which does not hear of it")
    world.network.close(link, end, told=False)
    return True


def slow_network(world: World, random: Random) -> bool:
    """Let everything from and to one machine take longer."""
    name = random.choice(world.names)
    is_slow = world.network.slow_s.get(name, 0.0) > 0
    world.network.slow_s[name] = random.choice((0.02, 0.1, 0.4, *([0.0] if is_slow else [])))
    world.trace.note("network", f"everything of {name} takes {world.network.slow_s[name]} s longer")
    return True


# --- disks ------------------------------------------------------------------------------------


def slow_disk(world: World, random: Random) -> bool:
    """Let every sync of one machine take longer, for a while."""
    host = world.hosts[random.choice(world.names)]
    host.slow_disk_s = random.choice((0.02, 0.1, 0.7, *([0.0] if host.slow_disk_s else [])))
    host.note(f"its disk takes {host.slow_disk_s} s longer")
    return True


def full_disk(world: World, random: Random) -> bool:
    """Fill a disk, all but a little, or every disk, while many want something; make room again later."""
    some = random.sample(world.names, random.choice((1, 1, 1, 2, len(world.names))))
    disks = [world.hosts[name].disk for name in some]
    refusals = sum(disk.refusals for disk in disks)
    for name, disk in zip(some, disks, strict=True):
        left_bytes = random.choice((0, 500, 5000))
        disk.capacity_bytes = disk.used_bytes + left_bytes
        world.trace.note(name, f"its disk has {left_bytes} bytes left")

    def make_room() -> None:
        for disk in disks:
            disk.capacity_bytes = None
        world.trace.note("world", f"the disk has room again on {', '.join(some)}")
        world.faults["full disk"] += sum(disk.refusals for disk in disks) > refusals

    world.clients.burst(random.randint(1, 20))
    world.timeline.after(random.uniform(1, 8), make_room)
    return False


def failing_disk(world: World, random: Random) -> bool:
    """Let a disk fail at one of its next operations."""
    host = _one(world, random)
    if host is None:
        return False
    host.fails_disk_in = random.randint(1, 20)
    return False


ALL: dict[Trouble, int] = {
    kill: 10,
    kill_at_a_step: 25,
    kill_all: 4,
    stop: 3,
    pause: 8,
    replace: 3,
    transfer: 8,
    clock_jump: 6,
    clock_rate: 4,
    block_one_way: 8,
    isolate: 8,
    divide: 5,
    reset: 8,
    half_open: 5,
    slow_network: 4,
    slow_disk: 4,
    full_disk: 6,
    failing_disk: 3,
    stall: 10,
}
"""How often each comes, in relation to the others."""


def drawn(random: Random) -> dict[Trouble, int]:
    """Return the troubles of one seed: some kinds are left out, so that others come closer together."""
    chosen = {trouble: weight for trouble, weight in ALL.items() if random.random() < 0.7}
    return chosen or dict(ALL)
