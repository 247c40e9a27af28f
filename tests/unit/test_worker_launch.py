"""The launch of a Job in two steps, as a whole: it is made suspended, and begins when the log has its UID."""

import asyncio
from pathlib import Path

import pytest

from raftsman.executor.jobs import ANNOTATION_RELEASED
from raftsman.raft.lifecycle import Cause, State
from tests.harness.executors import NAMESPACE, Executors, play, played
from tests.harness.fake_jobs import Life
from tests.harness.fake_link import DOWN, LOST, Fault, denied, late

JOB = (NAMESPACE, "task-t-1")


@played
async def test_no_pod_is_made_before_the_log_has_the_uid(executors: Executors) -> None:
    bound: list[str] = []

    def life(_name: str) -> Life:
        attempt = executors.task("t").attempt
        assert attempt is not None
        bound.append(attempt.job_uid)
        return Life()

    executors.kubernetes.life = life
    node = executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: bool(executors.kubernetes.jobs))
    node.replica.cut_off()
    await asyncio.sleep(20)
    assert bound == [], "the Job waits for the log"
    node.replica.cut_off(False)
    assert (await executors.ended("t")).state is State.COMPLETED
    assert bound == executors.made("t") != []


@pytest.mark.parametrize("fault", [LOST, DOWN, late(3.0)], ids=["answer lost", "not sent", "late"])
def test_a_release_without_an_answer_is_repeated(tmp_path: Path, fault: Fault) -> None:
    async def scene(executors: Executors) -> None:
        executors.links["alpha"].plan("release", fault)
        executors.start("alpha")
        executors.submit("t")
        assert (await executors.ended("t", within_s=10)).state is State.COMPLETED
        assert executors.kubernetes.started == [JOB[1]]

    play(tmp_path, scene)


@played
async def test_whoever_takes_over_releases_what_was_bound(executors: Executors) -> None:
    executors.links["alpha"].plan("release", *[DOWN] * 100)
    executors.start("alpha")
    executors.start("beta")
    executors.submit("t", "alpha")
    await executors.until(lambda: "release" in executors.links["alpha"].calls)
    executors.reassign("t", "beta")
    assert (await executors.ended("t", within_s=10)).state is State.COMPLETED
    assert len(executors.made("t")) == 1


@played
async def test_a_create_that_slept_through_the_whole_life_of_its_attempt_begins_nothing(executors: Executors) -> None:
    executors.links["alpha"].plan("create", late(60.0))
    executors.start("alpha")
    executors.start("beta")
    executors.submit("t", "alpha")
    await executors.until(lambda: "create" in executors.links["alpha"].calls)
    executors.nodes["alpha"].replica.cut_off()
    executors.reassign("t", "beta")
    task = await executors.ended("t", within_s=10)
    assert task.state is State.COMPLETED
    executors.kubernetes.remove(*JOB)  # As its time to live does.
    executors.nodes["alpha"].replica.cut_off(False)
    await executors.until(lambda: len(executors.made("t")) == 2, within_s=70)
    await executors.until(lambda: not executors.kubernetes.jobs, within_s=20)
    first, _ = executors.made("t")
    assert set(executors.kubernetes.pods_made) == {first}
    assert executors.kubernetes.started == [JOB[1]]
    assert executors.counted["second"] == 0


@played
async def test_a_job_that_may_not_be_released_fails_its_task_and_is_deleted(executors: Executors) -> None:
    executors.links["alpha"].plan("release", *[denied('jobs.batch "task-t-1" is forbidden: cannot patch')] * 100)
    executors.start("alpha")
    executors.submit("t")
    task = await executors.ended("t", within_s=10)
    assert (task.state, task.cause) == (State.FAILED, Cause.FORBIDDEN)
    assert task.error == 'its Job may not be released: jobs.batch "task-t-1" is forbidden: cannot patch'
    assert executors.kubernetes.jobs == {}
    assert executors.kubernetes.started == []


@played
async def test_a_job_that_somebody_suspends_stays_so_until_they_let_it_go_on(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(runs_s=5.0)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.kubernetes.suspend(*JOB)
    await asyncio.sleep(30)
    assert executors.links["alpha"].calls.count("release") == 1
    assert executors.kubernetes.jobs[JOB]["spec"]["suspend"] is True
    assert executors.kubernetes.jobs[JOB]["metadata"]["annotations"][ANNOTATION_RELEASED] == "true"
