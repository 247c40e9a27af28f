"""Carrying out what ``reconcile`` decided about one attempt: the calls to Kubernetes and to the log.

Each deed is safe to repeat and to be cut short anywhere, because the next look decides again from what is
there. ``worker`` holds the loop, and never has two deeds of one attempt at work, the reading of Events aside.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import assert_never

import msgspec

from raftsman.executor import causes, podstatus
from raftsman.executor.actions import (
    Action,
    Clear,
    Conclude,
    Confirm,
    Create,
    Delete,
    DeletePod,
    FindPods,
    Notes,
    ReadEvents,
    Release,
    Tell,
)
from raftsman.executor.jobs import AlreadyExists, Conflict, Denied, Jobs, Json, KubernetesError, NoTurn, Unreachable
from raftsman.executor.manifest import build_job, is_earlier, job_name
from raftsman.executor.moments import Moment
from raftsman.executor.outcome import create_refusal, release_refusal, unbuildable
from raftsman.executor.output import Output
from raftsman.executor.reconcile import obstacle
from raftsman.executor.waits import Waiting
from raftsman.raft.codec import unpack_spec
from raftsman.raft.commands import Refused, Report
from raftsman.raft.limits import clip
from raftsman.raft.records import Attempt, Task
from raftsman.raft.replica import Applied, Outcome

log = logging.getLogger(__name__)

RETRY_CREATE_MS = 1_000
RELEASE_AGAIN_MS = 10_000
"""A Job that was released, and is still shown as it was, is released again."""
RETRY_REFUSED_MS = 5_000
"""A quota that is full is asked again so often: it empties when some Pod ends."""
REFUSED_EVERY_MS = 30_000
"""What is in the way of a stop is told so often, when its words change."""
CONFIRM_EVERY_S = 1.0
REPEAT_PROPOSAL_S = 0.3
"""After a proposal that found no leader: about one election."""
LAST_OUTPUT_S = 10.0
"""How long the end of an attempt waits for the rest of its output. Output that cannot be had changes no outcome."""


@dataclass(slots=True)
class Watched:
    """What this node has at hand about one attempt it looks after."""

    notes: Notes = field(default_factory=Notes)
    deed: "asyncio.Task[None] | None" = None
    found: Json | None = None  # The Job as an answer showed it, until the mirror shows it as well.
    found_at: Moment | None = None
    ambiguous: bool = False  # A create was sent and not answered: a Job may exist, or come to exist.
    counted: bool = False  # Its Job has been met, and counted as created or adopted.
    events: dict[str, list[Json]] = field(default_factory=dict)
    reading: "asyncio.Task[None] | None" = None  # Of Events: beside the deeds, for its turn may be long in coming.
    output: Output | None = None
    capture: "asyncio.Task[None] | None" = None
    captured: str = ""  # The UID of the Pod whose output that is.
    pod: Json | None = None  # The one whose output is to be captured, as seen last.
    output_awaited: bool = False  # Its end has had its time; a conclusion that is repeated does not wait again.
    refused_at: Moment | None = None  # When it was told last what Kubernetes refuses to a stop.
    resume_at: Moment | None = None  # Not looked at before, after an error of ours.


@dataclass(frozen=True, slots=True, kw_only=True)
class Deeds:
    """The means of carrying out actions."""

    cluster: Callable[[], str]
    pod_security: Callable[[str], str]  # Of a context.
    propose: Callable[[Report], Awaitable[Outcome]]
    still_due: Callable[[Task], Awaitable[bool]]  # Whether the log, as of now, still gives this attempt to this node.
    moment: Callable[[], Moment]
    on_created: Callable[[str], None]
    on_adopted: Callable[[str], None]

    async def carry_out(self, action: Action, task: Task, jobs: Jobs | None, watched: Watched) -> None:
        """Do *action*; what it brought to light is in *watched* afterwards."""
        try:
            await self._do(action, task, jobs, watched)
        except KubernetesError as error:
            log.info("task %s: %s: %s; trying again", task.task_id, type(action).__name__.lower(), error.message)
            # An answer that says no, be it a webhook's that is down (500); silence is the context's matter.
            answered = isinstance(error, Denied) or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            refused = obstacle(task, error.message) if answered else None
            if refused is not None and self._may_tell_refusal(watched):
                await self._tell(refused, watched)
            await asyncio.sleep(CONFIRM_EVERY_S)

    def _may_tell_refusal(self, watched: Watched) -> bool:
        """Return whether the last time is long enough ago: some errors name a port, another one each time."""
        now = self.moment()
        if watched.refused_at is not None and now - watched.refused_at < REFUSED_EVERY_MS:
            return False
        watched.refused_at = now
        return True

    async def _do(self, action: Action, task: Task, jobs: Jobs | None, watched: Watched) -> None:
        assert task.attempt is not None
        name = task.attempt.job_name or job_name(task.task_id, task.attempt.number)
        match action:
            case Tell(report):
                await self._tell(report, watched)
            case Conclude(report):
                await self._conclude(report, watched)
            case Create():
                await self._create(_given(jobs), task, name, watched)
            case Release(uid):
                await self._release(_given(jobs), task, name, uid, watched)
            case Delete(uid):
                await self._delete(_given(jobs), task, name, uid, watched)
            case DeletePod(pod, uid):
                await self._delete_pod(_given(jobs), task, pod, uid, watched)
            case Clear(uid):
                await self._clear(_given(jobs), task, name, uid, watched)
            case Confirm(uid):
                await self._confirm(_given(jobs), task, name, uid, watched)
            case FindPods() | ReadEvents():
                await self._read_more(_given(jobs), task, action, watched)
            case _:
                assert_never(action)

    def count_once(self, watched: Watched, context: str, *, created: bool) -> None:
        """Count the attempt's Job, the first time this node meets it, as created here or adopted."""
        if not watched.counted:
            watched.counted = True
            (self.on_created if created else self.on_adopted)(context)

    # --- the log ---

    async def _tell(self, report: Report, watched: Watched) -> None:
        match await self.propose(report):
            case Applied(Refused() as refused, _):
                log.debug("task %s: report refused: %s", report.task_id, refused.detail)
            case Applied():
                pass
            case _:
                watched.notes = replace(watched.notes, reported_at=None)
                await asyncio.sleep(REPEAT_PROPOSAL_S)

    async def _conclude(self, report: Report, watched: Watched) -> None:
        if watched.capture is not None and not watched.output_awaited:
            await asyncio.wait({watched.capture}, timeout=LAST_OUTPUT_S)
            watched.output_awaited = True
        tail = watched.output.tail_text() if watched.output is not None else ""
        await self._tell(msgspec.structs.replace(report, output_tail=tail), watched)

    # --- Kubernetes ---

    async def _create(self, jobs: Jobs, task: Task, name: str, watched: Watched) -> None:
        attempt = task.attempt
        assert attempt is not None
        if not await self.still_due(task):  # The fence: this node may have slept while the log took the attempt back.
            self._try_again(RETRY_CREATE_MS, watched)
            return
        manifest = self._manifest(task, attempt, watched)
        try:
            job: Json | None = await jobs.create_job(attempt.namespace, manifest)
            self.count_once(watched, attempt.context, created=True)
        except AlreadyExists:
            job = await jobs.get_job(attempt.namespace, name)
            if job is None:  # It went between the two answers.
                self._try_again(RETRY_CREATE_MS, watched)
        except NoTurn as error:
            self._note_delay(error, "waits for its turn", watched)
            return
        except Unreachable as error:
            log.info("task %s: it is not known whether %s was created: %s", task.task_id, name, error.message)
            self._note_silence(error, watched)
            return
        except Denied as error:
            job = await jobs.get_job(attempt.namespace, name) if watched.ambiguous else None
            if job is None:
                self._note_refusal(error, watched)
        self._note_found(job, watched)

    async def _release(self, jobs: Jobs, task: Task, name: str, uid: str, watched: Watched) -> None:
        assert task.attempt is not None
        try:
            job = await jobs.release_job(task.attempt.namespace, name, uid)
        except Denied as error:
            held, release_at = release_refusal(error), self.moment() + RETRY_REFUSED_MS
            watched.notes = replace(watched.notes, held=held, release_at=release_at)
            return
        again_ms = RETRY_CREATE_MS if job is None else RELEASE_AGAIN_MS
        watched.notes = replace(watched.notes, held=None, release_at=self.moment() + again_ms)
        self._note_found(job, watched)

    def _manifest(self, task: Task, attempt: Attempt, watched: Watched) -> Json:
        profile = self.pod_security(attempt.context)
        try:
            return build_job(task, unpack_spec(task.spec), cluster=self.cluster(), pod_security=profile)
        except Exception:  # Whatever it is, it would come again at every try.
            watched.notes = replace(watched.notes, refusal=unbuildable())
            raise

    def _try_again(self, pause_ms: int, watched: Watched) -> None:
        watched.notes = replace(watched.notes, retry_at=self.moment() + pause_ms)

    def _note_silence(self, error: Unreachable, watched: Watched) -> None:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._note_delay(error, "fails", watched)
        else:  # The first time means little; whoever goes on waiting is told.
            self._note_delay(error, "gets no answer" if watched.ambiguous else "", watched)
        watched.ambiguous = True

    def _note_delay(self, error: Unreachable, what: str, watched: Watched) -> None:
        if what:
            message = clip(f"the creation of its Job {what}: {error.message}")
            cause = causes.of_refusal(error.message).cause  # A webhook that does not answer is the server's error 500.
            watched.notes = replace(watched.notes, refusal=Waiting(cause=cause, message=message, grace_ms=None))
        fails = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        pause_ms = RETRY_REFUSED_MS if fails else RETRY_CREATE_MS
        self._try_again(max(pause_ms, int(1000 * (error.retry_after_s or 0))), watched)

    def _note_refusal(self, error: Denied, watched: Watched) -> None:
        watched.notes = replace(watched.notes, refusal=create_refusal(error))
        self._try_again(RETRY_REFUSED_MS, watched)

    def _note_found(self, job: Json | None, watched: Watched) -> None:
        if job is not None:
            watched.found, watched.found_at = job, self.moment()

    async def _delete(self, jobs: Jobs, task: Task, name: str, uid: str, watched: Watched) -> None:
        assert task.attempt is not None
        try:
            found = await jobs.delete_job(task.attempt.namespace, name, uid)
        except Conflict:
            found = None  # The name has passed to another Job.
        watched.found = None
        watched.notes = replace(watched.notes, deletion=found or watched.notes.deletion, vanished=found is None)

    async def _delete_pod(self, jobs: Jobs, task: Task, pod: str, uid: str, watched: Watched) -> None:
        assert task.attempt is not None
        log.info("task %s: its Job is gone and its Pod %s is not, which is deleted", task.task_id, pod)
        watched.notes = replace(watched.notes, orphans=())  # To be read again, also when this is refused.
        await jobs.delete_pod(task.attempt.namespace, pod, uid)

    async def _clear(self, jobs: Jobs, task: Task, name: str, uid: str, watched: Watched) -> None:
        assert task.attempt is not None
        log.info("task %s: the Job %s of an earlier task of this id is deleted", task.task_id, name)
        with contextlib.suppress(Conflict):  # The name has passed to another Job.
            await jobs.delete_job(task.attempt.namespace, name, uid)
        watched.notes = replace(watched.notes, cleared=uid)

    async def _confirm(self, jobs: Jobs, task: Task, name: str, uid: str, watched: Watched) -> None:
        assert task.attempt is not None
        namespace = task.attempt.namespace
        job = await jobs.get_job(namespace, name)
        if job is not None and (_uid(job) == uid if uid else not is_earlier(job, task, cluster=self.cluster())):
            self._note_found(job, watched)
            watched.notes = replace(watched.notes, vanished=False, orphans=())
            return
        pods = await jobs.list_pods(namespace, uid) if uid else []
        over = all(podstatus.is_over(pod) for pod in pods)
        watched.notes = replace(watched.notes, absent=over, orphans=tuple(pods))
        if not over:
            await asyncio.sleep(CONFIRM_EVERY_S)  # Nobody has to look again sooner.

    async def _read_more(self, jobs: Jobs, task: Task, action: FindPods | ReadEvents, watched: Watched) -> None:
        assert task.attempt is not None
        namespace = task.attempt.namespace
        if isinstance(action, FindPods):
            watched.notes = replace(watched.notes, found=tuple(await jobs.list_pods(namespace, action.uid)))
            return
        for uid in action.uids:
            watched.events[uid] = await jobs.list_events(namespace, uid)


def _uid(thing: Json) -> str:
    return podstatus.text(podstatus.part(thing, "metadata"), "uid")


def _given(jobs: Jobs | None) -> Jobs:
    assert jobs is not None, "reconcile asks nothing of Kubernetes for a context that this node does not have"
    return jobs
