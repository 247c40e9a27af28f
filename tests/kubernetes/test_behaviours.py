"""What somebody may rely on who submits a Job to raftsman: one fact a test."""

import json
from collections.abc import Callable, Iterator, Mapping

import pytest

from raftsman.client import Client, LogEnd, LogLine
from raftsman.errors import InvalidSpec
from raftsman.wire.quantities import parse_memory
from raftsman.wire.views import TaskView
from tests.harness.kube import Json, Kube, Place, new_id
from tests.harness.nodes import NodeGroup, node_group
from tests.kubernetes.conftest import Places, settings_of

pytestmark = pytest.mark.kubernetes

Ended = Callable[[str], TaskView]

NOWHERE = {"constraints": {"allowedNodes": ["nobody"]}}
"""No node may take such a task: it stays queued."""


@pytest.fixture(scope="module")
def first(places: Places) -> Place:
    return places[0]


@pytest.fixture(scope="module")
def submitted(client: Client, first: Place) -> Mapping[str, str]:
    """Tasks that several tests look at, side by side."""
    specs = {
        "success": first.task(new_id("success"), "sh", "-c", "echo Hello from Kubernetes; sleep 2"),
        "failure": first.task(new_id("failure"), "sh", "-c", "echo no disk >&2; exit 5"),
        "large": first.shell(new_id("large"), "sleep 60", {"resources": {"cpu": "2", "memory": "4096Mi"}}),
    }
    return {story: client.submit(spec)["taskId"] for story, spec in specs.items()}


# --- the twelve --------------------------------------------------------------------------------------


def test_the_job_carries_context_image_and_command(first: Place, submitted: Mapping[str, str]) -> None:
    job = first.job(submitted["success"])
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert job["metadata"]["annotations"]["raftsman.dev/context"] == first.context
    assert container["image"].startswith("busybox")
    assert container["command"] == ["sh", "-c", "echo Hello from Kubernetes; sleep 2"]


def test_a_task_is_followed_until_it_has_completed(client: Client, submitted: Mapping[str, str]) -> None:
    seen = [task["state"] for task in client.watch(submitted["success"], timeout_s=60)]
    order = ["queued", "assigned", "running", "completed"]
    assert seen == sorted(seen, key=order.index)
    assert seen[-1] == "completed"


def test_output_arrives_as_stdout(client: Client, submitted: Mapping[str, str], ended: Ended) -> None:
    records = list(client.logs(submitted["success"], follow=True))
    lines = [(record.stream, record.line) for record in records if isinstance(record, LogLine)]
    assert lines == [("stdout", "Hello from Kubernetes")]
    assert records[-1] == LogEnd("complete", "")
    assert ended(submitted["success"])["stdoutTail"] == "Hello from Kubernetes"


def test_success_is_completed_with_exit_code_0(submitted: Mapping[str, str], ended: Ended) -> None:
    task = ended(submitted["success"])
    assert (task["state"], task["exitCode"], task["error"], task["cause"]) == ("completed", 0, None, None)


def test_failure_is_failed_and_kubernetes_words_stand_beside_the_cause(
    submitted: Mapping[str, str], ended: Ended
) -> None:
    task = ended(submitted["failure"])
    assert (task["state"], task["exitCode"], task["cause"]) == ("failed", 5, "NonZeroExit")
    assert "BackoffLimitExceeded" in (task["error"] or "")
    assert "exit code 5" in (task["attempts"][0]["message"] or "")
    assert "no disk" in (task["stderrTail"] or "")


def test_cancelling_a_running_task_deletes_the_job_and_says_task_cancelled(
    client: Client, first: Place, ended: Ended
) -> None:
    task_id = client.submit(first.shell(new_id("cancel"), "sleep 60"))["taskId"]
    client.wait(task_id, for_="running", timeout_s=60)
    assert first.jobs(task_id)
    client.cancel(task_id)
    task = ended(task_id)
    assert (task["state"], task["error"]) == ("cancelled", "Task cancelled")
    assert not first.jobs(task_id)


def test_without_any_context_the_answer_is_kubernetes_adapter_not_available(
    first: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with node_group(tmp_path_factory.mktemp("alone"), names=("alone",)) as alone:
        alone.wait_ready()
        with pytest.raises(InvalidSpec) as refusal:
            alone.client().submit(first.task(new_id("nothing")))
    assert [fault.detail for fault in refusal.value.errors] == ["Kubernetes adapter not available"]
    assert refusal.value.code == "unknown-context"


def test_namespace_and_limits_are_as_given(client: Client, first: Place, submitted: Mapping[str, str]) -> None:
    job = first.job(submitted["large"])
    (container,) = job["spec"]["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert job["metadata"]["namespace"] == first.namespace
    assert limits["cpu"] == "2"
    assert parse_memory(limits["memory"]) == parse_memory("4096Mi")  # Kubernetes itself writes 4Gi.
    assert client.get(submitted["large"])["k8sJob"]["resources"] == {"cpu": "2", "memory": "4096Mi"}
    client.cancel(submitted["large"])


def test_the_scheduler_accepts_a_k8s_job(client: Client, submitted: Mapping[str, str], ended: Ended) -> None:
    task = ended(submitted["success"])
    assert (task["type"], task["attempt"]) == ("k8s_job", 1)
    assert task["assignedNode"] in {member["name"] for member in client.cluster()["members"]}
    states = [event["to"] for event in client.events(task["taskId"])]
    assert states[:2] == ["queued", "assigned"]


def test_an_empty_context_is_rejected_with_a_reason_that_names_the_context(client: Client, first: Place) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        client.submit(first.task(new_id("empty"), job={"clusterContext": ""}))
    (fault,) = refusal.value.errors
    assert fault.pointer == "/k8sJob/clusterContext"
    assert "context" in fault.detail


def test_a_submitted_task_can_be_asked_for_and_is_queued_before_it_is_placed(client: Client, first: Place) -> None:
    task_id = client.submit(first.task(new_id("queued"), **NOWHERE))["taskId"]
    task = client.get(task_id)
    assert (task["state"], task["attempt"], task["conditions"]) == ("queued", 0, ["waiting"])
    assert "nobody" in (task["reason"] or "")


def test_a_cancelled_task_is_cancelled(client: Client, first: Place) -> None:
    task_id = client.submit(first.task(new_id("gone"), **NOWHERE))["taskId"]
    client.cancel(task_id)
    task = client.get(task_id)
    assert (task["state"], task["error"], task["exitCode"]) == ("cancelled", "Task cancelled", -1)


# --- and two more --------------------------------------------------------------------------------------


def test_status_events_carry_the_jobs_active_succeeded_and_failed_counts(
    client: Client, submitted: Mapping[str, str], ended: Ended
) -> None:
    ended(submitted["success"])
    ended(submitted["failure"])
    counts = [event["job"] for event in client.events(submitted["success"])]
    assert {"active": 1, "succeeded": 0, "failed": 0} in counts
    assert counts[-1] == {"active": 0, "succeeded": 1, "failed": 0}
    counts = [event["job"] for event in client.events(submitted["failure"])]
    assert counts[-1] == {"active": 0, "succeeded": 0, "failed": 1}


WITHOUT_LOGS = [
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]},
]
"""All that raftsman needs in a namespace, but for ``pods/log``."""


@pytest.fixture(scope="module")
def mute(first: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeGroup]:
    """A node of its own whose account may carry out tasks and may not read their output."""
    directory = tmp_path_factory.mktemp("mute")
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig_of_account(first)))
    kube = Kube(kubeconfig, first.context)
    with node_group(directory, names=("mute",), more_toml=settings_of(kube)) as group:
        group.wait_ready([first.context])
        yield group


def _kubeconfig_of_account(place: Place) -> Json:
    """Create an account that may do ``WITHOUT_LOGS``, and return a kubeconfig in which the context is used by it."""
    group = "rbac.authorization.k8s.io"
    meta = {"metadata": {"name": "mute"}}
    subject = {"kind": "ServiceAccount", "name": "mute", "namespace": place.namespace}
    place.kube.create(
        place.namespace,
        {"apiVersion": "v1", "kind": "ServiceAccount", **meta},
        {"apiVersion": f"{group}/v1", "kind": "Role", **meta, "rules": WITHOUT_LOGS},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            **meta,
            "subjects": [subject],
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "mute"},
        },
    )
    token = place.kube.run("create", "token", "mute", "-n", place.namespace)
    document: Json = json.loads(place.kube.run("config", "view", "--minify", "--flatten", "--raw", "-o", "json"))
    document["users"] = [{"name": "mute", "user": {"token": token.strip()}}]
    document["contexts"][0]["context"]["user"] = "mute"
    return document


@pytest.mark.kubelet
def test_output_that_cannot_be_fetched_does_not_change_the_outcome(mute: NodeGroup, first: Place) -> None:
    client = mute.client()
    ids = [
        client.submit(first.task(new_id("mute-ok"), "echo", "unheard"))["taskId"],
        client.submit(first.task(new_id("mute-3"), "sh", "-c", "echo unheard; exit 3"))["taskId"],
    ]
    good, bad = client.wait(ids, timeout_s=60)
    assert (good["state"], good["exitCode"], good["stdoutTail"]) == ("completed", 0, None)
    assert (bad["state"], bad["exitCode"], bad["cause"]) == ("failed", 3, "NonZeroExit")
    (end,) = client.logs(good["taskId"])
    assert isinstance(end, LogEnd)
    assert (end.end, "forbidden" in end.reason) == ("unavailable", True)
