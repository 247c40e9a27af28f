"""Each fault of the stock library is found when its repair is taken out: by a seed, or by a schedule that says how.

What seeds find rarely has a schedule here, or a test beside the rule that prevents it; ``FAULTS`` says where to look.
"""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from raftsman.raft.peers import Rules
from raftsman.raft.snapshots import SnapshotHead, SnapshotStore
from raftsman.raft.waiting import Answer, Waiting
from tests.harness.simulated_disk import SimulatedDisk
from tests.harness.steps import Steps
from tests.simulation.run import run_seed
from tests.simulation.stock import WITHOUT, AnswersAnybody, CountsOldAcks

PAGE = Path(__file__).parents[2] / "docs" / "track-record.md"
FIVE = ("alpha", "beta", "delta", "gamma", "omega")
SEEDS = 120
"""So many at most: most faults are found within three, the rarest within a quarter of these."""
BY_SEEDS = (
    "sync",
    "durable-before-visible",
    "journal-kept-at-start",
    "overlap",
    "errors-of-apply",
    "answers-by-term",
    "empty-nodes",
)

RULES, TRANSPORT = "tests.unit.test_consensus_rules", "tests.unit.test_transport"
PARTICIPANT, SNAPSHOTS = "tests.unit.test_participant", "tests.unit.test_snapshots"
HERE, SCHEDULES = "tests.simulation.test_finds_faults", "tests.simulation.test_schedules"

FAULTS: dict[int, tuple[str, ...]] = {
    1: ("sync", "durable-before-visible"),
    2: ("journal-kept-at-start",),
    3: ("overlap", f"{RULES}:test_what_is_under_way_is_not_sent_again_when_something_before_it_is_acknowledged"),
    4: (
        f"{RULES}:test_an_entry_that_the_leader_did_not_confirm_is_not_committed",
        f"{PARTICIPANT}:test_a_snapshot_that_the_log_already_covers_is_acknowledged_and_dropped",
    ),
    5: (
        f"{HERE}:test_acknowledgements_of_an_earlier_term_commit_nothing_without_a_majority",
        f"{RULES}:test_one_voter_has_one_vote_however_often_it_says_so",
        f"{RULES}:test_a_node_that_was_cut_off_deposes_no_healthy_leader_when_it_comes_back",
    ),
    6: (
        f"{HERE}:test_no_frame_runs_anything",
        f"{RULES}:test_an_entry_of_a_kind_that_stock_would_unpickle_closes_the_link",
        f"{TRANSPORT}:test_junk_is_answered_by_closing_at_once",
    ),
    7: ("errors-of-apply",),
    8: (
        "answers-by-term",
        f"{HERE}:test_nobody_is_answered_for_the_command_of_another_leader",
        f"{RULES}:test_what_a_follower_handed_on_is_unknown_when_the_link_to_the_leader_dies",
    ),
    9: ("empty-nodes", f"{RULES}:test_an_entry_of_a_kind_that_stock_would_unpickle_closes_the_link"),
    10: (f"{SNAPSHOTS}:test_every_flipped_byte_of_a_snapshot_is_found",),
    11: (f"{HERE}:test_a_commit_waits_for_no_timer",),
    12: (f"{HERE}:test_no_tick_waits_for_a_snapshot",),
    13: (f"{HERE}:test_a_leader_that_is_cut_off_believes_in_itself_no_longer_than_an_election_takes",),
    14: (
        f"{RULES}:test_a_command_that_the_core_could_only_send_as_a_pickle_comes_into_no_log",
        f"{TRANSPORT}:test_a_frame_that_is_too_long_closes_the_link_before_it_has_come",
    ),
}
"""By the number of the fault in docs/track-record.md: a repair that seeds miss, or a test that shows both sides."""


@pytest.mark.parametrize("repair", BY_SEEDS)
def test_seeds_miss_a_repair_that_is_taken_out(repair: str) -> None:
    assert any(run_seed(seed, parts=WITHOUT[repair]()).violation for seed in range(SEEDS))


def test_every_fault_has_something_that_finds_it() -> None:
    assert sorted(FAULTS) == list(range(1, 15))
    for where in [each for places in FAULTS.values() for each in places]:
        module, _, function = where.partition(":")
        if function:
            assert callable(getattr(importlib.import_module(module), function)), where
        else:
            assert where in BY_SEEDS


def test_the_page_says_what_finds_each_fault() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    written = {int(number): set(re.findall(r"`([^`]+)`", row)) for number, row in rows}
    assert written == {number: {place.rpartition(":")[2] for place in places} for number, places in FAULTS.items()}


# --- schedules --------------------------------------------------------------------------------


def propose(world: Steps, name: str, *commands: bytes) -> list[list[tuple[Answer, object]]]:
    return [world.propose(world.nodes[name], command) for command in commands]


@pytest.mark.parametrize(("rules", "lost"), [(CountsOldAcks, True), (Rules, False)])
def test_acknowledgements_of_an_earlier_term_commit_nothing_without_a_majority(
    rules: Callable[[], Rules], lost: bool
) -> None:
    """Two of five nodes hold an entry; what a third said of other entries, two terms ago, is still on its way."""
    world = Steps(FIVE, rules=rules)
    world.start()
    old = world.leader().name
    world.run(0.3)
    late, friend, *rest = [name for name in FIVE if name != old]
    for other in (friend, *rest):
        world.cut(old, other)
    world.blocked.add((late, old))
    propose(world, old, *(b"%d" % number for number in range(40)))
    world.run(0.1)
    assert world.nodes[late].journal.last_index > 40, "it has them, and its acknowledgements are on their way"
    world.until(
        lambda: [each for each in world.nodes.values() if each.participant.core.leads and each.name != old],
        "another leads",
    )
    leader = next(each for each in world.nodes.values() if each.participant.core.leads and each.name != old)
    for other in (friend, *rest):
        world.link(old, other)
    world.run(0.5)
    assert world.nodes[old].journal.last_index < 10, "what only two had is gone"
    leader.participant.transfer(old, world.now + 2)
    world.until(lambda: world.nodes[old].participant.core.leads, "it leads again, two terms later")
    world.run(0.2)
    world.blocked.add((old, late))
    for other in rest:
        world.cut(old, other)
    answers = propose(world, old, *(b"new %d" % number for number in range(60)))
    world.run(0.1)
    world.blocked.discard((late, old))
    world.run(0.1)
    acknowledged = [each for each in answers if each and each[0][0] is Answer.APPLIED]
    assert bool(acknowledged) is lost, "three of five are needed, two have it"


@pytest.mark.parametrize(("waiting", "answer"), [(AnswersAnybody, Answer.APPLIED), (Waiting, Answer.NOT_LEADER)])
def test_nobody_is_answered_for_the_command_of_another_leader(waiting: type[Waiting], answer: Answer) -> None:
    world = Steps()
    world.start()
    old = world.leader().name
    world.run(0.3)
    world.nodes[old].participant.waiting = waiting()
    world.isolate(old)
    (answers,) = propose(world, old, b"lost")
    world.until(
        lambda: [each for each in world.nodes.values() if each.participant.core.leads and each.name != old],
        "another leads",
    )
    world.run(0.3)
    world.heal()
    world.commit(b"kept")
    world.until(lambda: answers, "an answer")
    world.run(0.2)
    assert answers[0][0] is answer
    assert all(node.commands == [b"kept"] for node in world.nodes.values())


@pytest.mark.parametrize("has_timer", [True, False])
def test_a_commit_waits_for_no_timer(has_timer: bool) -> None:
    world = Steps()
    world.start()
    leader = world.leader()
    world.run(1)
    if has_timer:
        for node in world.nodes.values():
            node.participant.core.send_now = lambda: None  # type: ignore[method-assign]
    took: list[float] = []
    for _ in range(20):
        began = world.now
        answers = world.propose(leader, b"one")
        while not answers:
            world.step(0.0005)
        took.append(world.now - began)
    assert (max(took) > 0.01) is has_timer


@pytest.mark.parametrize(("imported", "runs"), [("pysyncobj", True), ("raftsman.raft.core", False)])
def test_no_frame_runs_anything(imported: str, runs: bool) -> None:
    """Whoever reaches the log's port of the stock library sends a change of members, and it runs what they like."""
    change_of_members = b"\2cbuiltins\nprint\n(S'anything'\ntR."
    program = f"""
import {imported}
from pysyncobj import SyncObj
try:
    SyncObj._SyncObj__parseChangeClusterRequest(None, {change_of_members!r})
except AssertionError as refused:
    print(refused)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("anything" if runs else "pysyncobj tried to read a pickle")


@pytest.mark.parametrize("is_beside", [False, True])
def test_no_tick_waits_for_a_snapshot(is_beside: bool) -> None:
    beside: list[Callable[[], None]] = []
    store = SnapshotStore(SimulatedDisk(Random(1)), background=beside.append if is_beside else lambda work: work())
    packed: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(1000):
            packed.append(number)
            yield b"a row"

    writing = store.start(SnapshotHead((b"", 1, 1), (b"", 2, 1)), chunks())
    assert len(packed) == (0 if is_beside else 1000), "what the tick that begins it waits for"
    for work in beside:
        work()
    assert (writing.done, writing.error, len(packed)) == (True, None, 1000)


@pytest.mark.parametrize(("patience_s", "leads"), [(30.0, True), (None, False)])
def test_a_leader_that_is_cut_off_believes_in_itself_no_longer_than_an_election_takes(
    patience_s: float | None, leads: bool
) -> None:
    world = Steps()
    world.start()
    old = world.leader()
    world.run(0.3)
    if patience_s is not None:
        vars(old.participant.core)["_SyncObj__conf"].leaderFallbackTimeout = patience_s
    world.isolate(old.name)
    world.run(0.7)
    assert old.participant.core.leads is leads
