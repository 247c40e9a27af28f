"""The commands that pages name in passing (in the text, in tables, in comments): they work on a cluster of ``dev``."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from raftsman.cli.main import COMMANDS
from tests.documents.conftest import Checkout
from tests.harness.documents import PAGES, Command, mentioned_in
from tests.harness.nodes import eventually
from tests.harness.terminal import Running, Terminal

pytestmark = pytest.mark.cluster

TRIED_ELSEWHERE = MappingProxyType(
    {
        "raftsman demo": "tests/cluster/test_demo.py, to its end",
        "raftsman dev": "test_first_contact.py",
        "kubectl create job": "test_development_kubernetes.py, with what belongs behind it",
    }
)
READY_S = 40.0
TASK = "type: k8s_job\nk8sJob: {clusterContext: dev-a, image: busybox}\nlabels: {run: '7'}\n"


def mentions() -> Iterator[Command]:
    """Yield what the pages mention and nobody else tries, each once and page."""
    seen = set()
    for command in (command for page in PAGES for command in mentioned_in(page)):
        known = command.text in TRIED_ELSEWHERE or (command.page, command.text) in seen
        seen.add((command.page, command.text))
        if not known:
            yield command


@dataclass(slots=True)
class Reader:
    """Somebody who tries what they read, beside a running ``raftsman dev``."""

    checkout: Checkout
    terminal: Terminal
    place: Path
    make_target: Callable[[str], str]
    nodes: list[Running] = field(default_factory=list)

    @property
    def notes(self) -> Any:
        """What ``dev`` says that runs."""
        return json.loads((self.place / "dev.json").read_text())

    def types(self, command: Command) -> None:
        """Type what the command stands for; it must end with exit code 0, or go on when it is a node."""
        if command.text.startswith("make "):
            self.make_target(command.text)
        elif command.text.startswith("raftsman serve "):
            self._starts_a_node_again(command)
        elif "VERB" in command.text:
            for verb in COMMANDS:
                self._runs(command, {"VERB": verb})
        else:
            self._runs(command)

    def _runs(self, command: Command, more: dict[str, str] | None = None) -> None:
        text = self.checkout.fill_in(command.text, more)
        outcome = self.terminal.run(text)
        assert outcome.code == 0, (str(command), text, outcome)

    def _starts_a_node_again(self, command: Command) -> None:
        """Kill a node that does not lead, and start it as the page says."""
        name, pid = next((each["name"], each["pid"]) for each in self.notes["nodes"] if each["name"] != self._leader())
        os.kill(pid, signal.SIGKILL)
        self._wait_for(name, lambda now: now is None)
        text = self.checkout.fill_in(command.text, {"NAME": name, "FILE": str(self.place / f"{name}.toml")})
        node = self.terminal.start(text, self.place.parent / f"served-{len(self.nodes)}")
        self.nodes.append(node)
        self._wait_for(name, lambda now: now == node.process.pid)

    def _leader(self) -> str:
        return eventually(lambda: str(self.notes["leader"] or ""), within_s=READY_S, what="a leader")

    def _wait_for(self, name: str, is_so: Callable[[int | None], bool]) -> None:
        def look() -> bool:
            return is_so(next(each["pid"] for each in self.notes["nodes"] if each["name"] == name))

        eventually(look, within_s=READY_S, what=f"dev has noticed what became of {name}")


def test_what_is_mentioned_works(checkout: Checkout, tmp_path: Path, make_target: Callable[[str], str]) -> None:
    place, file = tmp_path / "place", tmp_path / "task.yaml"
    file.write_text(TASK)
    path = f"{checkout.directory}/.venv/bin:{os.environ['PATH']}"
    dev = checkout.terminal(PATH=path).start(f"raftsman dev --dir {place}", tmp_path / "dev")
    terminal = checkout.terminal(PATH=path, KUBECONFIG=str(place / "kubernetes" / "kubeconfig"))
    reader = Reader(checkout, terminal, place, make_target)
    try:
        eventually(lambda: "are ready" in dev.said, within_s=READY_S, what=f"dev is ready: {dev.said}")
        checkout.replaced |= {"DIR": str(place), "FILE": str(file)}
        # First what makes the others find this cluster; then as the pages have it.
        commands = sorted(mentions(), key=lambda command: not command.text.startswith("export "))
        assert commands[0].text == "export RAFTSMAN_CONFIG=DIR/client.toml"
        for command in commands:
            if command.text.startswith("raftsman") and "ID" not in checkout.replaced:
                checkout.replaced["ID"] = _an_ended_task(terminal, file)
            reader.types(command)
    finally:
        dev.end()
        for node in reader.nodes:
            node.end()


def _an_ended_task(terminal: Terminal, file: Path) -> str:
    task_id = terminal.run(f"raftsman submit --detach {file}").said.strip()
    outcome = terminal.run(f"raftsman wait {task_id}")
    assert outcome.code == 0, outcome
    return task_id
