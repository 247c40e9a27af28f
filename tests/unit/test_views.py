"""Rows as the API shows them, where that says more than the row."""

import msgspec

from raftsman.node.http.views import explain_view
from raftsman.raft.commands import Cancel, MemberLost, Report
from raftsman.raft.lifecycle import Cause, Signal
from raftsman.raft.records import NodeId, TaskId
from raftsman.raft.table import TaskTable
from raftsman.scheduler.explanation import explain_in_turn
from raftsman.wire.views import ExplainView
from tests.harness.tables import apply, assign, context, find, joined, report, submit, table_of


def explained(table: TaskTable, leader: str | None = "alpha") -> ExplainView:
    task = find(table, "t")
    (explanation,) = explain_in_turn(table, [task])
    return explain_view(task, explanation, state=task.state, leader=leader)


def pulls(table: TaskTable) -> TaskTable:
    waits: Report = msgspec.structs.replace(
        report("t", "alpha", Signal.OBSERVE), reason="no such image", cause=Cause.IMAGE_PULL
    )
    return apply(table, waits)


def test_an_attempt_that_does_not_start_is_explained_by_what_it_waits_for() -> None:
    view = explained(pulls(table_of(joined("alpha"), submit("t"), assign("t", "alpha"))))
    assert (view["state"], view["leader"], view["placeable"]) == ("assigned", "alpha", True)
    assert view["attempt"] == {
        "number": 1,
        "node": "alpha",
        "context": "prod",
        "conditions": [],
        "reason": "no such image",
        "cause": "ImagePull",
        "nodes": [],
    }


def test_an_attempt_whose_node_is_lost_names_who_cannot_take_it_over() -> None:
    east, west = context(server="east"), context(server="west")
    table = table_of(joined("alpha", east), joined("beta", west), submit("t"), assign("t", "alpha"))
    view = explained(apply(table, MemberLost(node=NodeId("alpha"))), leader=None)
    assert view["leader"] is None
    assert view["attempt"] is not None
    assert view["attempt"]["conditions"] == ["unreachable"]
    assert view["attempt"]["nodes"] == [
        {"node": "beta", "code": "other-cluster", "message": "node beta reaches another cluster under the name prod"}
    ]


def test_a_task_without_an_attempt_that_goes_on_has_none_in_its_explanation() -> None:
    table = table_of(joined("alpha"), submit("t"))
    assert explained(table)["attempt"] is None
    apply(table, assign("t", "alpha"), Cancel(task_id=TaskId("t")), report("t", "alpha", Signal.GONE))
    view = explained(table)
    assert (view["state"], view["attempt"], view["placeable"]) == ("cancelled", None, True)
