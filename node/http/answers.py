"""What most routes answer with: a JSON value, or a task as this node's table shows it."""

import json
import re

from aiohttp import web

from raftsman.node.http.problems import Problem, invalid_parameter
from raftsman.node.http.site import Site
from raftsman.node.http.views import task_view
from raftsman.raft.lifecycle import State
from raftsman.raft.records import Task
from raftsman.raft.table import TaskTable
from raftsman.scheduler.planner import Waiting, explain_all

_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'  # RFC 9110, section 8.8.3.
_TAGS = re.compile(rf"{_TAG}(?:\s*,\s*{_TAG})*")
_INDEX = re.compile(r'"(\d{1,18})"')


def json_response(
    view: object, *, status: int = 200, headers: dict[str, str] | None = None, index: int | None = None
) -> web.Response:
    """Return *view* as JSON. *index*: the entry whose table it shows, read together with it."""
    body = json.dumps(view, ensure_ascii=False).encode(errors="replace")
    stated = {} if index is None else as_of(index)
    return web.Response(
        status=status, body=body, content_type="application/json", headers={**stated, **(headers or {})}
    )


def as_of(index: int) -> dict[str, str]:
    """Return the header that says of which entry an answer is. What is applied after the look must not be counted."""
    return {"Raftsman-Index": str(index)}


def find_task(site: Site, task_id: str) -> Task:
    """Return the task. Raises a Problem when there is none."""
    return site.replica.read(lambda table: task_in(table, task_id))


def task_in(table: TaskTable, task_id: str) -> Task:
    """Return the task of *table*. Raises a Problem when there is none, which says of which entry that is true."""
    task = table.task(task_id)
    if task is None:
        detail = f"there is no task {task_id!r}; finished tasks are dropped after a while"
        raise Problem("task-not-found", detail, headers=as_of(table.index))
    return task


def task_response(site: Site, task_id: str, *, status: int, headers: dict[str, str] | None = None) -> web.Response:
    """Return the task as JSON, with why it waits. Raises a Problem when there is none."""

    def look(table: TaskTable) -> tuple[Task, Waiting | None, int]:
        task = task_in(table, task_id)
        waiting = explain_all(table, [task]) if task.state is State.QUEUED else {}
        return task, waiting.get(task.task_id), table.index

    task, waiting, index = site.replica.read(look)
    view = task_view(task, waiting)
    return json_response(view, status=status, headers={"ETag": etag_of(task), **(headers or {})}, index=index)


def etag_of(task: Task) -> str:
    """Return the entity tag of the task as it is: the log index of its last change."""
    return f'"{task.index}"'


def seen_etags(request: web.Request) -> str:
    """Return ``If-None-Match``, "" when it is absent: tags, of which some may be marked weak (W/). Raises a Problem."""
    return _tags(request, "If-None-Match")


def was_seen(seen: str, task: Task) -> bool:
    """Whether *seen* names the task as it is."""
    return seen == "*" or etag_of(task) in seen


def expected_indexes(request: web.Request) -> tuple[int, ...] | None:
    """Return the indexes that ``If-Match`` allows a task to be at, None when any will do. Raises a Problem.

    The comparison is strong (RFC 9110, section 13.1.1): a weak tag, or one that is not ours, allows nothing.
    """
    text = _tags(request, "If-Match")
    if text in ("", "*"):
        return None
    return tuple(int(match[1]) for tag in re.findall(_TAG, text) if (match := _INDEX.fullmatch(tag)))


def _tags(request: web.Request, name: str) -> str:
    text = ",".join(request.headers.getall(name, [])).strip()
    if name in request.headers and text != "*" and not _TAGS.fullmatch(text):
        raise invalid_parameter(name, f'{text!r} is not the ETag of a task, such as "17"')
    return text
