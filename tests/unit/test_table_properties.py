"""What holds of the table after any log whatsoever, likely or not."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from raftsman.raft import limits
from raftsman.raft.codec import decode, encode, pack_row, pack_spec
from raftsman.raft.commands import (
    KINDS,
    Accepted,
    Assign,
    Command,
    Entry,
    Forget,
    MemberJoined,
    Reassign,
    Refused,
    Retry,
    Submit,
    Verdict,
)
from raftsman.raft.lifecycle import RANK, Signal
from raftsman.raft.records import (
    Change,
    ContextName,
    Instant,
    K8sJobSpec,
    KeyUse,
    Member,
    MemberContext,
    NodeId,
    Row,
    Task,
    TaskId,
    TaskSpec,
)
from raftsman.raft.table import TaskTable
from tests.harness.arbitrary import PLAIN, commands, entries, rows_of, weighted
from tests.harness.tables import apply, assign, find, joined, report, submit, table_of

PROD = (MemberContext(name=ContextName("prod")), MemberContext(name=ContextName("stage")))
SPEC = pack_spec(TaskSpec(type="k8s_job", k8s_job=K8sJobSpec(context="prod", image="busybox")))
BEGINNING: tuple[Command, ...] = (
    MemberJoined(member=Member(node=NodeId("alpha"), url="http://alpha", contexts=PROD)),
    MemberJoined(member=Member(node=NodeId("beta"), url="http://beta", contexts=PROD)),
    *(Submit(task_id=TaskId(name), spec=SPEC) for name in ("t1", "t2")),
    *(Assign(task_id=TaskId(name), attempt=1, node=NodeId("alpha")) for name in ("t1", "t2")),
)
"""Where most logs start, so that they get somewhere."""

GARBAGE = {**PLAIN, str: st.sampled_from(["t1", "t2", "alpha", "beta", "prod"]) | PLAIN[str]}
garbage = st.sampled_from([*KINDS.values()]).flatmap(lambda kind: rows_of(kind, GARBAGE))
beginnings = st.sampled_from([BEGINNING, BEGINNING, BEGINNING, ()]).map(
    lambda given: [Entry(command_id="", command=command, at=Instant(1)) for command in given]
)
wishes = weighted(*[commands()] * 7, garbage)
logs = st.builds(lambda first, rest: [*first, *rest], beginnings, st.lists(entries(wishes), min_size=10, max_size=60))
repetitive = st.lists(entries(wishes, ("", "a", "b", "c", "d", "e", "f")), min_size=10, max_size=60)
repeating_logs = st.builds(lambda first, rest: [*first, *rest], beginnings, repetitive)

a_log = settings(max_examples=60, deadline=None)


@dataclass(frozen=True, slots=True)
class Rows:
    """All that a table holds, by value."""

    cluster_uuid: str
    tasks: dict[TaskId, Task]
    order: tuple[TaskId, ...]
    members: dict[NodeId, Member]
    keys: tuple[KeyUse, ...]
    state_hash: str


def rows_in(table: TaskTable) -> Rows:
    tasks = {task.task_id: task for task in table.tasks()}
    keys = tuple(table.keys.values())
    return Rows(table.cluster_uuid, tasks, tuple(tasks), dict(table.members), keys, table.state_hash)


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a log, and the table around it."""

    entry: Entry
    verdict: Verdict
    changes: tuple[Change, ...]
    before: Rows
    after: Rows


def steps(log: list[Entry], table: TaskTable) -> Iterator[Step]:
    for index, entry in enumerate(log, start=1):
        before = rows_in(table)
        verdict, changes = table.apply(entry, index)
        yield Step(entry, verdict, changes, before, rows_in(table))


def place(task: Task) -> tuple[int, int]:
    return task.attempt.number if task.attempt else 0, RANK[task.state]


def bytes_of(table: TaskTable) -> list[bytes]:
    rows: list[Row] = [*table.tasks(), *table.members.values(), *table.keys.values(), *table.results.values()]
    return [pack_row(row) for row in rows]


# --- the table --------------------------------------------------------------------------------


@a_log
@given(logs | repeating_logs)
def test_two_tables_that_read_the_same_log_are_the_same(log: list[Entry]) -> None:
    one, other = TaskTable(), TaskTable()
    heard = [decode(encode(entry)) for entry in log]
    assert [one.apply(entry, n) for n, entry in enumerate(log)] == [
        other.apply(entry, n) for n, entry in enumerate(heard)
    ]
    assert rows_in(one) == rows_in(other)
    assert bytes_of(one) == bytes_of(other)


@a_log
@given(logs)
def test_what_changes_nothing_leaves_every_row_as_it_was(log: list[Entry]) -> None:
    for step in steps(log, TaskTable()):
        if isinstance(step.verdict, Refused) or step.verdict.repeated:
            assert replace(step.after, keys=(), state_hash="") == replace(step.before, keys=(), state_hash="")
            assert step.changes == ()
        if step.after.keys != step.before.keys:  # Also when a key comes with an id that is in force already.
            assert isinstance(step.entry.command, Submit | Retry)
            assert isinstance(step.verdict, Accepted)
        elif step.after != step.before:
            assert step.verdict == Accepted()
        if step.after != step.before:
            assert step.after.state_hash != step.before.state_hash


@a_log
@given(repeating_logs)
def test_a_command_under_an_id_that_was_there_changes_nothing_and_is_answered_as_that_was(log: list[Entry]) -> None:
    table = TaskTable()
    answered: dict[str, tuple[Verdict, int]] = {}
    for index, step in enumerate(steps(log, table), 1):
        command_id = step.entry.command_id
        place = table.first_index(step.entry)
        if command_id in answered:
            assert (step.verdict, place) == answered[command_id]
            assert (step.after, step.changes) == (step.before, ())
        else:
            assert place == index
        if command_id:
            answered.setdefault(command_id, (step.verdict, place))


@a_log
@given(logs)
def test_attempt_and_state_only_move_forward_and_an_ended_task_never_changes(log: list[Entry]) -> None:
    for step in steps(log, TaskTable()):
        forgotten = step.entry.command.task_ids if isinstance(step.entry.command, Forget) else ()
        for task_id, before in step.before.tasks.items():
            after = step.after.tasks.get(task_id)
            if after is None:
                assert before.ended
                assert task_id in forgotten
                continue
            assert place(after) >= place(before)
            assert after == before or not before.ended


@a_log
@given(logs)
def test_an_attempt_never_has_a_second_job(log: list[Entry]) -> None:
    for step in steps(log, TaskTable()):
        for task_id, after in step.after.tasks.items():
            before = step.before.tasks.get(task_id)
            if before and before.attempt and before.attempt.job_uid:
                assert after.attempt is not None
                same_attempt = after.attempt.number == before.attempt.number
                assert not same_attempt or after.attempt.job_uid == before.attempt.job_uid


@a_log
@given(logs)
def test_an_attempt_stays_in_its_cluster(log: list[Entry]) -> None:
    for step in steps(log, TaskTable()):
        for task_id, after in step.after.tasks.items():
            before = step.before.tasks.get(task_id)
            if before is None or before.attempt is None or after.attempt is None:
                continue
            if before.attempt.number != after.attempt.number or before.attempt.node == after.attempt.node:
                continue
            view = step.after.members[after.attempt.node].context(after.context)
            assert view is None or not view.is_elsewhere(after.attempt)
            assert after.attempt.server == before.attempt.server or not before.attempt.server


@a_log
@given(logs)
def test_an_attempt_is_taken_only_from_a_node_that_is_lost_or_cut_off(log: list[Entry]) -> None:
    for step in steps(log, TaskTable()):
        command = step.entry.command
        if not isinstance(command, Reassign) or not isinstance(step.verdict, Accepted):
            continue
        task, holder = step.before.tasks[command.task_id], step.before.members.get(command.from_node)
        assert task.attempt is not None
        assert holder is None or holder.lost_at is not None or holder.cut_off(task.attempt)
        if holder is not None and holder.lost_at is None:
            assert not step.before.members[command.node].cut_off(task.attempt)


@a_log
@given(logs)
def test_changes_tell_of_every_state_a_task_has_been_in(log: list[Entry]) -> None:
    for step in steps(log, TaskTable()):
        told = {change.task_id: change for change in step.changes}
        assert len(told) == len(step.changes)
        for task_id, after in step.after.tasks.items():
            before = step.before.tasks.get(task_id)
            if before is None or before.state is not after.state:
                assert told[task_id].before == (before.state if before else None)
                assert told[task_id].after is after.state
                assert after.changes[-1] == told[task_id]
            assert len(after.changes) <= limits.CHANGES_PER_TASK


@a_log
@given(logs)
def test_the_state_hash_is_that_of_the_rows_and_not_of_their_history(log: list[Entry]) -> None:
    table, from_scratch = TaskTable(), TaskTable()
    for _ in steps(log, table):
        pass
    from_scratch._rehash(None, None, table.cluster_uuid)
    for row in [*table.members.values(), *table.tasks(), *table.keys.values()]:
        from_scratch._rehash(None, row)
    assert from_scratch.state_hash == table.state_hash


@a_log
@given(logs, st.integers(0, 40))
def test_a_copy_is_what_the_table_was_when_it_was_made(log: list[Entry], place: int) -> None:
    table = TaskTable()
    list(steps(log[:place], table))
    copy, then = table.copy(), rows_in(table)
    list(steps(log[place:], table))
    assert rows_in(copy) == then
    list(steps(log[place:], copy))
    assert rows_in(copy) == rows_in(table)


def test_a_row_keeps_its_newest_changes_and_no_more() -> None:
    table = table_of(joined("alpha"), submit("t"), assign("t", "alpha"))
    for n in range(limits.CHANGES_PER_TASK + 1):
        seen = msgspec.structs.replace(report("t", "alpha", Signal.OBSERVE), reason=f"reason {n}")
        apply(table, seen)
    history = find(table, "t").changes
    assert len(history) == limits.CHANGES_PER_TASK
    assert history[-1].reason == f"reason {limits.CHANGES_PER_TASK}"
    assert history[0].reason == "reason 1"
