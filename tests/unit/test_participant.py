"""A participant's tick as a whole: what is durable when, full disks, snapshots, leadership on request."""

import copy
import errno

import msgspec
import pytest

from raftsman.raft import messages as m
from raftsman.raft import shipping
from raftsman.raft.disk import DiskFailed
from raftsman.raft.limits import COMMAND_BYTES
from raftsman.raft.link import LONGEST_UNSENT_BYTES
from raftsman.raft.participant import MAX_QUEUED, TICK_BYTES
from raftsman.raft.peers import UNSENT_BYTES, in_parts
from raftsman.raft.waiting import Answer
from tests.harness.simulated_disk import Operation
from tests.harness.steps import Node, Steps


def test_nothing_is_acknowledged_that_the_next_loss_of_power_could_take() -> None:
    world = Steps()
    world.start()
    world.commit(b"one")
    for name in world.names:
        world.kill(name, power=True)
    world.start()
    world.leader()
    world.run(0.5)
    assert all(node.commands == [b"one"] for node in world.nodes.values())


def test_a_follower_syncs_before_it_acknowledges_and_a_leader_sends_before_it_syncs() -> None:
    world = Steps()
    world.start()
    leader, (follower, _) = world.leader(), world.followers()
    world.run(0.2)
    order: list[str] = []

    def watch(node: Node) -> None:
        node.disk.before = lambda operation: order.append(f"{node.name} {operation.kind}")

    watch(leader)
    watch(follower)
    world.said.clear()
    world.propose(leader, b"one")
    before = len(world.syncs)
    leader.participant.tick()
    assert len(world.syncs) == before + 1, "a sync is told of"
    leader.participant.tick()
    assert len(world.syncs) == before + 1, "where nothing was written there was none"
    sent = len([each for _, to, each in world.said if isinstance(each, m.Append) and to == follower.name])
    assert (order, sent) == ([f"{leader.name} write", f"{leader.name} sync"], 1)
    order.clear()
    world.said.clear()
    world.deliver(leader.name, follower.name)
    follower.disk.before = lambda operation: order.append(f"{operation.kind} after {len(world.said)} messages")
    follower.participant.tick()
    assert order == ["write after 0 messages", "sync after 0 messages"]
    assert [type(each) for _, _, each in world.said] == [m.Ack]


def test_everything_that_came_together_costs_one_write_and_one_sync() -> None:
    world = Steps()
    world.start()
    leader = world.leader()
    world.run(0.2)
    operations: list[str] = []
    leader.disk.before = lambda operation: operations.append(operation.kind)
    for number in range(100):
        world.propose(leader, b"%d" % number)
    leader.participant.tick()
    assert operations == ["write", "sync"]


def test_what_comes_together_is_written_in_parts_so_that_heartbeats_get_between() -> None:
    """800 specifications of the longest kind that came at once were one write of 100 MB, and deposed the leader."""
    world = Steps()
    world.start()
    leader = world.leader()
    world.run(0.2)
    first = leader.journal.last_index
    answers = [world.propose(leader, bytes([number]) * COMMAND_BYTES) for number in range(9)]
    leader.participant.tick()
    assert leader.journal.last_index - first == TICK_BYTES // COMMAND_BYTES
    assert leader.participant.hurried, "the rest follows at once"
    refused = world.propose(leader, b"last")
    world.until(lambda: all(answers) and refused, "all are answered")
    assert [command[:1] for command in leader.commands] == [*(bytes([number]) for number in range(9)), b"l"]


# --- a full disk, a failing disk --------------------------------------------------------------


def no_room(operation: Operation) -> None:
    if operation.kind == "write":
        raise OSError(errno.ENOSPC, "No space left on device")


def standing_out(node: Node) -> bool:
    return node.participant.has_no_room


def test_a_leader_whose_disk_is_full_leads_no_more_and_says_so_until_there_is_room() -> None:
    world = Steps()
    world.start()
    world.commit(b"one")
    old = world.leader()
    old.disk.before = no_room
    answers = world.propose(old, b"two")
    world.until(lambda: not old.participant.core.leads, "it steps down")
    world.run(2)
    assert standing_out(old)
    assert answers in ([], [(Answer.APPLIED, b"two")]), "the others may have got it"
    refused = world.propose(old, b"four")
    old.participant.tick()
    assert refused == [(Answer.DISK_FULL, None)]
    new = next(node for node in world.nodes.values() if node.participant.core.leads)
    world.propose(new, b"five")
    world.run(0.5)
    assert b"five" in new.commands
    old.disk.before = lambda _operation: None
    world.run(1)
    assert not standing_out(old)
    world.commit(b"six", old)
    world.run(0.5)
    assert len({tuple(node.commands) for node in world.nodes.values()}) == 1


def test_a_follower_whose_disk_is_full_acknowledges_nothing() -> None:
    world = Steps()
    world.start()
    leader, (full, other) = world.leader(), world.followers()
    world.run(0.2)
    world.kill(other.name)
    full.disk.before = no_room
    answers = world.propose(leader, b"one")
    world.run(1.5)
    assert answers == []
    full.disk.before = lambda _operation: None
    world.commit(b"two")
    assert b"two" in full.commands


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_ends_the_node_before_it_says_anything(number: int) -> None:
    world = Steps()
    world.start()
    leader, (follower, _) = world.leader(), world.followers()
    world.run(0.2)

    def fail(operation: Operation) -> None:
        if operation.kind == "sync":
            raise OSError(number, "it failed")

    follower.disk.before = fail
    world.propose(leader, b"one")
    leader.participant.tick()
    world.said.clear()
    world.deliver(leader.name, follower.name)
    with pytest.raises(DiskFailed):
        follower.participant.tick()
    assert world.said == []


# --- snapshots --------------------------------------------------------------------------------


def with_short_logs() -> Steps:
    """Return a world that compacts often, started."""
    world = Steps(compact_entries=50)
    world.start()
    return world


def fill(world: Steps, count: int) -> None:
    for number in range(count):
        world.propose(world.leader(), b"%d" % number)
        world.run(0.02)


def test_a_log_that_is_long_is_compacted_and_a_restart_begins_with_the_snapshot() -> None:
    world = with_short_logs()
    fill(world, 200)
    leader = world.leader()
    world.run(0.2)
    assert leader.journal.first_index > 100
    assert len(world.snapshots) >= len(world.names), "and told how long that took"
    assert all(seconds >= 0 for seconds in world.snapshots)
    before = list(leader.machine.applied)
    world.kill(leader.name, power=True)
    world.start(leader.name)
    assert world.nodes[leader.name].machine.applied == before[: len(world.nodes[leader.name].machine.applied)]
    assert len(world.nodes[leader.name].machine.applied) >= 100
    world.run(1)
    assert world.nodes[leader.name].machine.applied == before


def test_a_log_of_many_bytes_is_compacted_however_few_its_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "COMPACT_BYTES", 1 << 20)
    world = Steps(keep_behind=2)
    world.start()
    for number in range(8):
        world.commit(bytes([number]) * (100 << 10))
    assert world.snapshots == []
    for number in range(8, 16):
        world.commit(bytes([number]) * (100 << 10))
    world.run(0.5)
    assert len(world.snapshots) >= len(world.names)
    assert all(node.journal.first_index > 8 for node in world.nodes.values())


def test_a_follower_that_is_far_behind_gets_a_snapshot_and_then_the_rest() -> None:
    world = with_short_logs()
    late = world.followers()[0].name
    world.kill(late)
    fill(world, 200)
    world.said.clear()
    world.start(late)
    fill(world, 5)
    world.run(1)
    assert any(isinstance(each, m.Chunk) and to == late for _, to, each in world.said)
    assert world.nodes[late].machine.applied == world.leader().machine.applied


def test_a_snapshot_that_the_log_already_covers_is_acknowledged_and_dropped() -> None:
    world = with_short_logs()
    fill(world, 120)
    world.run(0.5)
    leader, (follower, _) = world.leader(), world.followers()
    commands, term = list(follower.commands), leader.participant.core.term
    old = m.Chunk(term=term, seq=1, index=60, index_term=term, offset=0, payload=b"whatever", last=True)
    world.said.clear()
    follower.participant.received(leader.name, old)
    follower.participant.tick()
    acks = [each for _, _, each in world.said if isinstance(each, m.Ack)]
    assert m.Ack(term=term, seq=1, next_index=61, success=True) in acks
    assert follower.commands == commands


def test_a_snapshot_that_was_damaged_on_its_way_is_thrown_away_and_asked_for_again() -> None:
    world = with_short_logs()
    late = world.followers()[0].name
    world.kill(late)
    fill(world, 200)
    world.start(late)
    broken: list[m.Chunk] = []

    def flip_once(message: m.Message) -> m.Message:
        if not isinstance(message, m.Chunk) or not message.payload or broken:
            return message
        broken.append(message)
        flipped = bytes([message.payload[40] ^ 1])
        return msgspec.structs.replace(message, payload=message.payload[:40] + flipped + message.payload[41:])

    world.on_the_way = flip_once
    world.run(2)
    assert broken
    assert any(isinstance(each, m.ChunkAck) and each.received == 0 for _, _, each in world.said)
    assert world.nodes[late].machine.applied == world.leader().machine.applied


def test_a_follower_that_comes_back_with_nearly_everything_gets_no_snapshot() -> None:
    world = with_short_logs()
    fill(world, 200)
    late = world.followers()[0].name
    world.kill(late)
    fill(world, 3)
    world.said.clear()
    world.start(late)
    world.run(1)
    assert world.nodes[late].machine.applied == world.leader().machine.applied
    assert not any(isinstance(each, m.Chunk) for _, _, each in world.said)
    entries = [len(each.entries) for _, to, each in world.said if isinstance(each, m.Append) and to == late]
    assert sum(entries) < 20


# --- leadership on request --------------------------------------------------------------------


@pytest.mark.parametrize("load", [0, 3])
def test_leadership_goes_where_it_is_asked_to_within_a_few_messages(load: int) -> None:
    world = Steps()
    world.start()
    leader, (target, _) = world.leader(), world.followers()
    world.run(0.2)
    answers = [world.propose(leader, b"%d" % number) for number in range(load)]
    leader.participant.transfer(target.name, world.now + 1)
    began = world.now
    world.until(lambda: target.participant.core.leads, "the target leads")
    assert world.now - began < 0.3
    held = world.propose(leader, b"behind")
    world.run(0.5)
    assert all(each and each[0][0] is Answer.APPLIED for each in [*answers, held])


def test_proposals_do_not_wait_for_a_node_that_is_away_to_take_over() -> None:
    world = Steps()
    world.start()
    leader, (target, _) = world.leader(), world.followers()
    world.kill(target.name)
    world.run(0.1)
    leader.participant.transfer(target.name, world.now + 2)
    answers = world.propose(leader, b"one")
    world.run(0.1)
    assert answers == [(Answer.APPLIED, b"one")]
    assert world.leader() is leader


def test_a_directory_that_was_put_back_from_an_older_copy_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    world = Steps()
    world.start()
    world.commit(b"one")
    world.run(0.2)
    leader, (follower, _) = world.leader(), world.followers()
    world.kill(follower.name)
    older = copy.deepcopy(world.disks[follower.name])
    world.start(follower.name)
    world.commit(b"two")
    world.run(0.2)
    assert not caplog.records
    world.kill(follower.name)
    world.disks[follower.name] = older
    world.start(follower.name)
    world.run(3.0)
    (told,) = [record.getMessage() for record in caplog.records]
    assert world.leader() is leader
    assert f"{follower.name} asks for entry 4 and had acknowledged all up to 4: its data directory was put back" in told


def test_a_leader_whose_term_has_committed_nothing_yet_waits_for_it_and_not_in_circles() -> None:
    """Reads wait for the first commit of a term; a tick at once would find what the last one found."""
    world = Steps()
    world.start()
    old = world.leader()
    world.run(0.3)
    world.kill(old.name)
    world.until(lambda: any(node.participant.core.leads for node in world.nodes.values()), "another leads")
    leader = next(node for node in world.nodes.values() if node.participant.core.leads)
    assert leader.journal.term_at(leader.participant.core.commit_index) != leader.participant.core.term
    answers: list[Answer] = []
    leader.participant.read(lambda answer, _: answers.append(answer))
    leader.participant.tick()
    assert not leader.participant.hurried
    world.until(lambda: answers, "an answer")
    assert answers == [Answer.APPLIED]


# --- ways that are slow ---


def test_what_is_under_way_to_a_slow_follower_is_bounded_and_all_of_it_arrives() -> None:
    world = Steps()
    world.start()
    leader, (slow, _) = world.leader(), world.followers()
    world.run(0.2)
    world.blocked.add((leader.name, slow.name))
    commands = [bytes([number]) * (100 << 10) for number in range(20)]
    under_way = []
    for command in commands:
        world.commit(command)
        under_way.append(leader.participant._ports.way.unsent_bytes(slow.name))
    assert UNSENT_BYTES < max(under_way) <= UNSENT_BYTES + m.FRAME_BYTES
    world.blocked.clear()
    world.deliver(leader.name, slow.name)
    assert leader.participant.hurried, "there is room again"
    world.until(lambda: slow.commands == commands, "everything has arrived")
    appends = [each for _, _, each in world.said if isinstance(each, m.Append)]
    assert max(len(m.encode(each)) for each in appends) < 110 << 10, "an entry alone, or several short ones"


def test_proposals_wait_on_their_node_while_the_way_to_the_leader_has_no_room() -> None:
    world = Steps()
    world.start()
    leader, (follower, _) = world.leader(), world.followers()
    world.run(0.2)
    answers = [world.propose(follower, bytes([number]) * (100 << 10)) for number in range(20)]
    follower.participant.tick()
    way = follower.participant._ports.way
    assert UNSENT_BYTES < way.unsent_bytes(leader.name) <= UNSENT_BYTES + m.FRAME_BYTES
    assert not follower.participant.hurried, "it waits for room"
    world.until(lambda: all(answers), "all are answered")
    assert [answer for ((answer, _),) in answers] == [Answer.APPLIED] * 20
    assert [command[0] for command in leader.commands] == list(range(20))


def test_a_snapshot_for_a_follower_waits_until_what_was_sent_before_is_taken() -> None:
    world = Steps(keep_behind=5, compact_entries=10)
    world.start()
    leader, (slow, _) = world.leader(), world.followers()
    world.run(0.2)
    world.blocked.add((leader.name, slow.name))
    most = 0
    for number in range(16):
        world.commit(bytes([number]) * (COMMAND_BYTES - number), leader)
        world.run(0.05)
        most = max(most, leader.participant._ports.way.unsent_bytes(slow.name))
    assert leader.participant.shipping.needs_snapshot(slow.name)
    assert UNSENT_BYTES < most < LONGEST_UNSENT_BYTES
    world.blocked.clear()
    world.until(lambda: slow.commands == leader.commands, "it has everything")


def test_a_leader_whose_slow_follower_goes_away_rests() -> None:
    world = Steps()
    world.start()
    leader, (slow, _) = world.leader(), world.followers()
    world.run(0.2)
    world.blocked.add((leader.name, slow.name))
    for number in range(10):
        world.commit(bytes([number]) * (100 << 10))
    assert leader.participant.peers[slow.name].wants_room
    world.kill(slow.name)
    world.run(0.2)
    assert not leader.participant.hurried, "there is nobody to send the rest to"


def test_proposals_are_refused_at_once_when_the_leader_behind_a_full_way_is_silent() -> None:
    world = Steps()
    world.start()
    leader, (follower, other) = world.leader(), world.followers()
    world.run(0.2)
    for name in (leader.name, other.name):
        world.blocked |= {(name, follower.name), (follower.name, name)}
    answers = [world.propose(follower, bytes(100 << 10)) for _ in range(10)]
    follower.participant.tick()
    assert answers[-1] == []
    world.run(2)
    assert [answer for answer, _ in answers[-1]] == [Answer.NOT_LEADER]


def test_entries_are_cut_into_short_frames_and_a_long_entry_goes_alone() -> None:
    small, long = bytes(1000), bytes(COMMAND_BYTES + 1)
    entries = [(small, index, 3) for index in range(1, 101)] + [(long, 101, 3), (small, 102, 4)]
    parts = [*in_parts(entries)]
    assert [each for part in parts for each in part] == [(term, command) for command, _, term in entries]
    assert [len(part) for part in parts] == [64, 36, 1, 1]
    assert [*in_parts([])] == [()]
    tiny = [(b"\0", index, 1 << 61) for index in range(10_000)]
    for part in [*parts, *in_parts(tiny)]:
        frame = m.Append(term=1 << 61, seq=1 << 61, prev_index=1 << 61, prev_term=1 << 61, commit=1 << 61, entries=part)
        assert len(m.encode(frame)) <= (m.FRAME_BYTES if len(part) == 1 else m.ENTRIES_BYTES + 200)


def test_a_leader_that_cannot_confirm_reads_takes_no_more_of_them_than_it_can_keep() -> None:
    world = Steps()
    world.start()
    leader, (follower, _) = world.leader(), world.followers()
    world.run(0.2)
    for other in world.names:
        world.blocked.add((leader.name, other))
    for number in range(MAX_QUEUED + 10):
        leader.participant.received(follower.name, m.AskRead(number=number))
    leader.participant.tick()
    assert len(leader.participant.waiting) <= MAX_QUEUED
    refused = [each for _, _, each in world.said if isinstance(each, m.Read)]
    assert [each.index for each in refused] == [0] * 10
