"""The executor's loop: look at the attempts that the table gives to this node, decide, do.

There is no dispatch call: an assignment is seen in this node's own copy of the table. After a restart, or when
another node's attempts are reassigned, the same loop finds the Jobs that are there and goes on with them.
Decisions are ``reconcile``'s, calls are ``deeds``', output is ``podlogs``', finished Jobs are ``settling``'s.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial

from raftsman.executor import podstatus
from raftsman.executor.actions import ReadEvents, Sight
from raftsman.executor.deeds import Deeds, Watched
from raftsman.executor.jobs import (
    CONTAINER,
    Contexts,
    Jobs,
    Json,
)
from raftsman.executor.manifest import is_ours, job_name
from raftsman.executor.moments import Moment
from raftsman.executor.output import OutputStore
from raftsman.executor.podlogs import capture
from raftsman.executor.reconcile import decide, known_uid, output_source
from raftsman.executor.settling import Readable, Settling
from raftsman.executor.shell import Shells
from raftsman.raft.records import BOUND_TYPES, Attempt, Instant, NodeId, Task, TaskId
from raftsman.raft.table import TaskTable

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""Timers of waiting Pods are looked at so often, also when nothing changes."""
PAUSE_S = 0.02
"""Between two looks, so that a burst of events is one look."""
FOUND_MS = 10_000
"""A Job that an answer showed and the mirror does not show after this time is looked for again."""
AFTER_ERROR_MS = 5_000
"""An attempt at which this program failed is left alone so long: the same look would fail in the same way."""

AttemptKey = tuple[TaskId, int, int]
"""Id and number of the task, for an id can come again between two looks; number of the attempt."""


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
        replica: Readable,
        contexts: Contexts,
        output: OutputStore,
        deeds: Deeds,
        job_ttl_s: int,
        wakeup: asyncio.Event,
        now: Callable[[], Instant],
        moment: Callable[[], Moment],
        shells: Shells | None = None,
        on_second_job: Callable[[], None] = lambda: None,
    ) -> None:
        """*shells* carries out the attempts that live in this process; None: this node is given none.

        *on_second_job* is called once for each Job that an attempt has beside its own.
        """
        self._shells = shells
        self._node = node
        self._replica = replica
        self._contexts = contexts
        self._output = output
        self._deeds = deeds
        self._wakeup = wakeup
        self._moment = moment
        self._watched: dict[AttemptKey, Watched] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._settling = Settling(
            node=node,
            replica=replica,
            contexts=contexts,
            job_ttl_s=job_ttl_s,
            now=now,
            moment=moment,
            wake=wakeup.set,
            in_background=self._in_background,
            guarded=self._guarded,
            on_second=on_second_job,
        )
        self.errors = 0

    async def run(self) -> None:
        """Go on until cancelled; Jobs then go on without this node."""
        try:
            while True:
                self._guarded("the worker's look", self._look)
                await asyncio.sleep(PAUSE_S)
                await _wait(self._wakeup, LOOK_EVERY_S)
        finally:
            self._output.close()
            await _cancel([*self._running(), *self._background])

    def _running(self) -> Iterable["asyncio.Task[None]"]:
        for watched in self._watched.values():
            yield from (each for each in (watched.deed, watched.reading, watched.capture) if each is not None)

    def _guarded(self, what: str, work: Callable[[], None]) -> bool:
        """Return whether *work* went well. The outermost frame of what a look does about one thing."""
        try:
            work()
        except Exception:  # One odd object must not stop the others.
            self.errors += 1
            log.exception("%s met an error; the rest goes on", what)
            return False
        return True

    def _in_background(self, work: Coroutine[object, object, None], name: str) -> None:
        self._keep(asyncio.create_task(work, name=name))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(self._log_failure)

    def _log_failure(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors += 1
            log.error("%s failed", task.get_name(), exc_info=error)

    # --- one look ---

    def _look(self) -> None:
        view = self._replica.read(self._view)
        if not view.cluster:
            return
        keys = set()
        for task in view.mine:
            assert task.attempt is not None
            if task.type in BOUND_TYPES:
                self._guarded(f"task {task.task_id}", partial(self._attend_bound, task))
                continue
            key = (task.task_id, task.sequence, task.attempt.number)
            keys.add(key)
            watched = self._watched.setdefault(key, Watched())
            if watched.resume_at is not None and self._moment() < watched.resume_at:
                continue
            attend = partial(self._attend, task, task.attempt, watched, view.cluster)
            if not self._guarded(f"task {task.task_id}", attend):
                watched.resume_at = self._moment() + AFTER_ERROR_MS
        for key in [key for key in self._watched if key not in keys]:
            self._let_go(key, self._watched.pop(key))
        self._settling.look(view.cluster)

    def _view(self, table: TaskTable) -> _View:
        return _View(
            cluster=table.cluster_uuid,
            mine=[task for task in table.live.values() if task.attempt is not None and task.attempt.node == self._node],
        )

    def _attend_bound(self, task: Task) -> None:
        if self._shells is not None:
            self._shells.attend(task)

    def _attend(self, task: Task, attempt: Attempt, watched: Watched, cluster: str) -> None:
        jobs = self._contexts.jobs(attempt.context)
        sight = self._sight(task, attempt, jobs, watched, cluster)
        self._follow_output(task, attempt, jobs, sight, watched)
        if watched.deed is not None and not watched.deed.done():
            return
        action, watched.notes = decide(task, sight, watched.notes, self._moment(), cluster=cluster)
        if watched.notes.seen:
            self._deeds.count_once(watched, attempt.context, created=watched.ambiguous)
        if isinstance(action, ReadEvents):
            self._read_events(action, task, jobs, watched)
        elif action is not None:
            deed = self._deeds.carry_out(action, task, jobs, watched)
            watched.deed = asyncio.create_task(deed, name=f"{type(action).__name__} {task.task_id}")
            watched.deed.add_done_callback(partial(self._work_done, watched))

    def _read_events(self, action: ReadEvents, task: Task, jobs: Jobs | None, watched: Watched) -> None:
        """Read them beside what else is done for the attempt, unless that is under way."""
        if watched.reading is None or watched.reading.done():
            reading = self._deeds.carry_out(action, task, jobs, watched)
            watched.reading = asyncio.create_task(reading, name=f"events of {task.task_id}")
            watched.reading.add_done_callback(partial(self._work_done, watched))
        self._wakeup.set()  # There may be more to do than to read.

    def _work_done(self, watched: Watched, work: "asyncio.Task[None]") -> None:
        if not work.cancelled() and work.exception() is not None:
            watched.resume_at = self._moment() + AFTER_ERROR_MS
        self._log_failure(work)
        self._wakeup.set()

    def _sight(self, task: Task, attempt: Attempt, jobs: Jobs | None, watched: Watched, cluster: str) -> Sight:
        if jobs is None:
            configured = attempt.context in self._contexts.names()
            return Sight(
                configured=configured, error=self._contexts.health(attempt.context).error or "not connected yet"
            )
        if self._is_elsewhere(attempt):
            error = f"node {self._node} reaches another cluster under the name {attempt.context}"
            return Sight(error=error, elsewhere=True)
        mirror = self._settling.mirror(jobs, (attempt.context, attempt.namespace), cluster)
        if not mirror.synced:
            may_have_job = watched.ambiguous or watched.found is not None
            refused = mirror.refusal != "" and not may_have_job
            return Sight(error=mirror.error or "its first list is not complete", refused=refused)
        health = self._contexts.health(attempt.context)
        if not health.reachable:  # A server that hangs leaves its watches open, and what they showed last is no news.
            return Sight(error=health.error)
        job = mirror.jobs.get(job_name(task.task_id, attempt.number))
        if job is not None:
            watched.found = None
        elif watched.found_at is not None and self._moment() - watched.found_at < FOUND_MS:
            job = watched.found
        uid = known_uid(attempt, watched.notes)
        if job is not None and not uid and is_ours(job, task, cluster=cluster):
            uid = _uid(job)
        events = [event for found in watched.events.values() for event in found]
        return Sight(
            job=job,
            pods=mirror.pods_of(uid) if uid else (),
            departed=mirror.departed_pods_of(uid) if uid else (),
            events=events,
        )

    def _is_elsewhere(self, attempt: Attempt) -> bool:
        """Whether the context's name was given to another cluster since the attempt began."""
        server = self._contexts.server_fingerprint(attempt.context)
        return "" not in (server, attempt.server) and server != attempt.server

    def _let_go(self, key: AttemptKey, watched: Watched) -> None:
        """Stop following an attempt that has ended or that another node looks after now."""
        task_id, sequence, number = key
        task = self._replica.read(lambda table: table.task(task_id))
        if watched.deed is not None and not watched.deed.done():
            self._keep(watched.deed)  # What it has under way cannot be called back, and its answer harms nobody.
        for each in (watched.reading, watched.capture):
            if each is not None:
                each.cancel()
        if watched.output is None or watched.output.end is not None:
            return
        goes_on = task is not None and task.sequence == sequence and not task.ended
        moved = goes_on and task is not None and task.node != self._node
        reason = "another node took the attempt over" if moved else "the end of the output could not be read in time"
        watched.output.finish("truncated", reason)
        log.debug("task %s attempt %d: its output is no longer followed", task_id, number)

    # --- output ---

    def _follow_output(self, task: Task, attempt: Attempt, jobs: Jobs | None, sight: Sight, watched: Watched) -> None:
        if sight.error or jobs is None:
            return
        pod = output_source(sight)
        watched.pod = pod
        follows = watched.capture is not None and not watched.capture.done()
        if pod is None or follows:
            return
        uid = _uid(pod)
        if watched.output is None or uid != watched.captured:  # Another Pod: the Job was suspended and resumed.
            watched.output = self._output.open(task.task_id, task.sequence, attempt.number)
            watched.captured = uid
        if watched.output.end is not None:
            return
        following = capture(
            jobs,
            namespace=attempt.namespace,
            pod=podstatus.name(pod),
            container=CONTAINER,
            output=watched.output,
            running=lambda: watched.pod is not None and _uid(watched.pod) == uid and _runs(watched.pod),
        )
        watched.capture = asyncio.create_task(following, name=f"output of {task.task_id}")
        watched.capture.add_done_callback(partial(self._work_done, watched))


def _uid(thing: Json) -> str:
    return podstatus.text(podstatus.part(thing, "metadata"), "uid")


def _runs(pod: Json) -> bool:
    return all(end.container != CONTAINER for end in podstatus.ends(pod))


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
