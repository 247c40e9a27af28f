"""What raftsman relies on is the same in the development Kubernetes and in a real one: creating and changing Jobs."""

import json
from typing import Any

import pytest

from raftsman.executor.jobs import AlreadyExists, Conflict, Denied
from tests.conformance.target import (
    Json,
    Target,
    is_over,
    manifest,
    terminated,
    until,
)

# --- creating -----------------------------------------------------------------------------------------


async def test_a_job_gets_what_its_author_left_out(kube: Target, name: str) -> None:
    job = await kube.create(manifest(name, spec={"suspend": True}))
    uid = job["metadata"]["uid"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    template = job["spec"].pop("template")
    assert job["spec"] == {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 0,
        "completionMode": "NonIndexed",
        "suspend": True,
        "podReplacementPolicy": "TerminatingOrFailed",
        "manualSelector": False,
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
    }
    assert job["metadata"]["labels"] == template["metadata"]["labels"] == labels
    (container,) = template["spec"].pop("containers")
    assert template["spec"] == {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    assert container == {
        "name": "task",
        "image": "busybox:1.36",
        "command": ["sh", "-c", "true"],
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    assert job["status"] == {}
    assert job["metadata"]["generation"] == 1


async def test_the_executors_client_creates_gets_and_deletes(kube: Target, name: str) -> None:
    made = await kube.client.create_job(kube.namespace, manifest(name, spec={"suspend": True}))
    assert (await kube.client.get_job(kube.namespace, name) or {})["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(AlreadyExists) as refused:
        await kube.client.create_job(kube.namespace, manifest(name))
    assert refused.value.message == f'jobs.batch "{name}" already exists'
    with pytest.raises(Conflict):
        await kube.client.delete_job(kube.namespace, name, "another")
    deleted = await kube.client.delete_job(kube.namespace, name, made["metadata"]["uid"])
    assert deleted is not None
    assert deleted["metadata"]["finalizers"] == ["foregroundDeletion"]
    await kube.is_gone(f"{kube.jobs}/{name}")
    assert await kube.client.get_job(kube.namespace, name) is None
    assert await kube.client.delete_job(kube.namespace, name, made["metadata"]["uid"]) is None


async def test_a_pod_outlives_its_job_by_default_until_the_executors_client_deletes_it(kube: Target, name: str) -> None:
    await kube.create(manifest(name, "sleep 60"))
    pod = await kube.runs(name)
    uid = pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"]
    await kube.delete(name)
    await kube.is_gone(f"{kube.jobs}/{name}")
    await kube.client.delete_pod(kube.namespace, pod["metadata"]["name"], "another")
    (orphan,) = await kube.client.list_pods(kube.namespace, uid)
    assert "deletionTimestamp" not in orphan["metadata"]
    for _ in range(2):
        await kube.client.delete_pod(kube.namespace, pod["metadata"]["name"], pod["metadata"]["uid"])
        await kube.is_gone(f"{kube.pods}/{pod['metadata']['name']}")


async def test_a_job_cannot_be_created_in_a_namespace_that_is_not_there(kube: Target, name: str) -> None:
    answer = await kube.call("POST", "/apis/batch/v1/namespaces/nope/jobs", manifest(name))
    assert answer.refusal == (404, "NotFound", 'namespaces "nope" not found')
    assert await kube.client.get_job("nope", name) is None


async def test_quantities_come_back_in_their_shortest_form(kube: Target, name: str) -> None:
    limits = {"cpu": "0.25", "memory": "1024Mi"}
    job = await kube.create(manifest(name, container={"resources": {"limits": limits}}, spec={"suspend": True}))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"cpu": "250m", "memory": "1Gi"}}


async def test_what_nobody_knows_is_refused_or_warned_of(kube: Target, name: str) -> None:
    odd = manifest(name, container={"baz": 3}, pod={"bar": 2}, spec={"foo": 1, "suspend": True})
    answer = await kube.call("POST", kube.jobs, odd, query={"fieldValidation": "Strict"})
    fields = ("spec.template.spec.containers[0].baz", "spec.template.spec.bar", "spec.foo")
    listed = ", ".join(f'unknown field "{field}"' for field in fields)
    head = 'Job in version "v1" cannot be handled as a Job: strict decoding error: '
    assert answer.refusal == (400, "BadRequest", head + listed)
    answer = await kube.call("POST", kube.jobs, odd)
    assert (answer.code, len(answer.warnings)) == (201, 3)
    assert '299 - "unknown field \\"spec.foo\\""' in answer.warnings


GPU = "nvidia.com/gpu"
AT = "spec.template.spec.containers[0]"
FAULTS: dict[str, tuple[Json, int, str]] = {
    "a name in upper case": (manifest("Bad"), 422, "metadata.name: Invalid value"),
    "a name of 64 characters": (manifest("a" * 64), 422, "spec.template.labels: Invalid value"),
    "a label that is none": (manifest("x", metadata={"labels": {"a": "b c"}}), 422, "metadata.labels: Invalid value"),
    "a label that is a number": (
        manifest("x", metadata={"labels": {"a": 1}}),
        400,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    ),
    "annotations of 300 kB": (manifest("x", metadata={"annotations": {"a": "x" * 300_000}}), 422, "Too long"),
    "no image": (manifest("x", container={"image": ""}), 422, f"{AT}.image: Required value"),
    "no containers": (manifest("x", pod={"containers": []}), 422, "spec.template.spec.containers: Required value"),
    "a container named badly": (manifest("x", container={"name": "A_b"}), 422, f"{AT}.name: Invalid value"),
    "two containers of one name": (
        manifest("x", pod={"containers": [{"name": "a", "image": "b"}] * 2}),
        422,
        'spec.template.spec.containers[1].name: Duplicate value: "a"',
    ),
    "a restart policy for services": (
        manifest("x", pod={"restartPolicy": "Always"}),
        422,
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
    ),
    "a command that is a string": (
        manifest("x", container={"command": "true"}),
        400,
        (
            "json: cannot unmarshal string into Go struct field Container.spec.template.spec.containers.command "
            "of type []string"
        ),
    ),
    "a quantity that is none": (
        manifest("x", container={"resources": {"limits": {"cpu": "lots"}}}),
        400,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    "negative memory": (
        manifest("x", container={"resources": {"limits": {"memory": "-1"}}}),
        422,
        f'{AT}.resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0',
    ),
    "more requested than allowed": (
        manifest("x", container={"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}),
        422,
        f'{AT}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    "half a GPU": (
        manifest("x", container={"resources": {"limits": {GPU: "0.5"}}}),
        422,
        f'{AT}.resources.limits[{GPU}]: Invalid value: "500m": must be an integer',
    ),
    "a GPU in the requests only": (
        manifest("x", container={"resources": {"requests": {GPU: "1"}}}),
        422,
        f"{AT}.resources.limits: Required value: Limit must be set for non overcommitable resources",
    ),
    "a variable without a name": (
        manifest("x", container={"env": [{"value": "a"}]}),
        422,
        f"{AT}.env[0].name: Required value",
    ),
    "a field that Pods do not have": (
        manifest("x", container={"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.foo"}}}]}),
        422,
        "error converting fieldPath: field label not supported: metadata.foo",
    ),
    "a negative backoff limit": (
        manifest("x", spec={"backoffLimit": -1}),
        422,
        "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
    ),
    "a backoff limit in words": (
        manifest("x", spec={"backoffLimit": "x"}),
        400,
        "json: cannot unmarshal string into Go struct field JobSpec.spec.backoffLimit of type int32",
    ),
    "a service account named badly": (
        manifest("x", pod={"serviceAccountName": "Bad Name"}),
        422,
        "spec.template.spec.serviceAccountName: Invalid value",
    ),
    "a volume that is not there": (
        manifest("x", container={"volumeMounts": [{"name": "v", "mountPath": "/x"}]}),
        422,
        f'{AT}.volumeMounts[0].name: Not found: "v"',
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_job_is_refused_in_the_same_words(kube: Target, fault: str) -> None:
    job, code, sentence = FAULTS[fault]
    answer = await kube.call("POST", kube.jobs, job, query={"fieldValidation": "Strict"})
    assert answer.code == code, answer.body
    assert answer.body["reason"] == ("Invalid" if code == 422 else "BadRequest")
    assert sentence in answer.body["message"]
    if code == 422:
        assert answer.body["details"]["group"] == "batch"
        assert answer.body["details"]["kind"] == "Job"
        assert all(field in answer.body["message"] for field in answer.fields)
        assert isinstance(await _refusal(kube, job), Denied)


async def _refusal(kube: Target, job: Json) -> Exception:
    with pytest.raises(Denied) as refused:
        await kube.client.create_job(kube.namespace, job)
    return refused.value


# --- patches ------------------------------------------------------------------------------------------


async def test_a_patch_is_guarded_by_the_uid_and_the_version(kube: Target, name: str) -> None:
    await kube.create(manifest(name, spec={"suspend": True}))
    answer = await kube.patch(name, {"metadata": {"uid": "another"}, "spec": {"suspend": False}})
    assert (answer.code, answer.body["reason"], answer.fields[0]) == (422, "Invalid", "metadata.uid")
    assert 'metadata.uid: Invalid value: "another": field is immutable' in answer.body["message"]
    answer = await kube.patch(name, {"metadata": {"resourceVersion": "1"}, "spec": {"suspend": False}})
    assert answer.refusal == (
        409,
        "Conflict",
        (
            f'Operation cannot be fulfilled on jobs.batch "{name}": the object has been modified; please apply your '
            "changes to the latest version and try again"
        ),
    )
    assert (await kube.job(name))["spec"]["suspend"] is True


async def test_what_may_change_of_a_job_and_what_may_not(kube: Target, name: str) -> None:
    await kube.create(manifest(name, spec={"suspend": True}))
    patch = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"ttlSecondsAfterFinished": 9}}
    answer = await kube.patch(name, patch)
    assert answer.code == 200
    assert answer.body["metadata"]["labels"]["a"] == "b"
    assert answer.body["metadata"]["labels"]["job-name"] == name
    assert answer.body["spec"]["ttlSecondsAfterFinished"] == 9
    for field, value in {"completions": 2, "completionMode": "Indexed"}.items():
        answer = await kube.patch(name, {"spec": {field: value}})
        assert answer.refusal == (
            422,
            "Invalid",
            f'Job.batch "{name}" is invalid: spec.{field}: Invalid value: {json.dumps(value)}: field is immutable',
        )
    answer = await kube.patch(name, {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 9}}}})
    assert (answer.code, answer.fields) == (422, ["spec.template"])
    assert answer.body["message"].endswith("field is immutable")
    answer = await kube.patch(name, {"status": {"active": 7}})
    assert (answer.code, answer.body["status"].get("active")) == (200, None)


async def test_patches_that_are_none(kube: Target, name: str) -> None:
    await kube.create(manifest(name, spec={"suspend": True}))
    path = f"{kube.jobs}/{name}"
    answer = await kube.call("PATCH", path, {"spec": {}}, content_type="application/json")
    assert answer.refusal == (415, "UnsupportedMediaType", "415: Unsupported Media Type")
    answer = await kube.call("PATCH", path, b"{", content_type="application/merge-patch+json")
    assert answer.refusal == (400, "BadRequest", "error decoding patch: unexpected end of JSON input")
    answer = await kube.patch(name, {"metadata": {"name": "other"}})
    assert answer.refusal[2] == f"the name of the object (other) does not match the name on the URL ({name})"
    answer = await kube.patch(name, {"spec": {"foo": 1}})
    assert (answer.code, answer.warnings) == (200, ['299 - "unknown field \\"spec.foo\\""'])
    answer = await kube.patch(name, {"spec": {"foo": 1}}, query={"fieldValidation": "Strict"})
    assert (answer.code, answer.fields) == (422, ["patch"])
    answer = await kube.patch(name, {"spec": {"suspend": "yes"}})
    assert (answer.code, answer.fields) == (422, ["patch"])
    assert (await kube.patch("nonesuch", {"spec": {}})).refusal[:2] == (404, "NotFound")


# --- seen through the executor's eyes -----------------------------------------------------------------


async def test_the_mirror_sees_a_jobs_whole_life_and_remembers_its_pod(kube: Target, name: str) -> None:
    mirror = kube.client.mirror(kube.namespace, f"story={name}", lambda: None)
    labelled = manifest(name, "exit 4", metadata={"labels": {"story": name}})
    labelled["spec"]["template"]["metadata"] = {"labels": {"story": name}}
    job = await kube.create(labelled)
    uid = job["metadata"]["uid"]

    async def told(look: Any) -> Any:
        return look()

    await until(lambda: told(lambda: mirror.synced), "the mirror is complete")
    await until(lambda: told(lambda: name in mirror.jobs and is_over(mirror.jobs[name])), "the Job ends")
    await until(lambda: told(lambda: [pod for pod in mirror.pods_of(uid) if pod["status"]["phase"] == "Failed"]), "")
    (pod,) = mirror.pods_of(uid)
    assert terminated(pod)["exitCode"] == 4
    await kube.client.delete_job(kube.namespace, name, uid)
    await until(lambda: told(lambda: name not in mirror.jobs), "the Job is gone")
    await until(lambda: told(lambda: mirror.departed_pods_of(uid)), "the Pod is gone")
    assert terminated(mirror.departed_pods_of(uid)[0])["exitCode"] == 4
    assert mirror.synced
    assert await kube.client.list_pods(kube.namespace, uid) == []
