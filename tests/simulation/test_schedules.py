"""Every fault that the simulation has found, as a schedule that a person can read."""

from raftsman.raft.waiting import Answer
from tests.harness.simulated_disk import Crash, Operation
from tests.harness.steps import Steps


def dies_at(kind: str, world: Steps, name: str) -> None:
    """Let time pass until the node dies at an operation of its disk; what it wrote stays in memory."""

    def die(operation: Operation) -> None:
        if operation.kind == kind:
            raise Crash(kind)

    world.disks[name].before = die
    try:
        world.until(lambda: False, f"{name} dies at {kind}")
    except Crash:
        world.disks[name].before = lambda _operation: None
        world.kill(name)


def test_what_a_killed_process_left_in_memory_is_durable_before_it_is_acknowledged() -> None:
    """A follower is killed between write and sync, starts, finds the entry, acknowledges it, and loses its power."""
    for seed in range(8):  # Which pages survive a loss of power is up to chance.
        world = Steps(seed=seed)
        world.start()
        leader, (follower, other) = world.leader(), world.followers()
        world.run(0.3)
        world.isolate(other.name)
        answers = world.propose(leader, b"one")
        dies_at("sync", world, follower.name)
        world.start(follower.name)
        world.until(lambda found=answers: found, "an answer")  # type: ignore[misc]
        assert answers == [(Answer.APPLIED, b"one")]
        acknowledged = world.nodes[follower.name].journal.last_index
        world.kill(follower.name, power=True)
        world.start(follower.name)
        assert world.nodes[follower.name].journal.last_index == acknowledged
