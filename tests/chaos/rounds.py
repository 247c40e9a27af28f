"""A round: a cluster of its own, clients, one trouble several times, and then the reckoning."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.clients import CONTEXT, Client, Notes, ask, clients, marks_of
from tests.chaos.faults import Stage, Trouble, cause
from tests.harness.cuts import Cuts
from tests.harness.fake_kubernetes import write_kubeconfig
from tests.harness.history import Done, Fault, NotDone, Operation, Seen, Step, Story, Unknown, faults_of
from tests.harness.linearizability import unexplained
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, node_group, raft_addresses

CLOSED_PORT = 1  # Of loopback: nothing listens on tcpmux any more.
SHELL = "[executor]\nallow_shell = true\nslots = 4\n"
OFTEN_COMPACTED = {"RAFTSMAN_RAFT__COMPACT_ENTRIES": "100"}
PAGE_ROWS = 1000
CUTTING = (Trouble.CUT, Trouble.SEVERAL, Trouble.LONELY_LEADER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a round."""

    trouble: Trouble
    count: int
    seed: int
    seconds: float
    operations: Mapping[str, int]
    tasks: int
    faults: Sequence[Fault]
    writes_again_s: Sequence[float] = ()
    details: Mapping[str, int] = field(default_factory=dict)


def run_round(trouble: Trouble, count: int, directory: Path, *, seed: int) -> Result:
    """Do *trouble* *count* times to three nodes under load, and hold every answer against what is left.

    Raises AssertionError when the nodes do not recover in time.
    """
    began = time.monotonic()
    random, notes = Random(seed), Notes()
    aimed = trouble is Trouble.AT_COMPACTION
    with ExitStack() as stack:
        cuts = stack.enter_context(Cuts(raft_addresses())) if trouble in CUTTING else None
        kubeconfig = write_kubeconfig(directory / "kubeconfig", f"http://127.0.0.1:{CLOSED_PORT}", name=CONTEXT)
        group = stack.enter_context(
            node_group(
                directory,
                kubeconfig=kubeconfig,
                more_toml=SHELL,
                environment=OFTEN_COMPACTED,
                members_of=cuts.members_of if cuts else None,
            )
        )
        group.wait_ready()
        prober = Client("prober", group, notes, random, pace_s=0)
        stage = Stage(group, random, notes, prober, cuts)
        pace_s = 0.15 if aimed else 0.03
        with clients(group, random, notes, pace_s=pace_s, fillers=2 if aimed else 0):
            stage.until_more(20)
            for _ in range(count):
                cause(stage, trouble)
        history = notes.history()
        stories = reckon(group)
        twice = run_twice(marks_of(group))
    return Result(
        trouble=trouble,
        count=count,
        seed=seed,
        seconds=time.monotonic() - began,
        operations=tally(history),
        tasks=len(stories),
        faults=[*faults_of(history, stories), *unexplained(history), *twice],
        writes_again_s=stage.writes_again_s,
        details=Counter(stage.details),
    )


def tally(history: Sequence[Operation]) -> Mapping[str, int]:
    """Return how many operations were answered how."""
    kinds = {Done: "acknowledged", NotDone: "refused", Unknown: "unknown", Seen: "read"}
    return Counter(kinds[type(each.answer)] for each in history)


def reckon(group: NodeGroup) -> dict[str, Story]:
    """Wait until every command has ended; return all tasks' stories, once all nodes have the same table."""

    def ended() -> bool:
        rows = _rows(group.leader(), "&type=shell&state=queued,assigned,running")
        return not rows

    eventually(ended, within_s=60, what="all commands have ended", every_s=0.2)
    hashes = group.state_hashes()
    assert len({state_hash for _, state_hash in hashes.values()}) == 1, f"the nodes have diverged: {hashes}"
    node = group.running()[0]
    return {row["taskId"]: _story(node, row["taskId"]) for row in _rows(node)}


def run_twice(marks: Path) -> list[Fault]:
    """Return the attempts that ran more than once, by the *marks* that they left."""
    runs = {mark.name: len(mark.read_text().splitlines()) for mark in marks.iterdir()}
    return [Fault("doubled", f"attempt {name} ran {count} times") for name, count in runs.items() if count > 1]


def _rows(node: NodeProcess, query: str = "") -> list[Any]:
    return [*_items(node, f"/v1/tasks?limit={PAGE_ROWS}{query}", "cursor")]


def _story(node: NodeProcess, task_id: str) -> Story:
    """Return a task's changes. One in which nothing moved (a reason, a condition) is left out."""
    steps: list[Step] = []
    for event in _items(node, f"/v1/tasks/{task_id}/events?limit={PAGE_ROWS}", "after"):
        place = (event["attempt"], event["to"])
        if event["from"] is None or not steps or steps[-1].place != place:
            steps.append(Step(event["index"], place, created=event["from"] is None))
    return steps


def _items(node: NodeProcess, path: str, following: str) -> Iterator[Any]:
    """Yield the rows of all pages."""
    cursor = ""
    while cursor is not None:
        told = ask(node, "GET", f"{path}&{following}={cursor}" if cursor else path)
        assert told.status == 200, told
        yield from told.document["items"]
        cursor = told.document["next"]
