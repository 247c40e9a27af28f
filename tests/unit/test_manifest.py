"""What Job an attempt becomes, and under which name."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor.jobs import Json
from raftsman.executor.manifest import (
    DEADLINE_SLACK_S,
    TTL_SAFETY_S,
    awaits_release,
    build_job,
    is_earlier,
    is_ours,
    job_name,
    label_value,
)
from raftsman.raft.records import (
    Attempt,
    Instant,
    K8sJobSpec,
    NodeId,
    Placement,
    Resources,
    Task,
    TaskId,
    TaskSpec,
)
from raftsman.wire.podtemplate import template_faults

CLUSTER = "6f1c2a52-6f0e-4a53-9a2f-0d7d3f1f8f10"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?")

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
near_ids = st.from_regex(r"[aA][-._]{0,3}[bB]?(--[0-9a-f]{10})?", fullmatch=True)
attempts = st.integers(min_value=1, max_value=10_000)


def built(
    k8s_job: K8sJobSpec | None = None,
    *,
    task_id: str = "train-7",
    number: int = 1,
    profile: str = "none",
    environment: tuple[tuple[str, str], ...] = (),
    timeout_ms: int = 600_000,
    start_timeout_ms: int = 900_000,
) -> Json:
    spec = TaskSpec(
        type="k8s_job",
        k8s_job=k8s_job or K8sJobSpec(context="prod-eu", image="busybox"),
        environment=environment,
        timeout_ms=timeout_ms,
        start_timeout_ms=start_timeout_ms,
    )
    return build_job(row(task_id, number, spec=spec), spec, cluster=CLUSTER, pod_security=profile)


def row(task_id: str = "train-7", number: int = 1, *, sequence: int = 12, spec: TaskSpec | None = None) -> Task:
    spec = spec or TaskSpec(type="k8s_job")
    attempt = Attempt(
        number=number, node=NodeId("alpha"), context="prod-eu", namespace="batch", assigned_at=Instant(1_000)
    )
    return Task(
        task_id=TaskId(task_id),
        spec=b"",
        type="k8s_job",
        context="prod-eu",
        priority=0,
        timeout_ms=spec.timeout_ms,
        start_timeout_ms=spec.start_timeout_ms,
        placement=Placement(),
        submitter_node="alpha",
        principal="",
        submitted_at=Instant(0),
        sequence=sequence,
        attempt=attempt,
    )


def with_template(template: Json, *, profile: str = "none", environment: tuple[tuple[str, str], ...] = ()) -> Json:
    packed = json.dumps(template, sort_keys=True, separators=(",", ":"))
    k8s_job = K8sJobSpec(context="prod-eu", image="busybox", pod_template=packed)
    return built(k8s_job, profile=profile, environment=environment)


def pod_of(job: Json) -> Json:
    pod: Json = job["spec"]["template"]["spec"]
    return pod


def task_container(job: Json) -> Json:
    found: Json = pod_of(job)["containers"][0]
    return found


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", ["train-7", "01jd0m8v9q3k5e8w6c2v4x7y1z", "nightly-1732588800", "a", "a-", "x--1"])
def test_an_id_that_can_stand_in_a_job_name_stands_there_as_it_is(task_id: str) -> None:
    assert job_name(task_id, 12) == f"task-{task_id}-12"


def test_an_id_that_cannot_is_lowered_and_ends_in_a_hash() -> None:
    assert re.fullmatch(r"task-train-7--[0-9a-f]{10}-1", job_name("Train.7", 1))


def test_ids_that_read_alike_have_names_of_their_own() -> None:
    alike = ["Train.7", "train_7", "train-7", "Train-7", "train.7", "TRAIN_7"]
    assert len({job_name(task_id, 1) for task_id in alike}) == len(alike)


def test_an_id_that_looks_hashed_cannot_take_the_name_of_the_id_that_was() -> None:
    name = job_name("Train.7", 1)
    impostor = name.removeprefix("task-").removesuffix("-1")
    assert job_name(impostor, 1) != name
    assert label_value(impostor) != impostor


def test_attempts_are_told_apart_from_ids_that_end_in_a_number() -> None:
    assert job_name("a-1", 2) != job_name("a", 12) != job_name("a-1-2", 1)


@given(ids, attempts)
def test_every_job_name_is_a_dns_label(task_id: str, attempt: int) -> None:
    name = job_name(task_id, attempt)
    assert len(name) <= 63
    assert DNS_LABEL.fullmatch(name)
    assert name == job_name(task_id, attempt)


@given(st.tuples(ids | near_ids, attempts), st.tuples(ids | near_ids, attempts))
def test_no_two_attempts_share_a_name(one: tuple[str, int], other: tuple[str, int]) -> None:
    assert (job_name(*one) == job_name(*other)) == (one == other)


@given(ids | near_ids, ids | near_ids)
def test_every_label_value_is_legal_and_of_one_id(one: str, other: str) -> None:
    assert len(label_value(one)) <= 63
    assert LABEL_VALUE.fullmatch(label_value(one))
    assert (label_value(one) == label_value(other)) == (one == other)


def test_a_legal_label_value_stays_as_it_is() -> None:
    assert label_value("Train.7") == "Train.7"
    assert label_value("Train.7-").startswith("train-7--")


# --- the Job ----------------------------------------------------------------------------------


def test_the_whole_job_of_a_small_task() -> None:
    k8s_job = K8sJobSpec(
        context="prod-eu",
        image="ghcr.io/acme/train:7",
        command=("python", "train.py"),
        args=("--epochs", "3"),
        labels=(("team", "vision"),),
        resources=Resources(cpu_millis=4000, memory_bytes=8 << 30, gpu_count=2),
        service_account="trainer",
    )
    labels = {
        "team": "vision",
        "app.kubernetes.io/managed-by": "raftsman",
        "raftsman.dev/cluster": CLUSTER,
        "raftsman.dev/task-id": "train-7",
        "raftsman.dev/attempt": "1",
    }
    annotations = {
        "raftsman.dev/task": "train-7",
        "raftsman.dev/sequence": "12",
        "raftsman.dev/attempt": "1",
        "raftsman.dev/context": "prod-eu",
    }
    assert built(k8s_job, environment=(("SEED", "7"),)) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "task-train-7-1", "namespace": "batch", "labels": labels, "annotations": annotations},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "suspend": True,
            "ttlSecondsAfterFinished": TTL_SAFETY_S,
            "activeDeadlineSeconds": 600 + 900 + DEADLINE_SLACK_S,
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "trainer",
                    "containers": [
                        {
                            "name": "task",
                            "image": "ghcr.io/acme/train:7",
                            "command": ["python", "train.py"],
                            "args": ["--epochs", "3"],
                            "env": [{"name": "SEED", "value": "7"}],
                            "resources": {
                                "limits": {"cpu": "4", "memory": "8192Mi", "nvidia.com/gpu": "2"},
                                "requests": {"cpu": "4", "memory": "8192Mi"},
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                        }
                    ],
                },
            },
        },
    }


def test_what_was_not_asked_for_is_not_said() -> None:
    assert task_container(built()) == {
        "name": "task",
        "image": "busybox",
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def test_the_users_labels_never_replace_ours() -> None:
    job = built(K8sJobSpec(context="c", image="i", labels=(("raftsman.dev/task-id", "stolen"),)))
    assert job["metadata"]["labels"]["raftsman.dev/task-id"] == "train-7"


@pytest.mark.parametrize(("timeout_ms", "start_timeout_ms"), [(0, 900_000), (600_000, 0), (0, 0)])
def test_without_both_timeouts_kubernetes_has_no_deadline(timeout_ms: int, start_timeout_ms: int) -> None:
    assert "activeDeadlineSeconds" not in built(timeout_ms=timeout_ms, start_timeout_ms=start_timeout_ms)["spec"]


def test_the_deadline_of_kubernetes_is_rounded_up() -> None:
    assert built(timeout_ms=1, start_timeout_ms=1000)["spec"]["activeDeadlineSeconds"] == 2 + DEADLINE_SLACK_S


# --- the template -----------------------------------------------------------------------------


def test_the_templates_task_container_lies_beneath_ours() -> None:
    theirs = {"name": "task", "image": "other", "imagePullPolicy": "Always", "env": [{"name": "A", "value": "2"}]}
    job = with_template({"spec": {"containers": [theirs]}}, environment=(("Z", "1"), ("B", "0")))
    container = task_container(job)
    assert container["image"] == "busybox"
    assert container["imagePullPolicy"] == "Always"
    assert [each["name"] for each in container["env"]] == ["Z", "B", "A"]


def test_other_containers_follow_and_keep_what_they_say() -> None:
    other = {"name": "proxy", "image": "envoy", "terminationMessagePolicy": "File"}
    job = with_template({"spec": {"containers": [other], "initContainers": [{"name": "fetch", "image": "git"}]}})
    assert [each["name"] for each in pod_of(job)["containers"]] == ["task", "proxy"]
    assert pod_of(job)["containers"][1] == other
    assert pod_of(job)["initContainers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_templates_metadata_lies_beneath_ours() -> None:
    metadata = {
        "labels": {"team": "vision", "raftsman.dev/attempt": "9"},
        "annotations": {"note": "x", "raftsman.dev/task": "stolen"},
    }
    template = with_template({"metadata": metadata})["spec"]["template"]["metadata"]
    assert template["labels"]["team"] == "vision"
    assert template["labels"]["raftsman.dev/attempt"] == "1"
    assert template["annotations"]["note"] == "x"
    assert template["annotations"]["raftsman.dev/task"] == "train-7"


def test_a_pod_never_restarts_whatever_the_template_says() -> None:
    assert pod_of(with_template({"spec": {"restartPolicy": "Always"}}))["restartPolicy"] == "Never"


# --- Pod security -----------------------------------------------------------------------------


def test_baseline_adds_what_most_images_bear() -> None:
    pod = pod_of(built(profile="baseline"))
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == {"allowPrivilegeEscalation": False}


def test_restricted_adds_all_that_the_standard_asks_for() -> None:
    pod = pod_of(with_template({"spec": {"initContainers": [{"name": "fetch", "image": "git"}]}}, profile="restricted"))
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_profile_none_adds_nothing() -> None:
    assert set(pod_of(built(profile="none"))) == {"restartPolicy", "containers"}


def test_the_tasks_profile_beats_the_contexts() -> None:
    pod = pod_of(built(K8sJobSpec(context="c", image="i", pod_security="none"), profile="restricted"))
    assert "securityContext" not in pod


def test_a_named_account_keeps_its_token() -> None:
    assert "automountServiceAccountToken" not in pod_of(
        built(K8sJobSpec(context="c", image="i", service_account="trainer"), profile="baseline")
    )


@pytest.mark.parametrize(
    "security", [{"privileged": True}, {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}], ids=["privileged", "SYS_ADMIN"]
)
def test_a_container_that_escalates_by_nature_is_not_contradicted(security: Json) -> None:
    template = {"spec": {"containers": [{"name": "task", "securityContext": security}]}}
    assert task_container(with_template(template, profile="baseline"))["securityContext"] == security


def test_a_profile_never_replaces_what_the_template_says() -> None:
    pod = {
        "enableServiceLinks": True,
        "automountServiceAccountToken": True,
        "securityContext": {"runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"}},
        "containers": [
            {
                "name": "task",
                "securityContext": {
                    "allowPrivilegeEscalation": True,
                    "privileged": False,
                    "capabilities": {"drop": ["NET_RAW"]},
                },
            }
        ],
    }
    built_pod = pod_of(with_template({"spec": pod}, profile="restricted"))
    for field in ("enableServiceLinks", "automountServiceAccountToken", "securityContext"):
        assert built_pod[field] == pod[field]
    containers = pod["containers"]
    assert isinstance(containers, list)
    assert built_pod["containers"][0]["securityContext"] == containers[0]["securityContext"]


# --- any spec ---------------------------------------------------------------------------------

words = st.text(max_size=12)
pairs = st.lists(st.tuples(words, words), max_size=3).map(tuple)
templates = st.just("") | st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"labels": st.dictionaries(words, words, max_size=2)}),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "nodeSelector": st.dictionaries(words, words, max_size=2),
                "serviceAccountName": words,
                "containers": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["task", "proxy"])}), max_size=2),
            },
        ),
    },
).map(json.dumps)
specs = st.builds(
    K8sJobSpec,
    context=words,
    image=words,
    command=st.lists(words, max_size=2).map(tuple),
    labels=pairs,
    resources=st.builds(
        Resources,
        cpu_millis=st.integers(0, 10_000),
        memory_bytes=st.integers(0, 1 << 40),
        gpu_count=st.integers(0, 8),
    ),
    pod_template=templates,
    pod_security=st.sampled_from(["", "none", "baseline", "restricted"]),
)


@given(specs, ids, attempts, pairs)
def test_every_job_is_json_is_ours_and_runs_once(
    k8s_job: K8sJobSpec, task_id: str, number: int, environment: tuple[tuple[str, str], ...]
) -> None:
    job = built(k8s_job, task_id=task_id, number=number, profile="baseline", environment=environment)
    assert json.loads(json.dumps(job)) == job
    assert is_ours(job, row(task_id, number), cluster=CLUSTER)
    assert awaits_release(job)
    assert {"managedBy", "podFailurePolicy", "podReplacementPolicy"}.isdisjoint(job["spec"])
    assert (job["spec"]["backoffLimit"], pod_of(job)["restartPolicy"]) == (0, "Never")
    assert [each["name"] for each in pod_of(job)["containers"]].count("task") == 1


SIMPLE: st.SearchStrategy[Any] = st.none() | st.booleans() | st.floats(allow_nan=False) | st.sampled_from(["", "x"])


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2)


ODD = st.recursive(SIMPLE, _nested)
ODD_SECURITY = ODD | st.fixed_dictionaries({"capabilities": ODD | st.fixed_dictionaries({"add": ODD, "drop": ODD})})


def _odd_containers(name: str) -> st.SearchStrategy[Any]:
    parts = {"securityContext": ODD_SECURITY, "env": ODD, "ports": ODD}
    return st.lists(st.fixed_dictionaries({"name": st.just(name)}, optional=parts), max_size=1)


odd_templates = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "securityContext": ODD_SECURITY,
                "containers": _odd_containers("task"),
                "initContainers": _odd_containers("first"),
                "volumes": ODD,
            },
        ),
    },
    optional={"metadata": ODD | st.fixed_dictionaries({"labels": ODD, "annotations": ODD})},
)


@given(odd_templates, st.sampled_from(["none", "baseline", "restricted"]))
def test_a_template_that_is_accepted_can_be_merged(template: Json, profile: str) -> None:
    if not template_faults(template, variables=(), has_account=False):
        with_template(template, profile=profile, environment=(("A", "1"),))


# --- adoption ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "cluster"),
    [(row(), "another"), (row("train-8"), CLUSTER), (row(number=2), CLUSTER)],
    ids=["cluster", "task", "attempt"],
)
def test_a_job_of_another_cluster_task_or_attempt_is_not_adopted(task: Task, cluster: str) -> None:
    assert not is_ours(built(), task, cluster=cluster)
    assert not is_earlier(built(), task, cluster=cluster)


def test_a_job_of_an_earlier_or_later_task_of_the_same_id_is_not_adopted() -> None:
    later, earlier = row(sequence=13), row(sequence=11)
    assert not is_ours(built(), later, cluster=CLUSTER)
    assert is_earlier(built(), later, cluster=CLUSTER)
    assert not is_ours(built(), earlier, cluster=CLUSTER)
    assert not is_earlier(built(), earlier, cluster=CLUSTER), "this node's table is behind"


@pytest.mark.parametrize("stranger", [{}, {"metadata": None}, {"metadata": {"labels": None, "annotations": None}}])
def test_a_strangers_job_is_not_adopted(stranger: Json) -> None:
    assert not is_ours(stranger, row(), cluster=CLUSTER)
    assert not is_earlier(stranger, row(), cluster=CLUSTER)


@pytest.mark.parametrize("number", [None, "", "x", "1" * 5_000, 12])
def test_a_job_without_a_readable_number_is_not_adopted(number: object) -> None:
    job = built()
    job["metadata"]["annotations"]["raftsman.dev/sequence"] = number
    assert not is_ours(job, row(), cluster=CLUSTER)
    assert not is_earlier(job, row(), cluster=CLUSTER)


def test_adoption_compares_the_whole_id_not_its_label() -> None:
    job = built()
    job["metadata"]["annotations"]["raftsman.dev/task"] = "Train.7"
    assert not is_ours(job, row(), cluster=CLUSTER)
