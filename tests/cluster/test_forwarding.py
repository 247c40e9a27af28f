"""Whom a request reaches: the token on the way, the leader behind a follower, and nobody at all."""

import http.client
import json
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from raftsman.node.forward import ANSWER_TIMEOUT_S
from tests.cluster.asking import Answer, ask, check_problem, get, spec, stored, submit
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, node_group

pytestmark = pytest.mark.cluster

TOKEN = "correct-horse-battery-staple"
STOP, CONTINUE = signal.SIGSTOP, signal.SIGCONT
BOUND_S = 10.0


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory, kubeconfig: Path) -> Iterator[NodeGroup]:
    """Three nodes that ask for a token, and take no long bodies."""
    short = {"RAFTSMAN_HTTP__MAX_BODY": "192Ki"}
    directory = tmp_path_factory.mktemp("nodes")
    with node_group(directory, kubeconfig=kubeconfig, token=TOKEN, environment=short) as nodes:
        nodes.wait_ready()
        yield nodes


# --- the token --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ü", "Bearer \udcff"],
)
@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/cluster", "/metrics", "/v1/events", "/nowhere"])
def test_without_the_token_nothing_is_told(node: NodeProcess, path: str, authorization: str) -> None:
    answer = raw_get(node, path, authorization)
    check_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN.encode() not in answer.body


def test_without_the_token_nothing_is_changed(node: NodeProcess) -> None:
    task = submit(node, f"t-{uuid.uuid4().hex}")
    for path, body in (("/v1/tasks", spec("intruder")), (f"/v1/tasks/{task['taskId']}/cancel", None)):
        check_problem(ask(node, "POST", path, body, {"Authorization": "Bearer wrong"}), 401, "unauthorized")
    check_problem(get(node, "/v1/tasks/intruder"), 404, "task-not-found")
    assert get(node, f"/v1/tasks/{task['taskId']}").json["state"] == "queued"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/version", "/v1/limits", "/v1/openapi.json"])
def test_probes_need_no_token(node: NodeProcess, path: str) -> None:
    assert raw_get(node, path, "").status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(node: NodeProcess, scheme: str) -> None:
    assert raw_get(node, "/v1/cluster", f"{scheme} {TOKEN}").status == 200


def raw_get(node: NodeProcess, path: str, authorization: str) -> Answer:
    """Send a GET with exactly these bytes as its authorization."""
    connection = http.client.HTTPConnection(urlsplit(node.url).netloc, timeout=5)
    try:
        connection.putrequest("GET", path)
        if authorization:
            connection.putheader("Authorization", authorization.encode(errors="surrogateescape"))
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


# --- the leader behind a follower -------------------------------------------------------------------------


def test_a_follower_hands_a_submission_on_and_never_redirects(group: NodeGroup) -> None:
    follower, leader = group.follower(), group.leader()
    task_id = f"t-{uuid.uuid4().hex}"
    answer = ask(follower, "POST", "/v1/tasks", spec(task_id))
    assert answer.status == 201
    assert answer.headers["raftsman-served-by"] == follower.name
    assert (answer.json["submitterNode"], answer.json["principal"]) == (follower.name, "admin")
    assert stored(get(leader, f"/v1/tasks/{task_id}").json) == stored(answer.json)
    cancelled = ask(follower, "POST", f"/v1/tasks/{task_id}/cancel")
    assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")


def test_what_was_forwarded_is_not_forwarded_again(group: NodeGroup) -> None:
    began = time.monotonic()
    answer = ask(group.follower(), "POST", "/v1/tasks", spec("twice"), {"Raftsman-Forwarded-By": "delta"})
    check_problem(answer, 503, "no-leader")
    assert time.monotonic() - began < 2
    assert ask(group.leader(), "POST", "/v1/tasks", spec("twice"), {"Raftsman-Forwarded-By": "delta"}).status == 201


def test_what_the_leader_takes_every_node_takes(group: NodeGroup) -> None:
    longest = get(group.leader(), "/v1/limits").json["requests"]["bodyBytes"]
    for node in group.running():
        task_id = f"long-{uuid.uuid4().hex}"
        document = spec(task_id, environment={"TEXT": "ж" * 50_000})
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        assert ask(node, "POST", "/v1/tasks", body.ljust(longest)).status == 201
        check_problem(ask(node, "POST", "/v1/tasks", body.ljust(longest + 1)), 413, "too-large")


# --- nobody there (these tests come last: they end nodes) -------------------------------------------------


def test_a_leader_that_hangs_leaves_the_outcome_unknown(group: NodeGroup) -> None:
    """It is told within the bound, whatever the others have agreed on meanwhile; the same id is never another task."""
    leader, follower = group.leader(), group.follower()
    leader.signal(STOP)
    try:
        task_id = f"t-{uuid.uuid4().hex}"
        began = time.monotonic()
        answer = ask(follower, "POST", "/v1/tasks", spec(task_id))
        assert time.monotonic() - began < ANSWER_TIMEOUT_S  # It is not waited for until it times out.
        if answer.status == 503:
            assert check_problem(answer, 503, answer.json["code"])["code"] in ("outcome-unknown", "no-leader")
        else:
            assert answer.status == 201
    finally:
        leader.signal(CONTINUE)
    group.wait_ready()
    assert group.client().submit(spec(task_id))["taskId"] == task_id


def test_without_a_majority_writes_are_told_so_and_reads_go_on(group: NodeGroup) -> None:
    task_id = submit(group.leader(), f"t-{uuid.uuid4().hex}")["taskId"]
    group.state_hashes()
    leader, killed = group.leader(), group.follower()
    leader.kill()
    killed.kill()
    (left,) = group.running()
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        writes = [
            pool.submit(ask, left, "POST", "/v1/tasks", spec("lonely")),
            pool.submit(ask, left, "POST", f"/v1/tasks/{task_id}/cancel"),
        ]
        for write in writes:
            check_problem(write.result(), 503, "no-leader")
        assert time.monotonic() - began < BOUND_S
    assert get(left, f"/v1/tasks/{task_id}").json["state"] == "queued"
    check_problem(get(left, "/v1/tasks/never-heard-of"), 503, "not-ready")
    assert get(left, "/livez").status == 200
    not_ready = get(left, "/readyz")
    assert (not_ready.status, not_ready.headers["retry-after"]) == (503, "1")
    assert [reason["code"] for reason in not_ready.json["reasons"]] == ["no-leader"]
    assert leader.name in not_ready.json["reasons"][0]["message"]
    cluster = get(left, "/v1/cluster")
    assert cluster.json["leader"] is None
    assert "raftsman-leader" not in cluster.headers
    check_problem(get(left, f"/v1/tasks/{task_id}?consistent=true"), 503, "no-leader")
    check_problem(get(left, "/v1/tasks", Raftsman_Min_Index=str(10**9)), 503, "not-ready")

    leader.start()
    killed.start()
    group.wait_ready()
    for each in group.running():
        assert get(each, f"/v1/tasks/{task_id}?consistent=true").json["state"] == "queued"
        check_problem(get(each, "/v1/tasks/lonely"), 404, "task-not-found")


def test_a_leader_without_followers_knows_no_outcome_and_then_leads_no_more(group: NodeGroup) -> None:
    leader = group.leader()
    followers = [each for each in group.running() if each is not leader]
    for follower in followers:
        follower.kill()
    began = time.monotonic()
    answer = ask(leader, "POST", "/v1/tasks", spec("unknown-1"))
    assert time.monotonic() - began < BOUND_S
    document = check_problem(answer, 503, answer.json["code"])
    assert (document["code"], document.get("taskId")) in (("outcome-unknown", "unknown-1"), ("no-leader", None))
    assert "repeat" in document["detail"] or document["code"] == "no-leader"
    eventually(lambda: (leader.get("/v1/cluster") or {}).get("leader", 1) is None, within_s=5, what="it steps down")
    check_problem(ask(leader, "POST", "/v1/tasks", spec("unknown-2")), 503, "no-leader")

    for follower in followers:
        follower.start()
    group.wait_ready()
    assert group.client().submit(spec("unknown-1"))["taskId"] == "unknown-1"
    assert [each["taskId"] for each in group.client().list()].count("unknown-1") == 1
