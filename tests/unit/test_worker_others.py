"""The executor as a whole, when others had a hand in it: Jobs deleted without their Pods, and rights withdrawn."""

import asyncio
from pathlib import Path

import pytest

from raftsman.executor.output import End
from raftsman.raft.lifecycle import Cause, State, StopKind
from raftsman.raft.records import JobCounts
from tests.harness.executors import CONTEXT, NAMESPACE, SERVER, Executors, play, played
from tests.harness.fake_jobs import FakeContext, FakeJobs, Life
from tests.harness.fake_link import LOST, Link, denied

FOREVER = Life(runs_s=None)
GOES_ON = "its Job was deleted, its Pod goes on"


async def orphaned(executors: Executors, life: Life) -> None:
    """Let a task run, delete its Job and not its Pod, and wait until that is told."""
    executors.kubernetes.life = lambda _name: life
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.kubernetes.orphan(NAMESPACE, "task-t-1")
    await executors.until(lambda: executors.task("t").reason == GOES_ON, within_s=3)


@played
async def test_a_pod_that_lost_its_labels_still_says_how_the_attempt_ended(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(runs_s=20.0, exit_code=9)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.kubernetes.hides_pods = True
    for mirror in executors.kubernetes.mirrors:
        mirror.start_over()
    task = await executors.ended("t")
    assert (task.cause, task.exit_code) == (Cause.NON_ZERO_EXIT, 9)


@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted"])
@pytest.mark.parametrize("lag_s", [0.005, 3.0])
@pytest.mark.parametrize(("code", "state"), [(0, State.COMPLETED), (3, State.FAILED)])
def test_a_pod_that_outlives_its_job_ends_the_attempt_as_it_ends(
    tmp_path: Path, code: int, state: State, lag_s: float, restarts: bool
) -> None:
    async def scene(executors: Executors) -> None:
        await orphaned(executors, Life(runs_s=20.0, exit_code=code))
        executors.links["alpha"].lag_s = lag_s
        if restarts:
            await executors.kill("alpha")
            executors.start("alpha")
        task = await executors.ended("t", within_s=30)
        assert (task.state, task.exit_code, task.output_tail) == (state, code, "working\ndone")
        assert len(executors.made("t")) == 1

    play(tmp_path, scene)


@played
async def test_a_pod_that_had_ended_and_stays_without_its_job_ends_the_attempt(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(runs_s=10.0)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.links["alpha"].set_up(False)
    executors.kubernetes.orphan(NAMESPACE, "task-t-1")
    await asyncio.sleep(15)
    executors.links["alpha"].set_up(True)
    task = await executors.ended("t", within_s=5)
    assert (task.state, task.exit_code) == (State.COMPLETED, 0)


@pytest.mark.parametrize("kind", [StopKind.CANCEL, StopKind.TIMEOUT])
def test_a_stop_ends_the_pod_that_outlives_its_job(tmp_path: Path, kind: StopKind) -> None:
    async def scene(executors: Executors) -> None:
        await orphaned(executors, FOREVER)
        if kind is StopKind.CANCEL:
            executors.cancel("t")
        else:
            executors.expire("t", kind)
        task = await executors.ended("t", within_s=5)
        assert (task.state, task.exit_code) == (State.CANCELLED if kind is StopKind.CANCEL else State.FAILED, -1)
        assert executors.kubernetes.pods == {}
        assert executors.links["alpha"].calls.count("delete pod") == 1

    play(tmp_path, scene)


@played
async def test_a_stop_that_may_not_delete_the_pod_says_so_and_ends_with_it(executors: Executors) -> None:
    await orphaned(executors, Life(runs_s=30.0))
    executors.links["alpha"].plan("delete pod", *[denied('pods "p" is forbidden')] * 100)
    executors.cancel("t")
    await executors.until(lambda: executors.task("t").reason.endswith('gone, and pods "p" is forbidden'), within_s=3)
    before = executors.log.table.index
    await asyncio.sleep(10)
    assert executors.log.table.index <= before + 1, "it is told once"
    task = await executors.ended("t")
    assert (task.state, task.exit_code, task.cause) == (State.COMPLETED, 0, None)


@played
async def test_a_pod_that_waits_without_its_job_is_deleted_by_the_start_timeout(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(starts_after_s=None)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").job == JobCounts(active=1))
    executors.kubernetes.orphan(NAMESPACE, "task-t-1")
    await executors.until(lambda: executors.task("t").reason == GOES_ON, within_s=5)
    executors.expire("t", StopKind.START_TIMEOUT)
    task = await executors.ended("t", within_s=5)
    assert (task.state, task.cause) == (State.FAILED, Cause.START_TIMEOUT)
    assert executors.kubernetes.pods == {}


# --- a namespace that this account may not see --------------------------------------------------

SHUT = "this account may not list jobs in namespace batch: jobs.batch is forbidden"


@played
async def test_a_task_for_a_namespace_without_rights_fails_and_says_which(executors: Executors) -> None:
    executors.links["alpha"].refuse(SHUT)
    executors.start("alpha")
    executors.submit("t")
    task = await executors.ended("t", within_s=10)
    assert (task.state, task.cause, task.error) == (State.FAILED, Cause.FORBIDDEN, SHUT)
    await asyncio.sleep(100)
    assert executors.links["alpha"].mirrors == [], "nobody looks there any more"


@played
async def test_a_task_for_a_namespace_without_rights_is_cancelled_at_once(executors: Executors) -> None:
    executors.links["alpha"].refuse(SHUT)
    executors.start("alpha")
    executors.submit("t")
    executors.cancel("t")
    assert (await executors.ended("t", within_s=1)).state is State.CANCELLED


@played
async def test_rights_that_are_given_soon_are_soon_enough(executors: Executors) -> None:
    executors.links["alpha"].refuse(SHUT)
    executors.start("alpha")
    executors.submit("t")
    await asyncio.sleep(3)
    executors.links["alpha"].refuse("")
    assert (await executors.ended("t")).state is State.COMPLETED


@pytest.mark.parametrize("lost", [False, True], ids=["its Job was seen", "its creation was not answered"])
def test_rights_that_are_withdrawn_end_no_attempt_that_may_have_a_job(tmp_path: Path, lost: bool) -> None:
    async def scene(executors: Executors) -> None:
        executors.links["alpha"].plan("create", *([LOST] if lost else []))
        executors.links["alpha"].lag_s = 30.0 if lost else 0.005
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: bool(executors.kubernetes.jobs))
        await asyncio.sleep(0.2)
        executors.links["alpha"].refuse(SHUT)
        await executors.until(lambda: executors.task("t").unreachable)
        assert executors.task("t").reason == f"context {CONTEXT} is out of reach: {SHUT}"
        await asyncio.sleep(60)
        assert not executors.task("t").ended
        executors.links["alpha"].refuse("")
        assert (await executors.ended("t")).state is State.COMPLETED
        assert len(executors.made("t")) == 1

    play(tmp_path, scene)


# --- a Job that somebody suspends ---------------------------------------------------------------


@pytest.mark.parametrize("pause_s", [0.0, 30.0], ids=["at once", "later"])
def test_the_output_of_a_job_that_was_suspended_and_resumed_is_that_of_its_second_pod(
    tmp_path: Path, pause_s: float
) -> None:
    async def scene(executors: Executors) -> None:
        executors.kubernetes.life = lambda _name: Life(runs_s=5.0, lines=("first",))
        executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: executors.task("t").state is State.RUNNING)
        await asyncio.sleep(1)
        executors.kubernetes.life = lambda _name: Life(runs_s=5.0, lines=("second",))
        executors.kubernetes.suspend(NAMESPACE, "task-t-1")
        if pause_s:
            await executors.until(lambda: "suspended" in executors.task("t").reason, within_s=3)
        await asyncio.sleep(pause_s)
        executors.kubernetes.resume(NAMESPACE, "task-t-1")
        task = await executors.ended("t")
        assert (task.state, task.output_tail) == (State.COMPLETED, "second")
        output = executors.output("alpha", "t")
        assert output is not None
        assert output.end == End("complete", "")

    play(tmp_path, scene)


# --- a context whose name is given to another cluster --------------------------------------------


@pytest.mark.parametrize("stops", [False, True], ids=["it goes on", "it is to be stopped"])
def test_an_attempt_is_not_looked_for_in_another_cluster(tmp_path: Path, stops: bool) -> None:
    async def scene(executors: Executors) -> None:
        executors.kubernetes.life = lambda _name: Life(runs_s=30.0)
        alpha = executors.start("alpha")
        executors.submit("t")
        await executors.until(lambda: executors.task("t").state is State.RUNNING)
        other = FakeJobs(FakeContext(), Link())
        alpha.contexts.contexts[CONTEXT], alpha.contexts.servers[CONTEXT] = other, "another cluster"
        if stops:
            executors.cancel("t")
        await executors.until(lambda: executors.task("t").unreachable, within_s=8)
        if not stops:
            assert executors.task("t").reason == f"node alpha reaches another cluster under the name {CONTEXT}"
        await asyncio.sleep(60)
        assert not executors.task("t").ended, "what is not there proves nothing"
        alpha.contexts.contexts[CONTEXT], alpha.contexts.servers[CONTEXT] = alpha.jobs, SERVER
        task = await executors.ended("t", within_s=5)
        assert task.state is State.COMPLETED, "it had ended before anybody stopped it"

    play(tmp_path, scene)


@played
async def test_an_attempt_is_not_begun_in_another_cluster(executors: Executors) -> None:
    executors.start("alpha").contexts.servers[CONTEXT] = "another cluster"
    executors.submit("t")
    await executors.until(lambda: executors.task("t").unreachable, within_s=8)
    await asyncio.sleep(30)
    assert executors.kubernetes.made == []
