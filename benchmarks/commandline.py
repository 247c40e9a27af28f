"""What somebody waits for who types commands: whole processes, three nodes on this machine, a development Kubernetes.

    python -m benchmarks.commandline [--runs 15]

Measured from the start of a process to its end: ``raftsman --help``, and ``raftsman get tasks`` on an empty cluster;
from the start of ``raftsman submit`` to the first line of the task's output, on the development Kubernetes; and one
submission over HTTP on a connection that is kept open. Ends with exit code 1 when the median of a figure that has a
budget is over it. The figures of a machine that does other things too are upper bounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.harness.nodes import NodeGroup, node_group
from tests.harness.sandbox import sandbox_process

from benchmarks.figures import write_figures
from benchmarks.submission import measure_submissions

CONTEXT = "dev-a"
SUBMISSIONS = 200
HELP_BUDGET_MS, READ_BUDGET_MS = 150.0, 250.0
"""What a command may cost that is typed all day: nearly all of it is imports, which this watches."""
RAFTSMAN = Path(sys.executable).with_name("raftsman")
"""The installed command, as users start it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """How long something took, each time."""

    name: str
    taken_ms: Sequence[float]
    budget_ms: float | None = None
    """What the median may be."""

    @property
    def median_ms(self) -> float:
        """Half of the runs were faster."""
        return statistics.median(self.taken_ms)

    @property
    def is_over(self) -> bool:
        """Whether it takes longer than it may."""
        return self.budget_ms is not None and self.median_ms > self.budget_ms

    def __str__(self) -> str:
        verdict = "" if self.budget_ms is None else f"  {'OVER' if self.is_over else 'within'} {self.budget_ms:.0f} ms"
        return (
            f"{self.name:36} n {len(self.taken_ms):4d}  min {min(self.taken_ms):7.1f} ms  "
            f"median {self.median_ms:7.1f} ms  max {max(self.taken_ms):7.1f} ms{verdict}"
        )

    def as_json(self) -> dict[str, object]:
        """Return what is kept of it."""
        return {
            "runs": len(self.taken_ms),
            "minMs": round(min(self.taken_ms), 2),
            "medianMs": round(self.median_ms, 2),
            "maxMs": round(max(self.taken_ms), 2),
            "budgetMs": self.budget_ms,
        }


def main() -> int:
    """Measure, print, and keep the figures; return 1 when one is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15, help="of each command")
    runs = parser.parse_args().runs
    with (
        tempfile.TemporaryDirectory() as name,
        sandbox_process(Path(name) / "kubernetes") as kubeconfig,
        node_group(Path(name), kubeconfig=kubeconfig) as group,
    ):
        group.wait_ready([CONTEXT])
        figures = _measure(group, Path(name), runs)
    taken = measure_submissions(SUBMISSIONS)
    figures += [Figure(f"submission over HTTP, {role}", taken_ms) for role, taken_ms in taken.items()]
    for figure in figures:
        print(figure)
    write_figures("commandline", {figure.name: figure.as_json() for figure in figures})
    return int(any(figure.is_over for figure in figures))


def _measure(group: NodeGroup, home: Path, runs: int) -> list[Figure]:
    """Return the figures; those of an empty cluster come first."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAFTSMAN_")}
    environment = {**inherited, "RAFTSMAN_ADDRESS": ",".join(group.addresses), "XDG_CONFIG_HOME": str(home)}

    def whole(*arguments: str) -> float:
        began = time.perf_counter()
        subprocess.run([RAFTSMAN, *arguments], env=environment, capture_output=True, check=True)
        return (time.perf_counter() - began) * 1000

    def first_line() -> float:
        command = ["submit", "--follow", "--context", CONTEXT, "--image", "busybox", "--", "echo", "hello"]
        pipe = subprocess.PIPE
        began = time.perf_counter()
        with subprocess.Popen([RAFTSMAN, *command], env=environment, stdout=pipe, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            taken_ms = (time.perf_counter() - began) * 1000
        assert (line, process.returncode) == (b"hello\n", 0)
        return taken_ms

    return [
        Figure("raftsman --help", _repeat(lambda: whole("--help"), runs), HELP_BUDGET_MS),
        Figure("raftsman get tasks, empty cluster", _repeat(lambda: whole("get", "tasks"), runs), READ_BUDGET_MS),
        Figure("raftsman submit to first output line", _repeat(first_line, runs)),
    ]


def _repeat(once: Callable[[], float], runs: int) -> list[float]:
    once()  # What only the first run pays: files that are not cached yet.
    return [once() for _ in range(runs)]


if __name__ == "__main__":
    sys.exit(main())
