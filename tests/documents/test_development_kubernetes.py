"""The session in ``docs/development-kubernetes.md``: the development Kubernetes alone, and kubectl."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import NO_KUBECTL
from tests.documents.conftest import Checkout
from tests.harness.documents import blocks_of, typed_in
from tests.harness.nodes import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(shutil.which("kubectl") is None, reason=NO_KUBECTL)]

PAGE = "docs/development-kubernetes.md"
PRINTED_IN = "/tmp/dev-kubernetes"
READY_S = 20.0


def test_kubectl_talks_to_it_as_the_page_shows(checkout: Checkout, tmp_path: Path) -> None:
    checkout.replaced[PRINTED_IN] = str(tmp_path / "kubernetes")
    terminal = checkout.terminal(PATH=f"{checkout.directory}/.venv/bin:{checkout.terminal().variables['PATH']}")
    first, *others, last = typed_in(PAGE)
    kubernetes = terminal.start(checkout.fill_in(first.text), tmp_path / "said")
    try:
        eventually(lambda: kubernetes.said.endswith("\n"), within_s=READY_S, what="the development Kubernetes is ready")
        for command in others:
            outcome = terminal.run(checkout.fill_in(command.text))
            assert outcome.code == 0, (command, outcome)
        logs = terminal.run(last.text)
        assert (logs.code, logs.said[:17]) == (0, "hello from hello-"), logs
        (printed,) = (line for block in blocks_of(PAGE) for line in block.lines if line.startswith("{"))
        assert json.loads(kubernetes.said).keys() == json.loads(printed.replace(", …", "")).keys()
    finally:
        assert kubernetes.end() == 0
