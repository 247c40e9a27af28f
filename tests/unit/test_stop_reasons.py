"""What a task that is being stopped says it waits for: what stands for its attempt outside."""

import msgspec
import pytest

from raftsman.raft.commands import Assign, Cancel, MemberJoined, Report
from raftsman.raft.lifecycle import Signal
from raftsman.raft.records import NodeId, ShellSpec, TaskId, TaskSpec
from tests.harness.tables import find, member, spec, submit, table_of

SHELL = TaskSpec(type="shell", shell=ShellSpec(command="sleep 60"))


@pytest.mark.parametrize(("of", "what"), [(spec(), "its Job and Pods are gone"), (SHELL, "its processes are gone")])
def test_a_stop_waits_for_what_its_attempt_is_outside(of: TaskSpec, what: str) -> None:
    table = table_of(
        MemberJoined(member=msgspec.structs.replace(member("alpha"), slots=1)),
        submit("t", of),
        Assign(task_id=TaskId("t"), attempt=1, node=NodeId("alpha")),
        Cancel(task_id=TaskId("t")),
    )
    assert find(table, "t").reason == f"cancelled; waiting until {what}"


def test_what_is_in_the_way_of_a_stop_is_told_with_it() -> None:
    table = table_of(
        MemberJoined(member=member("alpha")),
        submit("t", spec()),
        Assign(task_id=TaskId("t"), attempt=1, node=NodeId("alpha")),
        Cancel(task_id=TaskId("t")),
        Report(
            task_id=TaskId("t"), attempt=1, node=NodeId("alpha"), signal=Signal.OBSERVE, message="pods are forbidden"
        ),
    )
    assert find(table, "t").reason == "cancelled; waiting until its Job and Pods are gone, and pods are forbidden"
