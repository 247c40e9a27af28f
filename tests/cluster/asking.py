"""Asking one node over HTTP, and what every answer has in common."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.harness.contract import check_answer
from tests.harness.nodes import NodeProcess

CONTEXT = "dark"
"""A context that every node knows and none reaches: its tasks are accepted and wait."""
IMAGE = "busybox"
NDJSON = "application/x-ndjson"

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A whole answer; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The records of an ndjson body; heartbeats left out."""
        return [json.loads(line) for line in self.body.splitlines() if line]


def ask(
    node: NodeProcess, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request to *node*; a *body* that is not bytes goes as JSON. The answer must be a documented one."""
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    status, given, content = node.request(method, path, raw, headers)
    answer = Answer(status, {name.lower(): value for name, value in given.items()}, content)
    check_answer(method, path, answer.status, answer.headers, answer.body)
    return answer


def get(node: NodeProcess, path: str, **headers: str) -> Answer:
    """Send a GET; the names of *headers* with underscores for hyphens."""
    return ask(node, "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def spec(task_id: str, **more: Any) -> Json:
    """Return a sound submission."""
    return {"taskId": task_id, "type": "k8s_job", "k8sJob": {"clusterContext": CONTEXT, "image": IMAGE}, **more}


def submit(node: NodeProcess, task_id: str, **more: Any) -> Json:
    """Submit a sound task, and return it."""
    answer = ask(node, "POST", "/v1/tasks", spec(task_id, **more))
    assert answer.status == 201, answer
    task: Json = answer.json
    return task


def stored(task: Json) -> Json:
    """Return *task* without what is computed when it is read: why it waits changes with the nodes."""
    return {key: value for key, value in task.items() if key not in ("reason", "waiting")}


def check_problem(answer: Answer, status: int, code: str) -> Json:
    """Return the problem document that *answer* must be."""
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (status, "application/problem+json")
    document: Json = answer.json
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"].endswith(f"/{code}")
    assert all(isinstance(document[member], str) for member in ("type", "title", "detail", "instance", "requestId"))
    assert document["requestId"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    return document


def faults(answer: Answer) -> dict[str, str]:
    """Return the pointers of a 422 with the codes that stand at them."""
    return {each["pointer"]: each["code"] for each in answer.json["errors"]}


def send_raw(node: NodeProcess, raw: bytes, *, within_s: float = 5.0) -> bytes:
    """Send bytes as they are, and return all that comes back until the node closes the connection."""
    address = urlsplit(node.url)
    assert address.hostname
    assert address.port
    received = b""
    with socket.create_connection((address.hostname, address.port), timeout=within_s) as connection:
        connection.sendall(raw)
        while chunk := connection.recv(65536):
            received += chunk
    return received


def open_stream(node: NodeProcess, path: str, *, media_type: str = NDJSON) -> socket.socket:
    """Ask for *path* as a stream, and return the connection on which the answer comes."""
    address = urlsplit(node.url)
    connection = socket.create_connection((address.hostname, address.port or 0), timeout=5)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {media_type}\r\nConnection: close\r\n\r\n".encode())
    return connection
