"""Where a task would run: told before and after its submission, and nothing is written by asking."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.asking import CONTEXT, Json, ask, check_problem, faults, get, spec, submit
from tests.harness.commandline import raftsman
from tests.harness.nodes import NodeGroup, NodeProcess, eventually

pytestmark = pytest.mark.cluster

NODES = ["alpha", "beta", "gamma"]


@pytest.fixture
def untouched(group: NodeGroup) -> Iterator[None]:
    """Check that what happens meanwhile changes no table."""
    submit(group.leader(), f"t-{uuid.uuid4().hex[:12]}")
    tasks = get(group.leader(), "/v1/tasks?limit=1000").json["items"]
    yield
    assert [each["taskId"] for each in get(group.leader(), "/v1/tasks?limit=1000").json["items"]] == [
        each["taskId"] for each in tasks
    ]


def plan(node: NodeProcess, body: object) -> list[Json]:
    answer = ask(node, "POST", "/v1/plan", body)
    assert answer.status == 200, answer
    items: list[Json] = answer.json["items"]
    return items


def test_a_task_that_waits_is_explained_in_full(node: NodeProcess) -> None:
    task = submit(node, f"t-{uuid.uuid4().hex[:12]}")
    explained = get(node, f"/v1/tasks/{task['taskId']}/explain").json
    assert (explained["taskId"], explained["placeable"], explained["best"]) == (task["taskId"], False, None)
    assert (explained["state"], explained["attempt"]) == ("queued", None)
    assert explained["leader"] in NODES
    assert explained["waiting"]["code"] == "no-node"
    assert [(each["node"], each["code"]) for each in explained["nodes"]] == [
        (name, "context-unreachable") for name in NODES
    ]
    (context,) = explained["contexts"]
    assert (context["context"], context["code"]) == (CONTEXT, "context-unreachable")
    assert any("raftsman get contexts" in advice for advice in explained["help"])


@pytest.mark.usefixtures("untouched")
def test_one_task_or_several_are_planned_alike(node: NodeProcess) -> None:
    two: list[Json] = [{"type": "shell", "shell": {"command": "true"}}]

    def alike() -> bool:  # The words about the unreachable context may change between two requests.
        return plan(node, {"tasks": [spec("planned-1"), *two]})[0] == plan(node, spec("planned-1"))[0]

    eventually(alike, within_s=10, what="one task is planned as it is among several")
    one = plan(node, spec("planned-1"))
    assert [(each["taskId"], each["placeable"]) for each in one] == [("planned-1", False)]
    several = plan(node, {"tasks": [spec("planned-1"), *two]})
    assert (several[1]["taskId"], several[1]["contexts"]) == (None, [])
    assert {each["code"] for each in several[1]["nodes"]} == {"type-not-allowed"}
    assert plan(node, {"tasks": []}) == []


@pytest.mark.usefixtures("untouched")
def test_constraints_exclude_nodes_each_with_its_code(node: NodeProcess) -> None:
    wish = spec("x", constraints={"allowedNodes": ["alpha", "beta"], "excludedNodes": ["beta"]})
    (explained,) = plan(node, wish)
    codes = {each["node"]: each["code"] for each in explained["nodes"]}
    assert codes == {"alpha": "context-unreachable", "beta": "excluded", "gamma": "not-allowed"}
    assert len(explained["help"]) == 3


@pytest.mark.usefixtures("untouched")
def test_a_node_that_does_not_exist_is_explained_not_refused(node: NodeProcess) -> None:
    (explained,) = plan(node, spec("x", constraints={"allowedNodes": ["alfa"]}))
    assert (explained["state"], explained["placeable"]) == (None, False)
    assert explained["nodes"][0] == {
        "node": "alfa",
        "code": "unknown-node",
        "message": "there is no node alfa; there are alpha, beta, gamma",
    }
    assert explained["nodes"][0]["message"] in explained["waiting"]["message"]


@pytest.mark.usefixtures("untouched")
def test_a_context_that_no_node_has_is_explained_not_refused(node: NodeProcess) -> None:
    (explained,) = plan(node, spec("x", k8sJob={"clusterContext": "elsewhere", "image": "busybox"}))
    assert not explained["placeable"]
    codes = {each["context"]: each["code"] for each in explained["contexts"]}
    assert codes == {CONTEXT: "not-requested", "elsewhere": "unknown-context"}
    assert {each["code"] for each in explained["nodes"]} == {"context-missing"}


@pytest.mark.usefixtures("untouched")
def test_what_is_no_task_cannot_be_planned(node: NodeProcess) -> None:
    answer = ask(node, "POST", "/v1/plan", {"tasks": [spec("a"), spec("b", priority=101), 7]})
    check_problem(answer, 422, "invalid-spec")
    assert set(faults(answer)) == {"/tasks/1/priority", "/tasks/2"}
    answer = ask(node, "POST", "/v1/plan", spec("b", priority=101))
    assert set(faults(answer)) == {"/priority"}
    host = spec("x", k8sJob={"clusterContext": CONTEXT, "image": "x", "podTemplate": {"spec": {"hostPID": True}}})
    assert set(faults(ask(node, "POST", "/v1/plan", {"tasks": [host]}))) == {"/tasks/0/k8sJob/podTemplate/spec/hostPID"}
    check_problem(ask(node, "POST", "/v1/plan", {"tasks": [{}] * 1001}), 413, "too-large")


def test_a_task_that_is_not_there_is_not_explained(node: NodeProcess) -> None:
    check_problem(get(node, "/v1/tasks/nobody/explain"), 404, "task-not-found")


def test_every_bound_can_be_asked_for(node: NodeProcess) -> None:
    limits = get(node, "/v1/limits").json
    assert 0 < limits["requests"]["passedOnOutputs"] < limits["requests"]["connections"] <= 4096
    assert set(limits) == {"submission", "requests", "kept"}
    assert all(isinstance(bound, int) for bounds in limits.values() for bound in bounds.values())
    assert (limits["submission"]["specBytes"], limits["requests"]["bodyBytes"]) == (131_072, 1_048_576)
    assert (limits["requests"]["waitMs"], limits["kept"]["idempotencyKeys"]) == (60_000, 100_000)


def test_the_description_is_the_same_at_every_node(group: NodeGroup) -> None:
    documents = [get(each, "/v1/openapi.json").json for each in group.running()]
    assert documents[0]["openapi"] == "3.1.0"
    assert documents[0]["info"]["version"] == get(group.leader(), "/v1/version").json["version"]
    assert all(each == documents[0] for each in documents)


def test_the_client_and_the_command_line_ask_for_all_of_it(group: NodeGroup, tmp_path: Path) -> None:
    client = group.client(group.leader().name)
    task_id = client.submit(spec(f"t-{uuid.uuid4().hex[:12]}"))["taskId"]
    assert client.explain(task_id)["taskId"] == task_id
    assert [each["placeable"] for each in client.plan([spec("a"), spec("b")])] == [False, False]
    assert client.limits()["requests"]["planTasks"] == 1000
    client.cancel(task_id)
    assert client.retry(task_id)["retryOf"] == task_id

    (tmp_path / "task.json").write_text(json.dumps(spec("a")))
    explained = raftsman(group.addresses, "explain", task_id, home=tmp_path)
    planned = raftsman(group.addresses, "plan", str(tmp_path / "task.json"), home=tmp_path)
    retried = raftsman(group.addresses, "retry", task_id, home=tmp_path)
    assert (explained.returncode, planned.returncode, retried.returncode) == (8, 8, 0)
    assert client.get(retried.stdout.strip())["retryOf"] == task_id
