"""Three nodes for each story, and namespaces of its own in both contexts. Any kubeconfig will do."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from raftsman.client import Client
from raftsman.wire.views import TaskView
from tests.conftest import KUBECONFIG
from tests.harness.kube import Kube, Place, contexts_of
from tests.harness.nodes import NodeGroup, node_group

Places = tuple[Place, Place]


def settings_of(*kubes: Kube) -> str:
    """Return the settings of nodes that reach these contexts and no others of the kubeconfig."""
    tables = {
        kube.context: f'[contexts."{kube.context}"]\nkubeconfig = "{kube.kubeconfig}"\ncontext = "{kube.context}"\n'
        for kube in kubes
    }
    return "".join(tables.values())


@pytest.fixture(scope="session")
def kubes() -> tuple[Kube, Kube]:
    """The first two contexts of the kubeconfig; its only one twice."""
    kubeconfig = Path(os.environ[KUBECONFIG]).absolute()
    names = contexts_of(kubeconfig)
    assert names, f"{kubeconfig} has no context"
    return Kube(kubeconfig, names[0]), Kube(kubeconfig, names[min(1, len(names) - 1)])


@pytest.fixture(scope="module")
def places(kubes: tuple[Kube, Kube], request: pytest.FixtureRequest) -> Iterator[Places]:
    """A fresh namespace in each of the two contexts."""
    story = request.module.__name__.rpartition("test_")[2]
    with ExitStack() as stack:
        first, second = (Place(kube, stack.enter_context(kube.namespace(story))) for kube in kubes)
        yield first, second


@pytest.fixture(scope="module")
def nodes(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeGroup]:
    """Three nodes that reach both contexts."""
    more_toml = settings_of(*(place.kube for place in places))
    with node_group(tmp_path_factory.mktemp("nodes"), more_toml=more_toml) as group:
        group.wait_ready([place.context for place in places])
        yield group


@pytest.fixture(scope="module")
def client(nodes: NodeGroup) -> Client:
    """A client of all nodes. The same for a whole story, so that it reads what it has written."""
    return nodes.client()


@pytest.fixture(scope="module")
def ended(client: Client) -> Callable[[str], TaskView]:
    """Return a task once it has ended."""

    def wait(task_id: str, timeout_s: float = 120.0) -> TaskView:
        (task,) = client.wait(task_id, timeout_s=timeout_s)
        return task

    return wait
