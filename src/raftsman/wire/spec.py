"""The submitted task: every fault that needs no table and no context, all at once, or its normal form.

``models`` holds the shape, ``grammar``, ``quantities`` and ``podtemplate`` the rules of single values; here are the
rules between fields, and the form in which equal wishes are equal. Whether the context exists, the queue has room or
the template may reach the host is admission's; how large a packed spec may be is the table's.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raftsman.wire import grammar
from raftsman.wire.document import flaws
from raftsman.wire.faults import FAULTS_LISTED, INVALID_SPEC, NOT_IMPLEMENTED_HERE, Fault, clipped, pointer, subject
from raftsman.wire.models import (
    CLAUDE_RELAY,
    CONTAINER,
    K8S_JOB,
    LATER,
    LATER_TYPES,
    SHELL,
    SUBAGENT,
    Block,
    ClaudeRelayBlock,
    ConstraintsBlock,
    ContainerBlock,
    K8sJobBlock,
    MountBlock,
    ResourcesBlock,
    ShellBlock,
    SubagentBlock,
    TaskDocument,
    closest,
)
from raftsman.wire.normal import START_TIMEOUT_MS, TIMEOUT_MS
from raftsman.wire.podtemplate import label_faults, template_faults

Path = tuple[str | int, ...]

_BLOCKS: Mapping[Path, type[Block]] = {  # A place in a list goes by the name of the list.
    (): TaskDocument,
    ("k8sJob",): K8sJobBlock,
    ("shell",): ShellBlock,
    ("container",): ContainerBlock,
    ("container", "mounts"): MountBlock,
    ("subagent",): SubagentBlock,
    ("claudeRelay",): ClaudeRelayBlock,
    ("k8sJob", "resources"): ResourcesBlock,
    ("constraints",): ConstraintsBlock,
}
_WHY_REQUIRED: Mapping[Path, str] = {
    ("type",): f"write {K8S_JOB} or {SHELL}",
    ("shell", "command"): "it is what /bin/sh runs",
    ("k8sJob", "clusterContext"): "it names the Kubernetes context that the Job runs in",
    ("k8sJob", "image"): "it names the container image, such as ghcr.io/acme/train:7",
    ("container", "image"): "it names the container image, such as ghcr.io/acme/train:7",
    ("container", "mounts", "hostPath"): "it names a folder of the node",
    ("container", "mounts", "containerPath"): "it names the place in the container",
    ("subagent", "prompt"): "it says what is to be done",
    ("claudeRelay", "targetSessionId"): "it names the session",
    ("claudeRelay", "prompt"): "it is what the session is told",
}
_BLOCK_OF_TYPE: Mapping[str, tuple[str, str]] = {
    K8S_JOB: ("k8sJob", "it names the Kubernetes context (clusterContext) and the image"),
    SHELL: ("shell", "it holds the command"),
    CONTAINER: ("container", "it names the image"),
    SUBAGENT: ("subagent", "it holds the prompt"),
    CLAUDE_RELAY: ("claudeRelay", "it names the session and holds the prompt"),
}
_KINDS: Mapping[str, str] = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}


@dataclass(frozen=True, slots=True)
class Submission:
    """A sound task: *spec* is its normal form as builtins, the fields of ``raft.records.TaskSpec``."""

    task_id: str | None
    submitter_node: str | None
    spec: dict[str, Any]


def check_submission(document: object, *, default_timeout_ms: int = TIMEOUT_MS) -> Submission | list[Fault]:
    """Return the submission that *document* is, or what is wrong with it, sorted by pointer; never raises.

    At most FAULTS_LISTED faults are listed. *default_timeout_ms* is for a task that names no `timeoutMs`.
    """
    unsound = [Fault(INVALID_SPEC, where, sentence) for where, sentence in islice(flaws(document), FAULTS_LISTED)]
    if unsound:
        return _listed(unsound)
    if not isinstance(document, dict):
        return [Fault(INVALID_SPEC, "", f"a task must be an object, not {_kind(document)}")]
    faults = list(_rule_faults(document))
    try:
        task = TaskDocument.model_validate(document)
    except ValidationError as error:
        return _listed([*faults, *map(_fault, error.errors(include_url=False))])
    return _listed(faults) if faults else _submission(task, default_timeout_ms)


def _listed(faults: list[Fault]) -> list[Fault]:
    return sorted(set(faults), key=lambda fault: (fault.pointer, fault.code, fault.detail))[:FAULTS_LISTED]


# --- rules that a single field cannot know --------------------------------------------------------


def _rule_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of maps and of fields that contradict each other; wrong types are the models' to refuse."""
    block = _object(document, "k8sJob")
    yield from _block_faults(document)
    yield from label_faults(_object(document, "labels"), ("labels",), reserving=False)
    yield from label_faults(_object(block, "labels"), ("k8sJob", "labels"), reserving=True)
    yield from _resource_faults(_object(block, "resources"))
    environment = _object(document, "environment")
    for name in environment:
        if complaint := grammar.variable_name(name):
            yield _wrong(("environment", name), complaint)
    yield from template_faults(
        _object(block, "podTemplate"),
        variables=environment.keys(),
        has_account=block.get("serviceAccountName") is not None,
    )
    constraints = _object(document, "constraints")
    yield from _repeat_faults(document.get("targetNodes"), ("targetNodes",))
    for key in ("allowedNodes", "excludedNodes"):
        yield from _repeat_faults(constraints.get(key), ("constraints", key))


def _block_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of a type whose block is missing, or that comes with another type's block."""
    for kind, (block, what) in _BLOCK_OF_TYPE.items():
        given = document.get(block) is not None
        if document.get("type") == kind and not given and kind not in LATER_TYPES:
            yield _wrong((block,), f"is required: {what}")
        elif given and document.get("type") in [other for other in _BLOCK_OF_TYPE if other != kind]:
            yield _wrong((block,), f"belongs to a task of type {kind}; leave it out")


def _resource_faults(resources: Mapping[str, Any]) -> Iterator[Fault]:
    given = {key for key, value in resources.items() if value is not None}
    for quantity, number in (("cpu", "cpuCores"), ("memory", "memoryBytes")):
        if {quantity, number} <= given:
            yield _wrong(("k8sJob", "resources", quantity), f"says the same as {number}; keep one of them")
    if resources.get("requiresGpu") is False and "gpuCount" in given:
        yield _wrong(("k8sJob", "resources", "gpuCount"), "contradicts requiresGpu: false; leave one of them out")


def _repeat_faults(names: object, path: Path) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, name in enumerate(names if isinstance(names, list) else ()):
        if isinstance(name, str) and name in seen:
            yield _wrong((*path, index), f"repeats {clipped(name)}; name each node once")
        elif isinstance(name, str):
            seen.add(name)


def _object(owner: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = owner.get(key)
    return value if isinstance(value, dict) else {}


def _wrong(path: Path, complaint: str) -> Fault:
    return Fault(INVALID_SPEC, pointer(*path), f"{subject(*path)} {complaint}")


# --- pydantic's errors as faults ------------------------------------------------------------------


def _fault(error: ErrorDetails) -> Fault:
    path = error["loc"]
    code = NOT_IMPLEMENTED_HERE if error["type"] == LATER else INVALID_SPEC
    return Fault(code, pointer(*path), f"{subject(*path)} {_complaint(error)}")


def _complaint(error: ErrorDetails) -> str:
    path, context = _names(error["loc"]), error.get("ctx", {})
    if error["type"] == "missing" or (error["input"] is None and path in _WHY_REQUIRED):
        return f"is required: {_WHY_REQUIRED[path]}"
    match error["type"]:
        case "extra_forbidden":
            return f"is an unknown field{closest(str(path[-1]), _fields(path[:-1]))}"
        case "too_long":
            return f"must have at most {context['max_length']} entries"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case kind if kind in _KINDS:
            quotes = "; put it in quotes" if kind == "string_type" and isinstance(error["input"], int | float) else ""
            return f"must be {_KINDS[kind]}, not {_kind(error['input'])}{quotes}"
        case _:
            return error["msg"]


def _names(path: Path) -> Path:
    return tuple(part for part in path if isinstance(part, str))


def _fields(path: Path) -> list[str]:
    return [field.alias or name for name, field in _BLOCKS[path].model_fields.items()]


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


# --- the normal form --------------------------------------------------------------------------------


def _submission(task: TaskDocument, default_timeout_ms: int) -> Submission:
    constraints = task.constraints or ConstraintsBlock()
    spec = {
        "type": task.type,
        "k8s_job": _k8s_job(task.k8s_job) if task.k8s_job else None,
        "shell": _shell(task.shell) if task.shell else None,
        "environment": [list(pair) for pair in (task.environment or {}).items()],
        "labels": _sorted_pairs(task.labels),
        "priority": task.priority or 0,
        "timeout_ms": default_timeout_ms if task.timeout_ms is None else task.timeout_ms,
        "start_timeout_ms": START_TIMEOUT_MS if task.start_timeout_ms is None else task.start_timeout_ms,
        "placement": {
            "allowed_nodes": sorted(constraints.allowed_nodes or ()),
            "excluded_nodes": sorted(constraints.excluded_nodes or ()),
            "target_nodes": sorted(task.target_nodes or ()),
            "prefer_local": bool(constraints.prefer_local),
        },
    }
    return Submission(task.task_id, task.submitter_node, spec)


def _k8s_job(block: K8sJobBlock) -> dict[str, Any]:
    resources = block.resources or ResourcesBlock()
    return {
        "context": block.cluster_context,
        "image": block.image,
        "namespace": block.namespace or "",
        "command": block.command or [],
        "args": block.args or [],
        "labels": _sorted_pairs(block.labels),
        "resources": {
            "cpu_millis": resources.cpu or resources.cpu_cores or 0,
            "memory_bytes": resources.memory or resources.memory_bytes or 0,
            "gpu_count": resources.gpu_count or int(bool(resources.requires_gpu)),
        },
        "service_account": block.service_account_name or "",
        "pod_template": _canonical(block.pod_template or {}),
        "pod_security": block.pod_security or "",
    }


def _shell(block: ShellBlock) -> dict[str, Any]:
    return {"command": block.command, "working_directory": block.working_directory or ""}


def _canonical(template: Mapping[str, Any]) -> str:
    said = {key: value for key, value in template.items() if value}
    return json.dumps(said, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")) if said else ""


def _sorted_pairs(labels: Mapping[str, str] | None) -> list[list[str]]:
    return [[key, value] for key, value in sorted((labels or {}).items())]
