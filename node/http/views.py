"""Rows of the table as the API returns them: the one mapping from ``records`` to ``wire.views``."""

from collections.abc import Mapping

import msgspec

from raftsman.node.http.site import rfc3339
from raftsman.raft.codec import unpack_spec
from raftsman.raft.lifecycle import State
from raftsman.raft.records import Attempt, Change, JobCounts, Task
from raftsman.scheduler.planner import Waiting
from raftsman.wire.normal import to_wire
from raftsman.wire.views import AttemptView, EventView, JobCountsView, TaskView, WaitingView


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
        "retryOf": None,
        "job": job_view(task.job),
        "index": task.index,
    }
    if not brief:
        tail = task.output_tail or None
        view |= {
            "attempts": [attempt_view(attempt)] if attempt else [],
            "stdoutTail": tail,
            # Kubernetes mixes both streams of a container: what went wrong is somewhere in it.
            "stderrTail": tail if task.state is State.FAILED else None,
        }
    return view  # type: ignore[return-value]


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
        "nodes": [{"node": node, "code": no.code, "message": no.message} for node, no in waiting.nodes],
        "contexts": [{"context": name, "code": no.code, "message": no.message} for name, no in waiting.contexts],
    }


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
