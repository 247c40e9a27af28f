"""What the mirror keeps of an object: a seventh of its bytes.

Total functions: an API server newer than this code, or a broken webhook, may send anything, and one odd object
must not take the others down. ``reflector`` calls them on everything that arrives.
"""

from typing import Any

from raftsman.executor.jobs import Json

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "labels",
    "annotations",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",  # With the stamp it tells when the deletion was asked for.
    "creationTimestamp",
    "finalizers",  # They say what a deletion waits for.
)
_CONTAINERS = ("initContainers", "containers")
_JOB_SPEC = ("ttlSecondsAfterFinished", "suspend")
JOB_UID_LABEL = "batch.kubernetes.io/controller-uid"


def uid_of(found: Json) -> str:
    """Return the object's UID, or "" when it has none (then it is no object)."""
    value = _mapping(found.get("metadata")).get("uid")
    return value if isinstance(value, str) else ""


def name_of(found: Json) -> str:
    """Return the object's name, or "" when it has none."""
    value = _mapping(found.get("metadata")).get("name")
    return value if isinstance(value, str) else ""


def version_of(found: Json) -> str:
    """Return the resource version of an object or a list, or ""."""
    value = _mapping(found.get("metadata")).get("resourceVersion")
    return value if isinstance(value, str) else ""


def job_uid_of(pod: Json) -> str:
    """Return the UID of the Job that made the Pod, or ""."""
    metadata = _mapping(pod.get("metadata"))
    label = _mapping(metadata.get("labels")).get(JOB_UID_LABEL)
    if isinstance(label, str):
        return label
    owners = (_mapping(owner) for owner in _list(metadata.get("ownerReferences")))
    return next((uid for owner in owners if isinstance(uid := owner.get("uid"), str)), "")


def prune_job(job: Json) -> Json:
    """Return the parts of a Job that decisions need."""
    return {
        "metadata": _metadata(job),
        "spec": _pick(_mapping(job.get("spec")), _JOB_SPEC),
        "status": _mapping(job.get("status")),
    }


def prune_pod(pod: Json) -> Json:
    """Return the parts of a Pod that decisions need."""
    spec = _mapping(pod.get("spec"))
    containers = {key: [_container(each) for each in _list(spec.get(key))] for key in _CONTAINERS if spec.get(key)}
    return {
        "metadata": _metadata(pod),
        "spec": {**_pick(spec, ("nodeName", "schedulingGates")), **containers},
        "status": _mapping(pod.get("status")),
    }


def _container(container: Any) -> Json:
    """Return its name, and its memory limit for the message of an OOM kill."""
    named = {"name": _mapping(container).get("name", "")}
    limits = _mapping(_mapping(_mapping(container).get("resources")).get("limits"))
    memory = limits.get("memory")
    return {**named, "resources": {"limits": {"memory": memory}}} if memory is not None else named


def _metadata(found: Json) -> Json:
    metadata = _mapping(found.get("metadata"))
    kept = _pick(metadata, _METADATA)
    owners = [{"uid": _mapping(owner).get("uid", "")} for owner in _list(metadata.get("ownerReferences"))]
    if owners:
        kept["ownerReferences"] = owners
    return kept


def _pick(source: Json, keys: tuple[str, ...]) -> Json:
    return {key: source[key] for key in keys if source.get(key) is not None}


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
