"""Two executors under random schedules of faults, kills, moves and stops: what must hold in every one of them.

A failing seed is the name of its test: the same seed always plays the same schedule.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from raftsman.executor import podstatus
from raftsman.executor.manifest import job_name
from raftsman.executor.reconcile import works
from raftsman.raft.lifecycle import Cause, State, StopKind
from raftsman.raft.records import Task
from tests.harness.executors import Executors, play
from tests.harness.fake_jobs import Life
from tests.harness.fake_link import DOWN, LOST, SERVED, Fault, late, slow
from tests.harness.fake_log import Trouble

TASKS = [f"t{n}" for n in range(6)]
NODES = ("alpha", "beta")
STEPS = 60
SEEDS = 50


class Chaos:
    """A schedule: what happens, drawn from its seed."""

    def __init__(self, executors: Executors, seed: int) -> None:
        self._executors = executors
        self._random = random.Random(seed)
        self._fault_rate = self._random.choice([0.05, 0.3, 0.7])
        self._lives = {job_name(task_id, 1): self._life() for task_id in TASKS}
        self.stopped: set[str] = set()

    def life(self, name: str) -> Life:
        return self._lives[name]

    def _life(self) -> Life:
        runs_s = self._random.choice([0.05, 1.0, 4.0, 10.0, None, None])
        return Life(
            starts_after_s=self._random.choice([0.01, 0.5, 3.0]),
            runs_s=runs_s,
            exit_code=self._random.choice([0, 0, 3]),
            dies_after_s=self._random.choice([0.01, 1.0]),
        )

    async def go_on(self) -> None:
        """Disturb for a while."""
        executors, draw = self._executors, self._random
        for link in executors.links.values():
            link.chance = self._fault
        for name in NODES:
            self._start(name)
        for task_id in TASKS:
            executors.submit(task_id, draw.choice(NODES))
            await asyncio.sleep(draw.random())
        deeds = [self._kill, self._cut_off, self._cut_link, self._lag, self._move, self._lose, self._stop]
        for _ in range(STEPS):
            await draw.choice(deeds)(draw.choice(NODES), draw.choice(TASKS))
            await asyncio.sleep(draw.expovariate(3.0))

    def calm(self) -> None:
        """Disturb no more: everybody is there, everything answers, and what would never end is cancelled."""
        for link in self._executors.links.values():
            link.chance, link.lag_s = lambda _verb: SERVED, 0.01
            link.set_up(True)
        for name in NODES:
            if name not in self._executors.nodes:
                self._executors.start(name)
            replica = self._executors.nodes[name].replica
            replica.chance = lambda: None
            replica.cut_off(False)
        for task_id in TASKS:
            if self.life(job_name(task_id, 1)).runs_s is None and not self._executors.task(task_id).ended:
                self.stopped.add(task_id)
                self._executors.cancel(task_id)

    def _fault(self, _verb: str) -> Fault:
        faults = [LOST, DOWN, late(0.5), late(2.0), late(6.0), late(20.0), slow(0.5), slow(3.0)]
        return SERVED if self._random.random() > self._fault_rate else self._random.choice(faults)

    def _trouble(self) -> Trouble | None:
        return None if self._random.random() < 0.8 else self._random.choice(list(Trouble))

    def _start(self, name: str) -> None:
        self._executors.start(name).replica.chance = self._trouble

    async def _kill(self, node: str, _task_id: str) -> None:
        if node in self._executors.nodes:
            await self._executors.kill(node)
        else:
            self._start(node)

    async def _cut_off(self, node: str, _task_id: str) -> None:
        if node in self._executors.nodes:
            self._executors.nodes[node].replica.cut_off(self._random.random() < 0.5)

    async def _cut_link(self, node: str, _task_id: str) -> None:
        self._executors.links[node].set_up(self._random.random() < 0.6)

    async def _lag(self, node: str, _task_id: str) -> None:
        self._executors.links[node].lag_s = self._random.choice([0.001, 0.1, 3.0])

    async def _move(self, node: str, task_id: str) -> None:
        task = self._executors.task(task_id)
        if not task.ended and task.node != node:
            self._executors.reassign(task_id, node)

    async def _lose(self, node: str, _task_id: str) -> None:
        """Cut the node off, and let the other one take its attempts over: it goes on with an old table."""
        other = next(name for name in NODES if name != node)
        if node in self._executors.nodes:
            self._executors.nodes[node].replica.cut_off()
        for task_id in TASKS:
            if self._executors.task(task_id).node == node:
                await self._move(other, task_id)

    async def _stop(self, _node: str, task_id: str) -> None:
        task = self._executors.task(task_id)
        if task.ended or self._random.random() < 0.5:
            return
        self.stopped.add(task_id)
        if task.state is State.RUNNING and self._random.random() < 0.5:
            self._executors.expire(task_id, StopKind.TIMEOUT)
        else:
            self._executors.cancel(task_id)


def check_ends(task: Task, life: Life, *, stopped: bool) -> None:
    """Check that the task ended as its Pod did, or by its stop."""
    if task.state is State.COMPLETED:
        assert (life.exit_code, task.exit_code) == (0, 0)
    elif task.cause is Cause.NON_ZERO_EXIT:
        assert task.exit_code == life.exit_code != 0
    else:
        assert stopped, (task.state, task.cause, task.attempt)
        assert task.state is State.CANCELLED or task.cause is Cause.TIMEOUT


def check_kubernetes(executors: Executors, stopped: set[str]) -> None:
    """Check that no attempt had a second Job beside its first, or a Job after its end."""
    made = Counter(name for name, _ in executors.kubernetes.made)
    ran = Counter(executors.kubernetes.started)
    begun = [(name, uid) for name, uid in executors.kubernetes.made if uid in executors.kubernetes.pods_made]
    for task_id in TASKS:
        name = job_name(task_id, 1)
        # A create that is still on its way when a stop has removed the Job makes another, which is removed, too.
        assert made[name] <= (2 if task_id in stopped else 1), name
        pods = [executors.kubernetes.pods_made[uid] for each, uid in begun if each == name]
        assert sum(pods) <= 1, f"Jobs of {name} had {pods} Pods"
        assert task_id in stopped or ran[name] == 1, name
    for job in executors.kubernetes.jobs.values():
        assert not works(job), f"{podstatus.name(job)} works for a task that has ended"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_each_task_ends_once_and_each_attempt_has_one_job(tmp_path: Path, seed: int) -> None:
    async def scene(executors: Executors) -> None:
        chaos = Chaos(executors, seed)
        executors.kubernetes.life = chaos.life
        await chaos.go_on()
        chaos.calm()
        await executors.ended(*TASKS, within_s=120)
        await asyncio.sleep(40)  # Long enough for what came late to be found and removed.
        for task_id in TASKS:
            check_ends(executors.task(task_id), chaos.life(job_name(task_id, 1)), stopped=task_id in chaos.stopped)
        check_kubernetes(executors, chaos.stopped)
        told = {name for name, _, _ in executors.kubernetes.times_to_live}
        assert {name for _, name in executors.kubernetes.jobs} <= told
        assert all(node.worker.errors == 0 for node in executors.nodes.values())

    play(tmp_path, scene)
