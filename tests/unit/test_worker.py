"""The executor as a whole: real workers and deeds against a log and contexts that misbehave."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from raftsman.executor.jobs import Mirror
from raftsman.raft.lifecycle import Cause, State
from raftsman.raft.records import Instant
from tests.harness.executors import CONTEXT, NAMESPACE, ODD_CONTEXT, TTL_S, Executors, play, played
from tests.harness.fake_jobs import FakeJobs, Life
from tests.harness.fake_link import DOWN, LOST, Fault, denied, late, slow
from tests.harness.fake_log import Trouble


class OddJobs(FakeJobs):
    """A context at which our own code breaks."""

    def mirror(self, namespace: str, selector: str, on_change: Callable[[], None]) -> Mirror:
        raise ZeroDivisionError


class TornJobs(FakeJobs):
    """A context whose output breaks our own code, once."""

    torn = False

    def read_log(
        self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        if not self.torn:
            self.torn = True
            raise ZeroDivisionError
        return super().read_log(namespace, pod, container, since=since, follow=follow)


FOREVER = Life(runs_s=None)


def finished_at(executors: Executors, task_id: str) -> Instant:
    ended = executors.task(task_id).completed_at
    assert ended is not None
    return ended


def nothing_is_left(executors: Executors) -> bool:
    return not executors.kubernetes.jobs and not executors.kubernetes.pods


# --- the way through --------------------------------------------------------------------------


@played
async def test_a_task_runs_in_one_job_and_its_row_says_how_it_ended(executors: Executors) -> None:
    node = executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    task = await executors.ended("t")
    assert (task.state, task.exit_code, task.output_tail) == (State.COMPLETED, 0, "working\ndone")
    assert task.attempt is not None
    assert [task.attempt.job_uid] == executors.made("t")
    assert executors.counted == {"created": 1}
    output = executors.output("alpha", "t")
    assert output is not None
    assert output.end is not None
    assert (output.end.end, node.worker.errors) == ("complete", 0)


@played
async def test_a_failed_job_says_what_failed(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(exit_code=3, lines=("no such file",))
    executors.start("alpha")
    executors.submit("t")
    task = await executors.ended("t")
    assert (task.state, task.cause, task.exit_code) == (State.FAILED, Cause.NON_ZERO_EXIT, 3)
    assert task.output_tail == "no such file"


# --- one Job per attempt ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [
        (LOST,),
        (LOST, LOST),
        (DOWN, LOST, DOWN),
        (late(0.5),),
        (late(0.5), late(5.0), LOST),
        (slow(8.0),),
        (LOST, denied("exceeded quota: jobs")),
        (late(3.0), denied("exceeded quota: jobs")),
    ],
    ids=lambda faults: " ".join(f"{'lost' if each.happens else 'refused'}@{each.delay_s}" for each in faults),
)
@pytest.mark.parametrize("lag_s", [0.005, 2.0, 15.0])
def test_an_attempt_has_one_job_whatever_happens_to_its_creation(
    tmp_path: Path, faults: tuple[Fault, ...], lag_s: float
) -> None:
    async def scene(executors: Executors) -> None:
        executors.links["alpha"].lag_s = lag_s
        executors.links["alpha"].plan("create", *faults)
        executors.start("alpha")
        executors.submit("t")
        task = await executors.ended("t")
        assert task.state is State.COMPLETED
        assert len(executors.made("t")) == 1
        assert executors.counted == {"created": 1}

    play(tmp_path, scene)


@played
async def test_a_node_that_comes_back_goes_on_with_the_same_job(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(runs_s=5.0)
    executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    await executors.kill("alpha")
    executors.start("alpha")
    task = await executors.ended("t")
    assert task.state is State.COMPLETED
    assert task.output_tail == "working\ndone"
    assert len(executors.made("t")) == 1
    assert executors.counted == {"created": 1, "adopted": 1}


@pytest.mark.parametrize("after_s", [0.001, 0.003, 0.005, 0.008, 0.02, 0.05, 0.1])
def test_a_node_killed_around_the_creation_finds_its_job_again(tmp_path: Path, after_s: float) -> None:
    async def scene(executors: Executors) -> None:
        executors.start("alpha")
        await asyncio.sleep(0.5)
        executors.submit("t")
        await asyncio.sleep(after_s)
        await executors.kill("alpha")
        executors.start("alpha")
        task = await executors.ended("t")
        assert (task.state, len(executors.made("t"))) == (State.COMPLETED, 1)

    play(tmp_path, scene)


@played
async def test_another_node_adopts_the_job_and_the_first_one_stops_looking(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(runs_s=5.0)
    alpha, beta = executors.start("alpha"), executors.start("beta")
    executors.submit("t", "alpha")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.reassign("t", "beta")
    await executors.until(lambda: executors.counted["adopted"] == 1)
    before = len(executors.links["alpha"].calls)
    task = await executors.ended("t")
    assert (task.state, task.node, task.output_tail) == (State.COMPLETED, "beta", "working\ndone")
    assert len(executors.made("t")) == 1
    assert len(executors.links["alpha"].calls) == before
    output = executors.output("alpha", "t")
    assert output is not None
    assert output.end is not None
    assert (output.end.end, output.end.reason) == ("truncated", "another node took the attempt over")
    assert alpha.worker.errors == beta.worker.errors == 0


@played
async def test_an_attempt_that_went_to_another_node_and_back_is_followed_again(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: Life(runs_s=5.0)
    executors.start("alpha")
    executors.start("beta")
    executors.submit("t", "alpha")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.reassign("t", "beta")
    await executors.until(lambda: executors.counted["adopted"] == 1)
    executors.reassign("t", "alpha")
    task = await executors.ended("t")
    assert (task.state, task.node, task.output_tail) == (State.COMPLETED, "alpha", "working\ndone")
    assert len(executors.made("t")) == 1
    output = executors.output("alpha", "t")
    assert output is not None
    assert output.end is not None
    assert output.end.end == "complete"


@played
async def test_two_nodes_that_both_take_an_attempt_for_theirs_make_one_job(executors: Executors) -> None:
    alpha, _ = executors.start("alpha"), executors.start("beta")
    executors.links["alpha"].plan("create", slow(0.5))
    executors.submit("t", "alpha")
    await executors.until(lambda: "create" in executors.links["alpha"].calls)
    alpha.replica.cut_off()
    executors.reassign("t", "beta")
    task = await executors.ended("t")
    assert (task.state, task.node) == (State.COMPLETED, "beta")
    assert len(executors.made("t")) == 1


@played
async def test_a_node_that_is_cut_off_makes_no_second_job_when_the_first_is_deleted(executors: Executors) -> None:
    executors.kubernetes.life = lambda _name: FOREVER
    alpha, _ = executors.start("alpha"), executors.start("beta")
    executors.links["alpha"].plan("create", slow(0.5))
    executors.submit("t", "alpha")
    await executors.until(lambda: "create" in executors.links["alpha"].calls)
    alpha.replica.cut_off()
    executors.reassign("t", "beta")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.cancel("t")
    await executors.ended("t")
    await asyncio.sleep(30)
    assert nothing_is_left(executors)
    assert len(executors.made("t")) == 1
    alpha.replica.cut_off(False)


# --- an id that is used again --------------------------------------------------------------------


@pytest.mark.parametrize("lag_s", [0.005, 2.0])
@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted"])
def test_a_task_whose_id_was_used_before_runs_in_a_job_of_its_own(tmp_path: Path, lag_s: float, restarts: bool) -> None:
    async def scene(executors: Executors) -> None:
        executors.start("alpha")
        executors.submit("t")
        await executors.ended("t")
        executors.forget("t")
        executors.kubernetes.life = lambda _name: Life(exit_code=7, lines=("second",))
        executors.links["alpha"].lag_s = lag_s
        if restarts:
            await executors.kill("alpha")
            executors.start("alpha")
        executors.submit("t")
        task = await executors.ended("t")
        assert (task.state, task.exit_code, task.output_tail) == (State.FAILED, 7, "second")
        assert len(executors.made("t")) == 2

    play(tmp_path, scene)


@played
async def test_a_task_waits_until_the_job_of_an_earlier_task_of_its_id_is_gone_and_says_so(
    executors: Executors,
) -> None:
    executors.start("alpha")
    executors.submit("t")
    await executors.ended("t")
    executors.forget("t")
    executors.kubernetes.holds = True
    executors.submit("t")
    await executors.until(lambda: "Job of an earlier task of this id" in executors.task("t").reason, within_s=2)
    await asyncio.sleep(20)
    assert executors.links["alpha"].calls.count("delete") == 1
    executors.kubernetes.release(NAMESPACE, "task-t-1")
    task = await executors.ended("t")
    assert (task.state, task.reason, len(executors.made("t"))) == (State.COMPLETED, "", 2)


@played
async def test_a_task_is_cancelled_although_the_job_of_an_earlier_task_of_its_id_stays(executors: Executors) -> None:
    executors.start("alpha")
    executors.submit("t")
    await executors.ended("t")
    executors.forget("t")
    executors.kubernetes.holds = True
    executors.submit("t")
    await executors.until(lambda: bool(executors.task("t").reason))
    executors.cancel("t")
    assert (await executors.ended("t", within_s=2)).state is State.CANCELLED
    assert len(executors.made("t")) == 1


# --- output -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("exit_code", "state"), [(0, State.COMPLETED), (1, State.FAILED)])
def test_output_that_cannot_be_fetched_changes_no_outcome(tmp_path: Path, exit_code: int, state: State) -> None:
    async def scene(executors: Executors) -> None:
        executors.kubernetes.life = lambda _name: Life(exit_code=exit_code)
        executors.links["alpha"].plan("log", *[DOWN] * 1_000)
        executors.start("alpha")
        executors.submit("t")
        task = await executors.ended("t", within_s=20)
        assert (task.state, task.exit_code, task.output_tail) == (state, exit_code, "")
        await executors.until(lambda: (found := executors.output("alpha", "t")) is not None and found.end is not None)

    play(tmp_path, scene)


@played
async def test_the_end_of_the_output_is_waited_for_once_however_often_the_end_is_told(executors: Executors) -> None:
    node = executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    executors.links["alpha"].plan("log", *[slow(60.0)] * 100)
    node.replica.troubles.extend([Trouble.LOST] * 4)
    assert (await executors.ended("t", within_s=20)).state is State.COMPLETED


# --- the log ----------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", list(Trouble))
def test_a_report_without_an_answer_is_repeated_and_harmless(tmp_path: Path, trouble: Trouble) -> None:
    async def scene(executors: Executors) -> None:
        node = executors.start("alpha")
        node.replica.troubles.extend([trouble] * 6)
        executors.submit("t")
        task = await executors.ended("t")
        assert (task.state, len(executors.made("t"))) == (State.COMPLETED, 1)
        assert task.output_tail == "working\ndone"

    play(tmp_path, scene)


# --- what is left behind ----------------------------------------------------------------------


@played
async def test_a_job_is_told_when_to_leave_after_its_outcome_is_in_the_log(executors: Executors) -> None:
    node = executors.start("alpha")
    executors.submit("t")
    await executors.until(lambda: executors.task("t").state is State.RUNNING)
    node.replica.troubles.extend([Trouble.LOST] * 3)
    await executors.ended("t")
    await executors.until(lambda: bool(executors.kubernetes.times_to_live))
    [(name, seconds, at)] = executors.kubernetes.times_to_live
    assert (name, seconds) == ("task-t-1", TTL_S)
    assert at >= finished_at(executors, "t")


@pytest.mark.parametrize("late_table", [False, True], ids=["at once", "when its table has caught up"])
def test_a_node_that_comes_back_tells_the_jobs_it_could_not_tell(tmp_path: Path, late_table: bool) -> None:
    async def scene(executors: Executors) -> None:
        executors.start("alpha")
        executors.links["alpha"].plan("patch", *[DOWN] * 100)
        executors.submit("t")
        await executors.ended("t")
        await executors.kill("alpha")
        executors.links["alpha"].faults.clear()
        executors.start("alpha").replica.cut_off(late_table)
        if late_table:
            executors.nodes["alpha"].replica.forget_since(3)
            await asyncio.sleep(2)
            executors.nodes["alpha"].replica.cut_off(False)
        await executors.until(lambda: bool(executors.kubernetes.times_to_live))

    play(tmp_path, scene)


@played
async def test_a_job_that_cannot_be_told_to_leave_is_not_asked_in_a_storm(executors: Executors) -> None:
    executors.links["alpha"].plan("patch", *[denied("cannot patch resource")] * 1_000)
    executors.start("alpha")
    executors.submit("t")
    await executors.ended("t")
    await asyncio.sleep(50)
    assert 2 <= executors.links["alpha"].calls.count("patch") <= 6


# --- odd things -------------------------------------------------------------------------------


@played
async def test_an_attempt_that_cannot_be_looked_at_stops_no_other(executors: Executors) -> None:
    node = executors.start("alpha")
    executors.submit("t1", context=ODD_CONTEXT)
    executors.submit("t2")
    node.contexts.contexts[ODD_CONTEXT] = OddJobs(executors.kubernetes, executors.links["alpha"])
    assert (await executors.ended("t2")).state is State.COMPLETED
    await asyncio.sleep(20)
    assert 1 <= node.worker.errors <= 12, "the same error is not met in every look"


@played
async def test_an_output_whose_reading_broke_is_read_again(executors: Executors) -> None:
    node = executors.start("alpha")
    node.contexts.contexts[CONTEXT] = TornJobs(executors.kubernetes, executors.links["alpha"])
    executors.kubernetes.life = lambda _name: Life(runs_s=10.0)
    executors.submit("t")
    task = await executors.ended("t")
    assert (task.state, task.output_tail, node.worker.errors) == (State.COMPLETED, "working\ndone", 1)


@played
async def test_an_attempt_whose_job_cannot_be_built_fails_and_stops_no_other(executors: Executors) -> None:
    node = executors.start("alpha")
    executors.submit("t1", pod_template="no JSON")
    executors.submit("t2")
    assert (await executors.ended("t2")).state is State.COMPLETED
    task = await executors.ended("t1", within_s=10)
    assert (task.state, task.cause, node.worker.errors) == (State.FAILED, Cause.INTERNAL, 1)
    assert "raftsman cannot build a Job" in task.error
