"""All of it, or as much as is asked for, with a report.

python -m tests.chaos [--part 0.1] [--seed 1] [--only kill] [--report FILE]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.faults import Trouble
from tests.chaos.rounds import Result, run_round


@dataclass(frozen=True, slots=True)
class Share:
    """How often a trouble comes in a full run, and how often in one round: tables stay small, histories short."""

    count: int
    a_round: int


FULL: dict[Trouble, Share] = {
    Trouble.KILL: Share(100, 25),
    Trouble.AT_COMPACTION: Share(50, 10),
    Trouble.EVERYBODY: Share(10, 10),
    Trouble.LEADER: Share(30, 30),
    Trouble.FROZEN_LEADER: Share(30, 30),
    Trouble.LONELY_LEADER: Share(30, 30),
    Trouble.HAND_OVER: Share(30, 30),
    Trouble.RESTART: Share(20, 20),
    Trouble.PAUSE: Share(20, 20),
    Trouble.CUT: Share(20, 20),
    Trouble.SEVERAL: Share(20, 20),
    Trouble.REPLACE: Share(18, 18),
    Trouble.REPLACE_WITH_ONE_DOWN: Share(2, 2),
}


def main() -> int:
    """Run, print a line for each round, and write the report; return 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos on real nodes.")
    parser.add_argument("--part", type=float, default=1.0, help="of the full counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", metavar="TROUBLE", help=f"of {', '.join(each.name for each in Trouble)}")
    parser.add_argument("--report", type=Path, help="where to write the report (JSON)")
    asked = parser.parse_args()
    only = [Trouble[name.upper().replace("-", "_")] for name in asked.only] if asked.only else [*Trouble]
    results: list[Result] = []
    for trouble, count, seed in plan(only, asked.part, asked.seed):
        with tempfile.TemporaryDirectory(prefix="raftsman-chaos-", ignore_cleanup_errors=True) as folder:
            result = run_round(trouble, count, Path(folder), seed=seed)
        results.append(result)
        _say(line_of(result))
        for fault in result.faults:
            _say(f"  {fault.promise}: {fault.text}")
    report = report_of(results)
    _say(json.dumps(report, indent=2))
    if asked.report:
        asked.report.write_text(json.dumps(report, indent=2) + "\n")
    return int(any(result.faults for result in results))


def plan(only: Sequence[Trouble], part: float, seed: int) -> Iterator[tuple[Trouble, int, int]]:
    """Yield the rounds: trouble, how often, seed."""
    for trouble in only:
        left = max(round(FULL[trouble].count * part), 1)
        while left > 0:
            count = min(left, FULL[trouble].a_round)
            yield trouble, count, seed
            left -= count
            seed += 1


def line_of(result: Result) -> str:
    """Return a round in a line."""
    counts = ", ".join(f"{count} {name}" for name, count in sorted(result.operations.items()))
    again = f"; {percentiles(result.writes_again_s)}" if result.writes_again_s else ""
    return (
        f"{result.trouble} x {result.count}, seed {result.seed}: {counts}; {result.tasks} tasks; "
        f"{len(result.faults)} faults; {result.seconds:.0f} s{again}"
    )


def percentiles(seconds: Sequence[float]) -> str:
    """Return the middle and the end of what was measured."""
    return f"writes again after p50 {_percentile(seconds, 50):.2f} s, p99 {_percentile(seconds, 99):.2f} s"


def _percentile(seconds: Sequence[float], percent: int) -> float:
    if len(seconds) < 2:
        return seconds[0]
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


def report_of(results: Sequence[Result]) -> dict[str, object]:
    """Return the figures of a run, with the machine they come from."""
    operations: Counter[str] = Counter()
    troubles: Counter[str] = Counter()
    details: Counter[str] = Counter()
    for result in results:
        operations.update(result.operations)
        troubles[result.trouble.value] += result.count
        details.update(result.details)
    faults = Counter(fault.promise for result in results for fault in result.faults)
    again: dict[str, list[float]] = {}
    for result in results:
        if result.writes_again_s:
            again.setdefault(result.trouble.value, []).extend(result.writes_again_s)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "load": [round(each, 2) for each in os.getloadavg()],
        },
        "seeds": [result.seed for result in results],
        "seconds": round(sum(result.seconds for result in results)),
        "troubles": troubles,
        "operations": operations,
        "tasks": sum(result.tasks for result in results),
        "lost": faults["lost"],
        "doubled": faults["doubled"],
        "other faults": faults.total() - faults["lost"] - faults["doubled"],
        "writes again": {
            trouble: {
                "count": len(seconds),
                "p50": round(_percentile(seconds, 50), 3),
                "p99": round(_percentile(seconds, 99), 3),
            }
            for trouble, seconds in again.items()
        },
        "details": dict(sorted(details.items())),
    }


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
