"""The table's bounds, exactly: what is the most that is taken, and what says no behind it."""

import pytest

from raftsman.raft import limits
from raftsman.raft.commands import (
    Accepted,
    Barrier,
    Command,
    Entry,
    MemberJoined,
    MemberUpdated,
    Refused,
    Retry,
    Submit,
)
from raftsman.raft.records import Instant, Member, MemberContext, NodeId, TaskId
from raftsman.raft.submission_rules import is_known
from raftsman.raft.table import TaskTable
from tests.harness.tables import context, joined, submit, table_of


def code_of(table: TaskTable, command: Command, *, by: str = "") -> str:
    """Apply *command*; return the code of its refusal, "" when it was accepted."""
    entry = Entry(command_id="", command=command, at=Instant(0), principal=by)
    verdict, _ = table.apply(entry, table.index + 1)
    return verdict.code if isinstance(verdict, Refused) else ""


def contexts(count: int) -> tuple[MemberContext, ...]:
    return tuple(context(f"c{number:03}") for number in range(count))


def a_member(node: str, count: int) -> Member:
    return Member(node=NodeId(node), url="http://x", contexts=contexts(count))


def test_a_member_has_so_many_contexts_and_no_more() -> None:
    table = TaskTable()
    most = limits.CONTEXTS_PER_MEMBER
    assert code_of(table, MemberJoined(member=a_member("alpha", most + 1))) == "invalid-member"
    assert code_of(table, MemberJoined(member=a_member("", 1))) == "invalid-member"
    assert code_of(table, MemberJoined(member=a_member("alpha", most))) == ""
    assert code_of(table, MemberUpdated(member=a_member("alpha", most + 1))) == "invalid-member"
    assert code_of(table, MemberUpdated(member=a_member("alpha", most))) == ""
    assert len(table.members[NodeId("alpha")].contexts) == most


def test_a_cluster_has_so_many_members_and_those_may_join_again() -> None:
    table = table_of(*(joined(f"n{number}") for number in range(limits.MEMBERS)))
    assert code_of(table, joined("one-more")) == "too-many-members"
    assert code_of(table, joined("n0")) == ""
    assert len(table.members) == limits.MEMBERS


@pytest.mark.parametrize(
    ("characters", "code"),
    [(0, "invalid-spec"), (1, ""), (limits.TASK_ID_CHARS, ""), (limits.TASK_ID_CHARS + 1, "invalid-spec")],
)
def test_a_tasks_id_has_so_many_characters(characters: int, code: str) -> None:
    assert code_of(TaskTable(), submit("x" * characters)) == code


@pytest.mark.parametrize(
    ("characters", "code"),
    [(limits.IDEMPOTENCY_KEY_CHARS, ""), (limits.IDEMPOTENCY_KEY_CHARS + 1, "invalid-parameter")],
)
def test_a_key_has_so_many_characters(characters: int, code: str) -> None:
    assert code_of(TaskTable(), keyed("t1", "x" * characters)) == code


def test_a_specification_has_so_many_bytes() -> None:
    for surplus, code in ((0, "invalid-spec"), (1, "too-large")):
        raw = Submit(task_id=TaskId("t1"), spec=bytes(limits.SPEC_BYTES + surplus), submitter_node=NodeId("alpha"))
        assert code_of(TaskTable(), raw) == code, "zeros are no specification, but not too many"


# --- what is known ----------------------------------------------------------------------------


def keyed(task_id: str, key: str) -> Submit:
    plain = submit(task_id)
    return Submit(task_id=plain.task_id, spec=plain.spec, submitter_node=plain.submitter_node, key=key)


def test_a_command_speaks_of_what_is_there_by_its_task_or_by_its_key() -> None:
    table = table_of(submit("plain"))
    assert code_of(table, keyed("t1", "k"), by="ann") == ""
    for command, by, known in (
        (submit("plain"), "ann", True),
        (submit("new"), "ann", False),
        (keyed("new", "k"), "ann", True),
        (keyed("new", "k"), "bob", False),
        (keyed("new", "other"), "ann", False),
        (keyed("plain", "other"), "ann", True),
    ):
        assert is_known(table, command, by) is known
    retry = Retry(task_id=TaskId("new"), retry_of=TaskId("t1"), submitter_node=NodeId("alpha"), key="k")
    assert not is_known(table, retry, "ann"), "the key of another kind of command"


def test_a_table_keeps_its_results_through_a_restore() -> None:
    table = TaskTable()
    entry = Entry(command_id="c1", command=submit("t1"), at=Instant(0))
    assert table.apply(entry, 1)[0] == Accepted()
    twin = TaskTable.restored(table.copy(), int(table.state_hash, 16))
    assert twin.results == table.results
    assert twin.apply(entry, 2) == (Accepted(), ())
    assert twin.first_index(entry) == 1


def test_the_newest_results_stay_however_old_they_are() -> None:
    table = TaskTable()
    for number in range(limits.RESULTS_ALWAYS + 5):
        table.apply(Entry(command_id=f"c{number}", command=Barrier(), at=Instant(0)), table.index + 1)
    table.apply(Entry(command_id="late", command=Barrier(), at=Instant(limits.RESULT_MS)), table.index + 1)
    assert len(table.results) == limits.RESULTS_ALWAYS
    assert next(iter(table.results)) == "c6"


def test_results_that_are_young_all_stay_whatever_the_instant_is() -> None:
    table, now = TaskTable(), 9 * limits.RESULT_MS
    for number in range(limits.RESULTS_ALWAYS + 5):
        table.apply(Entry(command_id=f"c{number}", command=Barrier(), at=Instant(now)), table.index + 1)
    table.apply(Entry(command_id="late", command=Barrier(), at=Instant(now + limits.RESULT_MS - 1)), table.index + 1)
    assert len(table.results) == limits.RESULTS_ALWAYS + 6
