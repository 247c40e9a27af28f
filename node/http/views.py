"""Rows of the table as the API returns them: the one mapping from ``records`` to ``wire.views``."""

from collections.abc import Mapping
from typing import cast

import msgspec

from raftsman.node.http.site import rfc3339
from raftsman.raft.codec import unpack_spec
from raftsman.raft.lifecycle import State
from raftsman.raft.records import BOUND_TYPES, Attempt, Change, JobCounts, Task
from raftsman.scheduler.explanation import Explanation
from raftsman.scheduler.filters import Exclusion
from raftsman.scheduler.planner import Waiting
from raftsman.wire.normal import to_wire
from raftsman.wire.views import (
    AttemptView,
    ContextReasonView,
    EventView,
    ExplainView,
    HeldAttemptView,
    JobCountsView,
    NodeReasonView,
    TaskView,
    WaitingView,
)


def task_view(task: Task, waiting: Waiting | None, *, brief: bool = False) -> TaskView:
    """Return the task as JSON. *brief*: as a row of a list, without its attempts and output."""
    document = to_wire(msgspec.to_builtins(unpack_spec(task.spec)))
    attempt = task.attempt
    view = {
        "taskId": task.task_id,
        **document,
        "state": task.state.value,
        "conditions": [*task.conditions, *(["waiting"] if waiting else [])],
        "reason": task.reason or (waiting.message if waiting else None),
        **({"waiting": waiting_view(waiting)} if waiting else {}),
        "submittedAt": rfc3339(task.submitted_at),
        "submitterNode": task.submitter_node,
        "principal": task.principal or None,
        "assignedNode": task.node,
        "attempt": attempt.number if attempt else 0,
        "startedAt": rfc3339(attempt.started_at) if attempt else None,
        "completedAt": rfc3339(task.completed_at),
        "exitCode": task.exit_code,
        "error": task.error or None,
        "cause": task.cause.value if task.cause else None,
        "retryOf": task.retry_of or None,
        "job": job_view(task.job),
        "index": task.index,
    }
    if not brief:
        view |= {
            "attempts": [attempt_view(attempt)] if attempt else [],
            "stdoutTail": task.output_tail or None,
            "stderrTail": _stderr_tail(task) or None,
        }
    return cast("TaskView", view)  # It grows out of the specification, which mypy cannot follow; openapi.json holds it.


def _stderr_tail(task: Task) -> str:
    if task.type in BOUND_TYPES:
        return task.error_tail
    # Kubernetes mixes both streams of a container: what went wrong is somewhere in it.
    return task.output_tail if task.state is State.FAILED else ""


def attempt_view(attempt: Attempt) -> AttemptView:
    """Return one attempt as JSON."""
    return {
        "number": attempt.number,
        "node": attempt.node,
        "context": attempt.context,
        "jobName": attempt.job_name or None,
        "jobUid": attempt.job_uid or None,
        "startedAt": rfc3339(attempt.started_at),
        "endedAt": rfc3339(attempt.ended_at),
        "exitCode": attempt.exit_code,
        "signal": attempt.signal,
        "cause": attempt.cause.value if attempt.cause else None,
        "message": attempt.message or None,
    }


def waiting_view(waiting: Waiting) -> WaitingView:
    """Return why a task cannot be placed, as JSON."""
    return {
        "code": waiting.code,
        "message": waiting.message,
        "nodes": _node_reasons(waiting.nodes),
        "contexts": _context_reasons(waiting.contexts),
    }


def explain_view(task: Task, explanation: Explanation, *, state: State | None, leader: str | None) -> ExplainView:
    """Return where a task would run, as JSON. *state*: None when it was only planned. *leader*: who leads, if known."""
    node, waiting = explanation.node, explanation.waiting
    return {
        "taskId": task.task_id or None,
        "state": state.value if state else None,
        "attempt": _held_attempt_view(task, task.attempt, explanation) if task.attempt and not task.ended else None,
        "leader": leader,
        "placeable": waiting is None,
        "best": {"node": node, "context": explanation.context or None} if node is not None else None,
        "waiting": waiting_view(waiting) if waiting else None,
        "nodes": _node_reasons(explanation.nodes),
        "contexts": _context_reasons(explanation.contexts),
        "help": list(explanation.help),
    }


def _held_attempt_view(task: Task, attempt: Attempt, explanation: Explanation) -> HeldAttemptView:
    cause = task.stop.cause if task.stop else task.pending_cause
    return {
        "number": attempt.number,
        "node": attempt.node,
        "context": attempt.context or None,
        "conditions": list(task.conditions),
        "reason": task.reason or None,
        "cause": cause.value if cause else None,
        "nodes": _node_reasons(explanation.no_takers),
    }


def _node_reasons(excluded: tuple[tuple[str, Exclusion], ...]) -> list[NodeReasonView]:
    return [{"node": node, "code": no.code, "message": no.message} for node, no in excluded]


def _context_reasons(excluded: tuple[tuple[str, Exclusion], ...]) -> list[ContextReasonView]:
    return [{"context": name, "code": no.code, "message": no.message} for name, no in excluded]


def job_view(job: JobCounts | None) -> JobCountsView | None:
    """Return the Job's counts as JSON."""
    return {"active": job.active, "succeeded": job.succeeded, "failed": job.failed} if job else None


def event_view(change: Change) -> EventView:
    """Return a change as an event of the API."""
    return {
        "id": f"{change.index}.{change.n}",
        "index": change.index,
        "n": change.n,
        "at": rfc3339(change.at) or "",
        "taskId": change.task_id,
        "attempt": change.attempt,
        "from": change.before.value if change.before else None,
        "to": change.after.value,
        "conditions": list(change.conditions),
        "cause": change.cause.value if change.cause else None,
        "node": change.node or None,
        "reason": change.reason or None,
        "job": job_view(change.job),
    }


def labels_of(task: Task) -> Mapping[str, str]:
    """Return raftsman's own labels of the task."""
    return dict(unpack_spec(task.spec).labels)
