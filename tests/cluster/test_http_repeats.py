"""Saying it again: idempotency keys, retries, and changes only of what one has seen; at every node, across restarts."""

import uuid
from collections.abc import Mapping

import pytest

from tests.cluster.asking import Answer, Json, ask, check_problem, faults, get, spec, stored, submit
from tests.harness.nodes import NodeGroup, NodeProcess

pytestmark = pytest.mark.cluster


@pytest.fixture
def task_id() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def key() -> Mapping[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


def nameless(**more: object) -> Json:
    document = spec("unused", **more)
    del document["taskId"]
    return document


def cancelled(node: NodeProcess, task_id: str, **more: object) -> Json:
    submit(node, task_id, **more)
    answer = ask(node, "POST", f"/v1/tasks/{task_id}/cancel")
    assert answer.status == 200
    task: Json = answer.json
    return task


def is_replay(answer: Answer, first: Answer) -> bool:
    same = (answer.headers["etag"], answer.headers["location"]) == (first.headers["etag"], first.headers["location"])
    replayed = answer.headers.get("idempotent-replayed") == "true"
    return answer.status == 200 and replayed and same and stored(answer.json) == stored(first.json)


# --- idempotency keys -------------------------------------------------------------------------------------


def test_the_same_key_with_the_same_body_is_the_first_task_at_every_node(
    group: NodeGroup, node: NodeProcess, key: Mapping[str, str]
) -> None:
    first = ask(node, "POST", "/v1/tasks", nameless(), key)
    assert first.status == 201
    for other in group.running():
        again = ask(other, "POST", "/v1/tasks", nameless(priority=0, timeoutMs=600_000), key)  # The defaults.
        assert is_replay(again, first)
        assert get(other, again.headers["location"]).status == 200


def test_the_same_key_with_another_body_is_refused(node: NodeProcess, key: Mapping[str, str]) -> None:
    first = ask(node, "POST", "/v1/tasks", nameless(), key).json["taskId"]
    document = check_problem(ask(node, "POST", "/v1/tasks", nameless(priority=1), key), 422, "idempotency-key-reused")
    assert first in document["detail"]


def test_a_key_and_an_id_of_ones_own_both_hold(node: NodeProcess, task_id: str, key: Mapping[str, str]) -> None:
    first = ask(node, "POST", "/v1/tasks", spec(task_id), key)
    assert is_replay(ask(node, "POST", "/v1/tasks", spec(task_id), key), first)
    assert is_replay(ask(node, "POST", "/v1/tasks", nameless(), key), first)
    another = ask(node, "POST", "/v1/tasks", spec(f"{task_id}-2"), key)
    check_problem(another, 422, "idempotency-key-reused")
    other_key = {"Idempotency-Key": f"{key['Idempotency-Key']}-2"}
    check_problem(ask(node, "POST", "/v1/tasks", spec(task_id, priority=1), other_key), 409, "task-exists")
    check_problem(get(node, f"/v1/tasks/{task_id}-2"), 404, "task-not-found")


@pytest.mark.parametrize("value", ["!", "x" * 255, '"quoted"', "~{}|,;="])
def test_any_visible_ascii_is_a_key(node: NodeProcess, value: str) -> None:
    mine = {"Idempotency-Key": value}
    first = ask(node, "POST", "/v1/tasks", nameless(labels={"key": "odd"}), mine)
    assert ask(node, "POST", "/v1/tasks", nameless(labels={"key": "odd"}), mine).json["taskId"] == first.json["taskId"]


def test_a_submission_that_was_not_sound_uses_no_key(node: NodeProcess, key: Mapping[str, str]) -> None:
    check_problem(ask(node, "POST", "/v1/tasks", nameless(priority=1000), key), 422, "invalid-spec")
    assert ask(node, "POST", "/v1/tasks", nameless(), key).status == 201


# --- retries ----------------------------------------------------------------------------------------------


def test_a_retry_is_a_new_task_of_the_same_spec(node: NodeProcess, task_id: str) -> None:
    old = cancelled(node, task_id, priority=7, labels={"run": "7"})
    answer = ask(node, "POST", f"/v1/tasks/{task_id}/retry")
    assert answer.status == 201
    new = answer.json
    assert answer.headers["location"] == f"/v1/tasks/{new['taskId']}"
    assert (new["retryOf"], new["state"], new["attempt"]) == (task_id, "queued", 0)
    assert [new[name] for name in ("type", "k8sJob", "priority", "labels")] == [
        old[name] for name in ("type", "k8sJob", "priority", "labels")
    ]
    assert get(node, f"/v1/tasks/{task_id}").json == old
    assert old["retryOf"] is None


def test_a_retry_can_be_repeated_under_its_id_or_its_key(
    group: NodeGroup, node: NodeProcess, task_id: str, key: Mapping[str, str]
) -> None:
    cancelled(node, task_id)
    named = ask(node, "POST", f"/v1/tasks/{task_id}/retry", {"taskId": f"{task_id}-2"})
    keyed = ask(node, "POST", f"/v1/tasks/{task_id}/retry", None, key)
    assert (named.status, keyed.status) == (201, 201)
    for other in group.running():
        assert is_replay(ask(other, "POST", f"/v1/tasks/{task_id}/retry", {"taskId": f"{task_id}-2"}), named)
        assert is_replay(ask(other, "POST", f"/v1/tasks/{task_id}/retry", {}, key), keyed)
    assert named.json["taskId"] != keyed.json["taskId"]


def test_a_retry_under_a_foreign_id_or_key_is_refused(node: NodeProcess, task_id: str, key: Mapping[str, str]) -> None:
    cancelled(node, task_id)
    cancelled(node, f"{task_id}-other")
    assert ask(node, "POST", f"/v1/tasks/{task_id}/retry", None, key).status == 201
    other = ask(node, "POST", f"/v1/tasks/{task_id}-other/retry", None, key)
    check_problem(other, 422, "idempotency-key-reused")
    taken = ask(node, "POST", f"/v1/tasks/{task_id}/retry", {"taskId": f"{task_id}-other"})
    check_problem(taken, 409, "task-exists")
    assert ask(node, "POST", "/v1/tasks", nameless(), key).status == 201  # A key is one route's.


def test_what_has_not_ended_or_is_not_there_cannot_be_retried(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    check_problem(ask(node, "POST", f"/v1/tasks/{task_id}/retry"), 409, "not-ended")
    check_problem(ask(node, "POST", "/v1/tasks/nobody/retry"), 404, "task-not-found")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], {""}),
        ({"taskId": "a b"}, {"/taskId"}),
        ({"taskId": 7}, {"/taskId"}),
        ({"k8sJob": {}, "submitterNode": ""}, {"/k8sJob", "/submitterNode"}),
    ],
)
def test_a_retry_takes_an_id_and_nothing_else(node: NodeProcess, body: object, pointers: set[str]) -> None:
    answer = ask(node, "POST", "/v1/tasks/nobody/retry", body)
    check_problem(answer, 422, "invalid-spec")
    assert set(faults(answer)) == pointers


# --- changes of what one has seen -------------------------------------------------------------------------


def test_a_task_that_has_changed_since_is_not_cancelled(node: NodeProcess, task_id: str) -> None:
    etag = f'"{submit(node, task_id)["index"]}"'
    for other in ('"1"', f"W/{etag}", '"not-ours"', '"1", "2"'):
        answer = ask(node, "POST", f"/v1/tasks/{task_id}/cancel", None, {"If-Match": other})
        check_problem(answer, 412, "version-conflict")
    assert get(node, f"/v1/tasks/{task_id}").json["state"] == "queued"
    for same in (f'"1", {etag}', etag, "*"):  # Also once it is in force: the first answer may have been lost.
        answer = ask(node, "POST", f"/v1/tasks/{task_id}/cancel", None, {"If-Match": same})
        assert (answer.status, answer.json["state"]) == (200, "cancelled")


# --- restarts (last: they end nodes) ----------------------------------------------------------------------


def test_keys_and_retries_outlive_the_leader_and_every_process(
    group: NodeGroup, task_id: str, key: Mapping[str, str]
) -> None:
    first = ask(group.leader(), "POST", "/v1/tasks", nameless(), key)
    cancelled(group.leader(), task_id)
    retried = ask(group.leader(), "POST", f"/v1/tasks/{task_id}/retry", None, key)
    before = group.state_hashes()
    group.leader().kill()
    assert is_replay(ask(group.leader(), "POST", "/v1/tasks", nameless(), key), first)
    for node in group.running():
        node.kill()
    for node in group.nodes.values():
        node.start()
    group.wait_ready()
    assert before.keys() == group.state_hashes().keys()
    for node in group.running():
        assert is_replay(ask(node, "POST", "/v1/tasks", nameless(), key), first)
        assert is_replay(ask(node, "POST", f"/v1/tasks/{task_id}/retry", None, key), retried)
        assert get(node, retried.headers["location"]).json["retryOf"] == task_id
        check_problem(ask(node, "POST", "/v1/tasks", nameless(priority=1), key), 422, "idempotency-key-reused")
