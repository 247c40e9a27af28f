"""The submitted task: every fault at once, each with its pointer; equal wishes in one normal form."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.raft.records import K8sJobSpec, TaskSpec
from raftsman.raft.structs import reader
from raftsman.wire.faults import FAULTS_LISTED, Fault
from raftsman.wire.models import LABELS, MOST_MS, NODES, TEXTS
from raftsman.wire.normal import START_TIMEOUT_MS, TIMEOUT_MS, to_wire
from raftsman.wire.spec import Submission, check_submission

read_spec = reader(TaskSpec)


def task(**fields: Any) -> dict[str, Any]:
    """A sound task with some fields of its own."""
    return {"type": "k8s_job", "k8sJob": {"clusterContext": "prod-eu", "image": "busybox"}, **fields}


def job(**fields: Any) -> dict[str, Any]:
    """A sound task with some fields of its Job."""
    return task(k8sJob={"clusterContext": "prod-eu", "image": "busybox", **fields})


def faults_of(document: object) -> list[Fault]:
    """What is wrong with *document*."""
    found = check_submission(document)
    return found if isinstance(found, list) else []


def places(document: object) -> set[tuple[str, str]]:
    """(code, pointer) of each fault of *document*."""
    return {(fault.code, fault.pointer) for fault in faults_of(document)}


def normal(document: object) -> dict[str, Any]:
    """The normal form of a sound *document*."""
    found = check_submission(document)
    assert isinstance(found, Submission), found
    return found.spec


FULL: dict[str, Any] = {
    "taskId": "train-7",
    "type": "k8s_job",
    "k8sJob": {
        "clusterContext": "prod-eu",
        "namespace": "batch",
        "image": "ghcr.io/acme/train:7",
        "command": ["python", "train.py"],
        "args": ["--epochs", "3"],
        "labels": {"team": "vision", "example.com/part": ""},
        "resources": {"cpuCores": 4, "memoryBytes": 8589934592, "requiresGpu": True},
        "serviceAccountName": "trainer",
        "podTemplate": {"spec": {"tolerations": [], "nodeSelector": {"disk": "ssd"}}},
        "podSecurity": "restricted",
    },
    "environment": {"SEED": "7", "ALPHA": "ü"},
    "submitterNode": "alpha",
    "timeoutMs": 0,
    "startTimeoutMs": 60_000,
    "priority": -100,
    "constraints": {"allowedNodes": ["beta", "alpha"], "excludedNodes": ["gamma"], "preferLocal": True},
    "targetNodes": ["beta"],
    "onUnreachable": "hold",
    "labels": {"run": "7", "a": "b"},
}


def test_a_full_task_becomes_its_normal_form() -> None:
    found = check_submission(FULL)
    assert isinstance(found, Submission)
    assert (found.task_id, found.submitter_node) == ("train-7", "alpha")
    assert found.spec == {
        "type": "k8s_job",
        "shell": None,
        "k8s_job": {
            "context": "prod-eu",
            "image": "ghcr.io/acme/train:7",
            "namespace": "batch",
            "command": ["python", "train.py"],
            "args": ["--epochs", "3"],
            "labels": [["example.com/part", ""], ["team", "vision"]],
            "resources": {"cpu_millis": 4000, "memory_bytes": 8589934592, "gpu_count": 1},
            "service_account": "trainer",
            "pod_template": '{"spec":{"nodeSelector":{"disk":"ssd"},"tolerations":[]}}',
            "pod_security": "restricted",
        },
        "environment": [["SEED", "7"], ["ALPHA", "ü"]],
        "labels": [["a", "b"], ["run", "7"]],
        "priority": -100,
        "timeout_ms": 0,
        "start_timeout_ms": 60_000,
        "placement": {
            "allowed_nodes": ["alpha", "beta"],
            "excluded_nodes": ["gamma"],
            "target_nodes": ["beta"],
            "prefer_local": True,
        },
    }


def test_the_smallest_task_is_the_stored_defaults() -> None:
    spec = read_spec(normal(task()))
    assert spec == TaskSpec(type="k8s_job", k8s_job=K8sJobSpec(context="prod-eu", image="busybox"))
    assert (spec.timeout_ms, spec.start_timeout_ms) == (TIMEOUT_MS, START_TIMEOUT_MS)


def test_a_null_is_an_absent_field() -> None:
    nulls = {key: None for key in FULL if key not in {"type", "k8sJob"}} | {"shell": None, "retry": None}
    block = {key: None for key in FULL["k8sJob"] if key not in {"clusterContext", "image"}}
    assert check_submission(job(**block) | nulls) == check_submission(task())
    assert normal(job(resources={"cpu": None, "cpuCores": 1, "gpuCount": None, "requiresGpu": False})) == normal(
        job(resources={"cpu": "1"})
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (job(resources={"cpu": "0.5"}), job(resources={"cpuCores": 0.5})),
        (job(resources={"cpu": "500m"}), job(resources={"cpu": 0.5})),
        (job(resources={"memory": "4Gi"}), job(resources={"memoryBytes": 4294967296})),
        (job(resources={"gpuCount": 1}), job(resources={"requiresGpu": True})),
        (job(resources={"gpuCount": 2}), job(resources={"requiresGpu": True, "gpuCount": 2})),
        (job(resources={}), job()),
        (job(podTemplate={"spec": {}, "metadata": None}), job()),
        (job(podTemplate={"spec": {"a": 1, "b": 2}}), job(podTemplate={"spec": {"b": 2, "a": 1}})),
        (job(labels={"a": "1", "b": "2"}), job(labels={"b": "2", "a": "1"})),
        (task(timeoutMs=600_000, priority=0, targetNodes=[], labels={}), task()),
        (task(constraints={"preferLocal": False}), task()),
        (task(targetNodes=["a", "b"]), task(targetNodes=["b", "a"])),
        (task(submitterNode="alpha", taskId="a"), task()),
    ],
)
def test_equal_wishes_have_equal_normal_forms(one: object, other: object) -> None:
    assert normal(one) == normal(other)


def test_the_order_of_variables_is_part_of_the_wish() -> None:
    assert normal(task(environment={"A": "1", "B": "2"})) != normal(task(environment={"B": "2", "A": "1"}))


def test_the_default_timeout_is_the_callers_and_0_stays_none() -> None:
    found = check_submission(task(), default_timeout_ms=5)
    assert isinstance(found, Submission)
    assert found.spec["timeout_ms"] == 5
    assert normal(task(timeoutMs=0))["timeout_ms"] == 0


INVALID: list[tuple[object, str]] = [
    (None, ""),
    ([], ""),
    ("task", ""),
    (task(taskId=""), "/taskId"),
    (task(taskId="-a"), "/taskId"),
    (task(taskId="a\n"), "/taskId"),
    (task(taskId="a" * 129), "/taskId"),
    (task(taskId="ä"), "/taskId"),
    (task(taskId=7), "/taskId"),
    ({"k8sJob": {"clusterContext": "a", "image": "b"}}, "/type"),
    (task(type="k8sjob"), "/type"),
    (task(type=None), "/type"),
    (task(k8sJob=None), "/k8sJob"),
    ({"type": "k8s_job"}, "/k8sJob"),
    (task(k8sJob="busybox"), "/k8sJob"),
    (job(clusterContext=""), "/k8sJob/clusterContext"),
    (job(clusterContext=" "), "/k8sJob/clusterContext"),
    (job(clusterContext=None), "/k8sJob/clusterContext"),
    (task(k8sJob={"image": "a"}), "/k8sJob/clusterContext"),
    (job(clusterContext="a" * 254), "/k8sJob/clusterContext"),
    (job(clusterContext="a\x1b[2J"), "/k8sJob/clusterContext"),
    (task(k8sJob={"clusterContext": "a"}), "/k8sJob/image"),
    (job(namespace="Batch"), "/k8sJob/namespace"),
    (job(namespace="a.b"), "/k8sJob/namespace"),
    (job(namespace="a" * 64), "/k8sJob/namespace"),
    (job(namespace="a\n"), "/k8sJob/namespace"),
    (job(namespace=""), "/k8sJob/namespace"),
    (job(command="python train.py"), "/k8sJob/command"),
    (job(command=["a", 1]), "/k8sJob/command/1"),
    (job(args=["a\0"]), "/k8sJob/args/0"),
    (job(args=["a"] * (TEXTS + 1)), "/k8sJob/args"),
    (job(labels={"a b": "c"}), "/k8sJob/labels/a b"),
    (job(labels={"a": "-"}), "/k8sJob/labels/a"),
    (job(labels={"a": "b" * 64}), "/k8sJob/labels/a"),
    (job(labels={"a": 1}), "/k8sJob/labels/a"),
    (job(labels={"a": None}), "/k8sJob/labels/a"),
    (job(labels={"": "a"}), "/k8sJob/labels/"),
    (job(labels={"Example.com/a": ""}), "/k8sJob/labels/Example.com~1a"),
    (job(labels={"/a": ""}), "/k8sJob/labels/~1a"),
    (job(labels={"raftsman.dev/x": "1"}), "/k8sJob/labels/raftsman.dev~1x"),
    (job(labels={"batch.kubernetes.io/job-name": "1"}), "/k8sJob/labels/batch.kubernetes.io~1job-name"),
    (job(labels={"kueue.x-k8s.io/queue-name": "1"}), "/k8sJob/labels/kueue.x-k8s.io~1queue-name"),
    (job(labels={"job-name": "1"}), "/k8sJob/labels/job-name"),
    (job(labels={"controller-uid": "1"}), "/k8sJob/labels/controller-uid"),
    (job(labels={"app.kubernetes.io/managed-by": "me"}), "/k8sJob/labels/app.kubernetes.io~1managed-by"),
    (job(labels={f"a{n}": "" for n in range(LABELS + 1)}), "/k8sJob/labels"),
    (job(resources={"cpu": "1", "cpuCores": 1}), "/k8sJob/resources/cpu"),
    (job(resources={"memory": "1", "memoryBytes": 1}), "/k8sJob/resources/memory"),
    (job(resources={"cpu": "NaN"}), "/k8sJob/resources/cpu"),
    (job(resources={"cpuCores": "500m"}), "/k8sJob/resources/cpuCores"),
    (job(resources={"cpuCores": True}), "/k8sJob/resources/cpuCores"),
    (job(resources={"cpuCores": 5000}), "/k8sJob/resources/cpuCores"),
    (job(resources={"cpuCores": 0}), "/k8sJob/resources/cpuCores"),
    (job(resources={"memory": "1500m"}), "/k8sJob/resources/memory"),
    (job(resources={"memory": "100 Mi"}), "/k8sJob/resources/memory"),
    (job(resources={"memoryBytes": 1.5}), "/k8sJob/resources/memoryBytes"),
    (job(resources={"memoryBytes": 0}), "/k8sJob/resources/memoryBytes"),
    (job(resources={"memoryBytes": 10**300}), "/k8sJob/resources/memoryBytes"),
    (job(resources={"requiresGpu": 1}), "/k8sJob/resources/requiresGpu"),
    (job(resources={"requiresGpu": False, "gpuCount": 1}), "/k8sJob/resources/gpuCount"),
    (job(resources={"gpuCount": 0}), "/k8sJob/resources/gpuCount"),
    (job(resources={"gpuCount": 0.5}), "/k8sJob/resources/gpuCount"),
    (job(resources={"gpuCount": 1025}), "/k8sJob/resources/gpuCount"),
    (job(resources={"gpus": 1}), "/k8sJob/resources/gpus"),
    (job(serviceAccountName="a_b"), "/k8sJob/serviceAccountName"),
    (job(serviceAccountName="a..b"), "/k8sJob/serviceAccountName"),
    (job(podTemplate=[]), "/k8sJob/podTemplate"),
    (job(podSecurity="privileged"), "/k8sJob/podSecurity"),
    (task(environment={"1A": "x"}), "/environment/1A"),
    (task(environment={"..": "x"}), "/environment/.."),
    (task(environment={"": "x"}), "/environment/"),
    (task(environment={"A=B": "x"}), "/environment/A=B"),
    (task(environment={"A": "x\0"}), "/environment/A"),
    (task(environment={"A": 1}), "/environment/A"),
    (task(environment={"A": None}), "/environment/A"),
    (task(environment=["A=1"]), "/environment"),
    (task(environment={f"A{n}": "" for n in range(TEXTS + 1)}), "/environment"),
    (task(submitterNode=""), "/submitterNode"),
    (task(submitterNode="a" * 129), "/submitterNode"),
    (task(timeoutMs=-1), "/timeoutMs"),
    (task(timeoutMs=1.0), "/timeoutMs"),
    (task(timeoutMs="10m"), "/timeoutMs"),
    (task(timeoutMs=MOST_MS + 1), "/timeoutMs"),
    (task(startTimeoutMs=False), "/startTimeoutMs"),
    (task(priority=False), "/priority"),
    (task(priority=101), "/priority"),
    (task(priority=-101), "/priority"),
    (task(priority=10**300), "/priority"),
    (task(constraints={"allowedNodes": [""]}), "/constraints/allowedNodes/0"),
    (task(constraints={"allowedNodes": ["a", "b", "a"]}), "/constraints/allowedNodes/2"),
    (task(constraints={"excludedNodes": "a"}), "/constraints/excludedNodes"),
    (task(constraints={"preferLocal": "yes"}), "/constraints/preferLocal"),
    (task(targetNodes=["a", "a"]), "/targetNodes/1"),
    (task(targetNodes=[f"n{n}" for n in range(NODES + 1)]), "/targetNodes"),
    (task(onUnreachable="explode"), "/onUnreachable"),
    (task(labels={"a b": "c"}), "/labels/a b"),
    (task(task_id="a"), "/task_id"),
    (task(taskID="a"), "/taskID"),
    (task(environment={"A": "\ud800"}), "/environment/A"),
    (task(priority=float("nan")), "/priority"),
    (task(timeoutMs=float("inf")), "/timeoutMs"),
]


@pytest.mark.parametrize(("document", "where"), INVALID)
def test_an_invalid_task_is_refused_where_it_is_wrong(document: object, where: str) -> None:
    assert places(document) == {("invalid-spec", where)}, faults_of(document)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"requirements": {}}, "/requirements"),
        ({"retry": {"maxAttempts": 1}}, "/retry"),
        ({"onUnreachable": {"requeueAfterMs": 1}}, "/onUnreachable"),
        ({"onUnreachable": {"failAfterMs": 1}}, "/onUnreachable"),
    ],
)
def test_fields_whose_work_is_not_done_here_are_refused_not_ignored(fields: dict[str, Any], where: str) -> None:
    assert places(task(**fields)) == {("not-implemented-here", where)}


def test_all_faults_are_found_at_once_and_sorted_by_pointer() -> None:
    document = {
        "type": "k8s_job",
        "k8sJob": {
            "image": "HTTP://x y",
            "resources": {"cpu": "1", "cpuCores": "x", "memory": -1},
            "labels": {"job-name": "x"},
            "podTemplate": {"spec": {"restartPolicy": "Always"}},
        },
        "environment": {"A": 1, "1": "\0"},
        "retry": {},
        "priority": False,
        "prioritty": 1,
    }
    assert [(fault.code, fault.pointer) for fault in faults_of(document)] == [
        ("invalid-spec", "/environment/1"),
        ("invalid-spec", "/environment/1"),
        ("invalid-spec", "/environment/A"),
        ("invalid-spec", "/k8sJob/clusterContext"),
        ("invalid-spec", "/k8sJob/image"),
        ("invalid-spec", "/k8sJob/labels/job-name"),
        ("invalid-spec", "/k8sJob/podTemplate/spec/restartPolicy"),
        ("invalid-spec", "/k8sJob/resources/cpu"),
        ("invalid-spec", "/k8sJob/resources/cpuCores"),
        ("invalid-spec", "/k8sJob/resources/memory"),
        ("invalid-spec", "/prioritty"),
        ("invalid-spec", "/priority"),
        ("not-implemented-here", "/retry"),
    ]


def test_no_answer_lists_more_faults_than_help() -> None:
    assert len(faults_of(task(environment={f"{n}": n for n in range(1000)}))) == FAULTS_LISTED
    assert len(faults_of({f"\ud800{n}": n for n in range(1000)})) == FAULTS_LISTED


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (job(clusterContext=""), ["k8sJob.clusterContext", "context is empty"]),
        (job(clusterContext=None), ["k8sJob.clusterContext is required", "Kubernetes context"]),
        (task(k8sJob={"image": "a"}), ["k8sJob.clusterContext is required", "Kubernetes context"]),
        (task(k8sJob=None), ["k8sJob is required", "context"]),
        (task(task_id="a"), ["unknown field", "did you mean taskId?"]),
        (job(cluster_context="a"), ["unknown field", "did you mean clusterContext?"]),
        (job(resources={"cpus": 1}), ["unknown field", "did you mean cpu?"]),
        (task(constraints={"allowedNode": []}), ["did you mean allowedNodes?"]),
        (task(zebra=1), ["zebra is an unknown field"]),
        (task(type="k8sjob"), ["did you mean k8s_job?"]),
        (task(environment={"A": 7}), ["environment.A must be a string, not a number; put it in quotes"]),
        (task(priority=False), ["priority must be a whole number, not a boolean"]),
        (task(priority=101), ["at most 100"]),
        (job(labels={"job-name": "x"}), ["job-name", "reserved"]),
        (job(image="Acme/Train"), ['"acme/train"']),
    ],
)
def test_a_fault_names_the_field_the_reason_and_the_way_out(document: object, words: list[str]) -> None:
    details = " ".join(fault.detail for fault in faults_of(document))
    assert all(word in details for word in words), details


def test_a_huge_text_is_not_repeated_in_a_sentence() -> None:
    for document in (
        task(type="x" * 10**5),
        task(**{"y" * 10**5: 1}),
        job(image="Z" * 900),
        job(labels={"-" * 10**5: ""}),
    ):
        assert all(len(fault.detail) < 400 for fault in faults_of(document))


# --- whatever comes ---------------------------------------------------------------------------------

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["k8s_job", "1Gi"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_RESOURCES = st.dictionaries(
    st.sampled_from(["cpu", "cpuCores", "memory", "memoryBytes", "gpuCount", "requiresGpu"]), JSON_VALUES, max_size=3
)
_TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"labels": JSON_VALUES, "annotations": JSON_VALUES}),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": st.lists(JSON_VALUES | st.just({"name": "task", "env": [{"name": "A"}]}), max_size=3)
            },
        ),
    },
)
_BLOCKS = st.dictionaries(st.sampled_from(sorted(FULL["k8sJob"])), JSON_VALUES) | st.fixed_dictionaries(
    {"clusterContext": st.just("a"), "image": st.just("b")},
    optional={"resources": _RESOURCES, "podTemplate": _TEMPLATES | JSON_VALUES, "labels": JSON_VALUES},
)
NEARLY_TASKS = st.dictionaries(st.sampled_from(sorted(FULL)), JSON_VALUES) | st.fixed_dictionaries(
    {"type": st.just("k8s_job"), "k8sJob": _BLOCKS},
    optional={key: JSON_VALUES for key in FULL if key not in {"type", "k8sJob"}},
)


@given(JSON_VALUES | NEARLY_TASKS)
def test_whatever_comes_is_a_submission_or_a_list_of_faults(document: object) -> None:
    found = check_submission(document)
    if isinstance(found, Submission):
        read_spec(found.spec)
        return
    assert found
    assert all(fault.detail.encode() and fault.pointer.encode() is not None for fault in found)
    assert found == sorted(found, key=lambda fault: fault.pointer)


_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
_PAIRS = st.dictionaries(_NAMES, st.sampled_from(["", "7", "a.b"]), max_size=3)
_TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), max_size=3)
_NODES = st.lists(_NAMES, max_size=3, unique=True)
SOUND_TASKS = st.fixed_dictionaries(
    {
        "type": st.just("k8s_job"),
        "k8sJob": st.fixed_dictionaries(
            {"clusterContext": _NAMES, "image": _NAMES},
            optional={
                "namespace": _NAMES,
                "command": _TEXTS,
                "args": _TEXTS,
                "labels": _PAIRS,
                "resources": st.fixed_dictionaries(
                    {},
                    optional={
                        "cpu": st.integers(1, 9999).map("{}m".format) | st.floats(0.001, 4096),
                        "memoryBytes": st.integers(1, 1 << 50),
                        "gpuCount": st.integers(1, 1024),
                    },
                ),
                "serviceAccountName": _NAMES,
                "podTemplate": st.fixed_dictionaries(
                    {}, optional={"spec": st.dictionaries(_NAMES, st.integers() | st.text(max_size=3), max_size=2)}
                ),
                "podSecurity": st.sampled_from(["baseline", "restricted", "none"]),
            },
        ),
    },
    optional={
        "environment": _PAIRS,
        "timeoutMs": st.integers(0, MOST_MS),
        "startTimeoutMs": st.integers(0, MOST_MS),
        "priority": st.integers(-100, 100),
        "constraints": st.fixed_dictionaries(
            {}, optional={"allowedNodes": _NODES, "excludedNodes": _NODES, "preferLocal": st.booleans()}
        ),
        "targetNodes": _NODES,
        "labels": _PAIRS,
    },
)


@given(SOUND_TASKS)
def test_submitting_what_is_shown_again_is_the_same_wish(document: Mapping[str, Any]) -> None:
    spec = normal(document)
    stored = read_spec(spec)
    for form in (spec, msgspec.to_builtins(stored)):
        shown = json.loads(json.dumps(to_wire(form)))
        assert normal(shown) == spec
        assert to_wire(normal(shown)) == shown


def test_what_is_shown_reads_as_it_would_be_written() -> None:
    assert to_wire(normal(FULL)) == {
        "type": "k8s_job",
        "k8sJob": FULL["k8sJob"] | {"resources": {"cpu": "4", "memory": "8192Mi", "gpuCount": 1}},
        "environment": {"SEED": "7", "ALPHA": "ü"},
        "timeoutMs": 0,
        "startTimeoutMs": 60_000,
        "priority": -100,
        "constraints": {"allowedNodes": ["alpha", "beta"], "excludedNodes": ["gamma"], "preferLocal": True},
        "targetNodes": ["beta"],
        "labels": {"a": "b", "run": "7"},
    }
