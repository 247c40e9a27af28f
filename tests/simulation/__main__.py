"""python -m tests.simulation: run many seeds, or one with a trace to read."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.simulation.many import get_ready, run_seeds
from tests.simulation.record import Summary, as_line
from tests.simulation.run import Result, run_seed


def replay_command(result: Result) -> str:
    """Return the command that shows what happened."""
    return f"python -m tests.simulation {result.seed} --nodes {result.nodes} --trace"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", help="run this seed only")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="print everything that happens (one seed)")
    parser.add_argument(
        "--record", type=Path, help="add a line for each seed to this file; see tests.simulation.record"
    )
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    if asked.seed is not None:
        get_ready()
        results: Iterable[Result] = [run_seed(asked.seed, nodes=asked.nodes, show=_say if asked.trace else None)]
    else:
        seeds = range(asked.first, asked.first + asked.seeds)
        results = run_seeds(seeds, nodes=asked.nodes, processes=asked.processes)
    return _report(_recorded(results, asked.record), began)


def _recorded(results: Iterable[Result], file: Path | None) -> Iterator[Result]:
    for result in results:
        if file is not None:
            with file.open("a") as lines:  # At once: a long run may be ended at any moment.
                lines.write(as_line(result) + "\n")
        yield result


def _report(results: Iterable[Result], began: float) -> int:
    seen: list[Result] = []
    for result in results:
        seen.append(result)
        if result.violation:
            _say(f"seed {result.seed}: {result.violation}\n  replay: {replay_command(result)}")
    took_s = time.monotonic() - began
    summary = Summary.of(seen)
    _say(", ".join(f"{kind} {count}" for kind, count in sorted(summary.faults.items())))
    _say(
        f"at least {summary.least_faults} faults a seed; {summary.seconds:.0f} simulated seconds, "
        f"{summary.acknowledged} commands acknowledged, {summary.reads} reads answered; "
        f"{took_s:.1f} s, {len(seen) / took_s * 60:.0f} seeds a minute"
    )
    _say(summary.last_line())
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
