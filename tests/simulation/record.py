"""What many seeds add up to, and its table in docs/track-record.md.

``python -m tests.simulation --record FILE`` adds a line for each seed, so that a long run can be done in slices;
``python -m tests.simulation.record FILE …`` prints the table of what the files hold, or puts it into a ``--page``.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from tests.simulation.run import Result

_TABLE = re.compile(r"^\|  \| \d+ nodes \|.*\n(?:\|.*\n)+", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Seeds of equally many nodes, added up."""

    first: int
    seeds: int
    nodes: int
    seconds: float
    faults: Counter[str]
    least_faults: int
    acknowledged: int
    reads: int
    violations: int
    trace: str
    """One fingerprint of those of all seeds."""

    @classmethod
    def of(cls, results: Sequence[Result]) -> "Summary":
        """Return the sum of *results*, at least one, in the order of their seeds."""
        faults: Counter[str] = Counter()
        for result in results:
            faults.update(result.faults)
        return cls(
            first=results[0].seed,
            seeds=len(results),
            nodes=results[0].nodes,
            seconds=sum(each.seconds for each in results),
            faults=faults,
            least_faults=min(each.fault_count for each in results),
            acknowledged=sum(each.acknowledged for each in results),
            reads=sum(each.reads for each in results),
            violations=sum(bool(each.violation) for each in results),
            trace=sha256("".join(each.trace for each in results).encode()).hexdigest(),
        )

    def last_line(self) -> str:
        """Return the last line of a run, for programs to read."""
        return f"seeds={self.seeds} faults={self.faults.total()} violations={self.violations} trace={self.trace}"


def as_line(result: Result) -> str:
    """Return *result* as a line of JSON."""
    return json.dumps(asdict(result))


def read(lines: Iterable[str]) -> list[Summary]:
    """Return the sums of what ``as_line`` wrote, by number of nodes. Raises ValueError when a seed is missing."""
    found: dict[int, dict[int, Result]] = {}
    for line in lines:
        result = Result(**json.loads(line))
        found.setdefault(result.nodes, {})[result.seed] = result
    return [_whole([results[seed] for seed in sorted(results)]) for _, results in sorted(found.items())]


def _whole(results: Sequence[Result]) -> Summary:
    summary = Summary.of(results)
    if summary.first + summary.seeds != results[-1].seed + 1:
        raise ValueError(f"of the seeds {summary.first} to {results[-1].seed} only {summary.seeds} were run")
    return summary


def table(summaries: Sequence[Summary]) -> str:
    """Return *summaries* as Markdown, a column for each."""
    rows: list[tuple[str, list[str]]] = [
        ("seeds", [f"{each.seeds:,} (from {each.first})" for each in summaries]),
        ("simulated time", [f"{each.seconds / 3600:,.1f} h" for each in summaries]),
        ("violations", [f"{each.violations:,}" for each in summaries]),
        ("commands acknowledged", [f"{each.acknowledged:,}" for each in summaries]),
        ("consistent reads answered", [f"{each.reads:,}" for each in summaries]),
        ("faults", [f"{each.faults.total():,}, at least {each.least_faults} a seed" for each in summaries]),
        *_fault_rows(summaries),
        ("trace", [f"`{each.trace[:16]}…{each.trace[-8:]}`" for each in summaries]),
    ]
    head = [_row("", [f"{each.nodes} nodes" for each in summaries]), "|---" * (1 + len(summaries)) + "|"]
    return "\n".join([*head, *(_row(name, cells) for name, cells in rows)])


def _fault_rows(summaries: Sequence[Summary]) -> list[tuple[str, list[str]]]:
    kinds = sorted({kind for each in summaries for kind in each.faults})
    return [(f"– {kind}", [f"{each.faults[kind]:,}" for each in summaries]) for kind in kinds]


def _row(name: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"


def with_table(page: str, new: str) -> str:
    """Return *page* with *new* in the place of the table that it has. Raises ValueError when there is not just one."""
    changed, count = _TABLE.subn(lambda _: new + "\n", page)
    if count != 1:
        raise ValueError(f"the page has {count} tables of runs")
    return changed


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of what the files hold, or put it into a page."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.record", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="what runs have recorded")
    parser.add_argument("--page", type=Path, help="a page that has such a table, to be replaced")
    asked = parser.parse_args(arguments)
    new = table(read([line for file in asked.files for line in file.read_text().splitlines()]))
    if asked.page is None:
        sys.stdout.write(new + "\n")
    else:
        asked.page.write_text(with_table(asked.page.read_text(), new))


if __name__ == "__main__":
    main()
