"""What happens to the nodes: each trouble is a function that does it once and heals what it did."""

import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

from tests.chaos.clients import Client, Notes, ask
from tests.harness.cuts import Cut, Cuts
from tests.harness.nodes import NodeGroup, NodeProcess, eventually

WELL_WITHIN_S = 40.0
POLL_S = 0.0005


class Trouble(StrEnum):
    """What a round does, again and again."""

    KILL = "kill -9 at random"
    AT_COMPACTION = "kill -9 at a compaction"
    EVERYBODY = "kill -9 of all nodes"
    LEADER = "kill -9 of the leader"
    FROZEN_LEADER = "SIGSTOP of the leader"
    LONELY_LEADER = "the leader is cut off"
    HAND_OVER = "another node is to lead"
    RESTART = "clean stop and start"
    PAUSE = "SIGSTOP"
    CUT = "cut"
    SEVERAL = "cut, death and SIGSTOP at once"
    REPLACE = "replacement by an empty node"
    REPLACE_WITH_ONE_DOWN = "replacement with another node down"


@dataclass(slots=True)
class Stage:
    """The nodes, and what the faults have to say afterwards."""

    group: NodeGroup
    random: Random
    notes: Notes
    prober: Client
    cuts: Cuts | None = None
    writes_again_s: list[float] = field(default_factory=list)
    """From the end of a leader to the answer to a submission, which was sent to another node at once and again."""
    details: list[str] = field(default_factory=list)
    """How a fault went, where it can go in several ways."""

    def anybody(self) -> NodeProcess:
        """Return a node: the leader as often as not."""
        if self.random.random() < 0.5:
            return self.group.leader(within_s=WELL_WITHIN_S)
        return self.random.choice(list(self.group.nodes.values()))

    def rest(self, most_s: float) -> None:
        """Let a random time pass."""
        time.sleep(self.random.uniform(0, most_s))

    def until_well(self) -> None:
        """Wait until every node runs and is ready."""
        for node in self.group.nodes.values():
            assert node.runs, f"{node.name} has ended: {_last_words(node)}"
        self.group.wait_ready(within_s=WELL_WITHIN_S)

    def until_more(self, count: int = 3) -> None:
        """Wait until clients get answers to writes."""
        before = self.notes.acknowledged
        eventually(
            lambda: self.notes.acknowledged >= before + count, within_s=WELL_WITHIN_S, what="clients can write again"
        )


def cause(stage: Stage, trouble: Trouble) -> None:
    """Do it once, and let the cluster recover."""
    _CAUSES[trouble](stage)
    stage.until_well()
    stage.until_more()


# --- deaths -----------------------------------------------------------------------------------


def _kill(stage: Stage) -> None:
    node = stage.anybody()
    node.kill()
    stage.rest(1.0)
    node.start()
    if stage.random.random() < 0.3:  # Another one while the first is not back: the majority is gone for a moment.
        other = stage.random.choice([each for each in stage.group.running() if each is not node])
        stage.rest(0.5)
        other.kill()
        stage.rest(0.5)
        other.start()


def _kill_everybody(stage: Stage) -> None:
    nodes = list(stage.group.nodes.values())
    stage.random.shuffle(nodes)
    for node in nodes:
        node.signal(signal.SIGKILL)
    for node in nodes:
        node.kill()
    stage.random.shuffle(nodes)
    for node in nodes:
        node.start()
        stage.rest(0.3)


def _kill_the_leader(stage: Stage) -> None:
    leader, other = _leader_and_another(stage)
    leader.signal(signal.SIGKILL)
    _time_writes(stage, other)
    leader.kill()
    leader.start()


def _restart(stage: Stage) -> None:
    node = stage.anybody()
    assert node.stop() == 0, f"{node.name} did not stop cleanly: {_last_words(node)}"
    stage.rest(0.3)
    node.start()


# --- deaths at a compaction -------------------------------------------------------------------


def data_of(node: NodeProcess) -> Path:
    """Return the data directory of *node*."""
    return node.config.parent / node.name


def names_in(node: NodeProcess) -> frozenset[str]:
    """Return the names of the files of *node*'s log."""
    with suppress(FileNotFoundError):
        return frozenset(each.name for each in (data_of(node) / "raft").iterdir())
    return frozenset()


def _snapshot_begins(before: frozenset[str], now: frozenset[str]) -> bool:
    return "snapshot.writing" in now


def _snapshot_is_there(before: frozenset[str], now: frozenset[str]) -> bool:
    return any(name.startswith("snapshot-") for name in now - before)


def _segment_is_removed(before: frozenset[str], now: frozenset[str]) -> bool:
    return any(name.startswith("journal-") for name in before - now)


Sign = Callable[[frozenset[str], frozenset[str]], bool]
SIGNS: dict[str, Sign] = {
    "a snapshot is being written": _snapshot_begins,
    "a snapshot has got its name": _snapshot_is_there,
    "an old segment is being removed": _segment_is_removed,
}


def _kill_at_compaction(stage: Stage) -> None:
    node = stage.anybody()
    what = stage.random.choice(list(SIGNS))
    ends_at = time.monotonic() + WELL_WITHIN_S
    before = names_in(node)
    while not SIGNS[what](before, names_in(node)):
        assert time.monotonic() < ends_at, f"not within {WELL_WITHIN_S:g} s: {what}"
        time.sleep(POLL_S)
    if stage.random.random() < 0.5:
        stage.rest(0.02)
    node.kill()
    stage.details.append(f"{what}; left {_left_in(node)}")
    stage.rest(0.3)
    node.start()


def _left_in(node: NodeProcess) -> str:
    names = names_in(node)
    snapshots = sum(name.startswith("snapshot-") for name in names)
    return ", ".join(
        [f"{snapshots} snapshots"] + [name for name in ("snapshot.writing", "journal.spare") if name in names]
    )


# --- pauses and cuts --------------------------------------------------------------------------


def _pause(stage: Stage) -> None:
    node = stage.anybody()
    node.signal(signal.SIGSTOP)
    try:
        time.sleep(stage.random.uniform(0.3, 3.0))
    finally:
        node.signal(signal.SIGCONT)


def _freeze_the_leader(stage: Stage) -> None:
    leader, other = _leader_and_another(stage)
    leader.signal(signal.SIGSTOP)
    try:
        _time_writes(stage, other)
    finally:
        leader.signal(signal.SIGCONT)


def _cut_off_the_leader(stage: Stage) -> None:
    assert stage.cuts is not None
    leader, other = _leader_and_another(stage)
    stage.cuts.isolate(leader.name, stage.random.choice(list(Cut)))
    _time_writes(stage, other)
    stage.cuts.heal()


def _hand_over(stage: Stage) -> None:
    """Ask for another leader while submissions follow one another at the next one: the longest pause counts."""
    leader, other = _leader_and_another(stage)
    with ThreadPoolExecutor(1) as pool:
        transfer = pool.submit(ask, leader, "POST", "/v1/cluster:transfer", {"to": other.name})
        pauses_s = [_seconds_of(stage, other)]
        while not transfer.done():
            pauses_s.append(_seconds_of(stage, other))
    pauses_s.append(_seconds_of(stage, other))
    stage.writes_again_s.append(max(pauses_s))
    stage.details.append(f"asked for another leader: {transfer.result().status}")


def _leader_and_another(stage: Stage) -> tuple[NodeProcess, NodeProcess]:
    leader = stage.group.leader(within_s=WELL_WITHIN_S)
    return leader, stage.random.choice([node for node in stage.group.running() if node is not leader])


def _time_writes(stage: Stage, node: NodeProcess) -> None:
    stage.writes_again_s.append(_seconds_of(stage, node))


def _seconds_of(stage: Stage, node: NodeProcess) -> float:
    """Submit a task at *node*, and return how long that took until it was acknowledged."""
    began = time.monotonic()
    stage.prober.probe(node)
    return time.monotonic() - began


def _cut(stage: Stage) -> None:
    _begin_cut(stage)
    time.sleep(stage.random.uniform(0.5, 4.0))
    assert stage.cuts is not None
    stage.cuts.heal()


def _begin_cut(stage: Stage) -> None:
    assert stage.cuts is not None
    how = stage.random.choice(list(Cut))
    node = stage.anybody().name
    others = [name for name in stage.group.nodes if name != node]
    shape = stage.random.choice(["alone", "deaf", "mute", "link", "one way"])
    match shape:
        case "alone":
            stage.cuts.isolate(node, how)
        case "deaf":
            for other in others:
                stage.cuts.cut(other, node, how)
        case "mute":
            for other in others:
                stage.cuts.cut(node, other, how)
        case "link":
            other = stage.random.choice(others)
            stage.cuts.cut(node, other, how)
            stage.cuts.cut(other, node, how)
        case _:
            stage.cuts.cut(node, stage.random.choice(others), how)
    stage.details.append(f"{shape}, {how.value}")


def _several(stage: Stage) -> None:
    """Cut a node off, kill one that may be the same, once in three times for good, and freeze another meanwhile."""
    killed, paused = stage.random.sample(list(stage.group.nodes.values()), 2)
    _begin_cut(stage)
    stage.rest(1.5)
    killed.kill()
    if stage.random.random() < 0.3:
        shutil.rmtree(data_of(killed))
    stage.rest(0.5)
    paused.signal(signal.SIGSTOP)
    try:
        stage.rest(0.5)
        killed.start()
        stage.rest(1.5)
    finally:
        paused.signal(signal.SIGCONT)
    stage.rest(1.0)
    assert stage.cuts is not None
    stage.cuts.heal()


# --- empty disks ------------------------------------------------------------------------------


def _replace(stage: Stage) -> None:
    node = stage.anybody()
    node.kill()
    shutil.rmtree(data_of(node))
    stage.rest(0.5)
    node.start()
    if stage.random.random() < 0.3:  # It dies again while it catches up.
        stage.rest(2.0)
        node.kill()
        node.start()


def _replace_with_one_down(stage: Stage) -> None:
    down, lost = stage.random.sample(stage.group.running(), 2)
    down.kill()
    lost.kill()
    shutil.rmtree(data_of(lost))
    lost.start()
    wanted = f"and {down.name} did not answer yet"
    eventually(lambda: reason(lost, "no-member-yet").endswith(wanted), within_s=WELL_WITHIN_S, what="whom it waits for")
    before = stage.notes.acknowledged
    time.sleep(1)
    assert stage.notes.acknowledged == before, "one disk of three is no majority, and a write was acknowledged"
    down.start()


def reason(node: NodeProcess, code: str) -> str:
    """Return what *node* says it is not ready for under *code*, "" when it says nothing."""
    told = ask(node, "GET", "/readyz")
    reasons = told.document["reasons"] if isinstance(told.document, dict) else []
    return next((each["message"] for each in reasons if each["code"] == code), "")


def _last_words(node: NodeProcess) -> str:
    lines = node.log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"


_CAUSES: dict[Trouble, Callable[[Stage], None]] = {
    Trouble.KILL: _kill,
    Trouble.AT_COMPACTION: _kill_at_compaction,
    Trouble.EVERYBODY: _kill_everybody,
    Trouble.LEADER: _kill_the_leader,
    Trouble.FROZEN_LEADER: _freeze_the_leader,
    Trouble.LONELY_LEADER: _cut_off_the_leader,
    Trouble.HAND_OVER: _hand_over,
    Trouble.RESTART: _restart,
    Trouble.PAUSE: _pause,
    Trouble.CUT: _cut,
    Trouble.SEVERAL: _several,
    Trouble.REPLACE: _replace,
    Trouble.REPLACE_WITH_ONE_DOWN: _replace_with_one_down,
}
