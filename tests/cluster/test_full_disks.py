"""Disks that are full under load: who has room writes on, who has none says so, and nothing that was said is untrue."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.chaos.clients import Notes, Told, ask, clients, waiting
from tests.chaos.faults import reason
from tests.chaos.rounds import OFTEN_COMPACTED, SHELL, reckon
from tests.harness.history import faults_of
from tests.harness.nodes import NAMES, NodeGroup, NodeProcess, eventually, node_group
from tests.harness.small_disks import NoSmallDisks, SmallDisk, small_disk

pytestmark = pytest.mark.cluster

DISK_MIB = 128
"""The journal keeps 32 MiB behind a compaction, and has segments of 16 MiB beside: without ballast there is room."""
WITHIN_S = 40.0
TAKES_NO_PART = b"takes no part in the log until there is room"


@dataclass(frozen=True, slots=True)
class Place:
    nodes: NodeGroup
    disks: Mapping[str, SmallDisk]
    notes: Notes

    def until_full(self, node: NodeProcess) -> None:
        """Wait until *node* has used up what it had reserved, or has noticed that it cannot reserve more."""
        eventually(lambda: reason(node, "disk-full"), within_s=WITHIN_S, what=f"{node.name} says that its disk is full")

    def until_more(self, count: int) -> None:
        before = self.notes.acknowledged
        eventually(lambda: self.notes.acknowledged >= before + count, within_s=WITHIN_S, what="writes go on")


@pytest.fixture
def place(tmp_path: Path, kubeconfig: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        try:
            disks = {name: stack.enter_context(small_disk(tmp_path / name, DISK_MIB)) for name in NAMES}
        except NoSmallDisks as error:
            pytest.skip(str(error))
        within = {name: disk.within for name, disk in disks.items()}
        nodes = stack.enter_context(
            node_group(
                tmp_path,
                kubeconfig=kubeconfig,
                more_toml=SHELL,
                environment=OFTEN_COMPACTED,
                within=within,
            )
        )
        nodes.wait_ready()
        yield Place(nodes, disks, Notes())


def submit_at(node: NodeProcess, task_id: str) -> Told:
    return ask(node, "POST", "/v1/tasks", waiting(task_id), within_s=15)


def test_a_leader_whose_disk_is_full_lets_another_lead_and_comes_back_when_there_is_room(place: Place) -> None:
    nodes = place.nodes
    with clients(nodes, Random(1), place.notes, pace_s=0.1, fillers=2):
        place.until_more(10)
        full = nodes.leader()
        place.disks[full.name].fill()
        place.until_full(full)
        assert full.metric("raft_disk_full") == 1
        eventually(lambda: nodes.leader() is not full, within_s=WITHIN_S, what="another node leads")
        eventually(lambda: TAKES_NO_PART in full.log.read_bytes(), within_s=WITHIN_S, what="it has used up its reserve")
        place.until_more(10)
        full.kill()
        full.start()
        place.until_full(full)
        place.disks[full.name].make_room()
        eventually(lambda: full.get("/readyz"), within_s=WITHIN_S, what="it is ready again")
        assert full.metric("raft_disk_full") == 0
        place.until_more(10)
    assert faults_of(place.notes.history(), reckon(nodes)) == []


def test_when_every_disk_is_full_writes_are_refused_until_there_is_room_and_nothing_is_lost(place: Place) -> None:
    nodes = place.nodes
    with clients(nodes, Random(2), place.notes, pace_s=0.1, fillers=2):
        place.until_more(10)
        for disk in place.disks.values():
            disk.fill()
        for node in nodes.running():
            place.until_full(node)
    refused = [submit_at(node, f"wait-refused-{node.name}") for node in nodes.running()]
    assert [(told.status, told.document["code"]) for told in refused] == [(507, "disk-full")] * 3
    for disk in place.disks.values():
        disk.make_room()
    nodes.wait_ready()
    with clients(nodes, Random(3), place.notes, pace_s=0.1):
        place.until_more(10)
    stories = reckon(nodes)
    assert not [task_id for task_id in stories if "refused" in task_id]
    assert faults_of(place.notes.history(), stories) == []
