"""What most routes answer with: a JSON value, or a task as this node's table shows it."""

import json
import re

from aiohttp import web

from raftsman.node.http.problems import Problem, invalid_parameter
from raftsman.node.http.site import Site
from raftsman.node.http.views import task_view
from raftsman.raft.lifecycle import State
from raftsman.raft.records import Task
from raftsman.scheduler.planner import explain_all

_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'  # RFC 9110, section 8.8.3.
_TAGS = re.compile(rf"{_TAG}(?:\s*,\s*{_TAG})*")
_INDEX = re.compile(r'"(\d{1,18})"')


def json_response(view: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return *view* as JSON."""
    body = json.dumps(view, ensure_ascii=False).encode(errors="replace")
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def find_task(site: Site, task_id: str) -> Task:
    """Return the task. Raises a Problem when there is none."""
    task = site.replica.read(lambda table: table.task(task_id))
    if task is None:
        raise Problem("task-not-found", f"there is no task {task_id!r}; finished tasks are dropped after a while")
    return task


def task_response(site: Site, task_id: str, *, status: int, headers: dict[str, str] | None = None) -> web.Response:
    """Return the task as JSON, with why it waits. Raises a Problem when there is none."""
    task = find_task(site, task_id)
    waiting = {}
    if task.state is State.QUEUED:
        waiting = site.replica.read(lambda table: explain_all(table, [task]))
    view = task_view(task, waiting.get(task.task_id))
    return json_response(view, status=status, headers={"ETag": etag_of(task), **(headers or {})})


def etag_of(task: Task) -> str:
    """Return the entity tag of the task as it is: the log index of its last change."""
    return f'"{task.index}"'


def was_seen(request: web.Request, task: Task) -> bool:
    """Whether ``If-None-Match`` names the task as it is: a list, whose members may be marked weak (W/)."""
    seen = request.headers.get("If-None-Match", "")
    return seen.strip() == "*" or etag_of(task) in seen


def expected_indexes(request: web.Request) -> tuple[int, ...] | None:
    """Return the indexes that ``If-Match`` allows a task to be at, None when any will do. Raises a Problem.

    The comparison is strong (RFC 9110, section 13.1.1): a weak tag, or one that is not ours, allows nothing.
    """
    text = ",".join(request.headers.getall("If-Match", [])).strip()
    if text == "*" or "If-Match" not in request.headers:
        return None
    if not _TAGS.fullmatch(text):
        raise invalid_parameter("If-Match", f'{text!r} is not the ETag of a task, such as "17"')
    return tuple(int(match[1]) for tag in re.findall(_TAG, text) if (match := _INDEX.fullmatch(tag)))
