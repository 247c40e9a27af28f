"""Every fault that the simulation has found, as a schedule that a person can read."""

from raftsman.raft import messages as m
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


def fill(world: Steps, count: int) -> None:
    """Bring so many commands into the log."""
    for number in range(count):
        world.propose(world.leader(), b"%d" % number)
        world.run(0.02)


def with_one_far_behind() -> tuple[Steps, str, str]:
    """Return a world whose log is compacted often, its leader, and a node that needs a snapshot and is down."""
    world = Steps(compact_entries=50)
    world.start()
    leader, late = world.leader().name, world.followers()[0].name
    world.kill(late)
    fill(world, 200)
    return world, leader, late


def test_a_transfer_that_took_longer_than_the_next_compaction_begins_again_with_the_newer_snapshot() -> None:
    world, leader, late = with_one_far_behind()
    world.start(late)
    world.until(lambda: any(isinstance(each, m.Chunk) for _, _, each in world.said), "a part was sent")
    world.blocked.add((late, leader))  # Its acknowledgement of the whole is under way all the while.
    world.until(lambda: world.nodes[late].machine.applied, "the snapshot has come")
    for number in range(150):
        world.propose(world.nodes[leader], b"more %d" % number)
        world.step()
    world.blocked.clear()
    world.until(lambda: world.nodes[late].machine.applied == world.leader().machine.applied, "it has caught up", 15)


def test_a_transfer_that_met_a_full_disk_begins_again() -> None:
    world, _, late = with_one_far_behind()
    world.start(late)
    disk = world.disks[late]
    disk.capacity_bytes = disk.used_bytes
    world.until(lambda: any(isinstance(each, m.Chunk) for _, _, each in world.said), "a part was sent")
    world.run(1)
    assert world.nodes[late].machine.applied == []
    disk.capacity_bytes = None
    world.until(lambda: world.nodes[late].machine.applied == world.leader().machine.applied, "it has caught up")


def test_what_comes_in_behind_what_a_full_disk_cannot_take_is_not_lost() -> None:
    world, leader, late = with_one_far_behind()
    world.start(late)
    node, other = world.nodes[late], next(name for name in world.names if name not in (leader, late))
    world.cut(late, other)
    world.until(lambda: any(isinstance(each, m.Chunk) for _, _, each in world.said), "a part was sent")
    world.disks[late].capacity_bytes = world.disks[late].used_bytes
    world.deliver(leader, late)
    world.link(late, other)
    node.participant.tick()
    node.participant.tick()
    assert node.participant.peers[other].linked


def test_what_a_leader_answers_to_an_earlier_process_of_a_node_answers_nothing_of_the_present_one() -> None:
    """The leader takes a node's question, and answers when the node has died, has started and has asked anew."""
    world = Steps()
    world.start()
    leader, (follower, _) = world.leader(), world.followers()
    world.run(0.3)

    def ask() -> tuple[int, int, list[tuple[Answer, object]]]:
        process = world.nodes[follower.name].participant
        answers: list[tuple[Answer, object]] = []
        process.read(lambda answer, index: answers.append((answer, index)))
        process.propose(b"one", lambda answer, result: answers.append((answer, result)))
        world.said.clear()
        process.tick()
        (read,) = [each.number for _, _, each in world.said if isinstance(each, m.AskRead)]
        (proposed,) = [each.number for _, _, each in world.said if isinstance(each, m.Propose)]
        return read, proposed, answers

    read, proposed, _ = ask()
    world.kill(follower.name)
    world.start(follower.name)
    world.until(lambda: world.nodes[follower.name].participant.standing().leader, "it follows again")
    _, _, answers = ask()
    world.wires[leader.name, follower.name].clear()
    late = (m.Read(number=read, index=1), m.Proposed(number=proposed, index=1, term=1))
    for message in late:
        world.nodes[follower.name].participant.received(leader.name, message)
    world.nodes[follower.name].participant.tick()
    assert answers == []
