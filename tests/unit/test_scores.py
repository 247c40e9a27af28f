"""Each preference of placement, and their order."""

from raftsman.raft.records import NodeId, Placement, Task
from raftsman.scheduler.scores import SCORES, least_loaded, local
from tests.harness.tables import find, member, spec, submit, table_of

ALPHA, BETA = member("alpha"), member("beta")


def task(*, prefer_local: bool) -> Task:
    wish = submit("t", spec(placement=Placement(prefer_local=prefer_local)), submitter="alpha")
    return find(table_of(wish), "t")


def test_the_receiving_node_is_better_only_for_a_task_that_prefers_it() -> None:
    assert local(task(prefer_local=True), ALPHA, {}) > local(task(prefer_local=True), BETA, {})
    assert local(task(prefer_local=False), ALPHA, {}) == local(task(prefer_local=False), BETA, {})


def test_a_node_with_fewer_attempts_is_better() -> None:
    load = {NodeId("alpha"): 3, NodeId("beta"): 1}
    some = task(prefer_local=False)
    assert least_loaded(some, BETA, load) > least_loaded(some, ALPHA, load)
    assert least_loaded(some, member("idle"), load) > least_loaded(some, BETA, load)


def test_the_receiving_node_counts_more_than_the_load() -> None:
    assert [*SCORES] == [local, least_loaded]
