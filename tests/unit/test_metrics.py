"""What a change of a task adds to the metrics."""

from raftsman.node.metrics import Metrics
from raftsman.raft.lifecycle import Cause, State
from raftsman.raft.records import Attempt, Change, Instant, NodeId, Placement, Task, TaskId

SUBMITTED, RAN, ENDED = Instant(1_000), Instant(3_500), Instant(10_000)


def change(before: State | None, after: State, at: Instant, cause: Cause | None = None) -> Change:
    return Change(index=1, n=0, at=at, task_id=TaskId("one"), attempt=1, before=before, after=after, cause=cause)


def task(running_since: Instant | None = None) -> Task:
    attempt = Attempt(
        number=1, node=NodeId("alpha"), context="dev", namespace="", assigned_at=SUBMITTED, running_since=running_since
    )
    return Task(
        task_id=TaskId("one"),
        spec=b"",
        type="k8s_job",
        context="dev",
        priority=0,
        timeout_ms=0,
        start_timeout_ms=0,
        placement=Placement(),
        submitter_node="alpha",
        principal="",
        submitted_at=SUBMITTED,
        sequence=1,
        attempt=attempt,
    )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"raftsman_{name}", labels)


def test_a_tasks_life_is_timed_in_its_two_parts() -> None:
    metrics = Metrics(version="1")
    metrics.note(change(None, State.QUEUED, SUBMITTED), task())
    metrics.note(change(State.ASSIGNED, State.RUNNING, RAN), task(RAN))
    metrics.note(change(State.RUNNING, State.FAILED, ENDED, Cause.OOM_KILLED), task(RAN))
    assert (value(metrics, "task_wait_seconds_sum"), value(metrics, "task_wait_seconds_count")) == (2.5, 1)
    assert (value(metrics, "attempt_run_seconds_sum"), value(metrics, "attempt_run_seconds_count")) == (6.5, 1)
    assert value(metrics, "tasks_finished_total", state="failed", cause="OOMKilled") == 1


def test_a_task_that_never_ran_ends_without_a_running_time() -> None:
    metrics = Metrics(version="1")
    metrics.note(change(State.QUEUED, State.CANCELLED, ENDED), task())
    assert value(metrics, "attempt_run_seconds_count") == 0
    assert value(metrics, "tasks_finished_total", state="cancelled", cause="") == 1


def test_what_a_start_applies_again_is_not_counted_again() -> None:
    metrics = Metrics(version="1", since=ENDED)
    metrics.note(change(State.ASSIGNED, State.RUNNING, RAN), task(RAN))
    assert value(metrics, "task_wait_seconds_count") == 0
    metrics.note(change(State.RUNNING, State.COMPLETED, ENDED), task(RAN))
    assert value(metrics, "tasks_finished_total", state="completed", cause="") == 1


def test_a_change_within_a_state_counts_nothing() -> None:
    metrics = Metrics(version="1")
    metrics.note(change(State.RUNNING, State.RUNNING, ENDED), task(RAN))
    assert value(metrics, "task_wait_seconds_count") == 0


def test_clocks_that_disagree_give_no_negative_time() -> None:
    metrics = Metrics(version="1")
    metrics.note(change(State.ASSIGNED, State.RUNNING, Instant(0)), task(RAN))
    assert value(metrics, "task_wait_seconds_sum") == 0
