"""Finished Jobs: where they may be, and what is done about them once their outcome is in the log.

A Job gets its short time to live only then, for until then it is the only evidence; a Job that works for a task that
has ended is an orphan, and deleted. Also here: the mirrors, and when they are not needed any more, and the count of
what must not be there, second Jobs. Attempts that have not ended are ``worker``'s.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Protocol, TypeVar

from raftsman.executor import podstatus
from raftsman.executor.jobs import ANNOTATION_TASK, LABEL_CLUSTER, Contexts, Jobs, Json, KubernetesError, Mirror
from raftsman.executor.moments import Moment
from raftsman.executor.reconcile import is_orphan, is_second, wants_ttl, works
from raftsman.raft.records import Instant, NodeId, Task, TaskId
from raftsman.raft.table import TaskTable

log = logging.getLogger(__name__)

IDLE_MIRROR_MS = 60_000
"""A mirror that no attempt needs is kept so long: tasks tend to come in groups."""
MISSED_MS = 600_000
"""After a restart, Jobs of tasks that ended at most so long ago are given their time to live, if that was missed."""
SETTLE_EVERY_MS = 500
"""What has finished is gone through so often: there may be thousands, and none of them is in a hurry."""
SETTLE_AGAIN_S = 10.0
"""A Job that was just told when to leave is not told again for so long: the mirror lags, and refusals last."""
AT_A_TIME = 16
"""Finished Jobs that are settled at a time: they must not stand before the creates in the context's queue."""

T = TypeVar("T")
Place = tuple[str, str]  # (context, namespace)


class Readable(Protocol):
    """What the executor reads of a replica."""

    def read(self, look: Callable[[TaskTable], T]) -> T:
        """Return ``look(table)``."""


class Settling:
    """The places where Jobs of *node* are or were, and the Jobs there that are over.

    *in_background* runs a coroutine under a name; *guarded* calls a function and returns whether it went well.
    *on_second* is called once for each second Job of an attempt.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        replica: Readable,
        contexts: Contexts,
        job_ttl_s: int,
        now: Callable[[], Instant],
        moment: Callable[[], Moment],
        wake: Callable[[], None],
        in_background: Callable[[Coroutine[object, object, None], str], None],
        guarded: Callable[[str, Callable[[], None]], bool],
        on_second: Callable[[], None],
    ) -> None:
        self._node = node
        self._replica = replica
        self._contexts = contexts
        self._job_ttl_s = job_ttl_s
        self._now = now
        self._moment = moment
        self._wake = wake
        self._in_background = in_background
        self._guarded = guarded
        self._on_second = on_second
        self._seconds: dict[Place, set[str]] = {}  # The UIDs of second Jobs that are there and have been counted.
        self._places: dict[Place, Moment] = {}  # Where mirrors run, and when they were needed last.
        self._settling: set[str] = set()  # UIDs of Jobs that were just told when to leave.
        self._at_work = 0
        self._settled_at: Moment | None = None
        self._last_ended = TaskId("")

    def mirror(self, jobs: Jobs, place: Place, cluster: str) -> Mirror:
        """Return the mirror of a place where an attempt is, and keep it for a while."""
        self._places[place] = self._moment()
        return self._mirror(jobs, place, cluster)

    def _mirror(self, jobs: Jobs, place: Place, cluster: str) -> Mirror:
        return jobs.mirror(place[1], f"{LABEL_CLUSTER}={cluster}", self._wake)

    def look(self, cluster: str) -> None:
        """Settle what is over, now and then; called at every look of the worker."""
        self._remember_places()
        now = self._moment()
        if self._settled_at is not None and now - self._settled_at < SETTLE_EVERY_MS:
            return
        self._settled_at = now
        for place in list(self._places):
            if not self._guarded(f"settling in {place}", partial(self._settle_place, place, cluster)):
                self._forget(place)
        self._drop_idle_mirrors()

    def _remember_places(self) -> None:
        """Keep the mirrors where tasks of this node have just ended, also those of before its restart."""
        ended = self._replica.read(self._newly_ended)
        if ended:
            self._last_ended = ended[0].task_id
        for task in ended:
            if task.attempt is not None and task.attempt.node == self._node:
                self._places[task.attempt.context, task.attempt.namespace] = self._moment()

    def _newly_ended(self, table: TaskTable) -> list[Task]:
        found: list[Task] = []
        for task in reversed(table.ended.values()):
            too_old = task.completed_at is None or self._now() - task.completed_at > MISSED_MS
            if too_old or task.task_id == self._last_ended:
                break
            found.append(task)
        return found

    def _settle_place(self, place: Place, cluster: str) -> None:
        """Give Jobs whose outcome is in the log their time to live; until then they are the only evidence."""
        context, namespace = place
        jobs = self._contexts.jobs(context)
        if jobs is None:
            return
        mirror = self._mirror(jobs, place, cluster)
        if not mirror.synced:
            if not mirror.refusal:  # What may not be seen is not asked for until somebody wants to run something there.
                self._places[place] = self._moment()  # Nobody knows yet whether something is left to do.
            return
        over = [job for job in mirror.jobs.values() if wants_ttl(job, self._job_ttl_s) or works(job)]
        rows = self._replica.read(lambda table: [table.task(_task_id(job)) for job in over])
        known = [(job, task) for job, task in zip(over, rows, strict=True) if task and task.node == self._node]
        self._count_seconds(place, [job for job, task in known if is_second(job, task, cluster=cluster)])
        for job, task in known:
            if (task.ended and not works(job)) or is_orphan(job, task, self._now(), cluster=cluster):
                self._places[place] = self._moment()
                self._settle(jobs, namespace, job)

    def _count_seconds(self, place: Place, found: list[Json]) -> None:
        """Count each Job that an attempt has beside its own: somebody made it again, or our promise is broken."""
        counted = self._seconds.get(place, set())
        for job in found:
            if _uid(job) not in counted:
                log.error("Job %s/%s, UID %s, is a second one of its attempt", place[1], podstatus.name(job), _uid(job))
                self._on_second()
        self._seconds[place] = {_uid(job) for job in found}

    def _settle(self, jobs: Jobs, namespace: str, job: Json) -> None:
        uid, name = _uid(job), podstatus.name(job)
        if uid in self._settling or self._at_work >= AT_A_TIME:
            return
        self._settling.add(uid)
        self._at_work += 1

        async def settle() -> None:
            try:
                if works(job):
                    log.warning("Job %s/%s is of an attempt that is over, and is deleted", namespace, name)
                    await jobs.delete_job(namespace, name, uid)
                else:
                    await jobs.set_ttl(namespace, name, uid, self._job_ttl_s)
            except KubernetesError as error:
                log.info("Job %s/%s stays as it is for now: %s", namespace, name, error.message)
            finally:
                self._at_work -= 1
                asyncio.get_running_loop().call_later(SETTLE_AGAIN_S, self._settling.discard, uid)

        self._in_background(settle(), f"settling {name}")

    def _drop_idle_mirrors(self) -> None:
        now = self._moment()
        for place, needed_at in list(self._places.items()):
            if now - needed_at > IDLE_MIRROR_MS:
                self._forget(place)
                jobs = self._contexts.jobs(place[0])
                if jobs is not None:
                    self._in_background(jobs.drop_mirror(place[1]), f"dropping the mirror of {place}")

    def _forget(self, place: Place) -> None:
        del self._places[place]
        self._seconds.pop(place, None)


def _uid(job: Json) -> str:
    return podstatus.text(podstatus.part(job, "metadata"), "uid")


def _task_id(job: Json) -> str:
    return podstatus.text(podstatus.part(job, "metadata", "annotations"), ANNOTATION_TASK)
