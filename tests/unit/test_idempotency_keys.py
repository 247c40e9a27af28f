"""How long the table remembers an idempotency key, and how many; what a key means is in ``tests/scenarios``."""

from collections.abc import Iterator

import msgspec
import pytest

from raftsman.raft import limits
from raftsman.raft.codec import decode, encode
from raftsman.raft.commands import Accepted, Entry, Refused, Submit, Verdict
from raftsman.raft.records import Instant, KeyUse, TaskId
from raftsman.raft.submission_rules import _surplus
from raftsman.raft.table import TaskTable
from tests.harness.tables import spec, submit

DAY_MS = limits.IDEMPOTENCY_KEY_MS


def keyed(task_id: str, key: str, *, priority: int = 0) -> Submit:
    of = submit(task_id, spec(priority=priority))
    return msgspec.structs.replace(of, key=key, id_made=True)


def say(table: TaskTable, command: Submit, at: int, *, by: str = "ann") -> Verdict:
    entry = Entry(command_id="", command=command, at=Instant(at), principal=by)
    verdict, _ = table.apply(decode(encode(entry)), table.index + 1)
    return verdict


def test_a_key_is_remembered_for_a_day_by_the_logs_own_instants() -> None:
    table = TaskTable()
    assert say(table, keyed("t1", "k"), 5) == Accepted()
    assert say(table, keyed("t2", "k"), 5 + DAY_MS - 1) == Accepted(repeated=True, found="t1")
    assert say(table, keyed("t3", "k"), 5 + DAY_MS) == Accepted()
    assert say(table, keyed("t4", "k", priority=1), 6 + DAY_MS) == Refused(
        code="idempotency-key-reused",
        detail="the key was used for another request, which task t3 came from; use a new one",
    )


def test_a_clock_that_went_back_makes_no_key_old() -> None:
    table = TaskTable()
    say(table, keyed("t1", "k"), DAY_MS)
    assert say(table, keyed("t2", "k"), 0) == Accepted(repeated=True, found="t1")


def test_a_new_key_drops_those_that_are_too_old() -> None:
    table = TaskTable()
    for number in range(3):
        say(table, keyed(f"t{number}", f"k{number}"), number)
    say(table, keyed("t3", "k3"), 1 + DAY_MS)
    assert [use.task_id for use in table.keys.values()] == ["t2", "t3"]


def test_the_hash_of_a_table_covers_its_keys() -> None:
    one, other = TaskTable(), TaskTable()
    for table, key in ((one, "k1"), (other, "k2")):
        say(table, keyed("t1", key), 0)
    assert one.task("t1") == other.task("t1")
    assert one.state_hash != other.state_hash


def test_a_key_is_not_kept_as_it_was_sent() -> None:
    table = TaskTable()
    say(table, keyed("t1", "a-customers-number"), 0)
    (use,) = table.keys.values()
    assert (len(use.key), len(use.wish)) == (16, 16)


@pytest.mark.parametrize("key", ["x" * 256, "x" * 10_000])
def test_a_key_has_a_largest_size_in_the_table_too(key: str) -> None:
    verdict = say(TaskTable(), keyed("t1", key), 0)
    assert isinstance(verdict, Refused)
    assert verdict.code == "invalid-parameter"


def with_keys(count: int) -> TaskTable:
    table = TaskTable()
    for use in uses(count):
        table.keys[use.key] = use
    return table


def uses(count: int) -> Iterator[KeyUse]:
    for number in range(count):
        key = number.to_bytes(16)
        yield KeyUse(key=key, wish=key, task_id=TaskId(f"t{number}"), at=Instant(0))


def test_no_more_keys_are_kept_than_the_limit_says() -> None:
    full = with_keys(limits.IDEMPOTENCY_KEYS)
    assert list(_surplus(full, Instant(0))) == [(0).to_bytes(16)]
    assert list(_surplus(with_keys(limits.IDEMPOTENCY_KEYS - 1), Instant(0))) == []


def test_keys_that_grow_old_together_do_not_go_in_one_command() -> None:
    dropped = list(_surplus(with_keys(1000), Instant(DAY_MS)))
    assert dropped == [number.to_bytes(16) for number in range(limits.KEYS_DROPPED_PER_COMMAND)]
