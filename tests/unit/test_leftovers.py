"""Jobs that are over, or should be: which are told to leave, which are deleted, which are second ones."""

import pytest

from raftsman.executor.jobs import Json
from raftsman.executor.reconcile import ORPHAN_MS, is_orphan, is_second, wants_ttl
from raftsman.raft.lifecycle import State
from raftsman.raft.records import Instant, Task
from tests.unit.attempts import CLUSTER, T0, job, task

DELETED = "2026-01-01T00:00:10Z"


@pytest.mark.parametrize(
    ("finished", "wants"),
    [
        (job(), False),
        (job(ended_as="Complete"), True),
        (job(ended_as="Failed"), True),
        (job(ended_as="Complete", deleted=DELETED), False),
        (job(ended_as="Complete") | {"spec": {"ttlSecondsAfterFinished": 3600}}, False),
        (job(ended_as="Complete") | {"spec": {"ttlSecondsAfterFinished": 604800}}, True),
    ],
    ids=["it runs", "complete", "failed", "being deleted", "told", "told otherwise"],
)
def test_a_finished_job_is_told_once_when_to_leave(finished: Json, wants: bool) -> None:
    assert wants_ttl(finished, 3600) is wants


@pytest.mark.parametrize(
    ("found", "row", "orphan"),
    [
        (job(sequence=1, suspended=True), task(sequence=2), True),
        (job(sequence=1), task(sequence=2), True),
        (job(sequence=2, ended_as="Complete"), task(sequence=3), False),
        (job(sequence=3), task(sequence=2), False),
        (job(sequence=2, attempt=2), task(sequence=2), False),
        (job(sequence=1, attempt=2), task(sequence=2), True),
        (job(sequence=1, ours=False), task(sequence=2), False),
    ],
    ids=["never released", "released", "it has ended", "this table is behind", "so it is", "a retry", "a stranger's"],
)
def test_a_job_of_an_earlier_attempt_is_an_orphan(found: Json, row: Task, orphan: bool) -> None:
    assert is_orphan(found, row, Instant(T0 + ORPHAN_MS), cluster=CLUSTER) is orphan
    assert not is_orphan(found, row, Instant(T0 + ORPHAN_MS - 1), cluster=CLUSTER)


@pytest.mark.parametrize(
    ("found", "after_ms", "orphan"),
    [
        (job(), ORPHAN_MS, True),
        (job("another"), ORPHAN_MS, True),
        (job(), ORPHAN_MS - 1, False),
        (job(ours=False), ORPHAN_MS, False),
        (job(ended_as="Complete"), ORPHAN_MS, False),
        (job(deleted=DELETED), ORPHAN_MS, False),
    ],
    ids=["works", "a second one works", "the watch may lag", "foreign", "ended", "being deleted"],
)
def test_a_job_that_works_for_an_ended_task_is_an_orphan(found: Json, after_ms: int, orphan: bool) -> None:
    over = task(State.CANCELLED, uid="u", completed_at=T0)
    assert is_orphan(found, over, Instant(T0 + after_ms), cluster=CLUSTER) is orphan


@pytest.mark.parametrize(
    ("found", "bound", "second"),
    [
        (job("another"), "u", True),
        (job("another", ended_as="Complete"), "u", True),
        (job(), "u", False),
        (job("another"), "", False),
        (job("another", ours=False), "u", False),
    ],
    ids=["works", "ended", "its own", "none is known", "foreign"],
)
def test_a_job_beside_the_one_that_the_log_knows_is_a_second_one(found: Json, bound: str, second: bool) -> None:
    assert is_second(found, task(State.RUNNING, uid=bound), cluster=CLUSTER) is second
