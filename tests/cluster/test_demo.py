"""``raftsman demo``, once from its beginning to its end: what it tells is true, and nothing of it is left."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raftsman.node.playground.processes import is_alive

pytestmark = pytest.mark.cluster

LONGEST_S = 120.0
"""Half a minute, and more on a machine that does other things meanwhile."""


def run_demo(folder: Path) -> "subprocess.CompletedProcess[str]":
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAFTSMAN_")}
    places = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "TMPDIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "raftsman.cli.main", "demo"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**inherited, **places},
        cwd=folder,
        timeout=LONGEST_S,
        check=False,
    )


def test_the_demo_tells_how_a_task_outlives_its_leader_and_leaves_nothing(tmp_path: Path) -> None:
    demo = run_demo(tmp_path)
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout + demo.stderr
    (killed,) = re.findall(r"^3\. Killing (\w+), which leads and looks after the task", demo.stdout, re.MULTILINE)
    (leader,) = re.findall(r"(\w+) leads now, elected by the two nodes that are left", demo.stdout)
    assert killed != leader
    steps = re.findall(r"output +(step \d+ of \d+)$", demo.stdout, re.MULTILINE)
    assert steps == [f"step {number} of {len(steps)}" for number in range(1, len(steps) + 1)]
    assert "completed, exit code 0" in demo.stdout
    assert f"{len(steps)} lines of {len(steps)}, complete and in order" in demo.stdout
    assert len(set(re.findall(r"UID ([0-9a-f-]{36})", demo.stdout))) == 1
    assert "\x1b" not in demo.stdout
    pids = [int(pid) for pid in re.findall(r"process (\d+)", demo.stdout)]
    assert len(pids) == 3
    assert [pid for pid in pids if is_alive(pid)] == []
    assert list(tmp_path.iterdir()) == []
