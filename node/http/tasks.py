"""``/v1/tasks``: submit, list, show, cancel.

Writes are carried out by the leader; any other node hands them on (``or_forward``) after it has checked what
needs no table and made the task's id. Reads are answered from this node's own table.
"""

import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web

from raftsman.node.forward import FORWARDED_BY, HungUp, NobodyThere
from raftsman.node.http.auth import principal_of
from raftsman.node.http.problems import REQUEST_ID, Problem, invalid_parameter, of_faults, of_refusal, of_rejections
from raftsman.node.http.site import (
    Site,
    instant_of,
    int_parameter,
    known_parameters,
    site_of,
    wait_parameter,
)
from raftsman.node.http.views import labels_of, task_view
from raftsman.raft.codec import pack_spec
from raftsman.raft.commands import Cancel, Command, Refused, Submit
from raftsman.raft.lifecycle import State
from raftsman.raft.records import Instant, Task, TaskId, TaskSpec
from raftsman.raft.replica import Applied, NoRoom, NotLeader, Unknown
from raftsman.raft.table import TaskTable
from raftsman.scheduler.admission import Submitted, admit
from raftsman.scheduler.planner import explain_all
from raftsman.wire.document import parse_json
from raftsman.wire.faults import Fault
from raftsman.wire.podtemplate import host_access
from raftsman.wire.spec import Submission, check_submission

PASSED_ON = ("Content-Type", "Location", "ETag", "Idempotent-Replayed", "Retry-After", "Raftsman-Index")
"""Headers of the leader's answer that reach the client."""
CATCH_UP_S = 1.0
"""How long a forwarded write waits until this node has applied it too; two heartbeats are the rule."""

PAGE_TASKS = 100
MAX_PAGE_TASKS = 1000


# --- submit -----------------------------------------------------------------------------------


async def post_task(request: web.Request) -> web.Response:
    """Admit a task: 201, or 200 when the same task is there already."""
    site = site_of(request)
    known_parameters(request)
    if "Idempotency-Key" in request.headers:
        raise invalid_parameter("Idempotency-Key", "not supported by this version; repeat under the same taskId")
    document = await read_json(request)
    submission = check_submission(document, default_timeout_ms=site.settings.scheduler.default_timeout_ms)
    if not isinstance(submission, Submission):
        raise of_faults(submission)
    task_id = submission.task_id or site.new_task_id()
    submitter = submission.submitter_node or site.node
    body = {**document, "taskId": task_id, "submitterNode": submitter}
    spec = _spec(submission)
    command = Submit(task_id=TaskId(task_id), spec=pack_spec(spec), submitter_node=submitter)
    return await or_forward(request, lambda: _submit(request, command, spec), body=body, task_id=task_id)


def _spec(submission: Submission) -> TaskSpec:
    return msgspec.convert(submission.spec, TaskSpec)


async def _submit(request: web.Request, command: Submit, spec: TaskSpec) -> web.Response:
    site = site_of(request)
    if site.replica.read(lambda table: table.task(command.task_id)) is None:
        template = json.loads(spec.k8s_job.pod_template) if spec.k8s_job and spec.k8s_job.pod_template else {}
        submitted = Submitted(spec=spec, packed_bytes=len(command.spec), host_uses=host_access(template))
        limit = site.settings.scheduler.max_queued
        rejections = site.replica.read(lambda table: admit(table, submitted, max_queued=limit))
        if rejections:
            raise of_rejections(rejections)
    repeated, index = await _carry_out(request, command, command.task_id)
    headers = {"Location": f"/v1/tasks/{command.task_id}", "Raftsman-Index": str(index)}
    if repeated:
        headers["Idempotent-Replayed"] = "true"
    return _task_response(site, command.task_id, status=200 if repeated else 201, headers=headers)


async def _carry_out(request: web.Request, command: Command, task_id: str) -> tuple[bool, int]:
    """Propose *command*; return whether it was in force already, and its index. Raises a Problem."""
    match await site_of(request).replica.propose(command, principal=principal_of(request)):
        case Applied(verdict, index):
            if isinstance(verdict, Refused):
                raise of_refusal(verdict)
            return verdict.repeated, index
        case NotLeader():
            raise no_leader()
        case NoRoom():
            raise _disk_full()
        case Unknown():
            raise _unknown(task_id)


async def or_forward(
    request: web.Request, here: Callable[[], Awaitable[web.Response]], *, body: object, task_id: str
) -> web.Response:
    """Answer *here* when this node leads, else hand the request to the leader and answer what it answers."""
    site = site_of(request)
    if site.replica.standing().leads:
        return await here()
    if site.replica.standing().leader is None and "disk-full" in dict(site.replica.troubles()):
        raise _disk_full()
    if FORWARDED_BY in request.headers:
        raise no_leader()  # The node that forwarded it looks again.
    headers = {"Content-Type": "application/json", "X-Request-Id": request[REQUEST_ID]}
    if "Authorization" in request.headers:
        headers["Authorization"] = request.headers["Authorization"]
    raw = json.dumps(body).encode()
    try:
        answer = await site.forwarder.to_leader(request.method, request.path_qs, headers, raw)
    except NobodyThere:
        if site.replica.standing().leads:
            return await here()
        raise no_leader() from None
    except HungUp as error:
        raise _unknown(task_id, str(error)) from error
    index = answer.headers.get("Raftsman-Index", "")
    if answer.status < 300 and index.isdigit():  # So that whoever asks this node next sees what it was just told.
        await site.feed.wait_for_index(int(index), CATCH_UP_S)
    passed = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
    return web.Response(status=answer.status, headers=passed, body=answer.body)


async def require_barrier(site: Site) -> None:
    """Wait until this node has applied all that was committed before the request. Raises a Problem."""
    match await site.replica.barrier():
        case Applied():
            return
        case NotLeader() | NoRoom():
            raise no_leader()
        case Unknown():
            raise Problem("not-ready", "no majority confirmed in time that this reading is up to date; try again")


def no_leader() -> Problem:
    """Return the answer when nobody leads."""
    return Problem("no-leader", "the nodes have not agreed on a leader; nothing was changed, try again")


def _disk_full() -> Problem:
    return Problem("disk-full", "the disk of the node's log is full; nothing was changed, try again when there is room")


def _unknown(task_id: str, why: str = "the log did not answer in time") -> Problem:
    detail = f"{why}; the change may or may not come into force: repeat the request under the same id"
    return Problem("outcome-unknown", detail, more={"taskId": task_id})


async def read_json(request: web.Request) -> Any:
    """Return the JSON value of the body. Raises a Problem."""
    if request.content_type != "application/json":
        raise Problem("unsupported-media-type", f"send application/json, not {request.content_type}")
    document = parse_json(await request.read())
    if isinstance(document, Fault):
        raise of_faults([document])
    return document


# --- show ---------------------------------------------------------------------------------------


async def get_task(request: web.Request) -> web.Response:
    """Show a task; with ``index`` and ``wait``, once it has changed since that index."""
    site = site_of(request)
    known_parameters(request, "index", "wait")
    task_id = request.match_info["task_id"]
    seen = int_parameter(request, "index", 0, low=0, high=2**63)
    wait_s = wait_parameter(request)
    task = find_task(site, task_id)
    if wait_s and task.index <= seen:
        await site.feed.wait_for_task(task_id, wait_s)
        task = find_task(site, task_id)
    if _etag(task) in request.headers.get("If-None-Match", ""):  # A list, whose members may be marked weak (W/).
        return web.Response(status=304, headers={"ETag": _etag(task)})
    return _task_response(site, task_id, status=200)


def find_task(site: Site, task_id: str) -> Task:
    """Return the task. Raises a Problem when there is none."""
    task = site.replica.read(lambda table: table.task(task_id))
    if task is None:
        raise Problem("task-not-found", f"there is no task {task_id!r}; finished tasks are dropped after a while")
    return task


def _task_response(site: Site, task_id: str, *, status: int, headers: dict[str, str] | None = None) -> web.Response:
    task = find_task(site, task_id)
    waiting = {}
    if task.state is State.QUEUED:
        waiting = site.replica.read(lambda table: explain_all(table, [task]))
    view = task_view(task, waiting.get(task.task_id))
    return json_response(view, status=status, headers={"ETag": _etag(task), **(headers or {})})


def _etag(task: Task) -> str:
    return f'"{task.index}"'


def json_response(view: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return *view* as JSON."""
    body = json.dumps(view, ensure_ascii=False).encode(errors="replace")
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


# --- list ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tasks a list shows; an empty field selects all."""

    states: frozenset[str]
    type: str
    context: str
    node: str
    labels: tuple[tuple[str, str | None], ...]  # (key, value); None: any value.
    submitted_after: Instant | None

    def matches(self, task: Task) -> bool:
        """Whether the list shows *task*. The labels last: they are packed."""
        return (
            (not self.states or task.state.value in self.states)
            and self.type in ("", task.type)
            and self.context in ("", task.context)
            and self.node in ("", task.node or "")
            and (self.submitted_after is None or task.submitted_at > self.submitted_after)
            and (not self.labels or self._labels_match(labels_of(task)))
        )

    def _labels_match(self, labels: Any) -> bool:
        return all(key in labels and value in (None, labels[key]) for key, value in self.labels)


async def list_tasks(request: web.Request) -> web.Response:
    """List tasks, the newest first unless ``sort=submittedAt`` says otherwise."""
    site = site_of(request)
    known_parameters(request, "state", "type", "context", "node", "label", "submittedAfter", "sort", "limit", "cursor")
    selection = _selection(request)
    limit = int_parameter(request, "limit", PAGE_TASKS, low=1, high=MAX_PAGE_TASKS)
    sort = request.query.get("sort", "-submittedAt")
    if sort not in ("submittedAt", "-submittedAt"):
        raise invalid_parameter("sort", f"{sort!r} is neither submittedAt nor -submittedAt")
    cursor = _decode_cursor(request.query.get("cursor"))

    def look(table: TaskTable) -> tuple[list[Task], dict[str, Any], int]:
        page = list(islice(_selected(table, selection, cursor, newest_first=sort.startswith("-")), limit + 1))
        return page, explain_all(table, [task for task in page if task.state is State.QUEUED]), table.index

    page, waiting, index = site.replica.read(look)
    following = _encode_cursor(page[limit - 1].sequence) if len(page) > limit else None
    view = {
        "items": [task_view(task, waiting.get(task.task_id), brief=True) for task in page[:limit]],
        "next": following,
        "index": index,
    }
    headers = {}
    if following:
        query = request.rel_url.update_query(cursor=following)
        headers["Link"] = f'<{query.path_qs}>; rel="next"'
    return json_response(view, headers=headers)


def _selected(table: TaskTable, selection: Selection, cursor: int | None, *, newest_first: bool) -> Iterator[Task]:
    tasks = [task for task in table.tasks() if selection.matches(task)]
    tasks.sort(key=lambda task: task.sequence, reverse=newest_first)
    for task in tasks:
        if cursor is None or (task.sequence < cursor if newest_first else task.sequence > cursor):
            yield task


def _selection(request: web.Request) -> Selection:
    states = frozenset(state for text in request.query.getall("state", []) for state in text.split(","))
    for state in states:
        if state not in set(State):
            raise invalid_parameter("state", f"{state!r} is none of {', '.join(State)}")
    after = request.query.get("submittedAfter")
    return Selection(
        states=states,
        type=request.query.get("type", ""),
        context=request.query.get("context", ""),
        node=request.query.get("node", ""),
        labels=tuple(_label(text) for texts in request.query.getall("label", []) for text in texts.split(",")),
        submitted_after=instant_of("submittedAfter", after) if after else None,
    )


def _label(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not key:
        raise invalid_parameter("label", f"{text!r} is not key=value or key")
    return key, value if equals else None


def _encode_cursor(sequence: int) -> str:
    return base64.urlsafe_b64encode(str(sequence).encode()).decode().rstrip("=")


def _decode_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        return int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise invalid_parameter("cursor", "it is not one that a list gave") from None


# --- cancel -------------------------------------------------------------------------------------


async def cancel_task(request: web.Request) -> web.Response:
    """Cancel a task: 200 when it is cancelled, 202 while its Job is being stopped."""
    site = site_of(request)
    known_parameters(request)
    if "If-Match" in request.headers:
        raise invalid_parameter("If-Match", "not supported by this version")
    task_id = request.match_info["task_id"]

    async def here() -> web.Response:
        _, index = await _carry_out(request, Cancel(task_id=TaskId(task_id)), task_id)
        status = 200 if find_task(site, task_id).state is State.CANCELLED else 202
        return _task_response(site, task_id, status=status, headers={"Raftsman-Index": str(index)})

    return await or_forward(request, here, body={}, task_id=task_id)


def routes() -> list[web.RouteDef]:
    """Return this resource's routes."""
    return [
        web.post("/v1/tasks", post_task),
        web.get("/v1/tasks", list_tasks),
        web.get("/v1/tasks/{task_id}", get_task),
        web.post("/v1/tasks/{task_id}/cancel", cancel_task),
    ]
