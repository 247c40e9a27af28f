"""Rare answers of the rules about tasks, command by command; what is usual is told by ``tests/scenarios``."""

import msgspec
import pytest

from raftsman.raft import limits
from raftsman.raft.commands import Command, Entry, Expire, MemberLost, MemberUpdated, Reassign, Refused
from raftsman.raft.lifecycle import Signal, StopKind
from raftsman.raft.records import Instant, NodeId, TaskId
from raftsman.raft.table import TaskTable
from tests.harness.tables import apply, assign, context, find, joined, member, report, submit, table_of

MOVE = Reassign(task_id=TaskId("t1"), attempt=1, from_node=NodeId("alpha"), node=NodeId("beta"))


def code_of(table: TaskTable, command: Command) -> str:
    """Apply *command*; return the code of its refusal, "" when it was accepted."""
    verdict, _ = table.apply(Entry(command_id="", command=command, at=Instant(0)), table.index + 1)
    return verdict.code if isinstance(verdict, Refused) else ""


def assigned() -> TaskTable:
    """Return a table in which alpha has the attempt, and beta the context but no way to it."""
    blind = joined("beta", context(reachable=False))
    return table_of(joined("alpha"), blind, submit("t1"), assign("t1", "alpha"))


def test_of_a_lost_node_an_attempt_goes_to_one_that_has_no_way_to_it_yet() -> None:
    table = assigned()
    assert code_of(table, MOVE) == "not-lost"
    apply(table, MemberLost(node=NodeId("alpha")))
    assert code_of(table, MOVE) == ""
    assert find(table, "t1").node == "beta"


def test_of_a_node_that_is_there_it_goes_only_where_there_is_a_way() -> None:
    table = assigned()
    apply(table, MemberUpdated(member=member("alpha", context(reachable=False))))
    assert code_of(table, MOVE) == "context-unreachable"
    apply(table, MemberUpdated(member=member("beta")))
    assert code_of(table, MOVE) == ""


@pytest.mark.parametrize("number", [0, 1])
def test_a_task_that_was_never_assigned_has_no_attempt_to_speak_of(number: int) -> None:
    table = table_of(joined("alpha"), submit("t1"))
    about = msgspec.structs.replace(report("t1", "alpha", Signal.START), attempt=number)
    assert code_of(table, about) == "stale-attempt"
    assert code_of(table, msgspec.structs.replace(MOVE, attempt=number)) == "stale-attempt"
    assert code_of(table, Expire(task_id=TaskId("t1"), attempt=number, kind=StopKind.TIMEOUT)) == "stale-attempt"


def test_a_message_is_kept_as_far_as_a_row_has_room() -> None:
    table = assigned()
    long = "x" * (limits.REASON_BYTES * 2)
    apply(table, msgspec.structs.replace(report("t1", "alpha", Signal.GIVE_UP), message=long))
    task = find(table, "t1")
    assert task.stop is not None
    assert len(task.stop.message.encode()) == limits.REASON_BYTES
    assert len(task.reason.encode()) == limits.REASON_BYTES
