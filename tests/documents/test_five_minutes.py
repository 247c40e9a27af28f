"""README, "Five minutes with your clusters": three nodes from ``examples/local``, each in a terminal of its own.

Only ports differ from what is printed, and placeholders. The clusters are those of the kubeconfig for tests, or else
the development Kubernetes.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from raftsman.executor.kubernetes.kubeconfig import Kubeconfigs, context_names
from tests.conftest import KUBECONFIG
from tests.documents.conftest import Checkout
from tests.harness.documents import blocks_of, typed_in
from tests.harness.kube import Kube, contexts_of
from tests.harness.nodes import eventually, free_port
from tests.harness.sandbox import sandbox_process
from tests.harness.terminal import Running, Terminal

pytestmark = pytest.mark.cluster

PAGE = "README.md"
READY_S = 30.0
SOON_AWAY = "30s"
"""How long finished Jobs stay: the page's Jobs are in the namespace ``default`` of whatever cluster this is."""
PORTS = re.compile(r"(?<=127\.0\.0\.1:)\d+")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig for tests, or that of a development Kubernetes."""
    with ExitStack() as stack:
        named = os.environ.get(KUBECONFIG)
        yield Path(named).absolute() if named else stack.enter_context(sandbox_process(tmp_path / "kubernetes"))


@pytest.fixture
def with_ports(checkout: Checkout) -> Checkout:
    """The checkout with free ports in ``examples/local``, in the page's commands and in its Python example."""
    files = [*(checkout.directory / "examples" / "local").glob("*.toml")]
    assert len(files) == 3
    ports = sorted({port for file in files for port in PORTS.findall(file.read_text())})
    free = {port: str(free_port()) for port in ports}
    for file in files:
        file.write_text(PORTS.sub(lambda match: free[match[0]], file.read_text()))
    checkout.replaced |= {f"127.0.0.1:{port}": f"127.0.0.1:{other}" for port, other in free.items()}
    return checkout


def test_every_command_works_in_the_order_of_the_page(
    with_ports: Checkout, kubeconfig: Path, tmp_path: Path, make_target: Callable[[str], str]
) -> None:
    checkout = with_ports
    checkout.replaced["CONTEXT"] = context_names([kubeconfig], Kubeconfigs())[0]
    hello = checkout.directory / "examples" / "hello.yaml"
    hello.write_text(checkout.fill_in(hello.read_text()))
    terminal = checkout.terminal(KUBECONFIG=str(kubeconfig), RAFTSMAN_EXECUTOR__JOB_TTL=SOON_AWAY)
    nodes: list[Running] = []
    try:
        for command in typed_in(PAGE, "Five minutes with your clusters"):
            text = checkout.fill_in(command.text)
            if text.startswith("make "):
                make_target(text)
            elif text.startswith("raftsman serve "):
                nodes.append(terminal.start(text, tmp_path / f"node-{len(nodes)}"))
            else:
                _type(checkout, terminal, text, nodes)
        _run_the_python_example(checkout, terminal)
        assert [node.end() for node in nodes] == [0, 0, 0]
    finally:
        for node in nodes:
            node.end()


def _type(checkout: Checkout, terminal: Terminal, text: str, nodes: list[Running]) -> None:
    if text.startswith("raftsman cluster status"):
        _wait_until_contexts_are_reached(terminal, checkout.replaced["CONTEXT"], nodes)
    outcome = terminal.run(text)
    assert outcome.code == 0, (text, outcome, [node.said for node in nodes])
    if text.startswith("raftsman submit --detach"):
        checkout.replaced["ID"] = outcome.said.strip()
        assert re.fullmatch(r"[0-9a-z]{26}", checkout.replaced["ID"]), outcome
    elif text.startswith("raftsman submit "):
        assert {"hello from a Pod", "bye"} <= {*outcome.said.splitlines()}, outcome


def _wait_until_contexts_are_reached(terminal: Terminal, context: str, nodes: list[Running]) -> None:
    """Give the nodes the second that a reader takes to open the next terminal."""

    def look() -> bool:
        return bool(
            re.search(rf"^{re.escape(context)} .*alpha", terminal.run("raftsman get contexts").said, re.MULTILINE)
        )

    assert len(nodes) == 3
    eventually(look, within_s=READY_S, what="the nodes reach the contexts", every_s=0.3)


def _run_the_python_example(checkout: Checkout, terminal: Terminal) -> None:
    (example,) = (block for block in blocks_of(PAGE) if block.language == "python")
    (checkout.directory / "example.py").write_text(checkout.fill_in(example.text))
    outcome = terminal.run("python example.py")
    assert (outcome.code, outcome.said) == (0, "completed 0 None\n"), outcome


@pytest.mark.kubernetes
def test_the_role_of_the_examples_can_be_applied(checkout: Checkout) -> None:
    kubeconfig = Path(os.environ[KUBECONFIG]).absolute()
    kube = Kube(kubeconfig, contexts_of(kubeconfig)[0])
    terminal = checkout.terminal(KUBECONFIG=str(kubeconfig))
    with kube.namespace("documents") as namespace:
        checkout.replaced |= {"CONTEXT": kube.context, "NAMESPACE": namespace}
        for command in typed_in(PAGE, "What it needs in Kubernetes"):
            outcome = terminal.run(checkout.fill_in(command.text))
            assert outcome.code == 0, (command, outcome)
        assert [role["metadata"]["name"] for role in kube.get("roles", namespace)] == ["raftsman"]
