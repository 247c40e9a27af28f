"""``/v1/tasks``: list, show, cancel; how tasks come in is ``submissions``.

Reads are answered from this node's own table.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aiohttp import web

from raftsman.node.http.answers import (
    as_of,
    etag_of,
    expected_indexes,
    find_task,
    json_response,
    seen_etags,
    task_in,
    task_response,
    was_seen,
)
from raftsman.node.http.problems import Problem, invalid_parameter
from raftsman.node.http.site import (
    instant_of,
    int_parameter,
    known_parameters,
    site_of,
    wait_parameter,
)
from raftsman.node.http.views import labels_of, task_view
from raftsman.node.http.writes import Write, carry_out, here_or_at_the_leader
from raftsman.raft.commands import Cancel
from raftsman.raft.lifecycle import State
from raftsman.raft.records import Instant, Task, TaskId
from raftsman.raft.table import TaskTable
from raftsman.scheduler.planner import explain_all
from raftsman.wire import grammar
from raftsman.wire.faults import Complaint
from raftsman.wire.models import K8S_JOB, SHELL

TYPES = (K8S_JOB, SHELL)
PAGE_TASKS = 100
MAX_PAGE_TASKS = 1000


# --- show ---------------------------------------------------------------------------------------


async def get_task(request: web.Request) -> web.Response:
    """Show a task; with ``index`` and ``wait``, once it has changed since that index."""
    site = site_of(request)
    known_parameters(request, "index", "wait")
    task_id = request.match_info["task_id"]
    seen = int_parameter(request, "index", 0, low=0, high=2**63)
    wait_s = wait_parameter(request)
    if "wait" in request.query and "index" not in request.query:
        raise invalid_parameter("wait", "it needs index, the one at which the task was seen")
    seen_tags = seen_etags(request)
    if wait_s and find_task(site, task_id).index <= seen:
        await site.feed.wait_for_task(task_id, wait_s)
    task, at = site.replica.read(lambda table: (task_in(table, task_id), table.index))
    if at < seen:  # Another node has shown more: an older state would take that back.
        raise Problem("not-ready", f"this node has applied {at} entries, not yet {seen}")
    if was_seen(seen_tags, task):
        return web.Response(status=304, headers={"ETag": etag_of(task), **as_of(at)})
    return task_response(site, task_id, status=200)


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
    once = ("type", "context", "node", "submittedAfter", "sort", "limit", "cursor")
    known_parameters(request, *once, repeatable=("state", "label"))
    selection = _selection(request)
    limit = int_parameter(request, "limit", PAGE_TASKS, low=1, high=MAX_PAGE_TASKS)
    sort = request.query.get("sort", "-submittedAt")
    if sort not in ("submittedAt", "-submittedAt"):
        raise invalid_parameter("sort", f"{sort!r} is neither submittedAt nor -submittedAt")
    cursor = _decode_cursor(request.query.get("cursor"))

    table = site.replica.copy()  # To look through all tasks takes long, and the log waits for whoever looks at its own.
    page = list(islice(_selected(table, selection, cursor, newest_first=sort.startswith("-")), limit + 1))
    waiting = explain_all(table, [task for task in page if task.state is State.QUEUED])
    following = _encode_cursor(page[limit - 1].sequence) if len(page) > limit else None
    view = {
        "items": [task_view(task, waiting.get(task.task_id), brief=True) for task in page[:limit]],
        "next": following,
        "index": table.index,
    }
    headers = {}
    if following:
        query = request.rel_url.update_query(cursor=following)
        headers["Link"] = f'<{query.path_qs}>; rel="next"'
    return json_response(view, headers=headers, index=table.index)


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
        type=_spelled(request, "type", _task_type),
        context=_spelled(request, "context", grammar.context_name),
        node=_spelled(request, "node", grammar.node_name),
        labels=tuple(_label(text) for texts in request.query.getall("label", []) for text in texts.split(",")),
        submitted_after=None if after is None else instant_of("submittedAfter", after),
    )


def _spelled(request: web.Request, name: str, rule: grammar.Rule) -> str:
    """Return the text that the query gives, "" when it is absent. What *rule* forbids selects nothing: a Problem."""
    text = request.query.get(name)
    if text is None:
        return ""
    complaint = rule(text)
    if complaint:
        raise invalid_parameter(name, f"it {complaint}")
    return text


def _task_type(text: str) -> Complaint | None:
    return None if text in TYPES else Complaint(f"must be one of {', '.join(TYPES)}")


def _label(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not key:
        raise invalid_parameter("label", f"{text!r} is not key=value or key")
    complaint = grammar.label_key(key) or grammar.label_value(value or "")
    if complaint:
        raise invalid_parameter("label", f"{text!r}: a key or value {complaint}")
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
    task_id = request.match_info["task_id"]
    command = Cancel(task_id=TaskId(task_id), if_index=expected_indexes(request))

    async def here() -> web.Response:
        _, index = await carry_out(request, command, task_id)
        status = 200 if find_task(site, task_id).state is State.CANCELLED else 202
        return task_response(site, task_id, status=status, headers={"Raftsman-Index": str(index)})

    return await here_or_at_the_leader(request, Write(task_id=task_id, body={}, here=here))


def routes() -> list[web.RouteDef]:
    """Return these routes."""
    return [
        web.get("/v1/tasks", list_tasks),
        web.get("/v1/tasks/{task_id}", get_task),
        web.post("/v1/tasks/{task_id}/cancel", cancel_task),
    ]
