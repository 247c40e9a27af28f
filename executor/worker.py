"""The executor's loop: look at the attempts that the table gives to this node, decide, do.

There is no dispatch call: an assignment is seen in this node's own copy of the table. After a restart, or when
another node's attempts are reassigned, the same loop finds the Jobs that are there and goes on with them.
Decisions are ``reconcile``'s, calls are ``deeds``', output is ``podlogs``'.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from raftsman.executor import podstatus
from raftsman.executor.deeds import Deeds, Watched
from raftsman.executor.jobs import (
    ANNOTATION_TASK,
    CONTAINER,
    LABEL_CLUSTER,
    Contexts,
    Jobs,
    Json,
    KubernetesError,
    Mirror,
)
from raftsman.executor.manifest import job_name
from raftsman.executor.output import OutputStore
from raftsman.executor.podlogs import capture
from raftsman.executor.reconcile import Sight, decide, output_source, wants_ttl
from raftsman.raft.records import Attempt, Instant, NodeId, Task, TaskId
from raftsman.raft.replica import Replica
from raftsman.raft.table import TaskTable

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""Timers of waiting Pods are looked at so often, also when nothing changes."""
PAUSE_S = 0.02
"""Between two looks, so that a burst of events is one look."""
IDLE_MIRROR_MS = 60_000
"""A mirror that no attempt needs is kept so long: tasks tend to come in groups."""
FOUND_MS = 10_000
"""A Job that an answer showed and the mirror does not show after this time is looked for again."""
SETTLE_MS = 600_000
"""After a restart, Jobs of tasks that ended at most so long ago are given their time to live, if that was missed."""

AttemptKey = tuple[TaskId, int]
Place = tuple[str, str]  # (context, namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What one look needs of the table."""

    cluster: str
    mine: list[Task]


class Worker:
    """Carries out what the table assigns to *node*."""

    def __init__(
        self,
        *,
        node: NodeId,
        replica: Replica,
        contexts: Contexts,
        output: OutputStore,
        deeds: Deeds,
        job_ttl_s: int,
        wakeup: asyncio.Event,
        now: Callable[[], Instant],
    ) -> None:
        self._node = node
        self._replica = replica
        self._contexts = contexts
        self._output = output
        self._deeds = deeds
        self._job_ttl_s = job_ttl_s
        self._wakeup = wakeup
        self._now = now
        self._watched: dict[AttemptKey, Watched] = {}
        self._places: dict[Place, Instant] = {}  # Where mirrors run, and when they were needed last.
        self._settling: set[str] = set()  # UIDs of Jobs that are being given their time to live.
        self._background: set[asyncio.Task[None]] = set()
        self._settled_missed = False
        self.errors = 0

    async def run(self) -> None:
        """Go on until cancelled; Jobs then go on without this node."""
        try:
            while True:
                try:
                    await self._look()
                except Exception:  # The outermost frame of the loop: one odd object must not stop the others.
                    self.errors += 1
                    log.exception("the worker's loop met an error and goes on")
                await asyncio.sleep(PAUSE_S)
                await _wait(self._wakeup, LOOK_EVERY_S)
        finally:
            self._output.close()
            await _cancel([*self._running(), *self._background])

    def _running(self) -> Iterable["asyncio.Task[None]"]:
        for watched in self._watched.values():
            yield from (each for each in (watched.deed, watched.capture) if each is not None)

    # --- one look ---

    async def _look(self) -> None:
        view = self._replica.read(self._view)
        if not view.cluster:
            return
        if not self._settled_missed:
            self._settled_missed = True
            for place in self._replica.read(self._recent_places):
                self._places[place] = self._now()
        keys = set()
        for task in view.mine:
            assert task.attempt is not None
            keys.add((task.task_id, task.attempt.number))
            self._attend(task, task.attempt, view.cluster)
        for key in [key for key in self._watched if key not in keys]:
            self._let_go(key, self._watched.pop(key))
        self._settle_finished(view.cluster)
        await self._drop_idle_mirrors()

    def _view(self, table: TaskTable) -> _View:
        return _View(
            cluster=table.cluster_uuid,
            mine=[task for task in table.live.values() if task.attempt is not None and task.attempt.node == self._node],
        )

    def _recent_places(self, table: TaskTable) -> set[Place]:
        places = set()
        for task in reversed(table.ended.values()):
            if task.completed_at is None or self._now() - task.completed_at > SETTLE_MS:
                break
            if task.attempt is not None and task.attempt.node == self._node:
                places.add((task.attempt.context, task.attempt.namespace))
        return places

    def _attend(self, task: Task, attempt: Attempt, cluster: str) -> None:
        watched = self._watched.setdefault((task.task_id, attempt.number), Watched())
        jobs = self._contexts.jobs(attempt.context)
        sight = self._sight(task, attempt, jobs, watched, cluster)
        self._follow_output(task, attempt, jobs, sight, watched)
        if watched.deed is not None and not watched.deed.done():
            return
        action, watched.notes = decide(task, sight, watched.notes, self._now(), cluster=cluster)
        if action is not None:
            deed = self._deeds.carry_out(action, task, jobs, watched)
            watched.deed = asyncio.create_task(deed, name=f"{type(action).__name__} {task.task_id}")
            watched.deed.add_done_callback(self._deed_done)

    def _deed_done(self, deed: "asyncio.Task[None]") -> None:
        if not deed.cancelled() and (error := deed.exception()) is not None:
            self.errors += 1
            log.error("%s failed", deed.get_name(), exc_info=error)
        self._wakeup.set()

    def _sight(self, task: Task, attempt: Attempt, jobs: Jobs | None, watched: Watched, cluster: str) -> Sight:
        if jobs is None:
            configured = attempt.context in self._contexts.names()
            return Sight(
                configured=configured, error=self._contexts.health(attempt.context).error or "not connected yet"
            )
        mirror = self._mirror(jobs, attempt.context, attempt.namespace, cluster)
        if not mirror.synced:
            return Sight(error=mirror.error or "its first list is not complete")
        job = mirror.jobs.get(job_name(task.task_id, attempt.number))
        if job is not None:
            watched.found = None
        elif watched.found_at is not None and self._now() - watched.found_at < FOUND_MS:
            job = watched.found
        uid = podstatus.text(podstatus.part(job, "metadata"), "uid") if job else attempt.job_uid
        events = [event for found in watched.events.values() for event in found]
        return Sight(
            job=job,
            pods=mirror.pods_of(uid) if uid else (),
            departed=mirror.departed_pods_of(uid) if uid else (),
            events=events,
        )

    def _mirror(self, jobs: Jobs, context: str, namespace: str, cluster: str) -> Mirror:
        self._places[context, namespace] = self._now()
        return jobs.mirror(namespace, f"{LABEL_CLUSTER}={cluster}", self._wakeup.set)

    def _let_go(self, key: AttemptKey, watched: Watched) -> None:
        """Stop following an attempt that has ended or that another node looks after now."""
        task_id, number = key
        task = self._replica.read(lambda table: table.task(task_id))
        if watched.capture is None or watched.capture.done():
            return
        watched.capture.cancel()
        if watched.output is not None and watched.output.end is None:
            moved = task is not None and not task.ended and task.node != self._node
            reason = (
                "another node took the attempt over" if moved else "the end of the output could not be read in time"
            )
            watched.output.finish("truncated", reason)
        log.debug("task %s attempt %d: its output is no longer followed", task_id, number)

    # --- output ---

    def _follow_output(self, task: Task, attempt: Attempt, jobs: Jobs | None, sight: Sight, watched: Watched) -> None:
        if sight.error or jobs is None:
            return
        pod = output_source(sight)
        watched.pod = pod
        if pod is None or watched.capture is not None:
            return
        watched.output = self._output.open(task.task_id, attempt.number)
        following = capture(
            jobs,
            namespace=attempt.namespace,
            pod=podstatus.name(pod),
            container=CONTAINER,
            output=watched.output,
            running=lambda: _runs(watched.pod),
        )
        watched.capture = asyncio.create_task(following, name=f"output of {task.task_id}")
        watched.capture.add_done_callback(self._deed_done)

    # --- finished Jobs ---

    def _settle_finished(self, cluster: str) -> None:
        """Give Jobs whose outcome is in the log their time to live; until then they are the only evidence."""
        for context, namespace in list(self._places):
            jobs = self._contexts.jobs(context)
            if jobs is None:
                continue
            mirror = jobs.mirror(namespace, f"{LABEL_CLUSTER}={cluster}", self._wakeup.set)
            for job in list(mirror.jobs.values()) if mirror.synced else []:
                if wants_ttl(job, self._job_ttl_s) and self._is_settled(job):
                    self._settle(jobs, namespace, job)

    def _is_settled(self, job: Json) -> bool:
        task_id = podstatus.text(podstatus.part(job, "metadata", "annotations"), ANNOTATION_TASK)
        task = self._replica.read(lambda table: table.task(task_id))
        return task is not None and task.ended and task.node == self._node

    def _settle(self, jobs: Jobs, namespace: str, job: Json) -> None:
        metadata = podstatus.part(job, "metadata")
        uid, name = podstatus.text(metadata, "uid"), podstatus.text(metadata, "name")
        if uid in self._settling:
            return
        self._settling.add(uid)

        async def settle() -> None:
            try:
                await jobs.set_ttl(namespace, name, uid, self._job_ttl_s)
            except KubernetesError as error:
                log.info("Job %s/%s keeps its long time to live for now: %s", namespace, name, error.message)
                await asyncio.sleep(LOOK_EVERY_S)
            finally:
                self._settling.discard(uid)

        work = asyncio.create_task(settle(), name=f"ttl of {name}")
        self._background.add(work)
        work.add_done_callback(self._background.discard)

    async def _drop_idle_mirrors(self) -> None:
        now = self._now()
        for place, needed_at in list(self._places.items()):
            if now - needed_at > IDLE_MIRROR_MS:
                del self._places[place]
                jobs = self._contexts.jobs(place[0])
                if jobs is not None:
                    await jobs.drop_mirror(place[1])


def _runs(pod: Json | None) -> bool:
    return pod is not None and all(end.container != CONTAINER for end in podstatus.ends(pod))


async def _wait(wakeup: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await wakeup.wait()
    except TimeoutError:
        pass
    wakeup.clear()


async def _cancel(tasks: Iterable["asyncio.Task[None]"]) -> None:
    running = list(tasks)
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)
