"""Every error is a problem document, whatever was asked and however it was sent."""

import socket
import time
import uuid
from urllib.parse import urlsplit

import pytest

from tests.cluster.asking import ask, check_problem, get, send_raw, spec, submit
from tests.harness.nodes import NodeGroup, NodeProcess

pytestmark = pytest.mark.cluster

TOO_LONG = b'{"taskId": "' + b"x" * (2 << 20) + b'"}'


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v2/tasks", "/v1/tasks/", "/v1/tasks/a/b", "/%2e%2e/etc/passwd", "//", "/v1/cluster/x"],
)
def test_an_unknown_path_is_not_found(node: NodeProcess, path: str) -> None:
    check_problem(get(node, path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/tasks", "GET, HEAD, POST"),
        ("DELETE", "/v1/tasks/one", "GET, HEAD"),
        ("GET", "/v1/tasks/one/cancel", "POST"),
        ("POST", "/v1/cluster", "GET, HEAD"),
        ("OPTIONS", "/livez", "GET, HEAD"),
        ("PATCH", "/metrics", "GET, HEAD"),
    ],
)
def test_another_method_is_told_which_are_allowed(node: NodeProcess, method: str, path: str, allowed: str) -> None:
    answer = ask(node, method, path)
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


def test_a_body_over_the_limit_is_too_large(node: NodeProcess) -> None:
    check_problem(ask(node, "POST", "/v1/tasks", TOO_LONG), 413, "too-large")
    assert get(node, "/livez").status == 200


def test_a_spec_over_the_limit_is_too_large(node: NodeProcess) -> None:
    big = spec("big", environment={f"V{number}": "x" * 1000 for number in range(200)})
    document = check_problem(ask(node, "POST", "/v1/tasks", big), 413, "too-large")
    assert "131072" in document["detail"]
    check_problem(get(node, "/v1/tasks/big"), 404, "task-not-found")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/yaml", "application/x-www-form-urlencoded", "nonsense", ""]
)
def test_another_media_type_is_not_understood(node: NodeProcess, media_type: str) -> None:
    answer = ask(node, "POST", "/v1/tasks", spec("x"), headers={"Content-Type": media_type})
    check_problem(answer, 415, "unsupported-media-type")


def test_the_charset_of_json_is_not_minded(node: NodeProcess) -> None:
    document = spec(f"t-{uuid.uuid4().hex}")
    answer = ask(node, "POST", "/v1/tasks", document, headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert answer.status == 201


@pytest.mark.parametrize(
    ("raw", "pointer", "words"),
    [
        (b"", "", "not JSON"),
        (b"{", "", "not JSON"),
        (b"{'taskId': 'x'}", "", "line 1, column 2"),
        (b'{"taskId": "a", "taskId": "b"}', "", "stands twice"),
        (b'{"k8sJob": {"image": "a", "image": "b"}}', "/k8sJob", "stands twice"),
        (b'{"priority": NaN}', "/priority", "not finite"),
        (b'{"k8sJob": {"resources": {"cpuCores": Infinity}}}', "/k8sJob/resources/cpuCores", "not finite"),
        (b'{"k8sJob": {"resources": {"memoryBytes": -Infinity}}}', "/k8sJob/resources/memoryBytes", "not finite"),
        (b'{"priority": 1e999}', "/priority", "not finite"),
        (b'{"priority": ' + b"9" * 5000 + b"}", "/priority", "not finite"),
        (b'{"taskId": "\xff"}', "", "not UTF-8"),
        (b'{"taskId": "\\ud800"}', "/taskId", "surrogate"),
        (b"[" * 100_000, "", "nested deeper"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "/a" * 64, "nested deeper"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_json_is_malformed(node: NodeProcess, raw: bytes, pointer: str, words: str) -> None:
    document = check_problem(ask(node, "POST", "/v1/tasks", raw), 400, "malformed-json")
    (fault,) = document["errors"]
    assert (fault["pointer"], fault["code"]) == (pointer, "malformed-json")
    assert words in fault["detail"]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/tasks?colour=red", "colour"),
        ("/v1/tasks?State=queued", "State"),
        ("/v1/tasks?state=unknown", "state"),
        ("/v1/tasks?state=", "state"),
        ("/v1/tasks?sort=priority", "sort"),
        ("/v1/tasks?limit=0", "limit"),
        ("/v1/tasks?limit=1001", "limit"),
        ("/v1/tasks?limit=-1", "limit"),
        ("/v1/tasks?limit=ten", "limit"),
        ("/v1/tasks?limit=1e2", "limit"),
        ("/v1/tasks?limit=%C2%B2", "limit"),
        ("/v1/tasks?limit=" + "0" * 5000, "limit"),
        ("/v1/tasks?cursor=!", "cursor"),
        ("/v1/tasks?cursor=%C3%A4", "cursor"),
        ("/v1/tasks?cursor=YWJj", "cursor"),
        ("/v1/tasks?label==x", "label"),
        ("/v1/tasks?label=%20", "label"),
        ("/v1/tasks?label=a==b", "label"),
        ("/v1/tasks?label=a=b,", "label"),
        ("/v1/tasks?type=foo", "type"),
        ("/v1/tasks?type=", "type"),
        ("/v1/tasks?context=", "context"),
        ("/v1/tasks?node=%00", "node"),
        ("/v1/tasks?submittedAfter=", "submittedAfter"),
        ("/v1/tasks?limit=1&limit=2", "limit"),
        ("/v1/tasks?limit=1&limit=1", "limit"),
        ("/v1/tasks?consistent=true&consistent=false", "consistent"),
        ("/v1/tasks/one?wait=1s", "wait"),
        ("/v1/events?wait=1s", "wait"),
        ("/v1/events?follow=true", "follow"),
        ("/v1/tasks/known/events?follow=true", "follow"),
        ("/v1/tasks/known/logs?tail=1&tail=2", "tail"),
        ("/v1/tasks?submittedAfter=yesterday", "submittedAfter"),
        ("/v1/tasks?submittedAfter=2026-01-01T00:00:00", "submittedAfter"),
        ("/v1/tasks?consistent=maybe", "consistent"),
        ("/v1/tasks/one?index=-1", "index"),
        ("/v1/tasks/one?index=" + "0" * 5000, "index"),
        ("/v1/tasks/one?index=99999999999999999999", "index"),
        ("/v1/tasks/one?wait=soon", "wait"),
        ("/v1/tasks/one?wait=61s", "wait"),
        ("/v1/tasks/one?wait=30", "wait"),
        ("/v1/tasks/one?follow=true", "follow"),
        ("/v1/events?after=x", "after"),
        ("/v1/events?after=1.", "after"),
        ("/v1/events?after=1.x", "after"),
        ("/v1/events?after=1.%C2%B2", "after"),
        ("/v1/events?after=%C2%B2", "after"),
        ("/v1/events?after=" + "1" * 50, "after"),
        ("/v1/events?limit=0", "limit"),
        ("/v1/events?state=queued", "state"),
        ("/v1/tasks/known/events?wait=1s", "wait"),
        ("/v1/tasks/known/logs?tail=-1", "tail"),
        ("/v1/tasks/known/logs?attempt=0", "attempt"),
        ("/v1/tasks/known/logs?attempt=2", "attempt"),
        ("/v1/tasks/known/logs?follow=1", "follow"),
        ("/v1/tasks/known/logs?stream=both", "stream"),
        ("/v1/tasks/known/logs?since=yesterday", "since"),
        ("/v1/tasks/known/explain?verbose=true", "verbose"),
        ("/v1/limits?x=y", "x"),
        ("/v1/openapi.json?x=y", "x"),
        ("/v1/tasks/known/logs?container=other", "container"),
        ("/v1/cluster?verbose=true", "verbose"),
        ("/v1/contexts?name=x", "name"),
        ("/v1/version?x=y", "x"),
    ],
    ids=lambda value: value[:45],
)  # fmt: skip
def test_a_parameter_that_cannot_be_used_is_named(node: NodeProcess, path: str, parameter: str) -> None:
    if "/known/" in path:
        ask(node, "POST", "/v1/tasks", spec("known"))
    document = check_problem(get(node, path), 400, "invalid-parameter")
    assert document["detail"].startswith(f"{parameter}: ")


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "text/event-stream"])
@pytest.mark.parametrize("path", ["/v1/events?limit=2", "/v1/tasks/known/events?limit=2"])
def test_a_stream_has_no_limit(node: NodeProcess, path: str, media_type: str) -> None:
    ask(node, "POST", "/v1/tasks", spec("known"))
    document = check_problem(get(node, path, Accept=media_type), 400, "invalid-parameter")
    assert document["detail"].startswith("limit: ")


@pytest.mark.parametrize(
    ("method", "path", "header", "value"),
    [
        ("POST", "/v1/tasks", "Idempotency-Key", ""),
        ("POST", "/v1/tasks", "Idempotency-Key", "two words"),
        ("POST", "/v1/tasks", "Idempotency-Key", "é"),
        ("POST", "/v1/tasks", "Idempotency-Key", "x" * 256),
        ("POST", "/v1/tasks/one/retry", "Idempotency-Key", "two words"),
        ("POST", "/v1/tasks/one/cancel", "If-Match", "7"),
        ("POST", "/v1/tasks/one/cancel", "If-Match", '"7" "8"'),
        ("POST", "/v1/tasks/one/cancel", "If-Match", ""),
        ("GET", "/v1/tasks/known", "If-None-Match", "5"),
        ("GET", "/v1/tasks/known", "If-None-Match", ""),
        ("GET", "/v1/tasks/known", "If-None-Match", '"5'),
        ("GET", "/v1/events", "Last-Event-ID", "x"),
        ("GET", "/v1/tasks/known/events", "Last-Event-ID", "1.x"),
        ("GET", "/v1/tasks/known/logs", "Last-Event-ID", "1"),
        ("GET", "/v1/tasks/known/logs", "Last-Event-ID", "1/yesterday/1"),
        ("GET", "/v1/tasks", "Raftsman-Min-Index", "-1"),
        ("GET", "/v1/tasks", "Raftsman-Min-Index", "x"),
        ("GET", "/v1/tasks", "Raftsman-Min-Index", "²"),
        ("GET", "/v1/tasks", "Raftsman-Min-Index", "9" * 20),
    ],
)
def test_a_header_that_cannot_be_used_is_named(
    node: NodeProcess, method: str, path: str, header: str, value: str
) -> None:
    if "/known/" in path:
        ask(node, "POST", "/v1/tasks", spec("known"))
    body = spec("unseen") if path == "/v1/tasks" and method == "POST" else None
    headers = {header: value, "Accept": "text/event-stream"}
    document = check_problem(ask(node, method, path, body, headers), 400, "invalid-parameter")
    assert document["detail"].startswith(f"{header}: ")
    check_problem(get(node, "/v1/tasks/unseen"), 404, "task-not-found")


def test_a_write_takes_no_parameters(node: NodeProcess) -> None:
    check_problem(ask(node, "POST", "/v1/tasks?dryRun=true", spec("unseen")), 400, "invalid-parameter")
    check_problem(ask(node, "POST", "/v1/tasks/one/cancel?force=true"), 400, "invalid-parameter")
    check_problem(get(node, "/v1/tasks/unseen"), 404, "task-not-found")


def test_an_index_ahead_of_the_log_is_waited_for_and_then_refused(node: NodeProcess) -> None:
    began = time.monotonic()
    document = check_problem(get(node, "/v1/events?after=999999999&wait=200ms"), 503, "not-ready")
    assert "999999999" in document["detail"]
    assert time.monotonic() - began >= 0.2


# --- the bare socket --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /v1/tasks/" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    ],
    ids=["words", "version", "header", "long header", "long path", "length", "smuggling", "TLS"],
)
def test_what_is_no_http_is_answered_with_a_problem_and_closed(group: NodeGroup, raw: bytes) -> None:
    node = group.follower()
    head, _, body = send_raw(node, raw).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.")
    assert b" 400 " in head.splitlines()[0]
    assert b"application/problem+json" in head
    assert b"malformed-request" in body
    assert b"X-Request-Id" in head
    assert get(node, "/livez").status == 200


def test_many_requests_on_one_connection_are_answered_in_order(group: NodeGroup) -> None:
    one = b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = send_raw(group.follower(), one * 20 + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 20
    assert answers.rindex(b"HTTP/1.1 404") > answers.rindex(b"HTTP/1.1 200")


def test_silent_clients_keep_nobody_from_being_served(group: NodeGroup) -> None:
    node = group.leader()
    with_half = [open_half(node) for _ in range(50)]
    try:
        began = time.monotonic()
        task = submit(node, f"t-{uuid.uuid4().hex}")
        assert get(node, f"/v1/tasks/{task['taskId']}").status == 200
        assert time.monotonic() - began < 2
    finally:
        for connection in with_half:
            connection.close()


def open_half(node: NodeProcess) -> socket.socket:
    address = urlsplit(node.url)
    connection = socket.create_connection((address.hostname, address.port or 0), timeout=5)
    connection.sendall(
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    )
    return connection
