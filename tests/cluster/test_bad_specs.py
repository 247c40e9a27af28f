"""A submission that is not sound is told everything that is wrong with it, and never reaches the log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.asking import CONTEXT, IMAGE, Answer, Json, ask, check_problem, faults, get, spec
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, node_group

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def settled(group: NodeGroup) -> None:
    """Every node has told the log why it does not reach the context, and has nothing more to say."""

    def told() -> bool:
        (context,) = get(group.leader(), "/v1/contexts").json["items"]
        return all(f"{name}: " in (context["error"] or "") for name in group.nodes) and "tried" not in context["error"]

    eventually(told, within_s=20, what="all nodes have told why")


@pytest.fixture
def unharmed(group: NodeGroup, settled: None) -> Iterator[None]:
    """Check that what happens meanwhile leaves no task and no other table."""
    before = {state_hash for _, state_hash in group.state_hashes().values()}
    yield
    after = {state_hash for _, state_hash in group.state_hashes().values()}
    assert after == before
    assert len(after) == 1
    assert get(group.leader(), "/v1/tasks").json["items"] == []


def job(**fields: Any) -> Json:
    return spec("bad", k8sJob={"clusterContext": CONTEXT, "image": IMAGE, **fields})


def resources(**fields: Any) -> Json:
    return job(resources=fields)


def invalid(*pointers: str) -> dict[str, str]:
    return dict.fromkeys(pointers, INVALID)


INVALID = "invalid-spec"
UNKNOWN = "unknown-context"
LATER = "not-implemented-here"
CPU, CORES = "/k8sJob/resources/cpu", "/k8sJob/resources/cpuCores"
MEMORY, BYTES = "/k8sJob/resources/memory", "/k8sJob/resources/memoryBytes"


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("document", "found"),
    [
        (spec("bad", colour="red"), invalid("/colour")),
        (job(imagePullPolicy="Always"), invalid("/k8sJob/imagePullPolicy")),
        (resources(cpus=1), invalid("/k8sJob/resources/cpus")),
        (spec("bad", priority=False), invalid("/priority")),
        (spec("bad", priority="high"), invalid("/priority")),
        (spec("bad", priority=1.5), invalid("/priority")),
        (spec("bad", priority=101), invalid("/priority")),
        (spec("bad", timeoutMs=-1), invalid("/timeoutMs")),
        (spec("bad", timeoutMs="10m"), invalid("/timeoutMs")),
        (job(command="echo hello"), invalid("/k8sJob/command")),
        (job(args=[1, True]), invalid("/k8sJob/args/0", "/k8sJob/args/1")),
        (spec("bad", environment={"A": 1, "1B": "x"}), invalid("/environment/A", "/environment/1B")),
        (resources(cpu="NaN", memory="Infinity"), invalid(CPU, MEMORY)),
        (resources(cpu="100 m", memory="1_000"), invalid(CPU, MEMORY)),
        (resources(cpuCores=-1, memoryBytes=-5), invalid(CORES, BYTES)),
        (resources(cpuCores=1e9, memoryBytes=10**21), invalid(CORES, BYTES)),
        (resources(gpuCount=-1), invalid("/k8sJob/resources/gpuCount")),
        (job(clusterContext=""), invalid("/k8sJob/clusterContext")),
        (job(clusterContext=None), invalid("/k8sJob/clusterContext")),
        (job(clusterContext="elsewhere"), {"/k8sJob/clusterContext": UNKNOWN}),
        (job(image=""), invalid("/k8sJob/image")),
        (job(image="Busy Box"), invalid("/k8sJob/image")),
        (job(image="busybox:"), invalid("/k8sJob/image")),
        (job(namespace="Not_A_Name"), invalid("/k8sJob/namespace")),
        (job(namespace="x" * 64), invalid("/k8sJob/namespace")),
        (job(serviceAccountName="-x"), invalid("/k8sJob/serviceAccountName")),
        (job(labels={"-bad": "x", "ok": "no spaces please"}), invalid("/k8sJob/labels/-bad", "/k8sJob/labels/ok")),
        (job(labels={"raftsman.dev/task-id": "x"}), invalid("/k8sJob/labels/raftsman.dev~1task-id")),
        (spec("bad", labels={"x": "y" * 64}), invalid("/labels/x")),
        (spec("bad task"), invalid("/taskId")),
        (spec("../bad"), invalid("/taskId")),
        (spec("x" * 129), invalid("/taskId")),
        ({"taskId": "bad"}, invalid("/type")),
        ({"taskId": "bad", "type": "k8s_job"}, invalid("/k8sJob")),
        ({"taskId": "bad", "type": "k8s_job", "k8sJob": {}}, invalid("/k8sJob/clusterContext", "/k8sJob/image")),
        (spec("bad", type="cron"), invalid("/type")),
        (spec("bad", retry={"maxAttempts": 3}), {"/retry": LATER}),
        (spec("bad", onUnreachable={"failAfterMs": 1}), {"/onUnreachable": LATER}),
        ([], invalid("")),
        ("task", invalid("")),
        (None, invalid("")),
    ],
)
def test_a_fault_is_named_by_its_pointer(node: NodeProcess, document: object, found: dict[str, str]) -> None:
    answer = ask(node, "POST", "/v1/tasks", b"null" if document is None else document)
    problem = check_problem(answer, 422, next(iter(found.values())))
    assert faults(answer) == found
    for fault in problem["errors"]:
        assert len(fault["detail"]) > 10
        assert fault["code"] == UNKNOWN or fault["pointer"].rpartition("/")[2].split("~1")[0] in fault["detail"]


@pytest.mark.usefixtures("unharmed")
def test_all_faults_are_told_at_once(node: NodeProcess) -> None:
    answer = ask(
        node,
        "POST",
        "/v1/tasks",
        {
            "taskId": "no spaces",
            "type": "k8s_job",
            "priority": False,
            "colour": "red",
            "timeoutMs": -1,
            "k8sJob": {
                "clusterContext": "",
                "image": "Busy Box",
                "namespace": "A",
                "labels": {"-": "x"},
                "resources": {"cpu": "NaN", "memoryBytes": -1},
            },
        },
    )
    problem = check_problem(answer, 422, INVALID)
    assert set(faults(answer)) == {
        "/taskId", "/priority", "/colour", "/timeoutMs", "/k8sJob/clusterContext", "/k8sJob/image",
        "/k8sJob/namespace", "/k8sJob/labels/-", "/k8sJob/resources/cpu", "/k8sJob/resources/memoryBytes",
    }  # fmt: skip
    assert problem["detail"].startswith("10 faults: ")


@pytest.mark.usefixtures("unharmed")
def test_an_empty_context_is_told_as_a_context(node: NodeProcess) -> None:
    problem = check_problem(ask(node, "POST", "/v1/tasks", job(clusterContext="")), 422, INVALID)
    assert "context" in problem["detail"]


@pytest.mark.usefixtures("unharmed")
def test_an_unknown_context_is_named_with_those_that_are_known(node: NodeProcess) -> None:
    problem = check_problem(ask(node, "POST", "/v1/tasks", job(clusterContext="elsewhere")), 422, "unknown-context")
    assert "'elsewhere'" in problem["detail"]
    assert CONTEXT in problem["detail"]


@pytest.mark.usefixtures("unharmed")
def test_the_hosts_own_things_are_refused_where_the_context_does_not_allow_them(node: NodeProcess) -> None:
    template = {"spec": {"hostNetwork": True, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}
    answer = ask(node, "POST", "/v1/tasks", job(podTemplate=template))
    check_problem(answer, 422, INVALID)
    assert set(faults(answer)) == {
        "/k8sJob/podTemplate/spec/hostNetwork",
        "/k8sJob/podTemplate/spec/volumes/0/hostPath",
    }


def test_without_any_context_there_is_no_kubernetes_adapter(tmp_path: Path) -> None:
    def check(answer: Answer) -> None:
        problem = check_problem(answer, 422, "unknown-context")
        assert [each["detail"] for each in problem["errors"]] == ["Kubernetes adapter not available"]
        assert faults(answer) == {"/k8sJob/clusterContext": "unknown-context"}

    with node_group(tmp_path) as nodes:
        nodes.wait_ready()
        for node in nodes.running():
            check(ask(node, "POST", "/v1/tasks", spec("bad")))
            assert get(node, "/v1/contexts").json == {"items": []}
            assert get(node, "/v1/tasks").json["items"] == []
