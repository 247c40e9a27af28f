"""The command line as users run it: a process of its own, which knows the nodes' addresses and nothing else."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def raftsman(
    addresses: Sequence[str], *arguments: str, home: Path, timeout_s: float = 60.0
) -> "subprocess.CompletedProcess[str]":
    """Run ``raftsman`` with *arguments*; *home* is where it would look for a configuration."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAFTSMAN_")}
    environment = {**inherited, "RAFTSMAN_ADDRESS": ",".join(addresses), "XDG_CONFIG_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "raftsman.cli.main", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout_s,
        check=False,
    )
