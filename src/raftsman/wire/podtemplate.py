"""What a user's pod template may say: the fields that raftsman owns are refused by name, the rest goes to Kubernetes.

The API server checks what is left (``fieldValidation=Strict``), so only what raftsman reads or writes is looked at
here. Which contexts let a template reach into their hosts is a setting: ``host_access`` lists the uses, admission
decides. The merge itself is ``executor.manifest``.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from raftsman.wire import grammar
from raftsman.wire.faults import INVALID_SPEC, Fault, clipped, pointer, subject

AT = ("k8sJob", "podTemplate")
"""Where the template stands in a submission; every pointer of this file begins with it."""

CONTAINER = "task"
"""The container that carries the task; a template may bring others."""

OWNED_IN_SPEC = {
    "restartPolicy": "an attempt is one Pod that runs once; leave it out",
    "activeDeadlineSeconds": "set timeoutMs instead",
}
OWNED_IN_TASK = {
    "image": "set k8sJob.image instead",
    "command": "set k8sJob.command instead",
    "args": "set k8sJob.args instead",
    "resources": "set k8sJob.resources instead",
}
OWNED_IN_CONTAINERS = {
    "restartPolicy": "an attempt runs once; only init containers may restart",
    "restartPolicyRules": "an attempt runs once; only init containers may restart",
}

BASELINE_CAPABILITIES = frozenset(
    {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"}
    | {"NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
)
"""https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline"""

HOST_NAMESPACES = ("hostPID", "hostIPC", "hostNetwork")

Path = tuple[str | int, ...]
"""Where something stands in the template."""


def template_faults(template: Mapping[str, Any], *, variables: Collection[str], has_account: bool) -> list[Fault]:
    """Return what is wrong with *template*, given the names in `environment` and whether k8sJob names an account."""
    unknown = [key for key in template if key not in {"metadata", "spec"}]
    return [
        *(_fault((key,), "is not a field of a pod template; it has metadata and spec") for key in unknown),
        *_metadata_faults(template.get("metadata")),
        *_spec_faults(template.get("spec"), variables, has_account=has_account),
    ]


def label_faults(labels: Mapping[str, Any], at: Path, *, reserving: bool) -> Iterator[Fault]:
    """Yield what is wrong with the labels at the path *at*; values that are no strings are another's to refuse."""
    for key, value in labels.items():
        complaint = grammar.label_key(key) or (grammar.unreserved(key) if reserving else None)
        if complaint:
            yield Fault(INVALID_SPEC, pointer(*at, key), f"the key of {subject(*at, key)} {complaint}")
        if isinstance(value, str) and (complaint := grammar.label_value(value)):
            yield Fault(INVALID_SPEC, pointer(*at, key), f"{subject(*at, key)} {complaint}")


def host_access(template: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (pointer into the submission, what it is) of each way for a Pod of *template* to reach its host."""
    spec = _object(template.get("spec"))
    uses: list[tuple[Path, str]] = [(("spec", key), key) for key in HOST_NAMESPACES if spec.get(key)]
    for path, volume in _objects(spec, ("spec", "volumes")):
        uses += [((*path, "hostPath"), "a hostPath volume")] if volume.get("hostPath") is not None else []
    uses += _security_uses(spec, ("spec", "securityContext"))
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for path, container in _objects(spec, ("spec", kind)):
            uses += _security_uses(container, (*path, "securityContext"))
            ports = _objects(container, (*path, "ports"))
            uses += [((*at, "hostPort"), "a port of the host") for at, port in ports if port.get("hostPort")]
    return [(pointer(*AT, *path), what) for path, what in uses]


def _security_uses(owner: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    context = _object(owner.get("securityContext"))
    if context.get("privileged"):
        yield (*path, "privileged"), "a privileged container"
    if context.get("procMount") not in (None, "", "Default"):
        yield (*path, "procMount"), "an unmasked /proc"
    if _object(context.get("windowsOptions")).get("hostProcess"):
        yield (*path, "windowsOptions", "hostProcess"), "a host process"
    added = _object(context.get("capabilities")).get("add")
    for index, name in enumerate(added if isinstance(added, list) else ()):
        if not (isinstance(name, str) and name in BASELINE_CAPABILITIES):
            yield (*path, "capabilities", "add", index), f"the capability {clipped(str(name))}"


def _metadata_faults(metadata: object) -> Iterator[Fault]:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        yield _fault(("metadata",), "must be an object with labels and annotations")
        return
    for key in metadata:
        if key not in {"labels", "annotations"}:
            yield _fault(("metadata", key), "is not the template's to set; metadata may have labels and annotations")
    for kind in ("labels", "annotations"):
        yield from _text_faults(metadata.get(kind), ("metadata", kind))
    yield from label_faults(_object(metadata.get("labels")), (*AT, "metadata", "labels"), reserving=True)
    for key in _object(metadata.get("annotations")):
        if complaint := grammar.label_key(key.lower()) or grammar.unreserved(key):  # Kubernetes lowers them too.
            yield _fault(("metadata", "annotations", key), complaint)


def _text_faults(texts: object, path: Path) -> Iterator[Fault]:
    if texts is not None and not isinstance(texts, dict):
        yield _fault(path, "must be an object of strings")
    for key, text in _object(texts).items():
        if not isinstance(text, str):
            yield _fault((*path, key), "must be a string; put it in quotes")


def _spec_faults(spec: object, variables: Collection[str], *, has_account: bool) -> Iterator[Fault]:
    if spec is None:
        return
    if not isinstance(spec, dict):
        yield _fault(("spec",), "must be an object: a PodSpec")
        return
    yield from _owned_faults(spec, ("spec",), OWNED_IN_SPEC)
    for key in ("serviceAccountName", "serviceAccount") if has_account else ():
        yield from _owned_faults(spec, ("spec",), {key: "k8sJob.serviceAccountName is set too; keep one of them"})
    yield from _security_faults(spec, ("spec",))
    for kind in ("containers", "initContainers"):
        yield from _list_faults(spec.get(kind), ("spec", kind))
        for path, container in _objects(spec, ("spec", kind)):
            yield from _security_faults(container, path)
    yield from _name_faults(spec)
    for path, container in _objects(spec, ("spec", "containers")):
        yield from _owned_faults(container, path, OWNED_IN_CONTAINERS)
        if container.get("name") == CONTAINER:
            yield from _owned_faults(container, path, OWNED_IN_TASK)
            yield from _variable_faults(container, path, variables)


def _owned_faults(owner: Mapping[str, Any], path: Path, owned: Mapping[str, str]) -> Iterator[Fault]:
    for key, way_out in owned.items():
        if owner.get(key) is not None:
            yield _fault((*path, key), f"is not the template's to set: {way_out}")


def _security_faults(owner: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    """Yield what the merge could not read of a security context; what its fields mean is Kubernetes' to judge."""
    at = (*path, "securityContext")
    security = owner.get("securityContext")
    if security is not None and not isinstance(security, dict):
        yield _fault(at, "must be an object: a security context")
    capabilities = _object(security).get("capabilities")
    if capabilities is not None and not isinstance(capabilities, dict):
        yield _fault((*at, "capabilities"), "must be an object with add and drop")
    added = _object(capabilities).get("add")
    if added is not None and not isinstance(added, list):
        yield _fault((*at, "capabilities", "add"), "must be a list of capabilities")
    for index, name in enumerate(added if isinstance(added, list) else ()):
        if not isinstance(name, str):
            yield _fault((*at, "capabilities", "add", index), "must be the name of a capability such as NET_ADMIN")


def _list_faults(members: object, path: Path) -> Iterator[Fault]:
    if members is not None and not isinstance(members, list):
        yield _fault(path, "must be a list of containers")
    for index, container in enumerate(members if isinstance(members, list) else ()):
        if not isinstance(container, dict):
            yield _fault((*path, index), "must be an object: a container")


def _name_faults(spec: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield faults of container names, which init containers and the others share."""
    taken: set[str] = set()
    for kind in ("containers", "initContainers"):
        for path, container in _objects(spec, ("spec", kind)):
            name = container.get("name")
            if not isinstance(name, str) or grammar.dns_label(name):
                yield _fault((*path, "name"), "must be the container's name: a DNS label such as sidecar")
            elif name in taken or (kind == "initContainers" and name == CONTAINER):
                yield _fault((*path, "name"), f"must be another name: {clipped(name)} is taken")
            else:
                taken.add(name)


def _variable_faults(container: Mapping[str, Any], path: Path, variables: Collection[str]) -> Iterator[Fault]:
    env = container.get("env")
    if env is not None and not isinstance(env, list):
        yield _fault((*path, "env"), "must be a list of variables, each with a name")
    for at, variable in _objects(container, (*path, "env")):
        name = variable.get("name")
        if isinstance(name, str) and name in variables:
            yield _fault((*at, "name"), f"must not be {clipped(name)}, which environment sets too; keep one of them")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(owner: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the objects in the list that *owner* has under the last part of *path*, each with its own path."""
    members = owner.get(str(path[-1]))
    for index, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, dict):
            yield (*path, index), member


def _fault(path: Path, complaint: str) -> Fault:
    return Fault(INVALID_SPEC, pointer(*AT, *path), f"{subject(*AT, *path)} {complaint}")
