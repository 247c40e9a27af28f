"""python -m tests.simulation: run many seeds, or one with a trace to read."""

import argparse
import sys
import time
from collections.abc import Iterable
from hashlib import sha256

from tests.simulation.many import be_quiet, run_seeds
from tests.simulation.run import Result, run_seed


def replay_command(result: Result) -> str:
    """Return the command that shows what happened."""
    return f"python -m tests.simulation {result.seed} --nodes {result.nodes} --trace"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", help="run this seed only")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="print everything that happens (one seed)")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    if asked.seed is not None:
        be_quiet()
        results: Iterable[Result] = [run_seed(asked.seed, nodes=asked.nodes, show=_say if asked.trace else None)]
    else:
        seeds = range(asked.first, asked.first + asked.seeds)
        results = run_seeds(seeds, nodes=asked.nodes, processes=asked.processes)
    return _report(results, began)


def _report(results: Iterable[Result], began: float) -> int:
    digest = sha256()
    seeds = troubles = violations = acknowledged = 0
    seconds = 0.0
    for result in results:
        seeds, troubles = seeds + 1, troubles + result.troubles
        acknowledged, seconds = acknowledged + result.acknowledged, seconds + result.seconds
        digest.update(result.trace.encode())
        if result.violation:
            violations += 1
            _say(f"seed {result.seed}: {result.violation}\n  replay: {replay_command(result)}")
    took_s = time.monotonic() - began
    _say(
        f"{seconds:.0f} simulated seconds, {acknowledged} submissions acknowledged; "
        f"{took_s:.1f} s, {seeds / took_s * 60:.0f} seeds a minute"
    )
    _say(f"seeds={seeds} faults={troubles} violations={violations} trace={digest.hexdigest()}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
