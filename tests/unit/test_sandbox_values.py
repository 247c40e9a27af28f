"""What the development Kubernetes decides by pure functions of plain values."""

import contextlib
import json
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor.sandbox import protobuf, quantities
from raftsman.executor.sandbox.answers import ApiError
from raftsman.executor.sandbox.certificate import self_signed
from raftsman.executor.sandbox.clock import nano_stamp, stamp, unix
from raftsman.executor.sandbox.defaults import complete_job
from raftsman.executor.sandbox.environment import MissingReference, expand, variables, words
from raftsman.executor.sandbox.fields import decode_object
from raftsman.executor.sandbox.grammar import full_image, registry_of
from raftsman.executor.sandbox.images import pull_fault
from raftsman.executor.sandbox.jobcontroller import quality_of_service
from raftsman.executor.sandbox.kinds import EVENTS, JOBS, PODS
from raftsman.executor.sandbox.podstatus import ContainerState, phase_of, pod_status, running, terminated, waiting
from raftsman.executor.sandbox.scheduling import unschedulable
from raftsman.executor.sandbox.selection import parse_selector
from raftsman.executor.sandbox.tables import human_duration, table
from raftsman.executor.sandbox.validation import job_change_faults, job_faults
from raftsman.executor.sandbox.writing import merge

Json = dict[str, Any]
NOW = 1_800_000_000.0


def job_of(**spec: Any) -> Json:
    """Return a completed Job."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "task", "image": "busybox"}], **spec.pop("pod", {})}
    job: Json = {"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": {"template": {"spec": pod}, **spec}}
    complete_job(job)
    return job


# --- quantities ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("0.25", "250m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1e3", "1k"),
        ("0.0001", "1m"),
        ("-1", "-1"),
        ("0", "0"),
        ("1.5", "1500m"),
        ("500Ki", "500Ki"),
        ("0.1Ki", "102400m"),
    ],
)
def test_a_quantity_is_written_in_its_shortest_exact_form(given: str, written: str) -> None:
    assert quantities.canonical(given) == written
    assert quantities.canonical(written) == written


@pytest.mark.parametrize("text", ["", "lots", "1 Gi", "1_000", "NaN", "Infinity", "1ki", "1e999", "--1", "1.2.3", "٣"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantities.parse(text)


@given(st.integers(0, 10**15), st.sampled_from(["m", "", "k", "M", "Ki", "Mi", "Gi"]))
def test_the_written_form_of_a_quantity_has_its_value(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert quantities.parse(quantities.canonical(text)) == quantities.parse(text)


# --- fields -------------------------------------------------------------------------------------------


def decoded(job: Json | bytes, validation: str = "Strict") -> Any:
    body = job if isinstance(job, bytes) else json.dumps(job).encode()
    return decode_object(body, "Job", validation=validation)


def test_a_null_is_an_absent_field() -> None:
    assert decoded({"metadata": {"name": "x", "labels": None}, "spec": None}).value == {"metadata": {"name": "x"}}


def test_a_repeated_field_is_told_by_its_path() -> None:
    with pytest.raises(ApiError) as refused:
        decoded(b'{"spec":{"backoffLimit":1,"backoffLimit":2}}')
    assert refused.value.message.endswith('strict decoding error: duplicate field "spec.backoffLimit"')


def test_unknown_fields_are_dropped_and_told_unless_they_are_to_be_ignored() -> None:
    job = {"spec": {"foo": 1, "suspend": True}}
    assert decoded(job, "Warn").value == decoded(job, "Ignore").value == {"spec": {"suspend": True}}
    assert decoded(job, "Warn").strays == ('unknown field "spec.foo"',)
    assert decoded(job, "Ignore").strays == ()


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"7", b"\xff", b"[" * 10_000])
def test_a_body_that_is_no_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        decoded(body)
    assert refused.value.code == 400


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(ApiError, match="converting"):
        decoded({"kind": "Pod"})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_an_object_or_a_refusal(value: Any) -> None:
    for document in (value, {"spec": value}, {"spec": {"template": {"spec": {"containers": [value]}}}}):
        with contextlib.suppress(ApiError):
            assert isinstance(decoded(json.dumps(document).encode()).value, dict)


# --- validation ---------------------------------------------------------------------------------------


def test_an_ordinary_job_has_no_faults() -> None:
    assert job_faults(job_of()) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"completionMode": "Indexed"}, "spec.completionMode"),
        ({"successPolicy": {"rules": []}}, "spec.successPolicy"),
        ({"podFailurePolicy": {"rules": []}}, "spec.podFailurePolicy"),
        ({"pod": {"restartPolicy": "OnFailure"}}, "spec.template.spec.restartPolicy"),
        ({"pod": {"volumes": [{"name": "v", "emptyDir": {}}]}}, "spec.template.spec.volumes"),
        (
            {"pod": {"containers": [{"name": "a", "image": "b", "livenessProbe": {"exec": {}}}]}},
            "spec.template.spec.containers[0].livenessProbe",
        ),
    ],
)
def test_what_a_local_process_cannot_do_is_refused_by_name(spec: Json, field: str) -> None:
    (fault,) = job_faults(job_of(**spec))
    assert fault.field == field
    assert "the development Kubernetes does not do this" in fault.message


def test_a_job_may_change_its_suspension_but_not_its_template() -> None:
    before, after = job_of(suspend=True), job_of(suspend=False)
    assert job_change_faults(before, after) == []
    after["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    assert [fault.field for fault in job_change_faults(before, after)] == ["spec.template"]


def test_a_merge_patch_merges_objects_replaces_the_rest_and_removes_with_null() -> None:
    target = {"a": {"b": 1, "c": 2}, "d": [1, 2], "e": 1}
    assert merge(target, {"a": {"b": None, "x": {"y": None}}, "d": [3], "e": {"f": 1}}) == {
        "a": {"c": 2, "x": {}},
        "d": [3],
        "e": {"f": 1},
    }
    assert target["a"] == {"b": 1, "c": 2}


# --- selectors ----------------------------------------------------------------------------------------


def matches(selector: str, **labels: str) -> bool:
    return parse_selector(JOBS, selector, "").matches({"metadata": {"name": "x", "labels": labels}})


def test_a_selector_that_differs_from_a_value_takes_what_has_no_such_label() -> None:
    assert matches("a!=b")
    assert matches("a notin (b)")
    assert not matches("a!=b", a="b")
    assert matches("!a")
    assert not matches("a")


@pytest.mark.parametrize("selector", ["a=b=c", "a b", ",", "a in b", "=b", "a=b c", "a&b=c", "a=$"])
def test_a_selector_that_is_none_is_a_bad_request(selector: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_selector(JOBS, selector, "")
    assert refused.value.code == 400


def test_events_are_selected_by_what_they_are_about() -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"uid": "u"},
        "reason": "Killing",
        "source": {"component": "k"},
    }
    assert parse_selector(EVENTS, "", "involvedObject.uid=u,reason!=Other,source=k").matches(event)
    assert not parse_selector(EVENTS, "", "involvedObject.uid=v").matches(event)
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Failed"}}
    assert parse_selector(PODS, "", "status.phase=Failed").matches(pod)


# --- what a container is given ------------------------------------------------------------------------


def test_references_to_variables_are_replaced_and_unknown_ones_stay() -> None:
    assert expand("$(A)-$(B)-$$(A)-$A-$", {"A": "1"}) == "1-$(B)-$(A)-$A-$"


def test_a_container_without_a_command_does_nothing() -> None:
    assert words({"name": "a"}, {}) == ["true"]
    assert words({"command": ["a"], "args": ["$(X)"]}, {"X": "b"}) == ["a", "b"]


def test_variables_come_from_literals_and_from_the_pod() -> None:
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b"}}, "spec": {"nodeName": "node"}}
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2"},
        {"name": "EMPTY"},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
    ]
    found = variables(pod, {"env": env})
    assert found == {"A": "1", "B": "12", "EMPTY": "", "LABEL": "b", "NODE": "node"}


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, 'secret "s" not found'),
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c"}}}]}, 'configmap "c" not found'),
        ({"envFrom": [{"secretRef": {"name": "s"}}]}, 'secret "s" not found'),
    ],
)
def test_there_are_no_secrets_and_no_config_maps(container: Json, sentence: str) -> None:
    with pytest.raises(MissingReference, match=sentence):
        variables({"metadata": {}}, container)


# --- images and places --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "registry", "full"),
    [
        ("busybox", "docker.io", "docker.io/library/busybox:latest"),
        ("acme/train:7", "docker.io", "docker.io/acme/train:7"),
        ("ghcr.io/acme/train", "ghcr.io", "ghcr.io/acme/train:latest"),
        ("localhost:5000/x@sha256:" + "a" * 64, "localhost", "localhost:5000/x@sha256:" + "a" * 64),
    ],
)
def test_an_image_is_completed_as_a_runtime_does(image: str, registry: str, full: str) -> None:
    assert registry_of(image) == registry
    assert full_image(image) == full
    assert pull_fault(image, "Always") is None


@pytest.mark.parametrize("image", ["HTTP://x y", "", "a//b", "UPPER", "a:b:c:d", "-x"])
def test_an_image_that_is_none_has_an_invalid_name(image: str) -> None:
    fault = pull_fault(image, "Always")
    assert fault is not None
    assert fault.reason == "InvalidImageName"


def test_a_registry_that_cannot_exist_cannot_be_reached() -> None:
    fault = pull_fault("registry.invalid/team/x:1", "IfNotPresent")
    assert fault is not None
    assert (fault.reason, fault.may_pass) == ("ErrImagePull", True)
    assert fault.message.endswith(
        'Head "https://registry.invalid/v2/team/x/manifests/1": dial tcp: lookup registry.invalid: no such host'
    )
    never = pull_fault("registry.invalid/team/x:1", "Never")
    assert never is not None
    assert never.reason == "ErrImageNeverPull"


def place(**spec: Any) -> tuple[str, str] | None:
    return unschedulable({"containers": [{"resources": {"requests": spec.pop("requests", {})}}], **spec})


def test_ordinary_requests_have_a_place_and_absurd_ones_say_what_is_short() -> None:
    assert place(requests={"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}) is None
    reason, message = place(requests={"memory": "4096Gi", "cpu": "1k"}) or ("", "")
    assert reason == "Unschedulable"
    assert message.startswith("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. ")
    assert "affinity/selector" in (place(nodeSelector={"zone": "a"}) or ("", ""))[1]
    assert (place(schedulingGates=[{"name": "g"}]) or ("", ""))[0] == "SchedulingGated"
    assert place(nodeSelector={"kubernetes.io/os": "linux"}) is None


def test_the_quality_of_service_follows_from_requests_and_limits() -> None:
    def of(resources: Json) -> str:
        return quality_of_service({"containers": [{"resources": resources}]})

    both = {"cpu": "1", "memory": "1Gi"}
    assert of({}) == "BestEffort"
    assert of({"requests": {"cpu": "1"}}) == "Burstable"
    assert of({"requests": both, "limits": both}) == "Guaranteed"


# --- what a Pod says ----------------------------------------------------------------------------------


def state(name: str, what: Json) -> ContainerState:
    return ContainerState(name=name, image="i", state=what)


OVER = terminated(0, "Completed", started_at=NOW, finished_at=NOW)
BAD = terminated(3, "Error", started_at=NOW, finished_at=NOW, message="why")


@pytest.mark.parametrize(
    ("inits", "mains", "phase"),
    [
        ([], [waiting("ContainerCreating")], "Pending"),
        ([], [running(NOW), waiting("ErrImagePull")], "Pending"),
        ([], [running(NOW), BAD], "Running"),
        ([], [OVER, BAD], "Failed"),
        ([], [OVER, OVER], "Succeeded"),
        ([running(NOW)], [waiting("PodInitializing")], "Pending"),
        ([OVER], [running(NOW)], "Running"),
        ([BAD], [waiting("PodInitializing")], "Failed"),
    ],
)
def test_the_phase_follows_from_the_containers(inits: list[Json], mains: list[Json], phase: str) -> None:
    assert phase_of([state("i", each) for each in inits], [state("m", each) for each in mains]) == phase


def test_a_condition_keeps_the_time_since_when_it_holds() -> None:
    before = {"qosClass": "BestEffort"}
    first = pod_status(before, [], [state("a", waiting("ContainerCreating"))], generation=1, now=NOW)
    then = pod_status(first, [], [state("a", running(NOW + 5))], generation=1, now=NOW + 5)
    times = {each["type"]: each["lastTransitionTime"] for each in then["conditions"]}
    assert times["PodScheduled"] == stamp(NOW)
    assert times["Ready"] == stamp(NOW + 5)
    assert then["startTime"] == stamp(NOW)


# --- tables, times, certificates, protobuf ------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600, "9h"),
        (50 * 3600, "2d2h"),
        (10 * 86400, "10d"),
        (3 * 365 * 86400, "3y"),
        (-5, "<invalid>"),
    ],
)
def test_a_length_of_time_is_shown_as_kubectl_shows_it(seconds: int, shown: str) -> None:
    assert human_duration(seconds) == shown


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"phase": "Pending"}, "Pending"),
        (
            {"phase": "Pending", "containerStatuses": [{"state": waiting("ErrImagePull"), "ready": False}]},
            "ErrImagePull",
        ),
        ({"phase": "Failed", "containerStatuses": [{"state": BAD, "ready": False}]}, "Error"),
        ({"phase": "Failed", "initContainerStatuses": [{"state": BAD}], "containerStatuses": []}, "Init:Error"),
        ({"phase": "Pending", "initContainerStatuses": [{"state": running(NOW)}], "containerStatuses": []}, "Init:0/1"),
    ],
)
def test_a_pod_is_shown_by_its_most_telling_word(status: Json, word: str) -> None:
    for each in status.get("containerStatuses", []):
        each["restartCount"] = 0
    metadata = {"name": "p", "creationTimestamp": stamp(NOW)}
    pod = {"metadata": metadata, "spec": {"containers": [{}]}, "status": status}
    (row,) = table(PODS, [pod], {}, now=NOW + 60)["rows"]
    assert row["cells"][:5] == ["p", "0/1", word, "0", "60s"]
    assert row["object"]["kind"] == "PartialObjectMetadata"


def test_stamps_sort_like_instants_and_can_be_read_again() -> None:
    assert stamp(NOW) == "2027-01-15T08:00:00Z"
    assert nano_stamp(int(NOW) * 10**9 + 5) == "2027-01-15T08:00:00.000000005Z"
    assert unix(stamp(NOW)) == NOW
    assert unix("") == 0.0


def test_a_certificate_is_accepted_by_openssl_and_belongs_to_its_key(tmp_path: Path) -> None:
    keys = self_signed(now=datetime(2026, 1, 1, tzinfo=UTC))
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    certificate.write_text(keys.certificate)
    key.write_text(keys.key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    trust = ssl.create_default_context(cadata=keys.certificate)
    (found,) = trust.get_ca_certs()
    assert found["subjectAltName"] == (("DNS", "localhost"), ("IP Address", "127.0.0.1"))
    assert found["notBefore"] == "Dec 31 00:00:00 2025 GMT"
    assert found["notAfter"] == "Jan  1 00:00:00 2027 GMT"


def message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def test_a_namespace_in_protobuf_is_understood() -> None:
    meta = message(1, b"team") + message(11, message(1, b"a") + message(2, b"b")) + message(8, b"")
    body = b"k8s\0" + message(1, message(1, b"v1") + message(2, b"Namespace")) + message(2, message(1, meta))
    assert protobuf.decode(body, "Namespace") == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "team", "labels": {"a": "b"}},
    }
    with pytest.raises(ValueError, match="another kind"):
        protobuf.decode(body, "Job")


@given(st.binary(max_size=200))
def test_any_bytes_are_protobuf_or_a_refusal(body: bytes) -> None:
    for content in (body, b"k8s\0" + body):
        with contextlib.suppress(ValueError):
            assert isinstance(protobuf.decode(content, "Job"), dict)
