"""The client: submit tasks to a raftsman cluster, and see what becomes of them. Standard library only.

    from raftsman.client import Client

    client = Client(["http://10.0.0.1:7117", "http://10.0.0.2:7117", "http://10.0.0.3:7117"], token=token)
    task = client.submit({"type": "k8s_job", "k8sJob": {"clusterContext": "prod-eu", "image": "busybox"}})
    for record in client.logs(task["taskId"], follow=True):
        ...
    (task,) = client.wait([task["taskId"]])

Give it the addresses of all nodes: every node answers everything, and the client goes on with another one when one is
lost. Calls are synchronous and a ``Client`` may be shared by threads. What it returns are the API's own JSON objects,
typed in ``raftsman.wire.views``; what it raises is in ``raftsman.errors``.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from raftsman.endpoints import Endpoints, Reply
from raftsman.errors import ConnectionFailed, Unavailable, UnexpectedAnswer, WaitTimedOut
from raftsman.exchange import ANSWER_TIMEOUT_S, Answer, Request
from raftsman.follow import LogCut, LogEnd, LogLine, LogRecord, follow_events, follow_log
from raftsman.ulid import new_task_id
from raftsman.wire.durations import format_duration_ms
from raftsman.wire.views import (
    ClusterView,
    ContextsView,
    EventView,
    ExplainView,
    LimitsView,
    ListView,
    PlanView,
    TaskView,
    VersionView,
)

__all__ = ["Client", "LogCut", "LogEnd", "LogLine", "LogRecord", "TaskFilters", "is_ended"]

DEFAULT_ADDRESS = "http://127.0.0.1:7117"
DEFAULT_TIMEOUT_S = 30.0
"""Long enough for a cluster to elect a leader several times over."""
LONG_POLL_S = 30.0
"""How long a node is asked to hold an answer back; the API allows 60 s."""
ROTATION_S = 4.0
"""With several tasks to wait for, the time to have asked for each of them once."""
SHORTEST_POLL_S = 0.25
PAGE_ROWS = 500
AHEAD_S = 3.0
"""So long a node that is behind may take to learn of an event; then the leader is asked whether there is such a one."""

_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_RANK = {"queued": 0, "assigned": 1, "running": 2, "completed": 3, "failed": 3, "cancelled": 3}
_ENDED_RANK = 3
_WIRE_NAMES = {"submitted_after": "submittedAfter"}

T = TypeVar("T")


class TaskFilters(TypedDict, total=False):
    """Which tasks to list: those that meet every filter."""

    state: str
    """One state, or several with commas between them."""
    type: str
    context: str
    node: str
    label: str
    """Over raftsman's own labels: ``run=7,team=vision`` (both)."""
    submitted_after: str
    """An instant (RFC 3339)."""
    sort: str
    """``submittedAt``, or ``-submittedAt`` for the newest first (the default)."""


def is_ended(task: TaskView) -> bool:
    """Return whether the task can never change again."""
    return _RANK.get(task["state"], 0) == _ENDED_RANK


class Client:
    """A cluster, as its users see it."""

    def __init__(
        self,
        addresses: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        ca: str | PathLike[str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Take the base URLs of the nodes, the bearer token, and a PEM file when their certificates are not public.

        *timeout_s* is for one call, with all its tries at all addresses; methods that wait or follow take as long as
        they are asked to, and give up when nobody can be reached for *timeout_s*. *on_wait* is called with a sentence
        when a call has waited for seconds and goes on waiting, for a leader for instance. Nothing is sent yet. Raises
        ValueError for an unusable address, OSError when *ca* cannot be read.
        """
        self._endpoints = Endpoints(
            [addresses] if isinstance(addresses, str) else addresses,
            token=token,
            ca=None if ca is None else fspath(ca),
            on_wait=on_wait,
        )
        self._timeout_s = timeout_s

    # --- tasks ----------------------------------------------------------------------------------

    def submit(self, spec: Mapping[str, object]) -> TaskView:
        """Submit a task and return it once it is safe on a majority of the nodes.

        A *spec* without ``taskId`` gets one before the first try, so that it can be repeated without submitting
        twice: the same id with the same spec is the same task. Raises InvalidSpec with every fault, Conflict when
        the id belongs to another spec, OverLimit, and OutcomeUnknown (with the id) when nobody could say.
        """
        task_id = str(spec.get("taskId") or new_task_id())
        body = json.dumps({**spec, "taskId": task_id}, allow_nan=False).encode()
        headers = {"Content-Type": _JSON}
        reply = self._ask(Request(method="POST", path="/v1/tasks", headers=headers, body=body, changes_task=task_id))
        return _task(reply)

    def get(self, task_id: str, *, consistent: bool = False) -> TaskView:
        """Return a task. *consistent*: as the leader knows it now, not as the answering node has heard.

        Raises NotFound.
        """
        return _task(self._ask(Request(path=_path(task_id), query={"consistent": "true"} if consistent else {})))

    def list(self, *, limit: int | None = None, **filters: Unpack[TaskFilters]) -> Iterator[TaskView]:
        """Yield tasks page by page, at most *limit* of them, without their attempts and output."""
        left, cursor = limit, None
        while left is None or left > 0:
            rows = PAGE_ROWS if left is None else min(left, PAGE_ROWS)
            page = self.list_page(limit=rows, cursor=cursor, **filters)
            yield from page["items"]
            left, cursor = None if left is None else left - len(page["items"]), page["next"]
            if cursor is None:
                return

    def list_page(
        self, *, limit: int = 100, cursor: str | None = None, **filters: Unpack[TaskFilters]
    ) -> ListView[TaskView]:
        """Return one page of tasks: the first, or the one that the *cursor* of the page before leads to."""
        query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        query |= {_WIRE_NAMES.get(name, name): str(value) for name, value in filters.items()}
        page: ListView[TaskView] = _object(self._ask(Request(path="/v1/tasks", query=query)))
        return page

    def cancel(self, task_id: str) -> TaskView:
        """Ask that a task end, and return it: it is cancelled, or ``stopping`` until its Job is proved gone.

        Raises NotFound, Conflict when it has ended otherwise, OutcomeUnknown.
        """
        return _task(self._ask(Request(method="POST", path=_path(task_id, "cancel"), changes_task=task_id)))

    def retry(self, task_id: str, *, new_id: str | None = None) -> TaskView:
        """Submit a new task of the same spec as one that has ended, and return it.

        Its id is made before the first try, or is *new_id*: the same id again is the same retry. Raises NotFound,
        Conflict when the task has not ended, InvalidSpec when its context is gone, OverLimit, OutcomeUnknown.
        """
        new_id = new_id or new_task_id()
        body = json.dumps({"taskId": new_id}).encode()
        path, headers = _path(task_id, "retry"), {"Content-Type": _JSON}
        return _task(self._ask(Request(method="POST", path=path, headers=headers, body=body, changes_task=new_id)))

    def explain(self, task_id: str) -> ExplainView:
        """Return where a task would run now, what is excluded and why, and what would help. Raises NotFound."""
        view: ExplainView = _object(self._ask(Request(path=_path(task_id, "explain"))))
        return view

    def plan(self, specs: Mapping[str, object] | Sequence[Mapping[str, object]]) -> Sequence[ExplainView]:
        """Return where tasks would run if they were submitted now, one after the other. Nothing is submitted.

        Raises InvalidSpec with every fault, OverLimit.
        """
        tasks = [specs] if isinstance(specs, Mapping) else [*specs]
        body = json.dumps({"tasks": tasks}, allow_nan=False).encode()
        request = Request(method="POST", path="/v1/plan", headers={"Content-Type": _JSON}, body=body)
        view: PlanView = _object(self._ask(request))
        return view["items"]

    # --- waiting ----------------------------------------------------------------------------------

    def wait(
        self, ids: str | Sequence[str], *, for_: str = "ended", timeout_s: float | None = None
    ) -> tuple[TaskView, ...]:
        """Wait until every task has reached *for_* (``ended``, or a state), and return them in the order of *ids*.

        A task that is past the state, or ended in another one, counts as having reached it: look at ``state``.
        Raises WaitTimedOut after *timeout_s*, NotFound.
        """
        wanted = [ids] if isinstance(ids, str) else ids
        reached = {task["taskId"]: task for task in self.as_reached(wanted, for_=for_, timeout_s=timeout_s)}
        return tuple(reached[task_id] for task_id in wanted)

    def as_reached(
        self, ids: Sequence[str], *, for_: str = "ended", timeout_s: float | None = None
    ) -> Iterator[TaskView]:
        """Yield each task soon after it has reached *for_*. Otherwise as ``wait``."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        goal = _ENDED_RANK if for_ == "ended" else _RANK[for_]
        pending = deque((task_id, 0) for task_id in dict.fromkeys(ids))  # Each with the index it was last seen at.
        while pending:
            task_id, index = pending.popleft()
            task = self._newer(task_id, index, _poll_s(len(pending) + 1, index, end))
            if task is not None and _RANK.get(task["state"], 0) >= goal:
                yield task
                continue
            pending.append((task_id, index if task is None else task["index"]))
            if end is not None and time.monotonic() >= end:
                raise WaitTimedOut([each for each, _ in pending])

    def watch(self, task_id: str, *, timeout_s: float | None = None) -> Iterator[TaskView]:
        """Yield a task as it is, and again after each change, until it has ended.

        Changes that follow one another quickly may be seen as one. Raises WaitTimedOut, NotFound.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        index = 0
        while end is None or time.monotonic() < end:
            task = self._newer(task_id, index, _poll_s(1, index, end))
            if task is not None:
                yield task
                index = task["index"]
                if is_ended(task):
                    return
        raise WaitTimedOut([task_id])

    def _newer(self, task_id: str, index: int, wait_s: float) -> TaskView | None:
        """Return the task once it has changed after *index*; None when it has not within *wait_s*."""
        query = {"index": str(index), "wait": format_duration_ms(round(wait_s * 1000))} if index and wait_s > 0 else {}
        request = Request(path=_path(task_id), query=query, answer_timeout_s=ANSWER_TIMEOUT_S + wait_s)
        reply = self._ask(request, extra_s=wait_s)
        if reply.status == 304:
            return None
        task = _task(reply)
        return task if task["index"] > index else None

    # --- output and events ------------------------------------------------------------------------

    def logs(
        self,
        task_id: str,
        *,
        attempt: int | None = None,
        container: str | None = None,
        follow: bool = False,
        tail: int | None = None,
        since: str | None = None,
    ) -> Generator[LogRecord, None, None]:
        """Yield the output of the last *attempt*, or of the one named: lines, cuts, and how it ends.

        *tail* is a number of lines, *since* an instant (RFC 3339). With *follow* the iteration ends when the output
        does, and goes on at another node when one is lost, repeating no line; to stop earlier, close the generator.
        Raises NotFound.
        """
        query = _given(attempt=attempt, container=container)
        first = query | _given(follow="true" if follow else None, tail=tail, since=since)
        again = query | _given(follow="true" if follow else None)

        def open_at(instant: str) -> Answer:
            # The tail was counted from the first beginning; a second one is named by its instant.
            return self._open(_path(task_id, "logs"), again | {"since": instant} if instant else first)

        return follow_log(open_at, endless=follow)

    def events(
        self, task_id: str | None = None, *, follow: bool = False, after: str = ""
    ) -> Generator[EventView, None, None]:
        """Yield the changes of one task, or of all, the oldest first.

        *after* is the ``id`` of the last event already known. With *follow* the iteration goes on with what happens
        next, at another node when one is lost, until the task has ended; for all tasks it has no end. Raises
        NotFound, EventsCompacted when what follows *after* is no longer kept, and Unavailable when *after* lies ahead
        of all that the cluster knows.
        """
        path = "/v1/events" if task_id is None else _path(task_id, "events")
        if not follow:
            return self._event_pages(path, after)

        def open_after(event_id: str) -> Answer:
            query = {"follow": "true"} | ({"after": event_id} if event_id else {})
            request = Request(path=path, query=query, headers={"Accept": _NDJSON}, streams=True)
            # What a stream has given out is known to the cluster; a node that is behind only takes its time.
            return self._behind(after if event_id == after else "", request, self._endpoints.open)

        return follow_events(open_after, after, endless=task_id is None)

    def _event_pages(self, path: str, after: str) -> Generator[EventView, None, None]:
        cursor: str | None = after
        while cursor is not None:
            query = {"limit": str(PAGE_ROWS)} | ({"after": cursor} if cursor else {})
            first = after if cursor == after else ""
            page: ListView[EventView] = _object(
                self._behind(first, Request(path=path, query=query), self._endpoints.ask)
            )
            yield from page["items"]
            cursor = page["next"]

    def _behind(self, after: str, request: Request, ask: Callable[[Request, float], T]) -> T:
        """Ask for the events behind *after*, and find out soon when it lies ahead of all that there is."""
        deadline = time.monotonic() + self._timeout_s
        if after:
            try:
                return ask(request, min(deadline, time.monotonic() + AHEAD_S))
            except (ConnectionFailed, Unavailable) as problem:
                if isinstance(problem, Unavailable) and problem.code == "not-ready":
                    self._refuse_what_is_ahead(after, problem)
        return ask(request, deadline)

    def _refuse_what_is_ahead(self, after: str, problem: Unavailable) -> None:
        """Raise Unavailable when the event is ahead not only of a node, but of all that was ever committed."""
        request = Request(path="/v1/cluster", query={"consistent": "true"})
        try:
            view: ClusterView = _object(self._endpoints.ask(request, time.monotonic() + AHEAD_S))
        except (ConnectionFailed, Unavailable):
            return  # Without a leader nobody can tell.
        index = view["appliedIndex"]
        if int(after.partition(".")[0]) > index:
            detail = f"event {after} lies ahead of all that the cluster knows (index {index}): is it another cluster's?"
            raise Unavailable(status=problem.status, code=problem.code, detail=detail) from problem

    # --- the cluster ------------------------------------------------------------------------------

    def cluster(self) -> ClusterView:
        """Return the nodes together: who leads, who is alive, how many more may be lost."""
        view: ClusterView = _object(self._ask(Request(path="/v1/cluster")))
        return view

    def transfer_leadership(self, to: str | None = None) -> str:
        """Let node *to* lead, or whoever has most of the log; return who leads now.

        Raises InvalidSpec when there is no such node, Unavailable when it could not take over in time, OutcomeUnknown
        (without an id) when nobody could say.
        """
        body = json.dumps({} if to is None else {"to": to}).encode()
        path, headers = "/v1/cluster:transfer", {"Content-Type": _JSON}
        # Without a name, a second try could move leadership on from where the first one has put it. So there is only
        # one, and it goes to a node that answers.
        named = to is not None
        if not named:
            self.version()
        request = Request(method="POST", path=path, headers=headers, body=body, changes_task="", repeatable=named)
        return str(_object(self._ask(request))["leader"])

    def contexts(self) -> ContextsView:
        """Return the Kubernetes clusters that the nodes know, and who reaches them."""
        view: ContextsView = _object(self._ask(Request(path="/v1/contexts")))
        return view

    def limits(self) -> LimitsView:
        """Return every bound that a user can meet, as the answering node has them."""
        view: LimitsView = _object(self._ask(Request(path="/v1/limits")))
        return view

    def version(self) -> VersionView:
        """Return what the answering node runs."""
        view: VersionView = _object(self._ask(Request(path="/v1/version")))
        return view

    # --- requests ---------------------------------------------------------------------------------

    def _ask(self, request: Request, *, extra_s: float = 0.0) -> Reply:
        return self._endpoints.ask(request, time.monotonic() + self._timeout_s + extra_s)

    def _open(self, path: str, query: Mapping[str, str]) -> Answer:
        request = Request(path=path, query=query, headers={"Accept": _NDJSON}, streams=True)
        return self._endpoints.open(request, time.monotonic() + self._timeout_s)


def _path(task_id: str, *rest: str) -> str:
    return "/".join(["/v1/tasks", quote(task_id, safe=""), *rest])


def _poll_s(pending: int, index: int, end: float | None) -> float:
    """Return how long a node may hold its answer back; the first look at a task is never held back."""
    if index == 0:
        return 0.0
    wait_s = LONG_POLL_S if pending == 1 else max(SHORTEST_POLL_S, ROTATION_S / pending)
    return wait_s if end is None else max(0.0, min(wait_s, end - time.monotonic()))


def _given(**values: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def _object(reply: Reply) -> Any:
    try:
        value = json.loads(reply.body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"this is not raftsman's API: {reply.body[:80]!r}")
    return value


def _task(reply: Reply) -> TaskView:
    task: TaskView = _object(reply)
    return task
