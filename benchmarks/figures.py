"""Where the benchmarks leave what they measured, for programs that compare: ``benchmarks/results``, which git ignores.

A figure means little without the machine it comes from, so that is written beside it. Printing is each benchmark's own.
"""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def write_figures(benchmark: str, figures: Mapping[str, object]) -> None:
    """Write the figures of one run, and what it ran on, to ``benchmarks/results``; say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{benchmark}.json"
    machine = {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"at": at, "machine": machine, "figures": figures}, indent=2) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
