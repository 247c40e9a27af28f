"""Dead nodes replaced by empty ones under load, and directories that are not the node's own."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raftsman.errors import RaftsmanError
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, node_group

pytestmark = pytest.mark.cluster

CONFIG_EXIT = 10


@pytest.fixture
def group(tmp_path: Path, kubeconfig: Path) -> Iterator[NodeGroup]:
    with node_group(tmp_path, kubeconfig=kubeconfig) as nodes:
        nodes.wait_ready()
        yield nodes


def data_of(node: NodeProcess) -> Path:
    return node.config.parent / node.name


@contextmanager
def submissions(group: NodeGroup) -> Iterator[list[str]]:
    """Submit all the time; give the ids that were acknowledged so far."""
    acknowledged: list[str] = []
    over = threading.Event()

    def submit() -> None:
        client = group.client(timeout_s=5)
        number = 0
        while not over.is_set():
            number += 1
            spec = {
                "taskId": f"t-{number}",
                "type": "k8s_job",
                "k8sJob": {"clusterContext": "dark", "image": "busybox"},
            }
            try:
                acknowledged.append(client.submit(spec)["taskId"])
            except RaftsmanError:
                time.sleep(0.02)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield acknowledged
    finally:
        over.set()
        thread.join()


def reasons(node: NodeProcess) -> dict[str, str]:
    """Return what the node says it is not ready for."""
    try:
        _, _, body = node.request("GET", "/readyz")
    except OSError:
        return {}
    return {each["code"]: each["message"] for each in json.loads(body)["reasons"]}


def require_all(group: NodeGroup, acknowledged: list[str]) -> None:
    """Every node knows every acknowledged task, and all tables are the same."""
    group.state_hashes()
    for node in group.running():
        known = {task["taskId"] for task in group.client(node.name).list()}
        assert set(acknowledged) <= known, f"{node.name} lost {sorted(set(acknowledged) - known)[:5]}"


@pytest.mark.parametrize("role", ["follower", "leader"])
def test_a_node_that_lost_its_disk_is_replaced_under_load(group: NodeGroup, role: str) -> None:
    with submissions(group) as acknowledged:
        eventually(lambda: len(acknowledged) > 20, within_s=20, what="some tasks")
        node = group.leader() if role == "leader" else group.follower()
        node.kill()
        shutil.rmtree(data_of(node))
        before = len(acknowledged)
        node.start()
        eventually(lambda: node.get("/readyz"), within_s=20, what=f"{node.name} is ready")
        eventually(lambda: len(acknowledged) > before + 20, within_s=20, what="writes went on")
    require_all(group, acknowledged)


def test_an_empty_node_waits_for_the_other_when_a_third_is_down_and_nothing_is_lost(group: NodeGroup) -> None:
    with submissions(group) as acknowledged:
        eventually(lambda: len(acknowledged) > 20, within_s=20, what="some tasks")
        down, lost = [node for node in group.running() if node is not group.leader()]
        down.kill()
        lost.kill()
        shutil.rmtree(data_of(lost))
        lost.start()
        wanted = f"and {down.name} did not answer yet"
        eventually(
            lambda: reasons(lost).get("no-member-yet", "").endswith(wanted),
            within_s=20,
            what="it says whom it waits for",
        )
        before = len(acknowledged)
        time.sleep(1)
        assert len(acknowledged) == before, "one disk of three is no majority"
        down.start()
        eventually(lambda: len(acknowledged) > before + 20, within_s=20, what="writes go on")
        eventually(lambda: lost.get("/readyz"), within_s=20, what="the empty node is a member again")
    require_all(group, acknowledged)


def test_a_node_does_not_start_on_another_nodes_directory_or_on_another_clusters(group: NodeGroup) -> None:
    first, second = group.running()[:2]
    first.stop()
    second.stop()
    shutil.rmtree(data_of(first))
    shutil.copytree(data_of(second), data_of(first))
    first.start()
    assert first.process is not None
    assert first.process.wait(timeout=20) == CONFIG_EXIT
    assert f"is the log of node '{second.name}'; this node is '{first.name}'" in first.log.read_text()
    second.config.write_text('cluster = "other"\n' + second.config.read_text())
    second.start()
    assert second.process is not None
    assert second.process.wait(timeout=20) == CONFIG_EXIT
    assert "is the log of a node of cluster 'raftsman'; this node's settings say 'other'" in second.log.read_text()


def test_a_member_whose_list_of_members_was_lost_does_not_start_as_a_cluster_of_its_own(group: NodeGroup) -> None:
    node = group.follower()
    node.stop()
    settings = node.config.read_text()
    (own,) = [entry for entry in re.findall(r'"[^"]+"', settings) if entry.startswith(f'"{node.name}=')]
    node.config.write_text(re.sub(r"members = .*", f"members = [{own}]", settings))
    node.start()
    assert node.process is not None
    assert node.process.wait(timeout=20) == CONFIG_EXIT
    assert f"is the log of a cluster of alpha, beta, gamma, and raft.members names {node.name}:" in node.log.read_text()
