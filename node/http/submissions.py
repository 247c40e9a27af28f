"""``POST /v1/tasks`` and ``POST /v1/tasks/{id}/retry``: how tasks come in, each once, however often it is said.

A repetition is told by the task's id or by the ``Idempotency-Key``; ``raft.submission_rules`` decides which task it
means. What the table cannot know is checked here and by ``scheduler.admission``.
"""

import json
import re

from aiohttp import web

from raftsman.node.http.answers import task_response
from raftsman.node.http.auth import principal_of
from raftsman.node.http.problems import invalid_parameter, of_faults, of_rejections
from raftsman.node.http.site import known_parameters, site_of
from raftsman.node.http.writes import Write, carry_out, here_or_at_the_leader, id_was_made, read_json, require_barrier
from raftsman.raft.codec import pack_spec, unpack_spec
from raftsman.raft.commands import Retry, Submit
from raftsman.raft.limits import IDEMPOTENCY_KEY_CHARS
from raftsman.raft.records import TaskId, TaskSpec
from raftsman.raft.structs import reader
from raftsman.raft.submission_rules import is_known
from raftsman.raft.table import TaskTable
from raftsman.scheduler.admission import Rejection, Submitted, admit
from raftsman.wire.bodies import RetryWish, check_retry
from raftsman.wire.podtemplate import host_access
from raftsman.wire.spec import Submission, check_submission

_KEY = re.compile(rf"[\x21-\x7e]{{1,{IDEMPOTENCY_KEY_CHARS}}}")


async def post_task(request: web.Request) -> web.Response:
    """Admit a task: 201, or 200 when the same task is there already."""
    site = site_of(request)
    known_parameters(request)
    key = _key_of(request)
    document = await read_json(request)
    submission = check_submission(document, default_timeout_ms=site.settings.scheduler.default_timeout_ms)
    if not isinstance(submission, Submission):
        raise of_faults(submission)
    task_id = submission.task_id or site.new_task_id()
    submitter = submission.submitter_node or site.node
    spec = spec_of(submission)
    command = Submit(
        task_id=TaskId(task_id),
        spec=pack_spec(spec),
        submitter_node=submitter,
        key=key,
        id_made=submission.task_id is None or id_was_made(request),
    )
    write = Write(
        task_id=task_id,
        id_made=command.id_made,
        body={**document, "taskId": task_id, "submitterNode": submitter},
        here=lambda: _admit(request, command, spec, packed_bytes=len(command.spec)),
    )
    return await here_or_at_the_leader(request, write)


async def retry_task(request: web.Request) -> web.Response:
    """Admit a new task of the same spec as one that has ended: 201, or 200 when that was done already."""
    site = site_of(request)
    known_parameters(request)
    key = _key_of(request)
    wish = check_retry(await read_json(request) if request.can_read_body else {})
    if not isinstance(wish, RetryWish):
        raise of_faults(wish)
    task_id = wish.task_id or site.new_task_id()
    command = Retry(
        task_id=TaskId(task_id),
        retry_of=TaskId(request.match_info["task_id"]),
        submitter_node=wish.submitter_node or site.node,
        key=key,
        id_made=wish.task_id is None or id_was_made(request),
    )
    write = Write(
        task_id=task_id,
        id_made=command.id_made,
        body={"taskId": task_id, "submitterNode": command.submitter_node},
        here=lambda: _retry(request, command),
    )
    return await here_or_at_the_leader(request, write)


_read_spec = reader(TaskSpec)


def spec_of(submission: Submission) -> TaskSpec:
    """Return the normal form as the table keeps it."""
    return _read_spec(submission.spec)


def submitted(spec: TaskSpec, packed_bytes: int) -> Submitted:
    """Return the submission as admission looks at it."""
    template = json.loads(spec.k8s_job.pod_template) if spec.k8s_job and spec.k8s_job.pod_template else {}
    return Submitted(spec=spec, packed_bytes=packed_bytes, host_uses=host_access(template))


async def _retry(request: web.Request, command: Retry) -> web.Response:
    tried = site_of(request).replica.read(lambda table: table.task(command.retry_of))
    if tried is None or not tried.ended:
        return await _propose(request, command)  # The table says what is wrong, or finds the repetition.
    return await _admit(request, command, unpack_spec(tried.spec), packed_bytes=len(tried.spec))


async def _admit(request: web.Request, command: Submit | Retry, spec: TaskSpec, *, packed_bytes: int) -> web.Response:
    site = site_of(request)
    wish = submitted(spec, packed_bytes)
    rejections = _rejections(request, command, wish)
    if rejections:
        # An earlier leader may have let it in, and this one not have seen that yet: a no must be certain.
        await require_barrier(site)
        rejections = _rejections(request, command, wish)
    if rejections:
        raise of_rejections(rejections)
    return await _propose(request, command)


def _rejections(request: web.Request, command: Submit | Retry, wish: Submitted) -> list[Rejection]:
    """Return what speaks against a new task; nothing speaks against one that is there."""
    site, principal = site_of(request), principal_of(request)

    def look(table: TaskTable) -> list[Rejection]:
        if is_known(table, command, principal):
            return []
        return admit(table, wish, max_queued=site.settings.scheduler.max_queued)

    return site.replica.read(look)


async def _propose(request: web.Request, command: Submit | Retry) -> web.Response:
    verdict, index = await carry_out(request, command, command.task_id)
    task_id = verdict.found or command.task_id
    headers = {"Location": f"/v1/tasks/{task_id}", "Raftsman-Index": str(index)}
    if verdict.repeated:
        headers["Idempotent-Replayed"] = "true"
    return task_response(site_of(request), task_id, status=200 if verdict.repeated else 201, headers=headers)


def _key_of(request: web.Request) -> str:
    """Return the request's ``Idempotency-Key``, "" when it has none. Raises a Problem."""
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return ""
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        reason = f"send one of 1 to {IDEMPOTENCY_KEY_CHARS} visible ASCII characters"
        raise invalid_parameter("Idempotency-Key", reason)
    return keys[0]


def routes() -> list[web.RouteDef]:
    """Return these routes."""
    return [web.post("/v1/tasks", post_task), web.post("/v1/tasks/{task_id}/retry", retry_task)]
