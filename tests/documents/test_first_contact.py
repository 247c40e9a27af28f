"""README, "First contact": ``make dev`` in one terminal, everything else in a second one, without flags."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.documents.conftest import Checkout
from tests.harness.documents import typed_in
from tests.harness.nodes import eventually
from tests.harness.terminal import Outcome, Running, Terminal

pytestmark = pytest.mark.cluster

PAGE, SECTION = "README.md", "First contact"
READY_S = 40.0


def test_a_second_terminal_needs_no_flags_and_a_task_outlives_its_leader(
    checkout: Checkout, tmp_path: Path, make_target: Callable[[str], str]
) -> None:
    commands = [command.text for command in typed_in(PAGE, SECTION)]
    assert make_target("make dev").strip() == "@$(BIN)/raftsman dev"
    first, second = checkout.terminal(), checkout.terminal()
    running = first.start(".venv/bin/raftsman dev", tmp_path / "dev")
    try:
        eventually(lambda: "are ready" in running.said, within_s=READY_S, what=f"dev is ready: {running.said}")
        for command in commands:
            if command.startswith("make "):
                make_target(command)
            elif command.startswith("raftsman submit "):
                outcome = _submit_and_play(second, command, running)
                assert [line for line in ("hello", "bye") if line not in outcome.said.splitlines()] == [], outcome
            else:
                assert second.run(command).code == 0, command
        running.press("q")
        assert running.process.wait(timeout=READY_S) == 0, running.said
    finally:
        running.end()


def _submit_and_play(terminal: Terminal, command: str, dev: Running) -> Outcome:
    """Press the keys that the page names while the task runs."""
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(terminal.run, command)
        client = terminal.run
        eventually(
            lambda: "running" in client("raftsman get tasks").said, within_s=READY_S, what="the task runs", every_s=0.2
        )
        dev.press("k")
        eventually(lambda: "leads now" in dev.said, within_s=READY_S, what=f"another node leads: {dev.said}")
        dev.press("r")
        eventually(lambda: "is back" in dev.said, within_s=READY_S, what=f"the node is back: {dev.said}")
        outcome = submitted.result()
    assert outcome.code == 0, outcome
    return outcome
