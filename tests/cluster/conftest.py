"""Clusters of real nodes, each shared by the tests of one module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.asking import CONTEXT
from tests.harness.fake_kubernetes import write_kubeconfig
from tests.harness.nodes import NodeGroup, NodeProcess, node_group

CLOSED_PORT = 1  # Of loopback: nothing listens on tcpmux any more.


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig whose one context nobody reaches."""
    path = tmp_path_factory.mktemp("kube") / "config"
    return write_kubeconfig(path, f"http://127.0.0.1:{CLOSED_PORT}", name=CONTEXT)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory, kubeconfig: Path) -> Iterator[NodeGroup]:
    """Three nodes that know the context ``CONTEXT``."""
    with node_group(tmp_path_factory.mktemp("nodes"), kubeconfig=kubeconfig) as nodes:
        nodes.wait_ready()
        yield nodes


@pytest.fixture(params=["leader", "follower"])
def node(group: NodeGroup, request: pytest.FixtureRequest) -> NodeProcess:
    """The leader, then a follower: every node answers everything."""
    return group.leader() if request.param == "leader" else group.follower()
