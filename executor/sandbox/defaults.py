"""What the API server writes into a Job or a Pod where its author was silent.

Pure; works on a copy it is given. Source: ``pkg/apis/{batch,core}/v1/defaults.go`` and the Job strategy's
``PrepareForCreate``. Runs before ``validation``, after ``fields``.
"""

from collections.abc import Iterator

from raftsman.executor.sandbox import quantities
from raftsman.executor.sandbox.answers import Json

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
JOB_LABELS = ((CONTROLLER_UID, "uid"), (JOB_NAME, "name"), ("controller-uid", "uid"), ("job-name", "name"))
CONTAINER_LISTS = ("initContainers", "containers")


def complete_job(job: Json) -> None:
    """Give a new Job, which has its name and UID, everything it did not say."""
    spec: Json = job.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    template: Json = spec.setdefault("template", {})
    _tie_to_pods(job, spec, template)
    template.setdefault("spec", {})
    complete_pod_spec(template["spec"])


def _tie_to_pods(job: Json, spec: Json, template: Json) -> None:
    """Let the Pods carry the Job's UID and name as labels, and select them by that."""
    metadata = job["metadata"]
    own = {label: metadata.get(source, "") for label, source in JOB_LABELS}
    labels = {**(template.setdefault("metadata", {}).get("labels") or {}), **own}
    template["metadata"]["labels"] = labels
    selector: Json = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {})[CONTROLLER_UID] = metadata["uid"]
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def complete_pod_spec(spec: Json) -> None:
    """Give the spec of a Pod, or of a template, everything it did not say."""
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in containers_of(spec):
        _complete_container(container)


def request_limits(spec: Json) -> None:
    """Let the containers of a Pod, not of a template, request what they are limited to."""
    for container in containers_of(spec):
        for name, limit in (container["resources"].get("limits") or {}).items():
            container["resources"].setdefault("requests", {}).setdefault(name, limit)


def containers_of(spec: Json) -> Iterator[Json]:
    """Yield the containers of a Pod's spec, those that initialise it first."""
    for field in CONTAINER_LISTS:
        yield from spec.get(field) or []


def _complete_container(container: Json) -> None:
    resources: Json = container.setdefault("resources", {})
    for shares in ("limits", "requests"):
        if resources.get(shares):
            resources[shares] = {name: quantities.canonical(each) for name, each in resources[shares].items()}
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _pull_policy(image: str) -> str:
    """Return Always for a tag that moves: ``latest``, or none."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return "Always" if "@" not in image and tag in ("", "latest") else "IfNotPresent"
