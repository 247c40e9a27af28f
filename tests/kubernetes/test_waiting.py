"""Whatever a task waits for on real Kubernetes, it says so within seconds.

All tasks wait side by side; how soon each of them said why is read from its events afterwards.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from raftsman.client import Client
from raftsman.wire.views import TaskView
from tests.harness.kube import Place, new_id
from tests.harness.nodes import eventually
from tests.kubernetes.conftest import Places

pytestmark = pytest.mark.kubernetes

Ended = Callable[[str], TaskView]

CAUSE_WITHIN_S = 15.0
START_TIMEOUT_MS = 20_000
_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def full(places: Places) -> Iterator[Place | None]:
    """A namespace whose quota has no room for a Pod; None where there are no quotas."""
    kube = places[0].kube
    if "resourcequotas" not in kube.run("api-resources", "-o", "name"):
        yield None
        return
    with kube.namespace("full") as name:
        quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
        kube.create(name, {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
        eventually(
            lambda: kube.get("resourcequotas", name)[0].get("status", {}).get("hard"),
            within_s=CAUSE_WITHIN_S,
            what="the quota is in force",
        )
        yield Place(kube, name)


@pytest.fixture(scope="module")
def submitted(client: Client, places: Places, full: Place | None) -> Mapping[str, str]:
    """Every task of this story."""
    first, _ = places
    word = secrets.token_hex(4)
    secret = {"name": "task", "envFrom": [{"secretRef": {"name": "not-there"}}]}
    soon: dict[str, Any] = {"startTimeoutMs": START_TIMEOUT_MS}
    specs = {
        "slow": first.task(new_id("slow"), "echo", "pulled", job={"image": f"busybox:slow-{word}"}),
        "namespace": first.task(new_id("namespace"), job={"namespace": f"raftsman-test-none-{word}"}),
        "account": first.task(new_id("account"), job={"serviceAccountName": "nobody-of-that-name"}),
        **({"quota": full.task(new_id("quota"), **soon)} if full else {}),
        "image": first.task(new_id("image"), job={"image": f"busybox:none-{word}"}, **soon),
        "memory": first.task(new_id("memory"), job={"resources": {"memory": "4096Gi"}}, **soon),
        "secret": first.task(new_id("secret"), job={"podTemplate": {"spec": {"containers": [secret]}}}, **soon),
    }
    return {story: client.submit(spec)["taskId"] for story, spec in specs.items()}


def seconds_between(begin: str | None, end: str | None) -> float:
    assert begin is not None
    assert end is not None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def pulling_since(place: Place, task_id: str) -> str:
    """Return when Kubernetes said that it pulls the image of the task's Pod."""
    told = [
        event["firstTimestamp"]
        for event in place.kube.get("events", place.namespace)
        if event["reason"] == "Pulling" and task_id in event["involvedObject"]["name"]
    ]
    assert len(told) == 1, told
    return str(told[0])


def said_after_s(client: Client, task: TaskView, *words: str, since: str | None = None) -> float:
    """Return how many seconds after its submission, or *since*, the task, still assigned, said all *words*."""
    events = [event for event in client.events(task["taskId"]) if event["to"] == "assigned"]
    told = [event for event in events if all(word in (event["reason"] or "") for word in words)]
    assert told, f"it never said {words}: {[event['reason'] for event in events]}"
    seconds = seconds_between(since or task["submittedAt"], told[0]["at"])
    _log.info("%s said %s after %.1f s", task["taskId"], words, seconds)
    return seconds


def failed(ended: Ended, task_id: str, cause: str) -> tuple[TaskView, float]:
    """Return the task, which has to fail of *cause*, and how many seconds after its submission it did."""
    task = ended(task_id)
    assert (task["state"], task["cause"], task["exitCode"]) == ("failed", cause, -1), task
    seconds = seconds_between(task["submittedAt"], task["completedAt"])
    _log.info("%s failed after %.1f s: %s", task_id, seconds, task["attempts"][0]["message"])
    return task, seconds


def test_a_namespace_that_is_not_there_fails_the_task_within_15_s(submitted: Mapping[str, str], ended: Ended) -> None:
    task, took_s = failed(ended, submitted["namespace"], "NamespaceMissing")
    assert took_s < CAUSE_WITHIN_S
    assert task["k8sJob"]["namespace"] in (task["error"] or "")


def test_a_service_account_that_is_not_there_fails_the_task_within_15_s(
    places: Places, submitted: Mapping[str, str], ended: Ended
) -> None:
    task, took_s = failed(ended, submitted["account"], "ReferenceMissing")
    assert took_s < CAUSE_WITHIN_S
    assert "nobody-of-that-name" in (task["error"] or "")
    assert not places[0].jobs(task["taskId"])


@pytest.mark.kubelet
def test_a_slow_pull_is_named_while_it_lasts(
    client: Client, places: Places, submitted: Mapping[str, str], ended: Ended
) -> None:
    task_id = submitted["slow"]

    def look() -> TaskView | None:
        task = client.get(task_id)
        return task if task["completedAt"] or "busybox:slow-" in (task["reason"] or "") else None

    task = eventually(look, within_s=60, every_s=0.2, what="the pull is named or over")
    if "Pulling" not in (task["reason"] or ""):
        pytest.skip("this cluster's registry has no tags that are slow on purpose")
    assert task["state"] == "assigned"
    task = ended(task_id)
    assert (task["state"], task["stdoutTail"], task["reason"]) == ("completed", "pulled", None)
    began_at = pulling_since(places[0], task_id)  # A kubelet may take its time; from then on raftsman can know.
    assert said_after_s(client, task, "Pulling", "busybox:slow-", since=began_at) < CAUSE_WITHIN_S


@pytest.mark.kubelet
def test_a_full_quota_is_named_within_15_s_and_blamed_at_the_start_timeout(
    client: Client, full: Place | None, submitted: Mapping[str, str], ended: Ended
) -> None:
    task, took_s = failed(ended, submitted["quota"], "QuotaExceeded")
    assert said_after_s(client, task, "exceeded quota", "no-pods") < CAUSE_WITHIN_S
    assert took_s >= START_TIMEOUT_MS / 1000
    assert task["error"] == "Job timed out"
    assert full is not None
    assert not full.jobs(task["taskId"])


@pytest.mark.kubelet
def test_an_image_that_is_not_there_is_named_within_15_s(
    client: Client, submitted: Mapping[str, str], ended: Ended
) -> None:
    task, _ = failed(ended, submitted["image"], "ImagePull")
    assert said_after_s(client, task, "busybox:none-") < CAUSE_WITHIN_S
    assert "busybox:none-" in (task["attempts"][0]["message"] or "")


def test_a_pod_that_fits_nowhere_is_unschedulable_in_the_schedulers_words(
    client: Client, submitted: Mapping[str, str], ended: Ended
) -> None:
    task, _ = failed(ended, submitted["memory"], "Unschedulable")
    assert said_after_s(client, task, "Insufficient memory") < CAUSE_WITHIN_S
    assert "Insufficient memory" in (task["attempts"][0]["message"] or "")


def test_a_secret_that_is_not_there_is_named_within_15_s(
    client: Client, submitted: Mapping[str, str], ended: Ended
) -> None:
    task, _ = failed(ended, submitted["secret"], "ContainerConfig")
    assert said_after_s(client, task, '"not-there" not found') < CAUSE_WITHIN_S
