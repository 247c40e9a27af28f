"""The executor as a whole: stops, and contexts that go, come back and refuse."""

import asyncio
from pathlib import Path

import pytest

from raftsman.executor.jobs import Json
from raftsman.executor.reconcile import NO_ADAPTER
from raftsman.raft.lifecycle import Cause, State, StopKind
from tests.harness.executors import CONTEXT, NAMESPACE, Executors, play, played
from tests.harness.fake_jobs import Life
from tests.harness.fake_link import DOWN, LOST, Fault, denied, fails, late, slow

WEBHOOK = 'Internal error occurred: failed calling webhook "w.example.com": connection refused'

FOREVER = Life(runs_s=None)


def nothing_is_left(executors: Executors) -> bool:
    return not executors.kubernetes.jobs and not executors.kubernetes.pods


# --- stops ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag_s", [0.005, 2.0])
@pytest.mark.parametrize("after_ms", [0, 10, 20, 50, 100, 400, 1_000, 5_000])
def test_a_cancelled_task_leaves_neither_job_nor_pod(tmp_path: Path, after_ms: int, lag_s: float) -> None:
    async def scene(executors: Executors) -> None:
        executors.kubernetes.life = lambda _name: FOREVER
        executors.links["alpha"].lag_s = lag_s
        executors.start("alpha")
        executors.submit("t")
        await asyncio.sleep(after_ms / 1000)
        executors.cancel("t")
        task = await executors.ended("t")
        assert (task.state, task.exit_code) == (State.CANCELLED, -1)
        assert nothing_is_left(executors)

    play(tmp_path, scene)


@pytest.mark.parametrize("fault", [LOST, DOWN, late(0.3), slow(5.0)], ids=["lost", "down", "late", "slow"])
@pytest.mark.parametrize("verb", ["create", "get", "delete", "pods"])
def test_a_stop_survives_a_call_that_goes_wrong(tmp_path: Path, verb: str, fault: Fault) -> None:
    async def scene(executors: Executors) -> None:
        executors.kubernetes.life = lambda _name: FOREVER
        executors.links["alpha"].plan(verb, *[fault] * 2)
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: executors.task("t").state is State.RUNNING or verb == "create")
        executors.cancel("t")
        assert (await executors.ended("t")).state is State.CANCELLED
        await asyncio.sleep(20)
        assert nothing_is_left(executors)
        assert len(executors.made("t")) <= 1

    play(tmp_path, scene)


@pytest.mark.parametrize("after_ms", range(1_250, 1_450, 10))
def test_a_cancellation_that_races_with_the_end_says_what_came_first(tmp_path: Path, after_ms: int) -> None:
    async def scene(executors: Executors) -> None:
        executors.start("alpha")
        executors.submit("t")
        await asyncio.sleep(after_ms / 1000)
        executors.cancel("t")
        task = await executors.ended("t")
        if task.state is State.CANCELLED:
            assert nothing_is_left(executors)
        else:
            assert (task.state, task.exit_code) == (State.COMPLETED, 0)

    play(tmp_path, scene)


@played
async def test_an_end_that_only_the_deletion_found_counts(executors: Executors) -> None:
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.links["alpha"].lag_s = 5.0  # The mirror shows the end long after it came.
    await executors.until(lambda: any(job["status"].get("succeeded") for job in executors.kubernetes.jobs.values()))
    executors.cancel("t")
    task = await executors.ended("t")
    assert (task.state, task.exit_code) == (State.COMPLETED, 0)


@pytest.mark.parametrize("kind", [StopKind.TIMEOUT, StopKind.START_TIMEOUT])
def test_a_timeout_ends_as_failed_and_leaves_nothing(tmp_path: Path, kind: StopKind) -> None:
    async def scene(executors: Executors) -> None:
        starts = kind is StopKind.TIMEOUT
        executors.kubernetes.life = lambda _name: FOREVER if starts else Life(starts_after_s=None)
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: executors.task("t").state is (State.RUNNING if starts else State.ASSIGNED))
        await executors.until(lambda: bool(executors.kubernetes.pods))
        executors.expire("t", kind)
        task = await executors.ended("t")
        assert (task.state, task.error, task.exit_code) == (State.FAILED, "Job timed out", -1)
        assert task.cause is (Cause.TIMEOUT if starts else Cause.START_TIMEOUT)
        assert nothing_is_left(executors)

    play(tmp_path, scene)


@played
async def test_a_hopeless_wait_is_given_up_and_leaves_nothing(executors: Executors) -> None:
    wait: Json = {"reason": "ErrImagePull", "message": "manifest unknown"}
    executors.kubernetes.life = lambda _name: Life(starts_after_s=None, wait=wait)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").pending_cause is Cause.IMAGE_PULL, within_s=5)
    assert executors.task("t").reason == "ErrImagePull: manifest unknown"
    task = await executors.ended("t", within_s=100)
    assert (task.state, task.cause) == (State.FAILED, Cause.IMAGE_PULL)
    assert nothing_is_left(executors)


@played
async def test_a_deletion_that_finds_no_job_ends_the_stop_and_is_not_repeated(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: FOREVER
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.links["alpha"].lag_s = 3.0
    executors.kubernetes.remove(NAMESPACE, "task-t-1")
    executors.cancel("t")
    task = await executors.ended("t", within_s=2)
    assert task.state is State.CANCELLED
    assert executors.links["alpha"].calls.count("delete") == 1


@pytest.mark.parametrize("delay_s", [0.5, 5.0])
def test_a_job_that_comes_after_its_task_was_cancelled_is_deleted(tmp_path: Path, delay_s: float) -> None:
    async def scene(executors: Executors) -> None:
        executors.kubernetes.life = lambda _name: FOREVER
        executors.links["alpha"].plan("create", late(delay_s))
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: "create" in executors.links["alpha"].calls)
        executors.cancel("t")
        await executors.kill("alpha")
        executors.start("alpha")
        assert (await executors.ended("t", within_s=2)).state is State.CANCELLED
        await executors.until(lambda: len(executors.made("t")) == 1)
        await executors.until(lambda: nothing_is_left(executors), within_s=20)

    play(tmp_path, scene)


@played
async def test_a_second_job_of_a_node_that_was_cut_off_is_deleted(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: FOREVER
    alpha, _ = executors.start("alpha"), executors.start("beta")
    executors.links["alpha"].plan("create", late(10.0))
    executors.links["alpha"].lag_s = 30.0
    executors.submit("t", "alpha")
    await executors.until(lambda: "create" in executors.links["alpha"].calls)
    alpha.replica.cut_off()
    executors.links["alpha"].set_up(False)
    executors.reassign("t", "beta")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.cancel("t")
    assert (await executors.ended("t")).state is State.CANCELLED
    await executors.until(lambda: len(executors.made("t")) == 2, within_s=10)
    await executors.until(lambda: nothing_is_left(executors), within_s=15)


# --- contexts that go and come ----------------------------------------------------------------


@played
async def test_a_context_that_goes_and_comes_back_ends_no_task(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(runs_s=20.0)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.links["alpha"].set_up(False)
    await executors.until(lambda: executors.task("t").unreachable)
    assert executors.task("t").reason == f"context {CONTEXT} is out of reach: cannot list jobs: connection refused"
    executors.links["alpha"].set_up(True)
    await executors.until(lambda: not executors.task("t").unreachable, within_s=3)
    task = await executors.ended("t")
    assert (task.state, len(executors.made("t"))) == (State.COMPLETED, 1)


@played
async def test_a_job_that_ends_while_its_context_is_away_is_told_afterwards(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(exit_code=7)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.links["alpha"].set_up(False)
    await asyncio.sleep(60)
    assert not executors.task("t").ended
    executors.links["alpha"].set_up(True)
    task = await executors.ended("t")
    assert (task.state, task.exit_code) == (State.FAILED, 7)


@played
async def test_a_create_that_gets_no_answer_says_so(executors: Executors) -> None:
    executors.links["alpha"].plan("create", *[DOWN] * 5)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: "gets no answer: connection refused" in executors.task("t").reason, within_s=3)
    task = await executors.ended("t")
    assert (task.state, task.reason) == (State.COMPLETED, "")


@played
async def test_a_create_that_a_dead_webhook_fails_says_so_and_is_blamed_on_it(executors: Executors) -> None:
    executors.links["alpha"].plan("create", *[fails(WEBHOOK)] * 5)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").reason == f"the creation of its Job fails: {WEBHOOK}", within_s=3)
    assert executors.task("t").pending_cause is Cause.ADMISSION_DENIED


@played
async def test_a_deletion_that_a_dead_webhook_fails_says_so_until_it_goes_well(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(runs_s=None, dies_after_s=20.0)
    executors.links["alpha"].plan("delete", *[fails(WEBHOOK)] * 5)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.cancel("t")
    await executors.until(lambda: executors.task("t").reason.endswith(f"are gone, and {WEBHOOK}"), within_s=3)
    await executors.until(lambda: executors.task("t").reason.endswith("are gone"), within_s=20)
    assert (await executors.ended("t")).state is State.CANCELLED


@played
async def test_a_full_quota_is_told_and_waited_for(executors: Executors) -> None:
    executors.links["alpha"].plan("create", *[denied('jobs.batch "x" is forbidden: exceeded quota: jobs')] * 3)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").pending_cause is Cause.QUOTA_EXCEEDED)
    assert "exceeded quota: jobs" in executors.task("t").reason
    task = await executors.ended("t")
    assert (task.state, task.reason, len(executors.made("t"))) == (State.COMPLETED, "", 1)


@played
async def test_a_create_that_is_refused_for_good_fails_the_task(executors: Executors) -> None:
    executors.links["alpha"].plan("create", denied("Job is invalid: spec.template", status=422))
    executors.start("alpha")
    executors.submit("t")
    task = await executors.ended("t")
    assert (task.state, task.cause, executors.made("t")) == (State.FAILED, Cause.INVALID_SPEC, [])


@played
async def test_a_server_that_hangs_makes_the_attempt_unreachable_although_its_watch_stays_open(
    executors: Executors,
) -> None:
    executors.kubernetes.life = lambda _name: FOREVER
    node = executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    node.contexts.hangs = True
    await executors.until(lambda: executors.task("t").unreachable, within_s=6)
    assert executors.task("t").reason == "context prod is out of reach: no answer within 5 s"
    node.contexts.hangs = False
    await executors.until(lambda: not executors.task("t").unreachable, within_s=3)


@played
async def test_a_job_that_somebody_removed_is_neither_success_nor_made_again(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: FOREVER
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.kubernetes.remove(NAMESPACE, "task-t-1")
    task = await executors.ended("t")
    assert (task.state, task.cause, len(executors.made("t"))) == (State.FAILED, Cause.JOB_DELETED, 1)


@played
async def test_a_job_that_somebody_made_again_is_counted_once_and_deleted(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: FOREVER
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    theirs = executors.kubernetes.get(NAMESPACE, "task-t-1")
    assert theirs is not None
    executors.kubernetes.remove(NAMESPACE, "task-t-1")
    executors.kubernetes.create(NAMESPACE, theirs)
    task = await executors.ended("t")
    assert (task.state, task.cause) == (State.FAILED, Cause.JOB_DELETED)
    await executors.until(lambda: nothing_is_left(executors))
    assert executors.counted["second"] == 1


@played
async def test_a_foreign_job_under_the_name_is_left_alone(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: FOREVER
    theirs: Json = {"metadata": {"name": "task-t-1", "labels": {}}, "spec": {}}
    executors.kubernetes.create(NAMESPACE, theirs)
    executors.start("alpha")
    executors.submit("t")
    task = await executors.ended("t")
    assert (task.state, task.cause) == (State.FAILED, Cause.JOB_NAME_CONFLICT)
    await asyncio.sleep(30)
    assert len(executors.kubernetes.jobs) == 1
    assert not {"delete", "patch"} & set(executors.links["alpha"].calls)


@played
async def test_a_task_whose_context_left_the_settings_says_so(executors: Executors) -> None:
    node = executors.start("alpha")
    del node.contexts.contexts[CONTEXT]
    executors.submit("t")
    task = await executors.ended("t")
    assert (task.state, task.cause, task.error) == (State.FAILED, Cause.CONTEXT_UNREACHABLE, NO_ADAPTER)
