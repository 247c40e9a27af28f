"""Both Kubernetes for every question: the development one always, a real one when there is one."""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.conformance.target import Place, Target, reach
from tests.conftest import KUBECONFIG, NO_KUBECTL
from tests.harness.kube import Kube, contexts_of
from tests.harness.sandbox import sandbox_process


@pytest.fixture(scope="session")
def sandbox_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A namespace of the development Kubernetes."""
    if shutil.which("kubectl") is None:
        pytest.skip(NO_KUBECTL)
    with sandbox_process(tmp_path_factory.mktemp("sandbox")) as kubeconfig:
        kube = Kube(kubeconfig, "dev-a")
        with kube.namespace("conformance") as namespace:
            yield Place(kubeconfig=kubeconfig, context="dev-a", namespace=namespace)


@pytest.fixture(scope="session")
def real_place() -> Iterator[Place]:
    """A namespace of a real Kubernetes."""
    kubeconfig = Path(os.environ[KUBECONFIG]).absolute()
    kube = Kube(kubeconfig, contexts_of(kubeconfig)[0])
    with kube.namespace("conformance") as namespace:
        yield Place(kubeconfig=kubeconfig, context=kube.context, namespace=namespace)


@pytest.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.kubernetes)])
def place(request: pytest.FixtureRequest) -> Place:
    """The one or the other."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture
async def kube(place: Place) -> AsyncIterator[Target]:
    """The one or the other, connected."""
    async with reach(place) as target:
        yield target


@pytest.fixture
def name() -> str:
    """A name that no Job has had."""
    return f"c-{secrets.token_hex(4)}"
