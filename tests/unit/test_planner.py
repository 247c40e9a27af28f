"""Which node carries out which task, and why the rest waits."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftsman.raft.commands import Cancel, Command, Entry, MemberLost
from raftsman.raft.lifecycle import Signal
from raftsman.raft.records import Instant, MemberContext, NodeId, Placement, TaskId
from raftsman.raft.table import TaskTable
from raftsman.scheduler import planner
from raftsman.scheduler.filters import Exclusion
from raftsman.scheduler.planner import MAX_ASSIGNMENTS, MOVE_AFTER_MS, Plan, Waiting, explain, explain_all
from tests.harness.arbitrary import commands, entries
from tests.harness.tables import apply, assign, context, find, joined, report, shell, spec, submit, table_of


def plan(table: TaskTable, now_ms: int = 0, *, limit: int = MAX_ASSIGNMENTS) -> Plan:
    return planner.plan(table, Instant(now_ms), limit=limit)


def placed(planned: Plan) -> dict[str, str]:
    """Return which node each task is assigned to, in the order of the plan."""
    return {each.task_id: each.node for each in planned.assignments}


def lost(node: str) -> MemberLost:
    return MemberLost(node=NodeId(node))


# --- order ------------------------------------------------------------------------------------


def test_the_higher_priority_goes_first_then_who_came_first() -> None:
    wishes = [submit("a"), submit("b", spec(priority=1)), submit("c", spec(priority=-1)), submit("d", spec(priority=1))]
    assert [*placed(plan(table_of(joined("alpha"), *wishes)))] == ["b", "d", "a", "c"]


def test_a_task_that_cannot_be_placed_never_blocks_those_behind_it() -> None:
    table = table_of(
        joined("alpha", context("prod"), context("full", max_jobs=0)),
        submit("nowhere", spec(context="gone", priority=9)),
        submit("no-room", spec(context="full", priority=8)),
        submit("fits"),
    )
    planned = plan(table)
    assert placed(planned) == {"fits": "alpha"}
    assert {task_id: why.code for task_id, why in planned.waiting.items()} == {
        "nowhere": "no-node",
        "no-room": "context-full",
    }


def test_only_queued_tasks_are_assigned_and_each_for_its_next_attempt() -> None:
    table = table_of(joined("alpha"), submit("a"), submit("b"), assign("a", "alpha"))
    (only,) = plan(table).assignments
    assert (only.task_id, only.attempt) == ("b", 1)


def test_a_plan_is_no_longer_than_its_limit_and_the_next_one_goes_on() -> None:
    table = table_of(joined("alpha"), *(submit(f"t{n}") for n in range(5)))
    first = plan(table, limit=2)
    assert [*placed(first)] == ["t0", "t1"]
    assert first.waiting == {}
    assert [*placed(plan(apply(table, *first.assignments), limit=2))] == ["t2", "t3"]


# --- why it waits -----------------------------------------------------------------------------


def test_without_members_a_task_waits_for_the_first_one() -> None:
    table = table_of(submit("t"))
    assert plan(table).waiting == {"t": Waiting("no-node", "no node has joined the cluster yet")}


def test_a_waiting_task_says_of_each_node_why_not_and_each_reason_once() -> None:
    table = table_of(
        joined("delta"),
        joined("alpha"),
        joined("beta", context("stage")),
        joined("gamma", context("prod", reachable=False, error="timed out")),
        joined("epsilon"),
        lost("alpha"),
        submit(
            "t", spec(placement=Placement(excluded_nodes=("delta",), allowed_nodes=("alpha", "beta", "gamma", "delta")))
        ),
    )
    waiting = plan(table).waiting["t"]
    assert [(node, no.code) for node, no in waiting.nodes] == [
        ("alpha", "member-lost"),
        ("beta", "context-missing"),
        ("delta", "excluded"),
        ("epsilon", "not-allowed"),
        ("gamma", "context-unreachable"),
    ]
    assert waiting.contexts == ()
    assert waiting.message.startswith("no node can take it: node alpha does not answer; ")
    assert "node gamma cannot reach prod: timed out" in waiting.message


def test_a_reason_that_many_nodes_share_is_said_once() -> None:
    only_alpha = spec(placement=Placement(target_nodes=("alpha",)))
    lame = joined("alpha", context("stage"))
    waiting = plan(table_of(lame, joined("beta"), joined("gamma"), submit("t", only_alpha))).waiting["t"]
    assert waiting.message == ("no node can take it: node alpha does not have the context prod; the task targets alpha")
    assert len(waiting.nodes) == 3


@pytest.mark.parametrize(
    ("placement", "told"),
    [
        (Placement(allowed_nodes=("alfa",)), "the task allows alfa only"),
        (Placement(target_nodes=("alfa",)), "the task targets alfa"),
    ],
)
def test_a_task_that_waits_for_a_node_that_never_joined_says_so_first(placement: Placement, told: str) -> None:
    table = table_of(joined("gamma"), joined("alpha"), joined("beta"), submit("t", spec(placement=placement)))
    waiting = plan(table).waiting["t"]
    stranger = Exclusion("unknown-node", "there is no node alfa; there are alpha, beta, gamma")
    assert waiting.code == "no-node"
    assert waiting.message == f"no node can take it: {stranger.message}; {told}"
    assert waiting.nodes[0] == ("alfa", stranger)
    assert placed(plan(apply(table, joined("alfa")))) == {"t": "alfa"}


def test_a_node_that_is_named_in_vain_beside_others_keeps_nothing_waiting() -> None:
    wish = spec(placement=Placement(allowed_nodes=("alfa", "beta")))
    assert placed(plan(table_of(joined("alpha"), joined("beta"), submit("t", wish)))) == {"t": "beta"}


def test_a_full_context_is_named_and_so_are_the_nodes_that_would_not_do_anyway() -> None:
    table = table_of(joined("alpha", context(max_jobs=0)), joined("beta", context("stage")), submit("t"))
    full = Exclusion("context-full", "context prod has 0 Jobs of at most 0")
    missing = Exclusion("context-missing", "node beta does not have the context prod")
    assert plan(table).waiting["t"] == Waiting(
        full.code, full.message, nodes=(("beta", missing),), contexts=(("prod", full),)
    )


def test_explaining_says_what_planning_says_without_taking_a_place() -> None:
    table = table_of(joined("alpha", context(max_jobs=1)), submit("a"), submit("b"), submit("c", spec(context="x")))
    assert explain(table, find(table, "a")) is None
    assert explain(table, find(table, "b")) is None  # By itself it could go.
    assert plan(table).waiting["b"].code == "context-full"
    assert explain_all(table, [find(table, name) for name in "abc"]) == {"c": plan(table).waiting["c"]}


# --- how many ---------------------------------------------------------------------------------


def test_a_context_takes_as_many_jobs_as_the_lowest_of_its_limits_over_all_nodes() -> None:
    table = table_of(
        joined("alpha", context(max_jobs=3)),
        joined("beta", context(max_jobs=5)),
        joined("gamma", context(max_jobs=9), context("stage", max_jobs=1)),
        *(submit(f"t{n}") for n in range(6)),
    )
    planned = plan(table)
    assert [*placed(planned)] == ["t0", "t1", "t2"]
    assert planned.waiting.keys() == {"t3", "t4", "t5"}


def test_the_limit_of_a_lost_member_still_counts() -> None:
    table = table_of(joined("alpha", context(max_jobs=1)), joined("beta"), lost("alpha"), submit("a"), submit("b"))
    assert placed(plan(table)) == {"a": "beta"}


def test_every_attempt_that_has_not_ended_counts_and_an_ended_one_does_not() -> None:
    table = table_of(
        joined("alpha", context(max_jobs=2)),
        *(submit(name) for name in "abcd"),
        assign("a", "alpha"),
        assign("b", "alpha"),
        report("b", "alpha", Signal.START),
    )
    assert placed(plan(table)) == {}
    assert [*placed(plan(apply(table, report("b", "alpha", Signal.SUCCEED))))] == ["c"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(0, 12), st.integers(0, 4))
def test_no_plan_exceeds_max_jobs(first: int, others: list[int], queued: int, running: int) -> None:
    limits = [first, *others]
    names = [f"n{n}" for n in range(len(limits))]
    table = table_of(
        *(joined(name, context(max_jobs=limit)) for name, limit in zip(names, limits, strict=True)),
        *(submit(f"r{n}") for n in range(running)),
        *(assign(f"r{n}", names[0]) for n in range(running)),
        *(submit(f"q{n}") for n in range(queued)),
    )
    room = max(min(limits) - running, 0)
    planned = plan(table)
    assert len(planned.assignments) == min(room, queued)
    assert len(planned.waiting) == queued - len(planned.assignments)


# --- preferences ------------------------------------------------------------------------------


def test_tasks_are_spread_over_the_nodes_within_one_plan() -> None:
    table = table_of(joined("alpha"), joined("beta"), joined("gamma"), *(submit(f"t{n}") for n in range(7)))
    assert sorted(Counter(placed(plan(table)).values()).values()) == [2, 2, 3]


def test_a_task_that_prefers_it_goes_to_the_node_that_received_it_however_busy() -> None:
    here = spec(placement=Placement(prefer_local=True))
    table = table_of(
        joined("alpha"),
        joined("beta"),
        *(submit(f"t{n}", spec(placement=Placement(target_nodes=("beta",)))) for n in range(3)),
        *(assign(f"t{n}", "beta") for n in range(3)),
        submit("local", here, submitter="beta"),
        submit("anywhere", submitter="beta"),
    )
    assert placed(plan(table)) == {"local": "beta", "anywhere": "alpha"}


def test_a_preference_is_no_condition() -> None:
    here = spec(placement=Placement(prefer_local=True))
    table = table_of(joined("alpha"), joined("beta"), lost("beta"), submit("t", here, submitter="beta"))
    assert placed(plan(table)) == {"t": "alpha"}


def test_an_assignment_carries_the_default_namespace_of_the_context_on_that_node() -> None:
    there = msgspec.structs.replace(context(), namespace="batch")
    (only,) = plan(table_of(joined("alpha", there), submit("t"))).assignments
    assert only.namespace == "batch"


# --- moves ------------------------------------------------------------------------------------


@pytest.fixture
def halved() -> TaskTable:
    """Two running attempts of alpha and one of beta; alpha is lost."""
    return table_of(
        joined("alpha"),
        joined("beta"),
        joined("gamma"),
        *(submit(name) for name in "abc"),
        assign("a", "alpha"),
        assign("b", "alpha"),
        assign("c", "beta"),
        lost("alpha"),
    )


def test_attempts_of_a_lost_node_move_to_the_others_and_no_other_moves(halved: TaskTable) -> None:
    moves = plan(halved).reassignments
    assert {(each.task_id, each.attempt, each.from_node) for each in moves} == {("a", 1, "alpha"), ("b", 1, "alpha")}
    assert Counter(each.node for each in moves) == {"beta": 1, "gamma": 1}
    assert plan(apply(halved, *moves)).reassignments == ()


def test_a_full_context_does_not_keep_an_attempt_from_moving() -> None:
    table = table_of(
        joined("alpha", context(max_jobs=1)),
        joined("beta", context(max_jobs=1)),
        submit("t"),
        assign("t", "alpha"),
        lost("alpha"),
    )
    assert [each.node for each in plan(table).reassignments] == ["beta"]


def test_an_attempt_stays_where_it_is_while_nobody_else_can_reach_its_job() -> None:
    table = table_of(
        joined("alpha"),
        joined("beta", context("stage")),
        joined("gamma", context(reachable=False)),
        submit("t"),
        assign("t", "alpha"),
        lost("alpha"),
    )
    assert plan(table).reassignments == ()


def test_an_attempt_moves_only_to_a_node_whose_context_of_that_name_is_the_same_cluster() -> None:
    east, west = context(server="east"), context(server="west")
    table = table_of(joined("alpha", east), joined("beta", west), submit("t"), assign("t", "alpha"), lost("alpha"))
    assert plan(table).reassignments == ()
    apply(table, joined("gamma", east))
    assert [each.node for each in plan(table).reassignments] == ["gamma"]


def held(*taker: MemberContext, since_ms: int = 0) -> TaskTable:
    """An attempt of alpha, which does not reach prod since an instant; beta has the contexts *taker*."""
    table = table_of(joined("alpha", context(server="east")), submit("t"), assign("t", "alpha"))
    cut = context(reachable=False, server="east", since=since_ms)
    return apply(table, joined("alpha", cut), joined("beta", *(taker or (context(server="east"),))))


def movers(table: TaskTable, now_ms: int) -> list[str]:
    return [each.node for each in plan(table, now_ms).reassignments]


@pytest.mark.parametrize("since_ms", [0, 5_000, 1_700_000_000_000])
def test_a_node_that_answers_keeps_an_attempt_until_it_has_not_reached_the_context_for_a_while(since_ms: int) -> None:
    table = held(since_ms=since_ms)
    assert movers(table, since_ms) == []
    assert movers(table, since_ms + MOVE_AFTER_MS - 1) == []
    assert movers(table, since_ms + MOVE_AFTER_MS) == ["beta"]


@pytest.mark.parametrize("ahead_ms", [MOVE_AFTER_MS, 3_600_000])
def test_a_clock_that_is_far_ahead_keeps_no_attempt(ahead_ms: int) -> None:
    assert movers(held(since_ms=ahead_ms), 0) == ["beta"]
    assert movers(held(since_ms=MOVE_AFTER_MS - 1), 0) == []
    assert movers(held(since_ms=MOVE_AFTER_MS - 1), 2 * MOVE_AFTER_MS) == ["beta"]


@pytest.mark.parametrize(
    "taker", [context(reachable=False, server="east"), context(server="west"), context("stage", server="east")]
)
def test_an_attempt_stays_with_a_node_that_is_cut_off_when_nobody_else_reaches_its_cluster(
    taker: MemberContext,
) -> None:
    assert movers(held(taker), 10 * MOVE_AFTER_MS) == []


@pytest.mark.parametrize("contexts", [(context("stage"),), (context(server="west"),)])
def test_a_node_whose_settings_lost_the_cluster_loses_its_attempts_at_once(contexts: tuple[MemberContext, ...]) -> None:
    assert movers(apply(held(), joined("alpha", *contexts)), 0) == ["beta"]


def test_an_attempt_that_was_moved_stays_for_a_while_unless_its_node_is_lost() -> None:
    table = held()
    moves = plan(table, MOVE_AFTER_MS).reassignments
    apply(table, *moves, at=[MOVE_AFTER_MS])
    assert find(table, "t").node == "beta"
    apply(table, joined("alpha", context(server="east")), joined("beta", context("stage")))
    assert movers(table, 2 * MOVE_AFTER_MS - 1) == []
    assert movers(table, 2 * MOVE_AFTER_MS) == ["alpha"]
    assert movers(apply(table, lost("beta")), MOVE_AFTER_MS) == ["alpha"]


@pytest.mark.parametrize(
    "placement",
    [
        Placement(allowed_nodes=("alpha",)),
        Placement(target_nodes=("alpha",)),
        Placement(excluded_nodes=("beta",)),
    ],
)
def test_only_an_attempt_that_is_being_stopped_moves_to_a_node_that_may_not_run_it(placement: Placement) -> None:
    wish = spec(placement=placement)
    table = table_of(joined("alpha"), joined("beta"), submit("t", wish), assign("t", "alpha"), lost("alpha"))
    assert movers(table, 0) == []
    assert movers(apply(table, Cancel(task_id=TaskId("t"))), 0) == ["beta"]


def test_a_shell_attempt_stays_with_its_node_whatever_contexts_that_has() -> None:
    table = table_of(joined("alpha", slots=1), joined("beta", slots=1), submit("t", shell()), assign("t", "alpha"))
    apply(table, joined("alpha", context(reachable=False), slots=1))
    assert movers(table, 10 * MOVE_AFTER_MS) == []


def test_no_more_attempts_move_at_a_time_than_a_plan_may_hold(halved: TaskTable) -> None:
    assert len(plan(halved, limit=1).reassignments) == 1


# --- tasks of the node itself -------------------------------------------------------------------


def test_shell_tasks_fill_the_slots_and_the_rest_waits_for_one() -> None:
    table = table_of(joined("alpha", slots=1), joined("beta", slots=2), joined("gamma"))
    apply(table, *(submit(f"t{number}", shell()) for number in range(5)))
    planned = plan(table)
    assert Counter(placed(planned).values()) == {"alpha": 1, "beta": 2}
    assert [*planned.waiting] == ["t3", "t4"]
    waiting = planned.waiting["t4"]
    assert waiting.code == "no-slot"
    assert {node: exclusion.code for node, exclusion in waiting.nodes} == {
        "alpha": "slots-full",
        "beta": "slots-full",
        "gamma": "type-not-allowed",
    }
    apply(table, *planned.assignments)
    assert plan(table).assignments == ()


def test_a_shell_attempt_moves_from_a_lost_node_before_it_has_started_and_never_after() -> None:
    table = table_of(joined("alpha", slots=4), submit("started", shell()), submit("not", shell()))
    apply(table, assign("started", "alpha"), assign("not", "alpha"), report("started", "alpha", Signal.START))
    apply(table, joined("beta", slots=4), lost("alpha"))
    assert [(move.task_id, move.node) for move in plan(table).reassignments] == [("not", "beta")]
    apply(table, *plan(table).reassignments)
    assert find(table, "not").node == "beta"


def test_a_shell_attempt_does_not_move_where_no_slot_is_free() -> None:
    table = table_of(joined("alpha", slots=1), joined("beta", slots=1), submit("a", shell()), submit("b", shell()))
    apply(table, assign("a", "alpha"), assign("b", "beta"), lost("alpha"))
    assert plan(table).reassignments == ()


# --- repeatable -------------------------------------------------------------------------------


def _told(log: list[Entry]) -> TaskTable:
    table = TaskTable()
    for index, entry in enumerate(log, start=1):
        table.apply(entry, index)
    return table


@settings(max_examples=60, deadline=None)
@given(st.lists(entries(commands()), min_size=10, max_size=40))
def test_the_same_table_gives_the_same_plan_which_the_table_accepts(log: list[Entry]) -> None:
    table, now = _told(log), 2**41  # Later than every instant of the log.
    planned = plan(table, now)
    assert planned == plan(table.copy(), now) == plan(_told(log), now)
    everything: list[Command] = [*planned.reassignments, *planned.assignments]
    apply(table, *everything, at=[now] * len(everything))
    assert plan(table, now).assignments == ()
    assert plan(table, now).reassignments == ()


def test_between_equals_the_name_decides_whoever_joined_first() -> None:
    one = table_of(joined("alpha"), joined("beta"), submit("t"))
    other = table_of(joined("beta"), joined("alpha"), submit("t"))
    assert placed(plan(one)) == placed(plan(other)) == {"t": "alpha"}


def test_planning_changes_nothing() -> None:
    table = table_of(joined("alpha"), submit("a"), submit("b"))
    before = table.state_hash, table.index, dict(table.live)
    plan(table)
    assert (table.state_hash, table.index, table.live) == before
    assert find(table, "a").submitted_at == Instant(0)
