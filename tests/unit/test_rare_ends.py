"""Rare ends of rare stories in the log: rotten snapshots, lists that were exchanged, reads across a replacement."""

from typing import Any

import pytest

from raftsman.raft import messages as m
from raftsman.raft.core import Core
from raftsman.raft.founding import ACCEPTED, MEMBER, Identity
from raftsman.raft.peers import Rules
from raftsman.raft.shipping import REST_S
from raftsman.raft.snapshots import SnapshotDamaged
from raftsman.raft.transport import Self, fault_of
from raftsman.raft.waiting import Answer, Waiting
from tests.harness.steps import Steps


def founded(**options: Any) -> Steps:
    world = Steps(**options)
    world.start()
    world.leader()
    world.run(0.2)
    return world


def one_far_behind() -> tuple[Steps, str, str]:
    """A cluster of which one node needs a snapshot; return it with the leader's name and that node's."""
    world = founded(compact_entries=50)
    leader, late = world.leader().name, world.followers()[0].name
    world.kill(late)
    for number in range(200):
        world.commit(b"%d" % number)
    return world, leader, late


# --- snapshots that cannot be sent ------------------------------------------------------------


def test_a_leader_whose_snapshot_has_rotted_ends_so_that_another_can_send_its_own() -> None:
    world, leader, late = one_far_behind()
    disk = world.disks[leader]
    (name,) = [each for each in disk.names() if each.startswith("snapshot-")]
    disk.flip(name, len(disk.content(name)) // 2)
    world.start(late)
    with pytest.raises(SnapshotDamaged, match=r"not what was written.*start the node with an empty one"):
        world.run(5)
    world.kill(leader)
    world.until(lambda: world.nodes[late].commands[:200:199] == [b"0", b"199"], "the other sends its own")


def test_a_snapshot_that_was_thrown_away_is_sent_again_after_a_rest() -> None:
    world, _, late = one_far_behind()

    def spoilt(message: m.Message) -> m.Message:
        if isinstance(message, m.Chunk) and message.payload:
            return m.Chunk(**{name: getattr(message, name) for name in message.__struct_fields__} | {"payload": b"?"})
        return message

    world.on_the_way = spoilt
    world.start(late)
    world.said.clear()
    world.run(5)
    begun = [each for _, _, each in world.said if isinstance(each, m.Chunk) and each.offset == 0 and each.payload]
    assert 2 <= len(begun) <= 5 / REST_S + 1
    world.on_the_way = lambda message: message
    world.until(lambda: len(world.nodes[late].commands) == 200, "it has caught up")


# --- founding ---------------------------------------------------------------------------------


def test_a_list_that_may_be_exchanged_keeps_nobody_from_linking() -> None:
    """One node has accepted a new list, because a disk was lost; the other has not heard of it yet."""
    old = Identity(cluster="c", node="alpha", incarnation="a1", stage=ACCEPTED, cluster_id="1" * 16, founding={})
    new = Identity(cluster="c", node="beta", incarnation="b1", stage=ACCEPTED, cluster_id="2" * 16, founding={})
    alpha, beta = (Self(each.cluster, each.known_cluster_id, each.node, each.incarnation) for each in (old, new))
    members = {"alpha": "127.0.0.1:1", "beta": "127.0.0.1:2"}
    assert fault_of(alpha.hello("beta"), beta, members, None) == ""
    founder = Identity(cluster="c", node="beta", incarnation="b1", stage=MEMBER, cluster_id="2" * 16, founding={})
    assert founder.known_cluster_id == "2" * 16


# --- reads ------------------------------------------------------------------------------------


def test_what_a_directory_answered_before_it_counted_confirms_no_read_afterwards() -> None:
    world = founded()
    leader, (follower, other) = world.leader(), world.followers()
    talk, peer = leader.participant._talk, leader.participant.peers[follower.name]
    for name in (follower.name, other.name):
        leader.participant.peers[name].acked_seq = 0
    peer.counted = False
    assert talk.is_answer(peer, leader.participant.core.term, talk.seq)
    peer.counted = True
    assert not Rules().confirmed(leader.participant.peers.values(), talk.seq, 3)
    assert talk.is_answer(peer, leader.participant.core.term, talk.seq)
    assert Rules().confirmed(leader.participant.peers.values(), talk.seq, 3)


# --- disks ------------------------------------------------------------------------------------


def test_a_disk_without_room_for_the_identity_stays_full_until_that_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = founded()
    late = world.followers()[0].name
    world.kill(late)
    world.wipe(late)
    world.commit(b"x")
    world.start(late)
    world.step()
    disk = world.disks[late]
    disk.capacity_bytes = disk.used_bytes
    world.run(10)
    assert world.nodes[late].participant.disk_full
    assert len(caplog.records) <= 3
    disk.capacity_bytes = None
    world.until(lambda: world.nodes[late].commands == [b"x"], "it counts, and has caught up")


# --- figures ----------------------------------------------------------------------------------


def test_figures_may_be_asked_by_another_thread_while_a_node_becomes_the_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Steps()
    world.start()
    seen: list[dict[str, int]] = []
    for node in world.nodes.values():

        def switched(state: int, core: Core = node.participant.core, ask: Any = node.participant.behind) -> None:
            Core._SyncObj__setState(core, state)
            if core.leads:
                seen.append(ask())

        monkeypatch.setattr(node.participant.core, "_SyncObj__setState", switched)
    world.leader()
    assert seen


def test_whoever_waits_is_counted() -> None:
    waiting = Waiting()

    def answered(_answer: Answer, _result: object) -> None: ...

    for index in (1, 1, 2, 3, 4):
        waiting.appended(index, 1, answered, now=float(index))
    assert len(waiting) == 5
    waiting.applied(1, 1, None)
    assert len(waiting) == 3
    waiting.skipped_to(2)
    assert len(waiting) == 2
    waiting.sweep(now=13.5)
    assert len(waiting) == 1
    waiting.sweep(now=100.0)
    assert (len(waiting), len(waiting.due)) == (0, 5)
