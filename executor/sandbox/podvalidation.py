"""May this Pod be? Every fault of a Job's Pod template, in the words of kube-apiserver.

Pure functions of a completed template (``defaults``). Source of the rules: ``pkg/apis/core/validation``. What a local
process cannot be given (volumes, probes, restarts) is refused by name, rather than left out in silence.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from raftsman.executor.sandbox import quantities
from raftsman.executor.sandbox.answers import (
    Cause,
    Json,
    duplicate,
    forbidden_value,
    invalid_value,
    not_found_value,
    required,
    unsupported,
)
from raftsman.executor.sandbox.environment import FIELD_PATHS
from raftsman.executor.sandbox.grammar import dns_label, environment_name, label_key, subdomain

NOT_HERE = "the development Kubernetes does not do this: its Pods are local processes"
_RESTART = ("Always", "OnFailure", "Never")
_JOB_RESTART = ("OnFailure", "Never")
_CLOSED = {
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
}
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_CONTAINER_NOT_HERE = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "volumeDevices", "restartPolicy")
_POD_NOT_HERE = ("volumes", "ephemeralContainers", "resourceClaims", "activeDeadlineSeconds", "runtimeClassName")


def pod_faults(spec: Json, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the spec of a Pod template."""
    yield from _containers_faults(spec, path)
    yield from _restart_faults(spec.get("restartPolicy", ""), f"{path}.restartPolicy")
    account = spec.get("serviceAccountName")
    if account and (fault := subdomain(account)):
        yield invalid_value(f"{path}.serviceAccountName", account, fault)
    for field in _POD_NOT_HERE:
        if spec.get(field):
            yield forbidden_value(f"{path}.{field}", NOT_HERE)


def _containers_faults(spec: Json, path: str) -> Iterator[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield required(f"{path}.containers")
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    seen: Counter[str] = Counter()
    for field in ("containers", "initContainers"):
        for at, container in enumerate(spec.get(field) or []):
            name = container.get("name", "")
            seen[name] += 1
            if name and seen[name] > 1:
                yield duplicate(f"{path}.{field}[{at}].name", name)
            yield from _container_faults(container, f"{path}.{field}[{at}]", volumes)


def _container_faults(container: Json, path: str, volumes: set[str]) -> Iterator[Cause]:
    name = container.get("name", "")
    if not name:
        yield required(f"{path}.name")
    elif fault := dns_label(name):
        yield invalid_value(f"{path}.name", name, fault)
    if not container.get("image"):
        yield required(f"{path}.image")
    for field, allowed in _CLOSED.items():
        if container[field] not in allowed:
            yield unsupported(f"{path}.{field}", container[field], allowed)
    yield from _environment_faults(container, path)
    for at, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            yield not_found_value(f"{path}.volumeMounts[{at}].name", mount.get("name", ""))
    resources = container["resources"]
    yield from _resource_faults(resources.get("limits") or {}, resources.get("requests") or {}, f"{path}.resources")
    for field in _CONTAINER_NOT_HERE:
        if container.get(field):
            yield forbidden_value(f"{path}.{field}", NOT_HERE)


def _environment_faults(container: Json, path: str) -> Iterator[Cause]:
    for at, variable in enumerate(container.get("env") or []):
        where, name = f"{path}.env[{at}]", variable.get("name", "")
        if not name:
            yield required(f"{where}.name")
        elif fault := environment_name(name):
            yield invalid_value(f"{where}.name", name, fault)
        source = variable.get("valueFrom")
        if source is not None:
            yield from _source_faults(source, variable.get("value", ""), f"{where}.valueFrom")


def _source_faults(source: Json, value: str, path: str) -> Iterator[Cause]:
    if value:
        yield invalid_value(path, "", "may not be specified when `value` is not empty")
    field_path = (source.get("fieldRef") or {}).get("fieldPath", "")
    if source.get("fieldRef") and field_path.partition("[")[0] not in FIELD_PATHS:
        text = f"error converting fieldPath: field label not supported: {field_path}"
        yield invalid_value(f"{path}.fieldRef.fieldPath", field_path, text)
    for field in ("resourceFieldRef", "fileKeyRef"):
        if source.get(field):
            yield forbidden_value(f"{path}.{field}", NOT_HERE)


def _restart_faults(policy: str, path: str) -> Iterator[Cause]:
    if policy and policy not in _RESTART:
        yield unsupported(path, policy, _RESTART)
        yield unsupported(path, policy, _JOB_RESTART)
    elif policy not in _JOB_RESTART:
        yield required(path, 'valid values: "OnFailure", "Never"')
    elif policy == "OnFailure":
        yield forbidden_value(path, NOT_HERE)


def _resource_faults(limits: Mapping[str, str], requests: Mapping[str, str], path: str) -> Iterator[Cause]:
    for field, shares in (("limits", limits), ("requests", requests)):
        for name, share in shares.items():
            yield from _share_faults(name, share, f"{path}.{field}[{name}]")
    for name, request in requests.items():
        limit = limits.get(name)
        if name in _STANDARD:
            if limit is not None and quantities.parse(request) > quantities.parse(limit):
                text = f"must be less than or equal to {name} limit of {limit}"
                yield invalid_value(f"{path}.requests", request, text)
        elif limit is None:
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif quantities.parse(request) != quantities.parse(limit):
            yield invalid_value(f"{path}.requests", request, f"must be equal to {name} limit of {limit}")


def _share_faults(name: str, share: str, path: str) -> Iterator[Cause]:
    if name not in _STANDARD and ("/" not in name or label_key(name)):
        yield invalid_value(path, name, "must be a standard resource type or fully qualified")
        yield invalid_value(path, name, "must be a standard resource for containers")
        return
    value = quantities.parse(share)
    if value < 0:
        yield invalid_value(path, share, "must be greater than or equal to 0")
    if name not in _STANDARD and value.denominator != 1:
        yield invalid_value(path, share, "must be an integer")
