"""How long the table remembers what became of a command, and how many; what that is for is in ``tests/scenarios``."""

from raftsman.raft import limits
from raftsman.raft.commands import Accepted, Barrier, Cancel, Command, Entry, Refused, Verdict
from raftsman.raft.records import Instant, TaskId
from raftsman.raft.table import TaskTable
from tests.harness.tables import submit, table_of

NOBODY = Cancel(task_id=TaskId("nobody"))


def say(table: TaskTable, command_id: str, at: int, command: Command = Barrier()) -> Verdict:  # noqa: B008 — frozen.
    verdict, _ = table.apply(Entry(command_id=command_id, command=command, at=Instant(at)), table.index + 1)
    return verdict


def fill(table: TaskTable, count: int, at: int = 0) -> None:
    for number in range(count):
        say(table, f"c{number}", at)


def test_a_result_is_there_until_it_is_old_and_enough_others_came() -> None:
    table = TaskTable()
    assert isinstance(say(table, "first", 0, NOBODY), Refused)
    say(table, "submitted", 0, submit("nobody"))
    fill(table, limits.RESULTS_ALWAYS - 2, at=limits.RESULT_MS)
    assert isinstance(say(table, "first", limits.RESULT_MS, NOBODY), Refused)
    say(table, "one more", limits.RESULT_MS)
    assert say(table, "first", limits.RESULT_MS, NOBODY) == Accepted()


def test_a_wrong_clock_makes_no_new_result_old() -> None:
    table = TaskTable()
    assert isinstance(say(table, "first", 0, NOBODY), Refused)
    say(table, "far", 1000 * limits.RESULT_MS)
    say(table, "submitted", 0, submit("nobody"))
    assert isinstance(say(table, "first", 0, NOBODY), Refused)


def test_no_more_results_are_kept_than_the_limit_says() -> None:
    table = TaskTable()
    fill(table, limits.RESULTS + 10)
    assert list(table.results) == [f"c{number}" for number in range(10, limits.RESULTS + 10)]


def test_results_that_grow_old_together_do_not_go_in_one_command() -> None:
    table = TaskTable()
    fill(table, limits.RESULTS_ALWAYS + 500)
    say(table, "late", limits.RESULT_MS)
    assert len(table.results) == limits.RESULTS_ALWAYS + 500 + 1 - limits.RESULTS_DROPPED_PER_COMMAND


def test_the_hash_of_a_table_covers_its_results_and_forgets_those_that_went() -> None:
    one, other = TaskTable(), TaskTable()
    say(one, "a", 0)
    say(other, "b", 0)
    assert one.state_hash != other.state_hash
    fill(one, limits.RESULTS)
    fill(other, limits.RESULTS)
    assert one.state_hash == other.state_hash


def test_a_copy_keeps_its_own_results() -> None:
    table = table_of(submit("t"))
    say(table, "a", 0, NOBODY)
    twin = table.copy()
    say(table, "b", 0)
    assert list(twin.results) == ["a"]
    assert say(twin, "a", 0, submit("u")) == say(table, "a", 0)
