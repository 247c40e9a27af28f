"""What the API answers when all is well, at the leader and at a follower alike."""

import json
import threading
import time
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.cluster.asking import CONTEXT, NDJSON, Answer, ask, check_problem, get, open_stream, spec, stored, submit
from tests.harness.nodes import NodeGroup, NodeProcess, eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
def task_id() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


# --- submit -----------------------------------------------------------------------------------------


def test_a_submission_is_created_where_its_location_says(node: NodeProcess, task_id: str) -> None:
    answer = ask(node, "POST", "/v1/tasks", spec(task_id, labels={"run": "7"}, priority=3))
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/tasks/{task_id}"
    task = answer.json
    assert answer.headers["etag"] == f'"{task["index"]}"'
    assert answer.headers["raftsman-index"] == str(task["index"])
    assert task["taskId"] == task_id
    assert task["state"] == "queued"
    assert task["conditions"] == ["waiting"]
    assert CONTEXT in task["reason"]
    assert task["waiting"]["message"] == task["reason"]
    assert {each["node"] for each in task["waiting"]["nodes"]} == {"alpha", "beta", "gamma"}
    assert (task["submitterNode"], task["principal"]) == (node.name, "anonymous")
    assert (task["attempt"], task["assignedNode"], task["exitCode"], task["attempts"]) == (0, None, None, [])
    shown = get(node, answer.headers["location"])
    assert shown.status == 200
    assert shown.headers["etag"] == answer.headers["etag"]
    assert stored(shown.json) == stored(task)


def test_a_task_without_an_id_gets_one(node: NodeProcess) -> None:
    document = spec("unused")
    del document["taskId"]
    answer = ask(node, "POST", "/v1/tasks", document)
    assert answer.status == 201
    task_id = answer.json["taskId"]
    assert len(task_id) == 26
    assert task_id == task_id.lower()
    assert get(node, f"/v1/tasks/{task_id}").status == 200


def test_the_same_id_with_the_same_spec_is_the_same_task(group: NodeGroup, node: NodeProcess, task_id: str) -> None:
    first = ask(node, "POST", "/v1/tasks", spec(task_id))
    for other in group.running():
        again = ask(other, "POST", "/v1/tasks", spec(task_id, priority=0, timeoutMs=600_000))  # The defaults.
        assert again.status == 200
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["etag"] == first.headers["etag"]
        assert stored(again.json) == stored(first.json)
    assert "idempotent-replayed" not in first.headers


def test_the_same_id_with_another_spec_is_a_conflict(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    answer = ask(node, "POST", "/v1/tasks", spec(task_id, priority=1))
    assert task_id in check_problem(answer, 409, "task-exists")["detail"]
    assert get(node, f"/v1/tasks/{task_id}").json["priority"] == 0


# --- show, long-poll --------------------------------------------------------------------------------------


def test_a_task_that_was_seen_is_not_sent_again(node: NodeProcess, task_id: str) -> None:
    etag = f'"{submit(node, task_id)["index"]}"'
    for seen in (etag, f"W/{etag}", f'"1", {etag}'):
        answer = get(node, f"/v1/tasks/{task_id}", If_None_Match=seen)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == etag
    assert get(node, f"/v1/tasks/{task_id}", If_None_Match='"1"').status == 200


def test_a_long_poll_returns_with_the_change(node: NodeProcess, task_id: str) -> None:
    index = submit(node, task_id)["index"]
    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(get, node, f"/v1/tasks/{task_id}?index={index}&wait=10s")
        time.sleep(0.2)
        assert not polling.done()
        assert ask(node, "POST", f"/v1/tasks/{task_id}/cancel").status == 200
        answer = polling.result(timeout=5)
    assert answer.json["state"] == "cancelled"
    assert answer.json["index"] > index


def test_a_long_poll_without_a_change_ends_as_it_was(node: NodeProcess, task_id: str) -> None:
    task = submit(node, task_id)
    path = f"/v1/tasks/{task_id}?index={task['index']}&wait=300ms"
    began = time.monotonic()
    assert get(node, path).json["index"] == task["index"]
    assert 0.3 <= time.monotonic() - began < 3
    assert get(node, path, If_None_Match=f'"{task["index"]}"').status == 304
    assert get(node, f"/v1/tasks/{task_id}?index={task['index'] - 1}&wait=30s").status == 200  # Seen less: at once.


def test_a_long_poll_from_an_index_that_this_node_has_not_reached_shows_no_older_state(
    node: NodeProcess, task_id: str
) -> None:
    index = submit(node, task_id)["index"] + 1_000_000
    answer = get(node, f"/v1/tasks/{task_id}?index={index}&wait=300ms")
    check_problem(answer, 503, "not-ready")
    assert f"not yet {index}" in answer.json["detail"]


def test_a_reading_can_be_asked_for_that_is_as_new_as_the_log(group: NodeGroup, task_id: str) -> None:
    index = submit(group.leader(), task_id)["index"]
    for each in group.running():
        assert get(each, f"/v1/tasks/{task_id}", Raftsman_Min_Index=str(index)).status == 200
    for each in group.running():
        assert ask(each, "POST", f"/v1/tasks/{task_id}/cancel").status == 200
        for reader in group.running():
            assert get(reader, f"/v1/tasks/{task_id}?consistent=true").json["state"] == "cancelled"


# --- list -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed(group: NodeGroup) -> str:
    """Five tasks with the label run=<value>, which is returned; the third is cancelled."""
    run = uuid.uuid4().hex[:8]
    for number in range(5):
        even = "yes" if number % 2 == 0 else "no"
        submit(group.leader(), f"{run}-{number}", labels={"run": run, "even": even, f"only-{number}": "x"})
    assert ask(group.leader(), "POST", f"/v1/tasks/{run}-2/cancel").status == 200
    group.state_hashes()  # All nodes have them.
    return run


def ids(answer: Answer, run: str) -> str:
    assert answer.status == 200, answer
    return "".join(item["taskId"].removeprefix(f"{run}-") for item in answer.json["items"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "43210"),
        ("&sort=submittedAt", "01234"),
        ("&sort=-submittedAt", "43210"),
        ("&state=queued", "4310"),
        ("&state=cancelled", "2"),
        ("&state=cancelled,queued", "43210"),
        ("&state=cancelled&state=queued", "43210"),
        ("&state=running", ""),
        ("&type=k8s_job", "43210"),
        ("&type=shell", ""),
        (f"&context={CONTEXT}", "43210"),
        ("&context=other", ""),
        ("&node=alpha", ""),
        ("&label=even=yes", "420"),
        ("&label=even=yes,only-4", "4"),
        ("&label=even%3Dno&label=only-1=x", "1"),
        ("&label=even=", ""),
        ("&submittedAfter=2001-01-01T00:00:00Z", "43210"),
        ("&submittedAfter=2101-01-01T00:00:00%2B01:00", ""),
        ("&limit=2", "43"),
        ("&limit=1000", "43210"),
    ],
)
def test_a_list_shows_what_meets_every_filter(group: NodeGroup, listed: str, query: str, found: str) -> None:
    for each in group.running():
        assert ids(get(each, f"/v1/tasks?label=run={listed}{query}"), listed) == found


def test_a_list_is_submitted_after_an_instant_of_its_own(node: NodeProcess, listed: str) -> None:
    third = get(node, f"/v1/tasks/{listed}-2").json["submittedAt"]
    answer = get(node, f"/v1/tasks?label=run={listed}&sort=submittedAt&submittedAfter={third}")
    assert ids(answer, listed) in ("34", "4")  # Tasks of one millisecond are not after each other.


def test_a_list_has_its_shape_and_brief_rows(node: NodeProcess, listed: str) -> None:
    answer = get(node, f"/v1/tasks?label=run={listed}")
    assert set(answer.json) == {"items", "next", "index"}
    assert answer.json["next"] is None
    assert "link" not in answer.headers
    assert answer.json["index"] == int(answer.headers["raftsman-index"])
    for item in answer.json["items"]:
        assert not {"attempts", "stdoutTail", "stderrTail"} & set(item)
    assert [item["conditions"] for item in answer.json["items"]] == [
        ["waiting"],
        ["waiting"],
        [],
        ["waiting"],
        ["waiting"],
    ]


@pytest.mark.parametrize(("sort", "order"), [("submittedAt", "01234"), ("-submittedAt", "43210")])
def test_pages_follow_one_another_without_gap_or_overlap(group: NodeGroup, listed: str, sort: str, order: str) -> None:
    path, found, pages = (
        f"/v1/tasks?label=run={listed}&label=only-&sort={sort}&limit=2".replace("&label=only-", ""),
        "",
        0,
    )
    nodes = group.running()
    while path:
        answer = get(nodes[pages % 3], path)  # A cursor is the same at every node.
        found, pages = found + ids(answer, listed), pages + 1
        link = answer.headers.get("link", "")
        assert bool(link) == (answer.json["next"] is not None)
        path = link.removeprefix("<").removesuffix('>; rel="next"')
        assert not link or f"cursor={answer.json['next']}" in path
    assert (found, pages) == (order, 3)


# --- cancel -----------------------------------------------------------------------------------------------


def test_a_queued_task_is_cancelled_at_once_and_only_once(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    answer = ask(node, "POST", f"/v1/tasks/{task_id}/cancel")
    assert answer.status == 200
    task = answer.json
    assert (task["state"], task["error"], task["exitCode"], task["cause"]) == ("cancelled", "Task cancelled", -1, None)
    assert task["completedAt"] >= task["submittedAt"]
    assert "waiting" not in task
    again = ask(node, "POST", f"/v1/tasks/{task_id}/cancel", {})
    assert (again.status, again.json) == (200, task)
    assert again.headers["etag"] == answer.headers["etag"] == f'"{task["index"]}"'


def test_a_cancelled_task_can_be_submitted_again_only_as_itself(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    ask(node, "POST", f"/v1/tasks/{task_id}/cancel")
    again = ask(node, "POST", "/v1/tasks", spec(task_id))
    assert (again.status, again.json["state"]) == (200, "cancelled")
    check_problem(ask(node, "POST", "/v1/tasks", spec(task_id, priority=9)), 409, "task-exists")


def test_a_task_that_nobody_knows_is_not_found(node: NodeProcess) -> None:
    for method, path in (("GET", ""), ("GET", "/logs"), ("GET", "/events"), ("POST", "/cancel")):
        document = check_problem(ask(node, method, f"/v1/tasks/nobody{path}"), 404, "task-not-found")
        assert "nobody" in document["detail"]
        assert document["instance"] == f"/v1/tasks/nobody{path}"


@pytest.mark.parametrize(
    "name",
    [
        "..%2f",
        "..%2f..%2fetc",
        "%2e%2e",
        "a" * 200,
        "a" * 4000,
        quote("zażółć"),
        "%00",
        "%ff",
        "%ed%a0%80",
        "a%0d%0ab",
        "%25",
        "a b".replace(" ", "%20"),
        "x;y",
        ":cancel",
    ],
)
def test_an_odd_id_is_only_an_id_that_nobody_has(node: NodeProcess, name: str) -> None:
    for method, path in (("GET", ""), ("GET", "/logs"), ("GET", "/events"), ("POST", "/cancel")):
        answer = ask(node, method, f"/v1/tasks/{name}{path}")
        assert answer.status == 404
        assert answer.json["code"] in ("task-not-found", "not-found")
        check_problem(answer, 404, answer.json["code"])


# --- events -----------------------------------------------------------------------------------------------


def test_a_tasks_events_tell_its_story(node: NodeProcess, task_id: str) -> None:
    submitted = submit(node, task_id)
    cancelled = ask(node, "POST", f"/v1/tasks/{task_id}/cancel").json
    page = get(node, f"/v1/tasks/{task_id}/events").json
    assert [(each["from"], each["to"]) for each in page["items"]] == [(None, "queued"), ("queued", "cancelled")]
    assert [each["index"] for each in page["items"]] == [submitted["index"], cancelled["index"]]
    assert all(each["id"] == f"{each['index']}.{each['n']}" for each in page["items"])
    assert page["next"] is None
    as_lines = get(node, f"/v1/tasks/{task_id}/events", Accept=NDJSON)
    assert as_lines.headers["content-type"].startswith(NDJSON)
    assert as_lines.lines == page["items"]
    first, second = page["items"]
    for after in (first["id"], str(first["index"])):
        assert get(node, f"/v1/tasks/{task_id}/events?after={after}").json["items"] == [second]
    limited = get(node, f"/v1/tasks/{task_id}/events?limit=1").json
    assert (limited["items"], limited["next"]) == ([first], first["id"])


def test_all_events_can_be_read_page_by_page(node: NodeProcess, listed: str) -> None:
    after, found = "0.0", []
    while after:
        page = get(node, f"/v1/events?after={after}&limit=3").json
        found += page["items"]
        after = page["next"]
    ours = [(each["taskId"][-1], each["to"]) for each in found if each["taskId"].startswith(listed)]
    assert ours == [*((str(number), "queued") for number in range(5)), ("2", "cancelled")]
    positions = [(each["index"], each["n"]) for each in found]
    assert positions == sorted(set(positions))
    whole = get(node, "/v1/events", Accept=NDJSON).lines
    assert whole[: len(found)] == found


def follow(node: NodeProcess, path: str) -> Generator[dict[str, object], None, None]:
    with open_stream(node, path) as connection, connection.makefile("rb") as answer:
        for line in answer:
            if line.startswith(b"{"):
                yield json.loads(line)


def test_a_followed_task_ends_the_stream(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    canceller = threading.Timer(0.3, ask, (node, "POST", f"/v1/tasks/{task_id}/cancel"))
    canceller.start()
    seen = [event["to"] for event in follow(node, f"/v1/tasks/{task_id}/events?follow=true")]
    canceller.join()
    assert seen == ["queued", "cancelled"]


def test_followed_events_come_as_they_happen(node: NodeProcess, task_id: str) -> None:
    index = get(node, "/v1/events?limit=1").json["index"]
    stream = follow(node, f"/v1/events?follow=true&after={index}")
    submitter = threading.Timer(0.3, submit, (node, task_id))
    submitter.start()
    event = next(event for event in stream if event["taskId"] == task_id)  # Others may still be on their way.
    submitter.join()
    assert event["to"] == "queued"
    stream.close()


# --- output -----------------------------------------------------------------------------------------------


def test_a_queued_task_has_no_output_yet(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    assert get(node, f"/v1/tasks/{task_id}/logs", Accept=NDJSON).lines == [
        {"end": "unavailable", "reason": "there is no output yet"}
    ]
    text = get(node, f"/v1/tasks/{task_id}/logs")
    assert text.headers["content-type"].startswith("text/plain")
    assert text.body == b"[raftsman: output unavailable: there is no output yet]\n"


def test_followed_output_ends_when_the_task_does(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    canceller = threading.Timer(0.3, ask, (node, "POST", f"/v1/tasks/{task_id}/cancel"))
    canceller.start()
    answer = get(node, f"/v1/tasks/{task_id}/logs?follow=true", Accept=NDJSON)
    canceller.join()
    assert answer.lines == [{"end": "unavailable", "reason": "it was never started, so that there is no output"}]


# --- the cluster ------------------------------------------------------------------------------------------


def test_the_cluster_shows_its_nodes(group: NodeGroup, node: NodeProcess) -> None:
    view = get(node, "/v1/cluster").json
    leader = group.leader().name
    assert (view["name"], view["leader"], view["canLose"]) == ("raftsman", leader, 1)
    assert str(uuid.UUID(view["uuid"])) == view["uuid"]
    assert view["term"] >= 1
    assert view["appliedIndex"] <= view["commitIndex"]
    assert {each["name"]: each["url"] for each in view["members"]} == {
        each.name: each.url for each in group.nodes.values()
    }
    assert {each["name"]: each["role"] for each in view["members"] if each["role"] != "follower"} == {leader: "leader"}
    assert all(each["alive"] and each["contexts"] == [CONTEXT] and each["version"] for each in view["members"])


def test_a_context_that_nobody_reaches_is_shown_with_its_reason(node: NodeProcess) -> None:
    (context,) = get(node, "/v1/contexts").json["items"]
    assert (context["name"], context["reachableFrom"], context["health"]) == (CONTEXT, [], "unreachable")
    assert "refused" in context["error"]
    assert context["running"] == 0


def test_probes_and_version_answer(node: NodeProcess) -> None:
    assert (get(node, "/livez").status, get(node, "/livez").body) == (200, b"ok\n")
    assert (get(node, "/readyz").status, get(node, "/readyz").json) == (200, {"reasons": []})
    version = get(node, "/v1/version").json
    assert version["node"] == node.name
    assert version["version"]


# --- headers ----------------------------------------------------------------------------------------------


def test_every_answer_says_who_gave_it_and_how_new_it_is(group: NodeGroup, node: NodeProcess) -> None:
    for path in (
        "/v1/tasks",
        "/v1/cluster",
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/version",
        "/nowhere",
        "/v1/tasks/no",
    ):
        headers = get(node, path).headers
        assert headers["raftsman-served-by"] == node.name
        assert headers["raftsman-leader"] == group.leader().name
        assert int(headers["raftsman-index"]) > 0
        assert len(headers["x-request-id"]) == 16


def test_a_request_keeps_the_id_it_came_with(node: NodeProcess, task_id: str) -> None:
    given = f"trace.{task_id}"
    assert get(node, "/v1/tasks", X_Request_Id=given).headers["x-request-id"] == given
    answer = ask(node, "POST", "/v1/tasks/nobody/cancel", headers={"X-Request-Id": given})
    assert check_problem(answer, 404, "task-not-found")["requestId"] == given
    for unusable in ("a b", "x" * 65, "ä"):
        assert get(node, "/v1/tasks", X_Request_Id=unusable).headers["x-request-id"] != unusable


def test_a_write_can_be_read_at_the_node_that_took_it(group: NodeGroup) -> None:
    follower = group.follower()
    for _ in range(20):
        task = submit(follower, f"t-{uuid.uuid4().hex[:12]}")
        answer = get(follower, f"/v1/tasks/{task['taskId']}")
        assert answer.status == 200
        assert int(answer.headers["raftsman-index"]) >= task["index"]


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/cluster", "/livez", "/metrics", "/v1/events"])
def test_a_head_request_is_a_get_without_its_body(node: NodeProcess, path: str) -> None:
    answer = ask(node, "HEAD", path)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == get(node, path).headers["content-type"]


def test_a_head_request_of_a_stream_ends(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    for path in (
        f"/v1/tasks/{task_id}/logs?follow=true",
        f"/v1/tasks/{task_id}/events?follow=true",
        "/v1/events?follow=true",
    ):
        answer = ask(node, "HEAD", path, headers={"Accept": NDJSON})
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-type"].startswith(NDJSON)


def test_watchers_are_counted_while_they_watch(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)

    def watchers() -> float:
        page = get(node, "/metrics").body.decode()
        return next(float(line.split()[1]) for line in page.splitlines() if line.startswith("raftsman_watchers "))

    with open_stream(node, f"/v1/tasks/{task_id}/events?follow=true") as connection:
        assert connection.recv(10)
        assert watchers() >= 1
        ask(node, "POST", f"/v1/tasks/{task_id}/cancel")
        while connection.recv(65536):
            pass
    eventually(lambda: watchers() == 0, within_s=5, what="nobody watches")
