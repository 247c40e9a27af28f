"""The simulation finds nothing, says the same of the same seed, and shows how to see a seed again."""

import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.simulation import __main__ as command
from tests.simulation.checks import Checks, Violation
from tests.simulation.run import LEAST_FAULTS, Result, run_seed
from tests.simulation.world import World

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("RAFTSMAN_TEST_SEEDS", "800"))
"""Of three nodes, always the same ones; a quarter as many of five."""
PROCESSES = os.cpu_count() or 2


def digest_of(traces: list[str]) -> str:
    return sha256("".join(traces).encode()).hexdigest()


def simulate(*arguments: object, hash_seed: str = "random") -> str:
    """Return what the command says; a violation fails the test with what there is to see."""
    asked = [sys.executable, "-m", "tests.simulation", *map(str, arguments)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("nodes", "seeds"), [(3, SEEDS), (5, SEEDS // 4)])
def test_no_promise_is_broken_whatever_happens(nodes: int, seeds: int) -> None:
    said = simulate("--seeds", seeds, "--nodes", nodes, "--processes", PROCESSES)
    assert re.fullmatch(rf"seeds={seeds} faults=\d+ violations=0 trace=[0-9a-f]{{64}}", said.splitlines()[-1]), said
    least = re.search(r"^at least (\d+) faults a seed", said, re.MULTILINE)
    assert least is not None
    assert int(least[1]) >= LEAST_FAULTS


def test_the_same_seed_gives_the_same_trace_in_another_process_whose_hashes_differ() -> None:
    here = [run_seed(seed, nodes=3).trace for seed in (3, 4)]
    assert here[0] != here[1]
    for hash_seed in ("0", "1234"):
        said = simulate("--seeds", 2, "--from", 3, hash_seed=hash_seed)
        assert said.splitlines()[-1].endswith(f"violations=0 trace={digest_of(here)}")


def test_a_trace_is_shown_line_by_line_and_changes_nothing() -> None:
    lines: list[str] = []
    shown = run_seed(5, show=lines.append)
    assert shown == run_seed(5)
    assert any("all trouble ends" in line for line in lines)


def test_a_seed_that_fails_is_reported_with_the_command_that_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Result(
        seed=17,
        nodes=5,
        faults={"kill": 20, "pause": 3},
        acknowledged=9,
        reads=4,
        seconds=3.0,
        violation="a promise is broken",
        trace="abc",
    )
    monkeypatch.setattr(command, "run_seeds", lambda *_, **__: iter([failed]))
    assert command.main(["--seeds", "1", "--nodes", "5"]) == 1
    said = capsys.readouterr().out
    assert "seed 17: a promise is broken" in said
    assert "python -m tests.simulation 17 --nodes 5 --trace" in said
    assert said.splitlines()[-1] == f"seeds=1 faults=23 violations=1 trace={digest_of(['abc'])}"


def test_a_process_that_stands_still_does_nothing_until_it_goes_on() -> None:
    world = World(1)
    for host in world.hosts.values():
        host.start()
    assert world.timeline.run(until=10, over=lambda: len(world.leaders()) == 1)
    (old,) = world.leaders()
    old.pause(2.0)
    operations = old.disk.operations
    assert world.timeline.run(until=world.timeline.now + 1.9, over=lambda: len(world.leaders()) == 2)
    assert old in world.leaders(), "it does not know that it leads no more"
    assert old.disk.operations == operations
    assert world.timeline.run(until=world.timeline.now + 2, over=lambda: old not in world.leaders())


def test_an_exception_of_a_node_is_a_violation_and_not_the_end_of_the_simulation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bug(self: Checks, *_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Checks, "appended", bug)
    assert "raises ZeroDivisionError" in run_seed(1).violation


def test_a_violation_cannot_be_caught_by_the_product() -> None:
    assert not issubclass(Violation, Exception)
    with pytest.raises(Violation, match="what is broken"):
        World(1).fail("what is broken")
