"""When a cluster comes into being, and when a node with an empty disk counts."""

import errno
from random import Random
from zlib import crc32

import msgpack
import pytest

from raftsman.raft.disk import UPGRADE_THE_NODE, DiskFull
from raftsman.raft.founding import ACCEPTED, JOINING, MEMBER, NEW, Identity, advance, id_of, waits_for
from raftsman.raft.identity import (
    IdentityDamaged,
    WrongDirectory,
    require_journal,
    require_members,
    save_identity,
    take_identity,
)
from raftsman.raft.messages import Append, Noted, Status
from tests.harness.simulated_disk import SimulatedDisk
from tests.harness.steps import Node, Steps
from tests.unit.journals import failing
from tests.unit.stepping import append, entry

LIST = {"alpha": "a1", "beta": "b1", "gamma": "c1"}
OTHERS = ("beta", "gamma")


def mine(stage: str = NEW, founding: dict[str, str] | None = None) -> Identity:
    listed = founding or {}
    return Identity(
        cluster="test",
        node="alpha",
        incarnation="a1",
        stage=stage,
        founding=listed,
        cluster_id=id_of(listed) if listed else "",
    )


def said(stage: str, incarnation: str, founding: dict[str, str] | None = None) -> Status:
    return Status(stage=stage, cluster_id="", incarnation=incarnation, founding=founding or {})


@pytest.mark.parametrize(
    ("before", "beta", "gamma", "after"),
    [
        (mine(), None, None, mine()),
        (mine(), said(NEW, "b1"), None, mine()),
        (mine(), said(NEW, "b1"), said(NEW, "c1"), mine(ACCEPTED, LIST)),
        (mine(), said(ACCEPTED, "b1", LIST), said(NEW, "c1"), mine(ACCEPTED, LIST)),
        (mine(ACCEPTED, LIST), said(ACCEPTED, "b1", LIST), said(NEW, "c1"), mine(ACCEPTED, LIST)),
        (mine(ACCEPTED, LIST), said(ACCEPTED, "b1", LIST), said(ACCEPTED, "c1", LIST), mine(MEMBER, LIST)),
        (mine(ACCEPTED, LIST), said(MEMBER, "b1", LIST), None, mine(MEMBER, LIST)),
        (mine(), said(MEMBER, "b1", {**LIST, "alpha": "a0"}), None, mine(JOINING)),
        (mine(ACCEPTED, LIST), said(MEMBER, "b1", {**LIST, "alpha": "a0"}), None, mine(JOINING)),
        (mine(), said(JOINING, "b1"), said(NEW, "c1"), mine()),
        (mine(MEMBER, LIST), said(JOINING, "b2"), said(NEW, "c2"), mine(MEMBER, LIST)),
    ],
    ids=[
        "nobody is there",
        "one is missing",
        "all are new",
        "another began",
        "one has not accepted yet",
        "all have accepted",
        "a member has seen that all had",
        "the cluster was founded with another disk of ours",
        "the same, after we had accepted another list",
        "another one joins, so there is a cluster",
        "a member stays one",
    ],
)
def test_a_node_goes_on_only_when_it_is_sure(
    before: Identity, beta: Status | None, gamma: Status | None, after: Identity
) -> None:
    statuses = {name: status for name, status in (("beta", beta), ("gamma", gamma)) if status is not None}
    assert advance(before, OTHERS, statuses) == after


def test_a_list_with_a_disk_that_is_gone_is_exchanged_while_nobody_counts() -> None:
    now = {**LIST, "beta": "b2"}
    statuses = {"beta": said(NEW, "b2"), "gamma": said(ACCEPTED, "c1", LIST)}
    assert advance(mine(ACCEPTED, LIST), OTHERS, statuses) == mine(ACCEPTED, now)


def test_a_cluster_is_founded_when_the_last_member_has_come_and_not_before() -> None:
    world = Steps()
    world.start("alpha", "beta")
    world.run(5)
    assert not any(node.participant.core.leads for node in world.nodes.values())
    assert world.nodes["alpha"].participant.waits_for().endswith("missing: gamma")
    world.start("gamma")
    world.leader()
    assert {node.participant.identity.stage for node in world.nodes.values()} == {MEMBER}
    assert len({node.participant.identity.cluster_id for node in world.nodes.values()}) == 1


@pytest.mark.parametrize("names", [("alpha", "beta", "gamma"), ("alpha", "beta", "delta", "gamma", "omega")])
def test_a_node_that_lost_its_disk_is_a_member_again_when_it_has_caught_up(names: tuple[str, ...]) -> None:
    world = Steps(names)
    world.start()
    world.commit(b"one")
    lost = world.followers()[0].name
    world.kill(lost)
    world.wipe(lost)
    world.commit(b"two")
    world.start(lost)
    assert world.nodes[lost].participant.waits_for()
    world.until(lambda: world.nodes[lost].participant.identity.counts, "it counts")
    assert world.nodes[lost].journal.term_at(4) is not None
    world.kill(world.leader().name)
    world.leader()
    world.commit(b"three", world.nodes[lost])
    assert world.nodes[lost].commands == [b"one", b"two", b"three"]


def test_a_node_that_lost_its_disk_does_not_count_towards_a_majority() -> None:
    world = Steps()
    world.start()
    world.commit(b"one")
    leader, (lost, down) = world.leader(), world.followers()
    world.kill(lost.name)
    world.kill(down.name)
    world.wipe(lost.name)
    world.start(lost.name)
    world.propose(leader, b"two")
    world.run(3)
    assert all(b"two" not in node.commands for node in world.nodes.values())
    assert not any(node.participant.core.leads for node in world.nodes.values())
    world.start(down.name)
    world.commit(b"three")
    world.until(lambda: world.nodes[lost.name].participant.identity.counts, "it counts")


FIVE = ("alpha", "beta", "delta", "gamma", "omega")


def test_of_five_an_empty_node_names_whom_it_waits_for_while_the_others_go_on() -> None:
    world = Steps(FIVE)
    world.start()
    world.commit(b"one")
    lost, away = [node.name for node in world.followers()][:2]
    for name in (lost, away):
        world.kill(name)
    world.wipe(lost)
    world.start(lost)
    world.commit(b"two")
    world.run(3)
    assert (
        world.nodes[lost]
        .participant.waits_for()
        .endswith(f"when every other node knows that, and {away} did not answer yet")
    )
    world.start(away)
    world.until(lambda: world.nodes[lost].participant.identity.counts, "it counts")
    world.commit(b"three", world.nodes[lost])


def test_a_node_that_joins_has_given_its_vote_to_the_leader_it_counts_with() -> None:
    """The lost directory may have voted in this term, and nobody has two votes."""
    world = Steps()
    world.start()
    world.commit(b"one")
    leader, (lost, _) = world.leader(), world.followers()
    world.kill(lost.name)
    world.wipe(lost.name)
    world.start(lost.name)
    world.until(lambda: world.nodes[lost.name].participant.identity.counts, "it counts")
    world.kill(lost.name, power=True)
    world.start(lost.name)
    journal = world.nodes[lost.name].journal
    assert (journal.term, journal.vote) == (leader.participant.core.term, leader.name)


def joining(noted_term: int) -> tuple[Steps, Node]:
    """Return an empty node whose others, played by the test, have all forgotten what its lost directory said."""
    world = Steps()
    world.start("alpha")
    node = world.nodes["alpha"]
    founding = LIST | {"alpha": "lost"}
    for other in OTHERS:
        world.links.add(frozenset(("alpha", other)))
        node.participant.linked(other, LIST[other])
        node.participant.received(other, said(MEMBER, LIST[other], founding))
        node.participant.received(other, Noted(incarnation=node.participant.identity.incarnation, term=noted_term))
    node.participant.tick()
    assert node.participant.identity.stage == JOINING
    return world, node


def hears(node: Node, message: Append) -> bool:
    """Let beta tell the node *message*; return whether it counts then."""
    node.participant.received("beta", message)
    node.participant.tick()
    return node.participant.identity.counts


def test_a_node_that_joins_waits_until_its_leader_has_committed_an_entry_of_its_own_term() -> None:
    """Until then, what a leader holds of earlier terms is open: it may have been committed with the lost directory."""
    _, node = joining(5)
    assert not hears(node, append(5, 1, (1, 0), entry(4, b"one"), commit=2))
    assert not hears(node, append(5, 2, (2, 4), entry(5, b"two"), commit=2))
    assert hears(node, append(5, 3, (3, 5), commit=3))


def test_a_node_that_joins_counts_with_no_leader_of_a_term_in_which_its_lost_directory_may_have_acted() -> None:
    _, node = joining(5)
    assert not hears(node, append(4, 1, (1, 0), entry(4, b"one"), commit=2))
    assert hears(node, append(5, 2, (2, 4), entry(5, b"two"), commit=3))


def test_what_a_node_that_joins_knew_before_it_was_noted_is_not_enough() -> None:
    """The leader may have committed with the lost directory until it said that it has forgotten that."""
    world, node = joining(3)
    world.kill("alpha")
    world.start("alpha")
    node = world.nodes["alpha"]
    incarnation, founding = node.participant.identity.incarnation, LIST | {"alpha": "lost"}
    for other in OTHERS:
        world.links.add(frozenset(("alpha", other)))
        node.participant.linked(other, LIST[other])
        node.participant.received(other, said(MEMBER, LIST[other], founding))
    assert not hears(node, append(3, 1, (1, 0), entry(3, b"one"), commit=2))
    for other in OTHERS:
        node.participant.received(other, Noted(incarnation=incarnation, term=3))
    node.participant.tick()
    assert not node.participant.identity.counts
    assert hears(node, append(3, 2, (2, 3), commit=2))


def test_of_five_two_empty_nodes_answer_each_other() -> None:
    world = Steps(FIVE)
    world.start()
    world.commit(b"one")
    lost = [node.name for node in world.followers()][:2]
    for name in lost:
        world.kill(name)
        world.wipe(name)
    world.start(lost[0])
    world.run(1)
    assert world.nodes[lost[0]].participant.waits_for().endswith(f"and {lost[1]} did not answer yet")
    world.start(lost[1])
    world.until(lambda: all(world.nodes[name].participant.identity.counts for name in lost), "both count")
    assert all(world.nodes[name].commands == [b"one"] for name in lost)


@pytest.mark.parametrize(("names", "count"), [(("alpha", "beta", "gamma"), 2), (("a", "b", "c", "d", "e"), 3)])
def test_every_node_says_that_a_majority_lost_its_disks_and_what_it_advises_helps(
    names: tuple[str, ...], count: int
) -> None:
    world = Steps(names)
    world.start()
    world.commit(b"one")
    world.run(0.2)
    emptied = list(names[:count])
    for name in emptied:
        world.kill(name)
    last = world.disks[emptied[0]]
    for name in emptied:
        world.wipe(name)
    world.run(2)  # A leader that is there still would hand everything back.
    world.start(*emptied)
    world.run(2)
    says = f"the directories of {', '.join(emptied[:-1])} and {emptied[-1]} are empty, and without them no majority"
    assert all(node.participant.waits_for().startswith(says) for node in world.nodes.values())
    world.run(20)
    assert not any(node.participant.core.leads for node in world.nodes.values())
    world.kill(emptied[0])
    world.disks[emptied[0]] = last
    world.start(emptied[0])
    world.until(lambda: all(node.participant.waits_for() == "" for node in world.nodes.values()), "all take part")
    world.commit(b"two")
    world.run(0.5)
    assert all(node.commands == [b"one", b"two"] for node in world.nodes.values())


def test_a_node_alone_waits_for_nobody_even_before_it_counts() -> None:
    assert waits_for(mine(NEW), [], {}, []) == "the cluster is being founded"
    assert waits_for(mine(MEMBER, {"alpha": "a1"}), [], {}, []) == ""


# --- on disk ----------------------------------------------------------------------------------


def disk_of(node: str = "alpha", cluster: str = "test") -> SimulatedDisk:
    disk = SimulatedDisk(Random(1))
    take_identity(disk, cluster=cluster, node=node, new_incarnation="a1")
    return disk


def test_an_identity_survives_the_power() -> None:
    disk = disk_of()
    save_identity(disk, mine(MEMBER, LIST))
    disk.lose_power()
    assert take_identity(disk, cluster="test", node="alpha", new_incarnation="never") == mine(MEMBER, LIST)


@pytest.mark.parametrize("kind", ["create", "write", "rename"])
def test_a_full_disk_keeps_the_identity_that_was_and_takes_the_next_one_when_there_is_room(kind: str) -> None:
    disk = disk_of()
    disk.before = failing(kind, errno.ENOSPC)
    with pytest.raises(DiskFull):
        save_identity(disk, mine(MEMBER, LIST))
    disk.before = lambda _operation: None
    assert take_identity(disk, cluster="test", node="alpha", new_incarnation="never") == mine(NEW)
    save_identity(disk, mine(MEMBER, LIST))
    assert take_identity(disk, cluster="test", node="alpha", new_incarnation="never") == mine(MEMBER, LIST)


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (disk_of(node="beta"), "is the log of node 'beta'; this node is 'alpha'"),
        (disk_of(cluster="other"), "of a node of cluster 'other'; this node's settings say 'test'"),
    ],
)
def test_the_directory_of_another_node_or_cluster_is_refused(disk: SimulatedDisk, words: str) -> None:
    with pytest.raises(WrongDirectory, match=words):
        take_identity(disk, cluster="test", node="alpha", new_incarnation="a2")


@pytest.mark.parametrize("members", [["alpha"], ["alpha", "beta"], ["alpha", "beta", "delta"], [*LIST, "delta"]])
def test_a_member_does_not_go_on_with_other_members_than_founded_its_cluster(members: list[str]) -> None:
    disk = disk_of()
    require_members(disk, mine(MEMBER, LIST), LIST)
    require_members(disk, mine(ACCEPTED, LIST), members)  # Nothing was committed: the list can still be put right.
    words = f"cluster of alpha, beta, gamma, and raft.members names {', '.join(sorted(members))}: put the list back"
    with pytest.raises(WrongDirectory, match=words):
        require_members(disk, mine(MEMBER, LIST), members)


def test_every_flipped_byte_of_an_identity_is_found() -> None:
    size = len(disk_of().content("identity"))
    for offset in range(size):
        disk = disk_of()
        disk.flip("identity", offset)
        with pytest.raises(IdentityDamaged, match="identity: offset"):
            take_identity(disk, cluster="test", node="alpha", new_incarnation="a2")


@pytest.mark.parametrize(
    ("version", "more", "fault"),
    [
        (2, {}, "format 2, this program knows 1"),
        (1, {"zone": "north"}, "unknown field `zone`"),
        (1, {"stage": "leaving"}, "a stage 'leaving'"),
    ],
)
def test_an_identity_of_a_newer_program_asks_for_that_and_not_for_an_empty_directory(
    version: int, more: dict[str, str], fault: str
) -> None:
    """Whoever went back to an older program on all nodes, and did as they said, would lose everything."""
    disk = disk_of()
    body = msgpack.packb({**msgpack.unpackb(disk.content("identity")[9:]), **more})
    assert body is not None
    disk.create("identity").write_at(0, b"RMID" + bytes([version]) + crc32(body).to_bytes(4) + body)
    with pytest.raises(IdentityDamaged, match=f"{fault}.*{UPGRADE_THE_NODE}"):
        take_identity(disk, cluster="test", node="alpha", new_incarnation="a2")


def test_a_log_without_its_identity_and_a_member_without_its_journal_are_refused() -> None:
    world = Steps()
    world.start()
    world.commit(b"one")
    world.kill("alpha")
    identity = take_identity(world.disks["alpha"], cluster="test", node="alpha", new_incarnation="never")
    with pytest.raises(IdentityDamaged, match="no journal beside it"):
        require_journal(world.disks["alpha"], identity, fresh=True)
    world.disks["alpha"].unlink("identity")
    with pytest.raises(IdentityDamaged, match="there is a log beside it"):
        take_identity(world.disks["alpha"], cluster="test", node="alpha", new_incarnation="never")
