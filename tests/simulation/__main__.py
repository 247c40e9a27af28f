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
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    if asked.seed is not None:
        be_quiet()
        results: Iterable[Result] = [run_seed(asked.seed, nodes=asked.nodes, show=_say if asked.trace else None)]
    else:
        seeds = range(asked.first, asked.first + asked.seeds)
        results = run_seeds(seeds, nodes=asked.nodes, processes=asked.processes)
    return _report(results, began)


def digest_of(traces: Iterable[str]) -> str:
    """Return one fingerprint of those of several seeds."""
    return sha256("".join(traces).encode()).hexdigest()


def _report(results: Iterable[Result], began: float) -> int:
    seen: list[Result] = []
    for result in results:
        seen.append(result)
        if result.violation:
            _say(f"seed {result.seed}: {result.violation}\n  replay: {replay_command(result)}")
    took_s = time.monotonic() - began
    violations = sum(bool(each.violation) for each in seen)
    _say(
        f"{sum(each.seconds for each in seen):.0f} simulated seconds, "
        f"{sum(each.acknowledged for each in seen)} submissions acknowledged; "
        f"{took_s:.1f} s, {len(seen) / took_s * 60:.0f} seeds a minute"
    )
    trace = digest_of(each.trace for each in seen)
    _say(f"seeds={len(seen)} faults={sum(each.troubles for each in seen)} violations={violations} trace={trace}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
