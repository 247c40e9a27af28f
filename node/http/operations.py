"""Every operation of the API as one literal description: parameters, bodies, answers and the codes of their errors.

``openapi`` makes the document from it; ``tests/unit/test_openapi.py`` holds that it names every route and nothing else.
To add a route, describe it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from raftsman.node.http.events import MAX_PAGE_EVENTS, PAGE_EVENTS
from raftsman.node.http.logs import MAX_TAIL_LINES
from raftsman.node.http.schemas import INSTANT, REF, TEXT, TYPE, Schema
from raftsman.node.http.streams import EVENT_STREAM, NDJSON
from raftsman.node.http.streams import TEXT as TEXT_PLAIN
from raftsman.node.http.tasks import MAX_PAGE_TASKS, PAGE_TASKS
from raftsman.raft.lifecycle import State
from raftsman.raft.limits import IDEMPOTENCY_KEY_CHARS

JSON = "application/json"
_UNSIGNED = {"type": "integer", "minimum": 0}
_SWITCH = {"type": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a request may say beside its body."""

    name: str
    schema: Schema
    text: str
    place: str = "query"  # query, header or path


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is not an error: its schemas by media type, none when it has no body."""

    status: int
    text: str
    content: Mapping[str, Schema]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. *codes*: of its errors, beside those that every operation has."""

    method: str
    path: str
    name: str
    text: str
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    body_required: bool = True
    answers: tuple[Answer, ...]
    codes: tuple[str, ...] = ()
    open: bool = False  # Needs no token.


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": REF + name}


def _records(*schemas: Schema) -> dict[str, Schema]:
    """Return the two forms of a stream whose records have *schemas*."""
    record = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    decoded = {"contentMediaType": JSON, "contentSchema": record}
    return {
        NDJSON: {"type": "string", "description": "One JSON object a line; empty lines in silence.", **decoded},
        EVENT_STREAM: {"type": "string", "description": "A JSON object in the data of each event.", **decoded},
    }


def _shows(name: str, text: str, *headers: str, status: int = 200) -> Answer:
    return Answer(status=status, text=text, content={JSON: ref(name)}, headers=headers)


TASK_ID = Parameter(name="task_id", schema=TEXT, text="The task's id.", place="path")
COMMON = (
    Parameter(
        name="consistent",
        schema=_SWITCH,
        text="Answer from a table that holds all that was committed before the request.",
    ),
    Parameter(
        name="Raftsman-Min-Index",
        schema=_UNSIGNED,
        text="Wait until the node has applied so much, at most 5 s.",
        place="header",
    ),
    Parameter(name="X-Request-Id", schema=TEXT, text="The request's id in answers and in logs.", place="header"),
)
"""What every operation takes."""
COMMON_CODES = ("malformed-request", "invalid-parameter", "internal", "no-leader", "not-ready")
"""What every operation may answer: those of 503 only when it must wait for others."""

_KEY = Parameter(
    name="Idempotency-Key",
    schema={"type": "string", "pattern": rf"^[\x21-\x7e]{{1,{IDEMPOTENCY_KEY_CHARS}}}$"},
    text="The same key with the same body is the same request, for a day.",
    place="header",
)
_IF_MATCH = Parameter(
    name="If-Match", schema=TEXT, text="The ETag of the task as it was seen: only if it still is so.", place="header"
)
_IF_NONE_MATCH = Parameter(name="If-None-Match", schema=TEXT, text="An ETag that is known already.", place="header")
_ACCEPT = Parameter(name="Accept", schema=TEXT, text="Which of the media types to answer with.", place="header")
_LAST_EVENT = Parameter(
    name="Last-Event-ID", schema=TEXT, text="The last event that was seen; goes before the query.", place="header"
)
_WAIT = Parameter(
    name="wait",
    schema={"type": "string", "examples": ["30s"]},
    text="How long to hold the answer back, at most 60s; needs what it waits for: index, after.",
)
_FOLLOW = Parameter(
    name="follow", schema=_SWITCH, text="Go on; the default of an event stream. A page of JSON does not."
)
_AFTER = Parameter(name="after", schema=TEXT, text="The id, or the index, of the last event that is known.")
_PAGE_OF_EVENTS = Parameter(
    name="limit",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE_EVENTS, "default": PAGE_EVENTS},
    text="Events of one page; a stream has none.",
)
_STREAM = (_ACCEPT, _LAST_EVENT, _FOLLOW)

_TASK_CODES = ("not-found", "task-not-found")
_BODY_CODES = ("malformed-json", "too-large", "unsupported-media-type", "invalid-spec", "not-implemented-here")
_ADMISSION_CODES = ("unknown-context", "queue-full", "task-exists", "idempotency-key-reused", "task-not-found")
_WRITE_CODES = ("outcome-unknown", "disk-full")
_SEEN_ALL = Answer(status=204, text="Nothing follows what was seen; do not connect again.", content={})
_ADMITTED = (
    _shows("Task", "The new task.", "Location", "ETag", status=201),
    _shows("Task", "It was there already.", "Location", "ETag", "Idempotent-Replayed"),
)

_LIST_FILTERS = (
    Parameter(
        name="state",
        schema={"type": "string", "examples": [f"{State.QUEUED},{State.RUNNING}"]},
        text="Tasks in one of these states; repeatable.",
    ),
    Parameter(name="type", schema=TYPE, text="Tasks of this type."),
    Parameter(name="context", schema=TEXT, text="Tasks for this context."),
    Parameter(name="node", schema=TEXT, text="Tasks that this node looks after."),
    Parameter(
        name="label", schema={"type": "string", "examples": ["run=7"]}, text="Tasks with these labels; repeatable."
    ),
    Parameter(name="submittedAfter", schema=INSTANT, text="Tasks submitted later."),
    Parameter(
        name="sort",
        schema={"type": "string", "enum": ["submittedAt", "-submittedAt"], "default": "-submittedAt"},
        text="The order.",
    ),
    Parameter(
        name="limit",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE_TASKS, "default": PAGE_TASKS},
        text="Tasks of one page.",
    ),
    Parameter(name="cursor", schema=TEXT, text="Where the page begins: the `next` of the one before."),
)

_LOG_PARAMETERS = (
    Parameter(name="attempt", schema={"type": "integer", "minimum": 1}, text="Of this attempt; the last one."),
    Parameter(name="container", schema=TEXT, text="Of this container; the task's own."),
    Parameter(name="stream", schema={"type": "string", "enum": ["stdout", "stderr"]}, text="Of this stream."),
    Parameter(name="since", schema=INSTANT, text="Only what is not older."),
    Parameter(
        name="tail", schema={"type": "integer", "minimum": 0, "maximum": MAX_TAIL_LINES}, text="Only the last lines."
    ),
)

OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/tasks",
        name="submitTask",
        text="Submit a task. The same id with the same spec, or the same key with it, is the same task.",
        parameters=(_KEY,),
        body=ref("TaskSpec"),
        answers=_ADMITTED,
        codes=(*_BODY_CODES, *_ADMISSION_CODES, *_WRITE_CODES),
    ),
    Operation(
        method="GET",
        path="/v1/tasks",
        name="listTasks",
        text="List tasks that meet every filter, without their attempts and output.",
        parameters=_LIST_FILTERS,
        answers=(_shows("TaskList", "A page.", "Link"),),
    ),
    Operation(
        method="GET",
        path="/v1/tasks/{task_id}",
        name="getTask",
        text="Show a task; with index and wait, once it has changed.",
        parameters=(
            TASK_ID,
            Parameter(name="index", schema=_UNSIGNED, text="The index at which the task was seen."),
            _WAIT,
            _IF_NONE_MATCH,
        ),
        answers=(
            _shows("Task", "The task.", "ETag"),
            Answer(status=304, text="It is as it was seen.", content={}, headers=("ETag",)),
        ),
        codes=_TASK_CODES,
    ),
    Operation(
        method="POST",
        path="/v1/tasks/{task_id}/cancel",
        name="cancelTask",
        text="Ask that a task end.",
        parameters=(TASK_ID, _IF_MATCH),
        answers=(
            _shows("Task", "It is cancelled.", "ETag"),
            _shows("Task", "It is being stopped.", "ETag", status=202),
        ),
        codes=(*_TASK_CODES, "already-ended", "version-conflict", *_WRITE_CODES),
    ),
    Operation(
        method="POST",
        path="/v1/tasks/{task_id}/retry",
        name="retryTask",
        text="Submit a new task of the same spec as one that has ended.",
        parameters=(TASK_ID, _KEY),
        body=ref("RetryWish"),
        body_required=False,
        answers=_ADMITTED,
        codes=(*_BODY_CODES, *_ADMISSION_CODES, *_TASK_CODES, "not-ended", *_WRITE_CODES),
    ),
    Operation(
        method="GET",
        path="/v1/tasks/{task_id}/logs",
        name="getLogs",
        text="The output of an attempt.",
        parameters=(TASK_ID, *_LOG_PARAMETERS, *_STREAM),
        answers=(
            Answer(
                status=200,
                text="The output.",
                content={TEXT_PLAIN: TEXT, **_records(ref("LogLine"), ref("LogCut"), ref("LogEnd"))},
            ),
            _SEEN_ALL,
        ),
        codes=_TASK_CODES,
    ),
    Operation(
        method="GET",
        path="/v1/tasks/{task_id}/events",
        name="getTaskEvents",
        text="The changes of one task that its row keeps.",
        parameters=(TASK_ID, _AFTER, _PAGE_OF_EVENTS, *_STREAM),
        answers=(
            Answer(status=200, text="Changes.", content={JSON: ref("EventList"), **_records(ref("Event"))}),
            _SEEN_ALL,
        ),
        codes=_TASK_CODES,
    ),
    Operation(
        method="GET",
        path="/v1/events",
        name="getEvents",
        text="The changes of all tasks that the node remembers.",
        parameters=(_AFTER, _PAGE_OF_EVENTS, _WAIT, *_STREAM),
        answers=(Answer(status=200, text="Changes.", content={JSON: ref("EventList"), **_records(ref("Event"))}),),
        codes=("events-compacted",),
    ),
    Operation(
        method="GET",
        path="/v1/tasks/{task_id}/explain",
        name="explainTask",
        text="Where a task would run now, and what is excluded.",
        parameters=(TASK_ID,),
        answers=(_shows("Explanation", "The explanation."),),
        codes=_TASK_CODES,
    ),
    Operation(
        method="POST",
        path="/v1/plan",
        name="planTasks",
        text="Where tasks would run if they were submitted now. Nothing is written.",
        body={"anyOf": [ref("TaskSpec"), ref("PlanWish")]},
        answers=(_shows("Plan", "An explanation for each task."),),
        codes=_BODY_CODES,
    ),
    Operation(
        method="GET",
        path="/v1/cluster",
        name="getCluster",
        text="The nodes together, as the answering node sees them.",
        answers=(_shows("Cluster", "The cluster."),),
    ),
    Operation(
        method="POST",
        path="/v1/cluster:transfer",
        name="transferLeadership",
        text="Let another node lead.",
        body=ref("TransferWish"),
        body_required=False,
        answers=(_shows("Leader", "Who leads now."),),
        codes=(*_BODY_CODES, "unknown-node", *_WRITE_CODES),
    ),
    Operation(
        method="GET",
        path="/v1/contexts",
        name="getContexts",
        text="The Kubernetes clusters that the nodes know.",
        answers=(_shows("Contexts", "The contexts."),),
    ),
    Operation(
        method="GET",
        path="/livez",
        name="getLivez",
        text="Whether the process works.",
        answers=(
            Answer(status=200, text="It works.", content={TEXT_PLAIN: TEXT}),
            Answer(status=503, text="Only a restart, or a newer raftsman, can help.", content={TEXT_PLAIN: TEXT}),
        ),
        open=True,
    ),
    Operation(
        method="GET",
        path="/readyz",
        name="getReadyz",
        text="Whether the node can serve.",
        answers=(
            _shows("Readiness", "It can."),
            _shows("Readiness", "It cannot, with every reason.", "Retry-After", status=503),
        ),
        open=True,
    ),
    Operation(
        method="GET",
        path="/metrics",
        name="getMetrics",
        text="The metrics, for Prometheus.",
        answers=(Answer(status=200, text="The page.", content={TEXT_PLAIN: TEXT}),),
    ),
    Operation(
        method="GET",
        path="/v1/version",
        name="getVersion",
        text="What the node runs.",
        answers=(_shows("Version", "The version."),),
        open=True,
    ),
    Operation(
        method="GET",
        path="/v1/limits",
        name="getLimits",
        text="Every bound that a user can meet.",
        answers=(_shows("Limits", "The bounds."),),
        open=True,
    ),
    Operation(
        method="GET",
        path="/v1/openapi.json",
        name="getOpenapi",
        text="This document.",
        answers=(Answer(status=200, text="An OpenAPI document.", content={JSON: {"type": "object"}}),),
        open=True,
    ),
)
"""The whole API."""
