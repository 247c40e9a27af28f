"""Each hard condition of placement: when it excludes, and what it says then."""

import inspect

import msgspec
import pytest

from raftsman.raft.records import Instant, Member, NodeId, Placement, Task
from raftsman.scheduler import filters
from raftsman.scheduler.filters import CONTEXT_FILTERS, LOAD_FILTERS, MOVE_FILTERS, NODE_FILTERS, ContextLoad, Exclusion
from tests.harness.tables import apply, assign, context, find, joined, member, shell, spec, submit, table_of


def task(placement: Placement | None = None) -> Task:
    return find(table_of(submit("t", spec(placement=placement))), "t")


ALPHA = member("alpha")


def test_a_member_that_answers_passes_and_a_lost_one_does_not() -> None:
    lost = msgspec.structs.replace(ALPHA, lost_at=Instant(7))
    assert filters.present(task(), ALPHA) is None
    assert filters.present(task(), lost) == Exclusion("member-lost", "node alpha does not answer")


@pytest.mark.parametrize(
    ("holder", "exclusion"),
    [
        (member("alpha", context("prod")), None),
        (
            member("alpha", context("stage")),
            Exclusion("context-missing", "node alpha does not have the context prod"),
        ),
        (
            member("alpha", context("prod", reachable=False, error="connection refused")),
            Exclusion("context-unreachable", "node alpha cannot reach prod: connection refused"),
        ),
    ],
)
def test_a_member_must_have_the_context_and_reach_it(holder: Member, exclusion: Exclusion | None) -> None:
    assert filters.reaches_context(task(), holder) == exclusion


def test_allowed_nodes_exclude_all_others_when_there_are_any() -> None:
    assert filters.allowed(task(), ALPHA) is None
    assert filters.allowed(task(Placement(allowed_nodes=("beta", "alpha"))), ALPHA) is None
    assert filters.allowed(task(Placement(allowed_nodes=("beta", "gamma"))), ALPHA) == Exclusion(
        "not-allowed", "the task allows beta, gamma only"
    )


def test_excluded_nodes_are_excluded() -> None:
    assert filters.not_excluded(task(Placement(excluded_nodes=("beta",))), ALPHA) is None
    assert filters.not_excluded(task(Placement(excluded_nodes=("beta", "alpha"))), ALPHA) == Exclusion(
        "excluded", "the task excludes node alpha"
    )


def test_targets_exclude_all_others_when_there_are_any() -> None:
    assert filters.targeted(task(), ALPHA) is None
    assert filters.targeted(task(Placement(target_nodes=("alpha",))), ALPHA) is None
    assert filters.targeted(task(Placement(target_nodes=("beta",))), ALPHA) == Exclusion(
        "not-targeted", "the task targets beta"
    )


def test_a_shell_task_needs_a_node_with_slots_and_a_kubernetes_task_does_not() -> None:
    command = find(table_of(submit("t", shell())), "t")
    assert filters.runs_type(command, member("alpha", slots=1)) is None
    assert filters.runs_type(task(), ALPHA) is None
    assert filters.runs_type(command, ALPHA) == Exclusion(
        "type-not-allowed", "node alpha runs no shell tasks (executor.allow_shell)"
    )


def test_slots_are_full_when_as_many_shell_attempts_are_there() -> None:
    command, two = find(table_of(submit("t", shell())), "t"), member("alpha", slots=2)
    assert filters.has_free_slot(command, two, {NodeId("alpha"): 1}) is None
    assert filters.has_free_slot(task(), two, {NodeId("alpha"): 9}) is None
    assert filters.has_free_slot(command, two, {NodeId("alpha"): 2}) == Exclusion(
        "slots-full", "node alpha has all its 2 slots in use"
    )


def test_a_context_is_full_at_its_limit_and_not_before() -> None:
    assert filters.below_max_jobs(ContextLoad(name="prod", jobs=1, max_jobs=2)) is None
    assert filters.below_max_jobs(ContextLoad(name="prod", jobs=2, max_jobs=2)) == Exclusion(
        "context-full", "context prod has 2 Jobs of at most 2"
    )


def test_an_attempt_moves_within_its_cluster_and_a_new_one_goes_anywhere() -> None:
    table = table_of(joined("alpha", context(server="east")), submit("t"))
    west, unknown = member("beta", context(server="west")), member("beta", context())
    assert filters.same_cluster(find(table, "t"), west) is None
    apply(table, assign("t", "alpha"))
    assert filters.same_cluster(find(table, "t"), unknown) is None
    assert filters.same_cluster(find(table, "t"), member("gamma", context(server="east"))) is None
    assert filters.same_cluster(find(table, "t"), west) == Exclusion(
        "other-cluster", "node beta reaches another cluster under the name prod"
    )


def test_every_filter_that_is_written_is_in_force() -> None:
    functions = [each for _, each in inspect.getmembers(filters, inspect.isfunction)]
    written = {each.__name__ for each in functions if each.__module__ == filters.__name__}
    assert written == {rule.__name__ for rule in [*NODE_FILTERS, *LOAD_FILTERS, *CONTEXT_FILTERS, *MOVE_FILTERS]}
