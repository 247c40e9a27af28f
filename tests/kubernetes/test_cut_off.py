"""A node that goes on and has no way to its Jobs any more; and two nodes that call two clusters by one name."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from raftsman.client import Client
from raftsman.errors import WaitTimedOut
from raftsman.wire.views import TaskView
from tests.harness.kube import Kube, Place, new_id
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, node_group
from tests.kubernetes.conftest import settings_of

pytestmark = pytest.mark.kubernetes

MOVED_WITHIN_S = 90.0
"""Two probes find the context silent, it has half a minute to come back, and the leader looks twice a second."""
STAYS_S = 15.0
"""So long after a node is killed its attempts have been moved, where they are."""


@pytest.fixture
def place(kubes: tuple[Kube, Kube]) -> Iterator[Place]:
    with kubes[0].namespace("cut") as name:
        yield Place(kubes[0], name)


def kubeconfig_of(kube: Kube) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(kube.run("config", "view", "--minify", "--flatten", "--raw", "-o", "json"))
    return document


def start_with(node: NodeProcess, change: tuple[str, str]) -> None:
    """Start the node again with other settings."""
    node.stop()
    node.config.write_text(node.config.read_text().replace(*change))
    node.start()


def run_on(client: Client, node: str, spec: dict[str, Any]) -> TaskView:
    spec = {**spec, "submitterNode": node, "constraints": {"preferLocal": True}}
    (task,) = client.wait(client.submit(spec)["taskId"], for_="running", timeout_s=60)
    assert task["assignedNode"] == node
    return task


def uids(task: TaskView) -> list[str | None]:
    return [attempt["jobUid"] for attempt in task["attempts"]]


@pytest.mark.kubelet  # The development Kubernetes tells its version to everybody, so that nobody is cut off at once.
def test_who_reaches_the_context_takes_the_jobs_of_a_node_that_does_not(place: Place, tmp_path: Path) -> None:
    document = kubeconfig_of(place.kube)
    own = tmp_path / "kubeconfig"
    own.write_text(json.dumps(document))
    with node_group(tmp_path, more_toml=settings_of(place.kube)) as nodes:
        start_with(nodes["alpha"], (f'kubeconfig = "{place.kube.kubeconfig}"', f'kubeconfig = "{own}"'))
        nodes.wait_ready([place.context])
        client = nodes.client("beta", "gamma")
        ends = run_on(client, "alpha", place.shell(new_id("ends"), "sleep 30; exit 3"))
        stops = run_on(client, "alpha", place.shell(new_id("stops"), "sleep 600"))
        document["users"][0]["user"] = {"token": "not-accepted"}
        own.write_text(json.dumps(document))
        eventually(lambda: is_cut_off(client, place.context), within_s=60, what="alpha does not reach the context")
        client.cancel(stops["taskId"])
        ended = client.wait([ends["taskId"], stops["taskId"]], timeout_s=MOVED_WITHIN_S)
        assert [(task["state"], task["exitCode"], task["attempt"]) for task in ended] == [
            ("failed", 3, 1),
            ("cancelled", -1, 1),
        ]
        assert [uids(task) for task in ended] == [uids(ends), uids(stops)]
        assert "alpha" not in {task["assignedNode"] for task in ended}
        assert not place.jobs(stops["taskId"])


def is_cut_off(client: Client, context: str) -> bool:
    (view,) = (each for each in client.contexts()["items"] if each["name"] == context)
    return view["reachableFrom"] == ["beta", "gamma"]


def test_a_job_is_not_looked_for_in_another_cluster_of_the_same_name(kubes: tuple[Kube, Kube], tmp_path: Path) -> None:
    here, there = kubes
    if here.context == there.context:
        pytest.skip("the kubeconfig has one context")
    with ExitStack() as stack:
        place = Place(here, stack.enter_context(here.namespace("same")))
        named = f'[contexts.prod]\nkubeconfig = "{here.kubeconfig}"\ncontext = "{there.context}"\n'
        nodes: NodeGroup = stack.enter_context(node_group(tmp_path, more_toml=named))
        alpha = nodes["alpha"]
        start_with(alpha, (f'context = "{there.context}"', f'context = "{here.context}"'))
        nodes.wait_ready(["prod"])
        client = nodes.client("beta", "gamma")
        spec = place.shell(new_id("same"), "sleep 40; exit 4")
        spec["k8sJob"]["clusterContext"] = "prod"
        task = run_on(client, "alpha", spec)
        alpha.kill()
        with pytest.raises(WaitTimedOut):
            client.wait(task["taskId"], timeout_s=STAYS_S)
        waits = client.get(task["taskId"])
        assert (waits["state"], waits["conditions"], waits["assignedNode"]) == ("running", ["unreachable"], "alpha")
        explained = client.explain(task["taskId"])
        assert explained["attempt"] is not None
        assert [(each["node"], each["code"]) for each in explained["attempt"]["nodes"]] == [
            ("beta", "other-cluster"),
            ("gamma", "other-cluster"),
        ]
        alpha.start()
        (ended,) = client.wait(task["taskId"], timeout_s=90)
        assert (ended["state"], ended["exitCode"], uids(ended)) == ("failed", 4, uids(task))
