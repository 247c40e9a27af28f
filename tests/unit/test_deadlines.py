"""What is overdue, to the millisecond; who is lost, who is back; what may be forgotten."""

import pytest

from raftsman.raft import limits
from raftsman.raft.commands import Cancel, Expire, Forget, MemberBack, MemberLost
from raftsman.raft.lifecycle import Signal, StopKind
from raftsman.raft.records import Instant, NodeId, TaskId
from raftsman.raft.table import TaskTable
from raftsman.scheduler.deadlines import MEMBER_SILENCE_S, forgettable, membership, overdue
from tests.harness.tables import apply, assign, joined, report, spec, submit, table_of

ASSIGNED_AT, RUNNING_AT = 5_000, 8_000


def expire(kind: StopKind) -> list[Expire]:
    return [Expire(task_id=TaskId("t"), attempt=1, kind=kind)]


def assigned(*, timeout_ms: int = 600_000, start_timeout_ms: int = 900_000) -> TaskTable:
    wish = submit("t", spec(timeout_ms=timeout_ms, start_timeout_ms=start_timeout_ms))
    return table_of(joined("alpha"), wish, assign("t", "alpha"), at=(0, 1_000, ASSIGNED_AT))


def running(*, timeout_ms: int = 600_000) -> TaskTable:
    return apply(assigned(timeout_ms=timeout_ms), report("t", "alpha", Signal.START), at=(RUNNING_AT,))


# --- timeouts ---------------------------------------------------------------------------------


def test_an_attempt_has_its_start_timeout_from_its_assignment() -> None:
    table = assigned(start_timeout_ms=1_000)
    assert overdue(table, Instant(ASSIGNED_AT + 999)) == []
    assert overdue(table, Instant(ASSIGNED_AT + 1_000)) == expire(StopKind.START_TIMEOUT)


def test_an_attempt_has_its_timeout_from_the_moment_it_runs() -> None:
    table = running(timeout_ms=1_000)
    assert overdue(table, Instant(RUNNING_AT + 999)) == []
    assert overdue(table, Instant(RUNNING_AT + 1_000)) == expire(StopKind.TIMEOUT)


def test_saying_again_that_it_runs_does_not_prolong_the_timeout() -> None:
    table = apply(running(timeout_ms=1_000), report("t", "alpha", Signal.START), at=(RUNNING_AT + 900,))
    assert overdue(table, Instant(RUNNING_AT + 1_000)) == expire(StopKind.TIMEOUT)


def test_a_timeout_of_nothing_never_passes() -> None:
    assert overdue(assigned(start_timeout_ms=0), Instant(2**40)) == []
    assert overdue(running(timeout_ms=0), Instant(2**40)) == []


def test_a_queued_task_waits_for_as_long_as_it_takes() -> None:
    assert overdue(table_of(submit("t", spec(timeout_ms=1, start_timeout_ms=1))), Instant(2**40)) == []


def test_what_is_stopping_or_has_ended_is_not_overdue() -> None:
    stopping = apply(running(timeout_ms=1), Cancel(task_id=TaskId("t")))
    assert overdue(stopping, Instant(2**40)) == []
    assert overdue(apply(stopping, report("t", "alpha", Signal.GONE)), Instant(2**40)) == []


@pytest.mark.parametrize("table", [assigned(), running()], ids=["assigned", "running"])
def test_the_table_accepts_what_is_overdue_and_then_nothing_is(table: TaskTable) -> None:
    due = overdue(table, Instant(2**40))
    assert len(due) == 1
    assert overdue(apply(table, *due), Instant(2**40)) == []


# --- members ----------------------------------------------------------------------------------


@pytest.fixture
def pair() -> TaskTable:
    """Two members, beta lost."""
    return table_of(joined("alpha"), joined("beta"), MemberLost(node=NodeId("beta")))


def test_a_member_is_lost_after_its_silence_and_not_at_it(pair: TaskTable) -> None:
    silent_beta = {"beta": float("inf")}
    assert membership(pair, {"alpha": MEMBER_SILENCE_S, **silent_beta}) == []
    assert membership(pair, {"alpha": MEMBER_SILENCE_S + 0.001, **silent_beta}) == [MemberLost(node=NodeId("alpha"))]


def test_a_lost_member_that_is_heard_again_is_back(pair: TaskTable) -> None:
    assert membership(pair, {"alpha": 0.0, "beta": 0.1}) == [MemberBack(node=NodeId("beta"))]


def test_the_node_itself_which_hears_no_messages_from_itself_is_present(pair: TaskTable) -> None:
    assert membership(pair, {"alpha": 0.0}) == [MemberBack(node=NodeId("beta"))]


def test_a_node_that_never_joined_cannot_be_lost(pair: TaskTable) -> None:
    assert membership(pair, {"beta": 99.0, "gamma": 99.0}) == []


def test_the_table_accepts_it_and_then_nothing_is_left_to_say(pair: TaskTable) -> None:
    silent = {"alpha": 99.0, "beta": 0.0}
    found = membership(pair, silent)
    assert membership(apply(pair, *found), silent) == []


# --- finished tasks ---------------------------------------------------------------------------


def ended(*instants: int) -> TaskTable:
    """Return a table whose tasks t0, t1 … ended at *instants*."""
    names = [f"t{n}" for n in range(len(instants))]
    table = table_of(*(submit(name) for name in names), submit("live"))
    return apply(table, *(Cancel(task_id=TaskId(name)) for name in names), at=instants)


def names(forget: Forget | None) -> list[str]:
    return [*forget.task_ids] if forget else []


def test_a_task_is_kept_for_as_long_as_the_settings_say_and_not_longer() -> None:
    table = ended(1_000, 1_001)
    assert forgettable(table, Instant(2_000), keep_ms=1_000, keep_count=9) is None
    assert names(forgettable(table, Instant(2_001), keep_ms=1_000, keep_count=9)) == ["t0"]
    assert names(forgettable(table, Instant(2_002), keep_ms=1_000, keep_count=9)) == ["t0", "t1"]


def test_of_too_many_the_ones_that_ended_first_go() -> None:
    table = ended(*range(5))
    assert forgettable(table, Instant(9), keep_ms=1_000, keep_count=5) is None
    assert names(forgettable(table, Instant(9), keep_ms=1_000, keep_count=3)) == ["t0", "t1"]
    assert names(forgettable(table, Instant(9), keep_ms=1_000, keep_count=0)) == ["t0", "t1", "t2", "t3", "t4"]


def test_too_old_and_too_many_together_forget_what_either_would() -> None:
    table = ended(0, 0, 0, 5_000, 5_000)
    assert names(forgettable(table, Instant(6_000), keep_ms=2_000, keep_count=4)) == ["t0", "t1", "t2"]
    assert names(forgettable(table, Instant(6_000), keep_ms=2_000, keep_count=1)) == ["t0", "t1", "t2", "t3"]


def test_one_command_forgets_a_bounded_number_and_the_next_one_goes_on() -> None:
    table = ended(*[0] * (limits.FORGET_PER_COMMAND + 3))
    first = forgettable(table, Instant(9), keep_ms=1, keep_count=9)
    assert len(names(first)) == limits.FORGET_PER_COMMAND
    assert first is not None
    rest = forgettable(apply(table, first), Instant(9), keep_ms=1, keep_count=9)
    assert names(rest) == [f"t{n}" for n in range(limits.FORGET_PER_COMMAND, limits.FORGET_PER_COMMAND + 3)]


def test_what_has_not_ended_is_never_forgotten() -> None:
    assert forgettable(table_of(submit("live")), Instant(2**40), keep_ms=0, keep_count=0) is None
