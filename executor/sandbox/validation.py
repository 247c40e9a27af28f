"""May this Job be? Every fault of a new or changed Job, in the words of kube-apiserver.

Pure functions of completed objects (``defaults``). Covers what people meet: names, labels, numbers, closed lists,
immutable fields. Containers are ``podvalidation``'s. What the development Kubernetes cannot carry out is refused here
too, rather than pretended.
"""

from collections.abc import Iterator

from raftsman.executor.sandbox.answers import (
    Cause,
    Json,
    forbidden_value,
    invalid_value,
    required,
    too_long,
    unsupported,
)
from raftsman.executor.sandbox.grammar import ANNOTATIONS_BYTES, dns_label, label_key, label_value, subdomain
from raftsman.executor.sandbox.podvalidation import pod_faults

DOTS_WARNING = (
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
    "a DNS label is recommended: [must not contain dots]"
)

_AT_LEAST_ZERO = ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
_IMMUTABLE = (
    "completions",
    "selector",
    "template",
    "completionMode",
    "podFailurePolicy",
    "managedBy",
    "manualSelector",
)
_CLOSED = {
    "completionMode": ("NonIndexed", "Indexed"),
    "podReplacementPolicy": ("Failed", "TerminatingOrFailed"),
}
_NOT_HERE = ("podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes")
NOT_HERE = "the development Kubernetes does not do this"


def job_faults(job: Json) -> list[Cause]:
    """Return what is wrong with a new Job."""
    spec, metadata = job["spec"], job["metadata"]
    template = spec["template"]
    return [
        *_name_faults(metadata),
        *metadata_faults(metadata, "metadata"),
        *_number_faults(spec),
        *_closed_faults(spec),
        *_selector_faults(job),
        *_job_name_label_faults(metadata.get("name", "")),
        *metadata_faults(template["metadata"], "spec.template"),
        *pod_faults(template["spec"], "spec.template.spec"),
        *_not_here(spec),
    ]


def job_change_faults(old: Json, new: Json) -> list[Cause]:
    """Return why *old*, a Job, may not become *new*."""
    faults = []
    if old["metadata"]["uid"] != new["metadata"].get("uid"):
        faults.append(invalid_value("metadata.uid", new["metadata"].get("uid"), "field is immutable"))
    faults += metadata_faults(new["metadata"], "metadata")
    faults += _number_faults(new["spec"])
    for field in _IMMUTABLE:
        if old["spec"].get(field) != new["spec"].get(field):
            faults.append(invalid_value(f"spec.{field}", new["spec"].get(field), "field is immutable"))
    if not faults:
        faults += _closed_faults(new["spec"])
    return faults


def namespace_faults(namespace: Json) -> list[Cause]:
    """Return what is wrong with a new namespace."""
    metadata = namespace["metadata"]
    name = metadata.get("name", "")
    fault = dns_label(name)
    named = [invalid_value("metadata.name", name, fault)] if fault else []
    return [*named, *metadata_faults(metadata, "metadata")]


def job_warnings(job: Json) -> list[str]:
    """Return what the API server accepts with a warning."""
    warnings = [DOTS_WARNING] if "." in job["metadata"].get("name", "") else []
    if job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] < 0:
        field = "spec.template.spec.terminationGracePeriodSeconds"
        warnings.append(f"{field}: must be >= 0; negative values are invalid and will be treated as 1")
    return warnings


def metadata_faults(metadata: Json, path: str) -> Iterator[Cause]:
    """Yield the faults of labels, annotations and finalizers."""
    for key, value in (metadata.get("labels") or {}).items():
        if fault := label_key(key):
            yield invalid_value(f"{path}.labels", key, fault)
        if fault := label_value(value):
            yield invalid_value(f"{path}.labels", value, fault)
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        if fault := label_key(key.lower()):
            yield invalid_value(f"{path}.annotations", key, fault)
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_BYTES:
        yield too_long(f"{path}.annotations", ANNOTATIONS_BYTES)
    for finalizer in metadata.get("finalizers") or []:
        if fault := label_key(finalizer):
            yield invalid_value(f"{path}.finalizers", finalizer, fault)


def _name_faults(metadata: Json) -> Iterator[Cause]:
    name = metadata.get("name", "")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif fault := subdomain(name):
        yield invalid_value("metadata.name", name, fault)


def _job_name_label_faults(name: str) -> Iterator[Cause]:
    """The name becomes a label of the Pods, twice."""
    fault = label_value(name)
    if fault and len(name) > 63:
        yield from [invalid_value("spec.template.labels", name, fault)] * 2


def _number_faults(spec: Json) -> Iterator[Cause]:
    for field in _AT_LEAST_ZERO:
        if (spec.get(field) or 0) < 0:
            yield invalid_value(f"spec.{field}", spec[field], "must be greater than or equal to 0")


def _closed_faults(spec: Json) -> Iterator[Cause]:
    for field, allowed in _CLOSED.items():
        if spec[field] not in allowed:
            yield unsupported(f"spec.{field}", spec[field], allowed)
    manager = spec.get("managedBy")
    if manager is not None and (label_key(manager) or "/" not in manager):
        yield invalid_value("spec.managedBy", manager, 'must be a domain-prefixed path (such as "acme.io/foo")')


def _selector_faults(job: Json) -> Iterator[Cause]:
    selector, labels = job["spec"]["selector"], job["spec"]["template"]["metadata"]["labels"]
    if len(selector["matchLabels"]) > 1 or selector.get("matchExpressions"):
        yield invalid_value("spec.selector", selector, "`selector` not auto-generated")
        if any(labels.get(key) != value for key, value in selector["matchLabels"].items()):
            yield invalid_value("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _not_here(spec: Json) -> Iterator[Cause]:
    """Refuse what would silently be something else here."""
    for field in _NOT_HERE:
        if spec.get(field) is not None:
            yield forbidden_value(f"spec.{field}", NOT_HERE)
    if spec["completionMode"] == "Indexed":
        yield forbidden_value("spec.completionMode", NOT_HERE)
    if spec.get("manualSelector"):
        yield forbidden_value("spec.manualSelector", NOT_HERE)
