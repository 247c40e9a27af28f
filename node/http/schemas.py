"""The JSON schemas of what goes in and out, made from the types that the code itself uses.

Answers are the typed dictionaries of ``wire.views``, the submission is the model of ``wire.models``; what neither type
can say (closed lists, instants, spellings) is in ``TIGHTER``. Which operation uses which schema is ``operations``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from raftsman.node.http.problems import CODES
from raftsman.raft.lifecycle import Cause, State
from raftsman.wire import grammar, models, views
from raftsman.wire.bodies import PLAN_TASKS

Schema = dict[str, Any]

REF = "#/components/schemas/"

VIEWS: Mapping[str, object] = {
    "Task": views.TaskView,
    "TaskList": views.ListView[views.TaskView],
    "Event": views.EventView,
    "EventList": views.ListView[views.EventView],
    "LogLine": views.LogLineView,
    "LogCut": views.LogCutView,
    "LogEnd": views.LogEndView,
    "Explanation": views.ExplainView,
    "Plan": views.PlanView,
    "Cluster": views.ClusterView,
    "Contexts": views.ContextsView,
    "Leader": views.LeaderView,
    "Version": views.VersionView,
    "Limits": views.LimitsView,
    "Readiness": views.ReadinessView,
    "Problem": views.ProblemView,
}
"""What answers hold; what these refer to comes along under its own name."""

TEXT: Schema = {"type": "string"}
NULL: Schema = {"type": "null"}
INSTANT: Schema = {"type": "string", "format": "date-time"}
_STATE: Schema = {"type": "string", "enum": [*State]}
_CAUSE: Schema = {"type": "string", "enum": [*Cause]}
_CONDITIONS: Schema = {"type": "array", "items": {"enum": ["waiting", "backoff", "stopping", "unreachable"]}}
TYPE: Schema = {"type": "string", "enum": [models.K8S_JOB, models.SHELL]}


def _spelled(pattern: str, chars: int) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": chars}


TASK_ID = _spelled(grammar.TASK_ID, grammar.TASK_ID_CHARS)
NODE_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": grammar.NODE_CHARS}
_NODE_NAMES: Schema = {"type": "array", "items": NODE_NAME, "maxItems": models.NODES, "uniqueItems": True}
_LABELS: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": grammar.LABEL_CHARS},
    "maxProperties": models.LABELS,
}
_QUANTITY: Schema = {"type": ["string", "number"], "description": "A quantity of Kubernetes, or a number."}
_LATER: Schema = {"type": "null", "description": "Not implemented in this version."}

TIGHTER: Mapping[str, Mapping[str, Schema]] = {
    "Task": {
        "type": TYPE,
        "state": _STATE,
        "cause": _CAUSE,
        "conditions": _CONDITIONS,
        "submittedAt": INSTANT,
        "startedAt": INSTANT,
        "completedAt": INSTANT,
    },
    "Attempt": {"cause": _CAUSE, "startedAt": INSTANT, "endedAt": INSTANT},
    "Explanation": {"state": _STATE},
    "HeldAttempt": {"conditions": _CONDITIONS, "cause": _CAUSE},
    "Event": {
        "id": {"type": "string", "pattern": r"^\d+\.\d+$"},
        "at": INSTANT,
        "from": _STATE,
        "to": _STATE,
        "conditions": _CONDITIONS,
        "cause": _CAUSE,
    },
    "Member": {"role": {"type": "string", "enum": ["leader", "follower", "lost"]}},
    "Context": {"health": {"type": "string", "enum": ["ok", "degraded", "unreachable"]}, "since": INSTANT},
    "Problem": {"code": {"type": "string", "enum": [*CODES]}, "status": {"type": "integer", "minimum": 400}},
    "TaskSpec": {
        "type": TYPE,
        "taskId": TASK_ID,
        "submitterNode": NODE_NAME,
        "targetNodes": _NODE_NAMES,
        "labels": _LABELS,
        "onUnreachable": {"const": "hold"},
    },
    "K8sJobSpec": {
        "clusterContext": {"type": "string", "minLength": 1, "maxLength": grammar.CONTEXT_CHARS},
        "image": {"type": "string", "minLength": 1, "maxLength": grammar.IMAGE_CHARS},
        "namespace": _spelled(grammar.DNS_LABEL, grammar.LABEL_CHARS),
        "serviceAccountName": {"type": "string", "minLength": 1, "maxLength": grammar.SUBDOMAIN_CHARS},
        "labels": _LABELS,
        "podSecurity": {"type": "string", "enum": [*models.POD_SECURITY]},
    },
    "ResourcesSpec": {"cpuCores": {"type": "number", "minimum": 0}, "cpu": _QUANTITY, "memory": _QUANTITY},
    "ShellSpec": {"workingDirectory": {"type": "string", "pattern": "^/"}, "sandboxed": {"const": False}},
    "ConstraintsSpec": {"allowedNodes": _NODE_NAMES, "excludedNodes": _NODE_NAMES},
}
"""Component → field → what it holds more exactly; a null that the type allows stays allowed."""

BODIES: Mapping[str, Schema] = {
    "RetryWish": {
        "description": "What may be said about a retry: the id of the new task.",
        "type": "object",
        "properties": {"taskId": {"anyOf": [TASK_ID, NULL]}, "submitterNode": {"anyOf": [NODE_NAME, NULL]}},
        "additionalProperties": False,
    },
    "TransferWish": {
        "description": "Who is to lead; whoever has most of the log when nobody is named.",
        "type": "object",
        "properties": {"to": NODE_NAME},
        "additionalProperties": False,
    },
    "PlanWish": {
        "description": "The tasks to plan.",
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": {"$ref": f"{REF}TaskSpec"}, "maxItems": PLAN_TASKS}},
        "required": ["tasks"],
        "additionalProperties": False,
    },
}


def components() -> dict[str, Schema]:
    """Return every schema by its name, in the order of the names."""
    found = {**_of_views(), **_of_submission(), **BODIES}
    for name, fields in TIGHTER.items():
        properties = found[name]["properties"]
        properties |= {field: _kept_nullable(properties[field], schema) for field, schema in fields.items()}
    for schema in found.values():
        properties = schema.get("properties", {})
        properties |= {field: _LATER for field, each in properties.items() if each == {"anyOf": [{}, NULL]}}
    return dict(sorted(found.items()))


def _of_views() -> dict[str, Schema]:
    roots, found = msgspec.json.schema_components(VIEWS.values(), ref_template=REF + "{name}")
    names = {str(root["$ref"]).removeprefix(REF): name for root, name in zip(roots, VIEWS, strict=True)}
    return _renamed(found, {name: names.get(name, name.removesuffix("View")) for name in found})


def _of_submission() -> dict[str, Schema]:
    whole = models.TaskDocument.model_json_schema(by_alias=True, ref_template=REF + "{model}")
    found = {**whole.pop("$defs"), "TaskDocument": whole}
    names = {name: f"{name.removesuffix('Block')}Spec" for name in found} | {"TaskDocument": "TaskSpec"}
    return _renamed(found, names)


def _renamed(found: Mapping[str, Schema], names: Mapping[str, str]) -> dict[str, Schema]:
    references = {REF + old: REF + new for old, new in names.items()}
    return {names[name]: dict(_walked(schema, references)) for name, schema in found.items()}


def _walked(schema: Schema, references: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the members of *schema* with its references renamed, without what pydantic and msgspec add of their own."""
    for key, value in schema.items():
        if key == "$ref":
            yield key, references[value]
        elif isinstance(value, dict):
            yield key, dict(_walked(value, references))
        elif isinstance(value, list):
            yield key, [dict(_walked(each, references)) if isinstance(each, dict) else each for each in value]
        elif (key, value) != ("default", None) and not (key == "title" and isinstance(value, str)):
            yield key, value


def _kept_nullable(loose: Schema, tight: Schema) -> Schema:
    return {"anyOf": [tight, NULL]} if NULL in loose.get("anyOf", ()) else tight
