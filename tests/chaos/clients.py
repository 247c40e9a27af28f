"""Clients that work on a cluster whatever happens to it, and write down what they were told.

They submit, cancel and read at any node, repeat what was left unknown under the same id until somebody knows, and keep
few tasks waiting, so that the table stays small. What their notes mean is ``tests.harness.history``.
"""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from tests.harness.history import Answer, Done, Kind, NotDone, Operation, Seen, Unknown
from tests.harness.nodes import NodeGroup, NodeProcess

CONTEXT = "dark"
"""A context that no node reaches: its tasks wait until they are cancelled."""
ANSWER_WITHIN_S = 4.0
PATIENCE_S = (0.3, 2.5)
"""Shorter than a node's own deadline, so that clients give up, too; they go on at another node."""
MOST_WAITING = 12
RECENT = 60
JUST_NOW = 6
"""Half of the reads are of so many tasks: what has just changed can be seen too late."""
CLIENTS = 4
FILLING_BYTES = 100_000
"""Of a refused submission: 160 fill a segment of the journal."""
FILLING_REST_S = 0.01
SETTLE_WITHIN_S = 60.0

Json = dict[str, Any]
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Told:
    """A whole HTTP answer. *status* 0: certainly nobody took the request; -1: there was no whole answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Any = None
    why: str = ""

    @property
    def index(self) -> int | None:
        """The log index that the answer names."""
        text = self.headers.get("raftsman-index", "")
        return int(text) if text.isdigit() else None


def ask(
    node: NodeProcess,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] = NO_HEADERS,
    within_s: float = ANSWER_WITHIN_S,
) -> Told:
    """Send one request to *node* over a connection of its own."""
    address = urlsplit(node.url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=within_s)
    try:
        connection.connect()
    except OSError as error:
        return Told(0, why=str(error))
    try:
        sent = {**headers, **({} if body is None else {"Content-Type": "application/json"})}
        connection.request(method, path, None if body is None else json.dumps(body).encode(), sent)
        answer = connection.getresponse()
        raw = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Told(answer.status, found, json.loads(raw))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Told(-1, why=str(error) or type(error).__name__)
    finally:
        connection.close()


def answer_to_write(told: Told) -> Answer:
    """Return what the answer to a write promises."""
    if 200 <= told.status < 300:
        assert told.index is not None, told
        return Done(told.index, replayed=told.headers.get("idempotent-replayed") == "true")
    code = told.document.get("code", "") if isinstance(told.document, dict) else ""
    if told.status == 0:
        return NotDone("unreachable")
    if told.status < 0 or code == "outcome-unknown" or told.status in (500, 502, 504):
        return Unknown(told.why or code)
    return NotDone(code)


def answer_to_read(told: Told) -> Answer:
    """Return what a read saw; what could not be answered saw nothing."""
    if told.status == 200:
        return Seen(told.index, (told.document["attempt"], told.document["state"]))
    if told.status == 404 and told.document["code"] == "task-not-found":
        return Seen(told.index, None)
    return NotDone(told.why or told.document.get("code", ""))


def waiting(task_id: str) -> Json:
    """Return a task that waits."""
    return {"taskId": task_id, "type": "k8s_job", "k8sJob": {"clusterContext": CONTEXT, "image": "busybox"}}


def command(task_id: str, marks: Path) -> Json:
    """Return a task that is over at once; each attempt leaves a line in a file of its own."""
    mark = f'echo ran >> "{marks}/$RAFTSMAN_TASK_ID.$RAFTSMAN_ATTEMPT"'
    return {"taskId": task_id, "type": "shell", "shell": {"command": mark}}


def marks_of(group: NodeGroup) -> Path:
    """Return the folder where the commands of *group*'s nodes leave their marks."""
    marks = next(iter(group.nodes.values())).config.parent / "marks"
    marks.mkdir(exist_ok=True)
    return marks


class Notes:
    """The history, and the ids that clients have named lately. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._history: list[Operation] = []
        self._recent: list[str] = []
        self._shifts = 0
        self.acknowledged = 0

    def begin_shift(self) -> int:
        """Return a number for the clients that begin now: no two have the same names."""
        with self._lock:
            self._shifts += 1
            return self._shifts

    def add(self, operation: Operation) -> None:
        """Write down *operation*."""
        with self._lock:
            self._history.append(operation)
            self.acknowledged += isinstance(operation.answer, Done)

    def history(self) -> list[Operation]:
        """Return what was written so far."""
        with self._lock:
            return list(self._history)

    def name(self, task_id: str) -> None:
        """Let all clients look at *task_id* from now on."""
        with self._lock:
            self._recent = [*self._recent[-RECENT + 1 :], task_id]

    def recent(self, random: Random) -> str | None:
        """Return an id that was named lately, or a moment ago."""
        with self._lock:
            named = self._recent[-JUST_NOW:] if random.random() < 0.5 else self._recent
            return random.choice(named) if named else None


class Client:
    """One client. *pace_s*: how long it rests between two requests, at the mean."""

    def __init__(self, name: str, group: NodeGroup, notes: Notes, random: Random, *, pace_s: float) -> None:
        self._name = name
        self._nodes = list(group.nodes.values())
        self._marks = marks_of(group)
        self._notes = notes
        self._random = random
        self._pace_s = pace_s
        self._number = 0
        self._waiting: list[str] = []
        self._submitted: list[str] = []
        self._seen_index = 0

    def run(self, over: threading.Event) -> None:
        """Work until *over*."""
        while not over.is_set():
            self.step()
            over.wait(self._random.uniform(0, 2 * self._pace_s))

    def step(self) -> None:
        """Do one thing, and repeat it until its outcome is known."""
        chance = self._random.random()
        if len(self._waiting) >= MOST_WAITING or (chance < 0.2 and self._waiting):
            self._cancel()
        elif chance < 0.45:
            self._submit()
        elif chance < 0.52 and self._submitted:
            task_id = self._random.choice(self._submitted[-RECENT:])
            again = command(task_id, self._marks) if task_id.startswith("shell-") else waiting(task_id)
            self._write(Kind.SUBMIT, task_id, "/v1/tasks", again)
        else:
            self._read()

    def _submit(self) -> None:
        self._number += 1
        runs = self._random.random() < 0.3
        task_id = f"{'shell' if runs else 'wait'}-{self._name}-{self._number}"
        self._notes.name(task_id)
        answer = self._write(
            Kind.SUBMIT, task_id, "/v1/tasks", command(task_id, self._marks) if runs else waiting(task_id), give_up=True
        )
        if isinstance(answer, Done):
            self._submitted.append(task_id)
            if not runs:
                self._waiting.append(task_id)

    def _cancel(self) -> None:
        task_id = self._waiting.pop(self._random.randrange(len(self._waiting)))
        self._notes.name(task_id)
        self._write(Kind.CANCEL, task_id, f"/v1/tasks/{task_id}/cancel", None, give_up=True)

    def _read(self) -> None:
        task_id = self._notes.recent(self._random)
        if task_id is None:
            return
        node, chance = self._random.choice(self._nodes), self._random.random()
        if chance < 0.6:
            self._record(Kind.CONSISTENT_READ, task_id, node, f"/v1/tasks/{task_id}?consistent=true")
        else:  # As old as it may be, or nothing older than what this client has seen.
            self._record(
                Kind.READ, task_id, node, f"/v1/tasks/{task_id}", min_index=self._seen_index if chance < 0.8 else 0
            )

    def probe(self, node: NodeProcess) -> None:
        """Submit a task at *node*, again and again without rest, until it is acknowledged."""
        self._number += 1
        task_id = f"wait-{self._name}-{self._number}"
        ends_at = time.monotonic() + SETTLE_WITHIN_S
        while not isinstance(self._record(Kind.SUBMIT, task_id, node, "/v1/tasks", waiting(task_id)), Done):
            assert time.monotonic() < ends_at, f"{node.name} acknowledged nothing within {SETTLE_WITHIN_S:g} s"

    def fill(self, over: threading.Event) -> None:
        """Make the log long, and the table not: submit another, large task under an id that is taken, until *over*."""
        task_id = f"wait-{self._name}"
        self._write(Kind.SUBMIT, task_id, "/v1/tasks", waiting(task_id))
        large = waiting(task_id)
        large["k8sJob"]["args"] = ["x" * FILLING_BYTES]
        while not over.is_set():
            self._record(Kind.SUBMIT, task_id, self._random.choice(self._nodes), "/v1/tasks", large)
            over.wait(FILLING_REST_S)

    def _write(self, kind: Kind, task_id: str, path: str, body: Json | None, *, give_up: bool = False) -> Answer:
        """Repeat a write until its outcome is known; with *give_up* maybe no longer than that it was refused."""
        unknown = False
        ends_at = time.monotonic() + SETTLE_WITHIN_S
        while True:
            answer = self._record(kind, task_id, self._random.choice(self._nodes), path, body)
            unknown = unknown or isinstance(answer, Unknown)
            if isinstance(answer, Done) or time.monotonic() > ends_at:
                return answer
            if give_up and not unknown and self._random.random() < 0.5:
                return answer
            time.sleep(self._random.uniform(0, 0.1))

    def _record(
        self, kind: Kind, task_id: str, node: NodeProcess, path: str, body: object = None, *, min_index: int = 0
    ) -> Answer:
        """Ask *node*, and write down the answer."""
        reads = kind in (Kind.READ, Kind.CONSISTENT_READ)
        called_at = time.monotonic()
        headers = {"Raftsman-Min-Index": str(min_index)} if min_index else {}
        within_s = self._random.uniform(*PATIENCE_S)
        told = ask(node, "GET" if reads else "POST", path, body, headers=headers, within_s=within_s)
        returned_at = time.monotonic()
        answer = answer_to_read(told) if reads else answer_to_write(told)
        self._notes.add(
            Operation(
                kind=kind,
                task_id=task_id,
                called_at=called_at,
                returned_at=returned_at,
                answer=answer,
                client=self._name,
                node=node.name,
                min_index=min_index,
            )
        )
        if isinstance(answer, Done | Seen) and answer.index is not None:
            self._seen_index = max(self._seen_index, answer.index)
        return answer


@contextmanager
def clients(group: NodeGroup, random: Random, notes: Notes, *, pace_s: float, fillers: int = 0) -> Iterator[None]:
    """Let clients work, and *fillers* make the log long; in the end each learns the outcome of its last write."""
    over = threading.Event()

    def client(name: str) -> Client:
        return Client(name, group, notes, Random(random.random()), pace_s=pace_s)

    shift = notes.begin_shift()
    works = [client(f"{shift}{letter}").run for letter in ascii_lowercase[:CLIENTS]]
    works += [client(f"filler{shift}{letter}").fill for letter in ascii_lowercase[:fillers]]
    with ThreadPoolExecutor(len(works)) as pool:
        running = [pool.submit(work, over) for work in works]
        try:
            yield
        finally:
            over.set()
    for each in running:
        each.result()
