"""raftsman's HTTP API in memory, on loopback: what the client and the command line are tested against.

It keeps tasks that a test puts into it and moves (``put``, ``move``), and it can be told to fail as real nodes do: to
answer 503, to hang up before or after it did what was asked, to cut a stream. It decides nothing about tasks.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from raftsman.wire.durations import parse_duration_ms

Json = dict[str, Any]
Record = Json | str | threading.Event
"""What a stream says."""

HANG_UP = "hang up"  # Before anything was done.
HANG_UP_AFTERWARDS = "hang up afterwards"  # The request has its effect; nobody hears of it.
HANG = "hang"  # The connection is taken, and nothing is ever said.
CUT = "cut"  # A stream without its end, the connection closed in the middle.

PATIENCE_S = 10.0

AT = "2026-01-31T12:00:00.000Z"


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    """How long it is in coming, as a failure."""


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


def problem(status: int, code: str, detail: str = "", **more: Any) -> Answer:
    """Return a problem document as an answer."""
    body = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail, **more}
    return Answer(status, body, {"Content-Type": "application/problem+json"})


def task(task_id: str, state: str = "queued", **more: Any) -> Json:
    """Return a task as the API shows it."""
    plain: Json = {
        "taskId": task_id,
        "type": "k8s_job",
        "k8sJob": {"clusterContext": "dev-a", "image": "busybox", "namespace": "default"},
        "state": state,
        "conditions": [],
        "reason": None,
        "submittedAt": AT,
        "submitterNode": "alpha",
        "principal": None,
        "assignedNode": None if state == "queued" else "alpha",
        "attempt": 0 if state == "queued" else 1,
        "startedAt": AT if state in ("running", "completed") else None,
        "completedAt": AT if state in ("completed", "failed", "cancelled") else None,
        "exitCode": 0 if state == "completed" else None,
        "error": None,
        "cause": None,
        "retryOf": None,
        "attempts": [],
        "stdoutTail": None,
        "stderrTail": None,
        "index": 1,
    }
    return plain | more


def event(index: int, task_id: str, before: str | None, after: str, **more: Any) -> Json:
    """Return an event as the API shows it."""
    return {
        "id": f"{index}.0",
        "index": index,
        "n": 0,
        "at": AT,
        "taskId": task_id,
        "attempt": 1,
        "from": before,
        "to": after,
        "conditions": [],
        "cause": None,
        "node": "alpha",
        "reason": None,
        "job": None,
    } | more


def line(text: str, at: str = AT, attempt: int = 1) -> Json:
    """Return a line of output as the API shows it."""
    return {"attempt": attempt, "stream": "stdout", "at": at, "line": text}


END = {"end": "complete", "reason": None}

PLACEABLE: Json = {
    "state": None,
    "attempt": None,
    "leader": "alpha",
    "placeable": True,
    "best": {"node": "alpha", "context": "dev-a"},
    "waiting": None,
    "nodes": [{"node": "beta", "code": "excluded", "message": "the task excludes node beta"}],
    "contexts": [],
    "help": [],
}
UNPLACEABLE: Json = PLACEABLE | {
    "placeable": False,
    "best": None,
    "waiting": {"code": "no-node", "message": "no node can take it", "nodes": [], "contexts": []},
    "contexts": [{"context": "dev-a", "code": "context-unreachable", "message": "nobody reaches it"}],
    "help": ["take the node out of constraints.excludedNodes"],
}


class FakeApi:
    """One node's API. Tests read ``seen`` and fill the rest; use it as a context manager."""

    def __init__(self) -> None:
        self.tasks: dict[str, Json] = {}
        self.logs: dict[str, list[list[Record]]] = {}
        """By task: what each stream says that is opened, the last one again and again; a CUT ends it badly.

        An Event in it is waited for."""
        self.events: list[Json] = []
        self.failures: list[str | Answer] = []
        """What the next requests meet with instead of an answer, in this order."""
        self.answers: dict[str, Answer] = {}
        """By path: what every request for it is answered."""
        self.seen: list[Seen] = []
        self.index = 1
        self.cluster: Json = {}
        self.contexts: list[Json] = []
        self.explanation: Json = PLACEABLE
        """What every explanation and plan says, but for the task's id."""
        self.page_rows = 1000
        self.stopped = threading.Event()
        self._changed = threading.Condition()
        self._shown: dict[str, int] = {}  # By task: the index of what was shown last.
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def put(self, *tasks: Json) -> None:
        """Let these tasks be there."""
        with self._changed:
            for each in tasks:
                self.tasks[each["taskId"]] = each
            self._changed.notify_all()

    def move(self, task_id: str, state: str, **more: Any) -> None:
        """Let a task have changed."""
        with self._changed:
            self.index += 1
            old = self.tasks[task_id]
            fields = task(task_id, state)
            kept = {name: old[name] for name in ("type", "k8sJob", "labels", "attempts") if name in old}
            self.tasks[task_id] = fields | kept | {"index": self.index} | more
            self._changed.notify_all()

    def wait_until_shown(self, task_id: str) -> None:
        """Wait until somebody has seen the task as it is now."""
        with self._changed:
            self._changed.wait_for(lambda: self._shown.get(task_id) == self.tasks[task_id]["index"], timeout=PATIENCE_S)

    def paths(self, method: str = "GET") -> list[str]:
        """Return the paths asked for so far."""
        return [each.path for each in self.seen if each.method == method]

    # --- answers --------------------------------------------------------------------------------

    def answer(self, request: Seen) -> Answer | list[Record]:
        """Return a whole answer, or the records of a stream."""
        parts = [unquote(part) for part in request.path.split("/")[2:]]
        if request.method == "POST":
            return self._answer_post(parts, request)
        match request.method, parts:
            case "GET", ["tasks", task_id, *rest]:
                return self._answer_about(task_id, rest, request)
            case "GET", ["tasks"]:
                return self._list(request.query)
            case "GET", ["events"]:
                return self._events(self.events, request)
        documents = {"cluster": self.cluster, "contexts": {"items": self.contexts}, "version": {"version": "9.9.9"}}
        documents["limits"] = {"submission": {"specBytes": 7}}
        if request.method == "GET" and parts[0] in documents:
            return Answer(200, documents[parts[0]])
        return problem(404, "not-found", "there is nothing here")

    def _answer_post(self, parts: list[str], request: Seen) -> Answer:
        match parts:
            case ["tasks"]:
                return self._submit(request.body)
            case ["tasks", task_id, "cancel"]:
                return self._cancel(task_id)
            case ["tasks", task_id, "retry"]:
                return self._retry(task_id, request.body)
            case ["cluster:transfer"]:
                return Answer(200, {"leader": request.body.get("to", "beta")})
            case ["plan"]:
                return Answer(200, {"items": [self.explanation | {"taskId": None} for _ in request.body["tasks"]]})
        return problem(404, "not-found", "there is nothing here")

    def _answer_about(self, task_id: str, rest: list[str], request: Seen) -> Answer | list[Record]:
        if task_id not in self.tasks:
            return problem(404, "task-not-found", f"there is no task {task_id}")
        if rest == ["logs"]:
            streams = self.logs.get(task_id, [[END]])
            return streams.pop(0) if len(streams) > 1 else streams[0]
        if rest == ["explain"]:
            return Answer(200, self.explanation | {"taskId": task_id})
        if rest == ["events"]:
            return self._events([each for each in self.events if each["taskId"] == task_id], request)
        return self._show(task_id, request.query)

    def _submit(self, spec: Json) -> Answer:
        with self._changed:
            known = self.tasks.get(spec["taskId"])
            if known is not None and known["spec"] != spec:
                return problem(409, "task-exists", "the id belongs to another task")
            if known is None:
                self.index += 1
                job = task("")["k8sJob"] | spec.get("k8sJob", {})
                known = task(spec["taskId"], spec=spec, k8sJob=job, index=self.index)
                self.tasks[spec["taskId"]] = known
                return Answer(201, known)
        return Answer(200, known, {"Idempotent-Replayed": "true"})

    def _list(self, query: Mapping[str, str]) -> Answer:
        rows = min(int(query.get("limit", 100)), self.page_rows)
        begin = int(query.get("cursor", 0))
        states = query.get("state", "").split(",")
        found = [each for each in self.tasks.values() if states == [""] or each["state"] in states]
        following = str(begin + rows) if len(found) > begin + rows else None
        return Answer(200, {"items": found[begin : begin + rows], "next": following, "index": self.index})

    def _show(self, task_id: str, query: Mapping[str, str]) -> Answer:
        index = int(query.get("index", 0))
        wait_s = parse_duration_ms(query.get("wait", "0")) / 1000
        with self._changed:
            self._changed.wait_for(lambda: self.tasks[task_id]["index"] > index, timeout=wait_s)
            self._shown[task_id] = self.tasks[task_id]["index"]
            self._changed.notify_all()
            return Answer(200, self.tasks[task_id], {"Raftsman-Index": str(self.index)})

    def _cancel(self, task_id: str) -> Answer:
        known = self.tasks.get(task_id)
        if known is None:
            return problem(404, "task-not-found", f"there is no task {task_id}")
        if known["state"] in ("completed", "failed"):
            return problem(409, "already-ended", f"{task_id} has {known['state']}")
        if known["state"] in ("queued", "cancelled"):
            self.move(task_id, "cancelled")
            return Answer(200, self.tasks[task_id])
        self.move(task_id, known["state"], conditions=["stopping"])
        return Answer(202, self.tasks[task_id])

    def _retry(self, task_id: str, body: Json) -> Answer:
        known = self.tasks.get(task_id)
        if known is None:
            return problem(404, "task-not-found", f"there is no task {task_id}")
        if known["completedAt"] is None:
            return problem(409, "not-ended", f"{task_id} is {known['state']}")
        new = self.tasks.get(body["taskId"])
        if new is not None:
            return Answer(200, new, {"Idempotent-Replayed": "true"})
        self.put(task(body["taskId"], retryOf=task_id))
        return Answer(201, self.tasks[body["taskId"]])

    def _events(self, known: list[Json], request: Seen) -> Answer | list[Record]:
        after = int(request.query.get("after", "0").partition(".")[0])
        found = [each for each in known if each["index"] > after]
        if "ndjson" in request.headers.get("Accept", ""):
            return list(found)
        rows = min(int(request.query.get("limit", 100)), self.page_rows)
        following = found[rows - 1]["id"] if len(found) > rows else None
        return Answer(200, {"items": found[:rows], "next": following, "index": self.index})

    # --- the server -----------------------------------------------------------------------------

    def __enter__(self) -> "FakeApi":
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, api: FakeApi) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.api = api


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: Any, **__: Any) -> None:
        pass

    def _serve(self) -> None:
        api = self.server.api
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        request = Seen(self.command, parts.path, query, dict(self.headers.items()), body)
        api.seen.append(request)
        failure = api.failures.pop(0) if api.failures else None
        if isinstance(failure, Answer):
            time.sleep(failure.after_s)
        if failure == HANG_UP_AFTERWARDS:
            api.answer(request)
        if failure == HANG:
            api.stopped.wait(PATIENCE_S)
        if isinstance(failure, str):
            self.close_connection = True
            return
        answer = failure or api.answers.get(request.path) or api.answer(request)
        if isinstance(answer, Answer):
            self._send(answer)
        else:
            with suppress(ConnectionError):  # Whoever followed has gone.
                self._stream(answer)

    def _send(self, answer: Answer) -> None:
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, records: list[Record]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for record in records:
            if isinstance(record, threading.Event):
                record.wait(PATIENCE_S)
                continue
            if record == CUT:
                self.close_connection = True
                return
            content = json.dumps(record).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.write(b"0\r\n\r\n")


@contextmanager
def moving(api: FakeApi, task_id: str, *steps: tuple[str, Json]) -> Iterator[None]:
    """Move a task through *steps* beside what the test does, each as soon as the one before has been seen."""

    def walk() -> None:
        for state, more in steps:
            api.wait_until_shown(task_id)
            api.move(task_id, state, **more)

    thread = threading.Thread(target=walk)
    thread.start()
    try:
        yield
    finally:
        thread.join()
