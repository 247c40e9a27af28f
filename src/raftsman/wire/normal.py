"""The way back: from the stored normal form of a specification to the document a user would have written.

Standard library only, because views and the command line's read path use it. The way in, with all its checks, is
``spec``; submitting what ``to_wire`` returns gives the same normal form.
"""

import json
from collections.abc import Mapping
from typing import Any

from raftsman.wire.quantities import format_cpu, format_memory

TIMEOUT_MS = 600_000
"""Of an attempt that names none: ten minutes."""

START_TIMEOUT_MS = 900_000
"""From assignment to running, when the task names none: fifteen minutes, which a large image's pull may take."""

Document = dict[str, Any]


def to_wire(spec: Mapping[str, Any]) -> Document:
    """Return the camelCase document of *spec*: a normal form as builtins, in which defaults may be missing."""
    block = spec.get("k8s_job")
    placement: Mapping[str, Any] = spec.get("placement") or {}
    constraints = {
        "allowedNodes": list(placement.get("allowed_nodes", ())),
        "excludedNodes": list(placement.get("excluded_nodes", ())),
        "preferLocal": placement.get("prefer_local", False),
    }
    return {
        "type": spec["type"],
        **_given(
            {
                "k8sJob": _k8s_job(block) if block else None,
                "shell": _shell(spec.get("shell") or {}),
                "environment": dict(spec.get("environment", ())),
            }
        ),
        "timeoutMs": spec.get("timeout_ms", TIMEOUT_MS),
        "startTimeoutMs": spec.get("start_timeout_ms", START_TIMEOUT_MS),
        "priority": spec.get("priority", 0),
        **_given(
            {
                "constraints": _given(constraints),
                "targetNodes": list(placement.get("target_nodes", ())),
                "labels": dict(spec.get("labels", ())),
            }
        ),
    }


def _k8s_job(block: Mapping[str, Any]) -> Document:
    template: str = block.get("pod_template", "")
    return {
        "clusterContext": block["context"],
        **_given({"namespace": block.get("namespace")}),
        "image": block["image"],
        **_given(
            {
                "command": list(block.get("command", ())),
                "args": list(block.get("args", ())),
                "labels": dict(block.get("labels", ())),
                "resources": _resources(block.get("resources") or {}),
                "serviceAccountName": block.get("service_account"),
                "podTemplate": json.loads(template) if template else None,
                "podSecurity": block.get("pod_security"),
            }
        ),
    }


def _shell(block: Mapping[str, Any]) -> Document:
    return _given({"command": block.get("command"), "workingDirectory": block.get("working_directory")})


def _resources(resources: Mapping[str, int]) -> Document:
    cpu, memory, gpus = (resources.get(key, 0) for key in ("cpu_millis", "memory_bytes", "gpu_count"))
    return _given(
        {
            "cpu": format_cpu(cpu) if cpu else None,
            "memory": format_memory(memory) if memory else None,
            "gpuCount": gpus,
        }
    )


def _given(fields: Mapping[str, Any]) -> Document:
    """Return the fields that say something: not those that are empty, false or 0."""
    return {key: value for key, value in fields.items() if value}
