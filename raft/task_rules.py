"""Which changes of a task are legal, command by command, once it is there; how it enters is ``submission_rules``.

A rule returns whole new rows, or a refusal; ``table`` stores them. Which state follows which is ``lifecycle``; who
wishes for what is ``scheduler``'s and ``executor``'s business.
"""

import msgspec

from raftsman.raft import limits
from raftsman.raft.codec import unpack_spec
from raftsman.raft.commands import (
    REPORT_SIGNALS,
    Assign,
    Barrier,
    Cancel,
    Checkpoint,
    Entry,
    Expire,
    Forget,
    Reassign,
    Refused,
    Report,
)
from raftsman.raft.lifecycle import AFTER_STOP, Cause, Signal, State, StopKind, step
from raftsman.raft.records import BOUND_TYPES, Attempt, Instant, Member, NodeId, Stop, Task, TaskId
from raftsman.raft.rows import NOTHING, Edits, Rows, Rules

CANCELLED = "Task cancelled"
TIMED_OUT = "Job timed out"


def _able_member(table: Rows, node: NodeId, task: Task) -> Refused | None:
    member = table.members.get(node)
    if member is None:
        return Refused(code="unknown-member", detail=f"{node} has not joined")
    if member.lost_at is not None:
        return Refused(code="member-lost", detail=f"{node} does not answer")
    if task.context and member.context(task.context) is None:
        return Refused(code="context-missing", detail=f"{node} does not have the context {task.context}")
    if task.type in BOUND_TYPES and not member.slots:
        return Refused(code="not-allowed", detail=f"{node} does not run {task.type} tasks")
    return None


def _assign(table: Rows, entry: Entry, command: Assign) -> Edits | Refused:
    task = _attempted(table, command.task_id, None)
    if isinstance(task, Refused):
        return task
    state = step(task.state, Signal.ASSIGN)
    due = task.attempt.number + 1 if task.attempt else 1
    if state is None or command.attempt != due:
        return Refused(code="stale-attempt", detail=f"{command.task_id} is {task.state}, its next attempt is {due}")
    unable = _able_member(table, command.node, task)
    if unable is not None:
        return unable
    attempt = Attempt(
        number=command.attempt,
        node=command.node,
        context=task.context,
        namespace=_namespace(task) or command.namespace,
        assigned_at=entry.at,
        server=_server(table, command.node, task),
    )
    return Edits(tasks=(msgspec.structs.replace(task, state=state, attempt=attempt, reason=""),))


def _server(table: Rows, node: NodeId, task: Task) -> str:
    view = table.members[node].context(task.context)
    return view.server if view else ""


def _namespace(task: Task) -> str:
    job = unpack_spec(task.spec).k8s_job
    return job.namespace if job else ""


def _reassign(table: Rows, entry: Entry, command: Reassign) -> Edits | Refused:
    task = _attempted(table, command.task_id, command.attempt)
    if isinstance(task, Refused):
        return task
    assert task.attempt is not None
    if task.attempt.node != command.from_node:
        return Refused(code="not-assigned", detail=f"{command.task_id} is looked after by {task.attempt.node}")
    holder = table.members.get(command.from_node)
    present = holder if holder is not None and holder.lost_at is None else None
    why = present.cut_off(task.attempt) if present is not None else "does not answer"
    if not why:
        return Refused(code="not-lost", detail=f"{command.from_node} answers, so it keeps {command.task_id}")
    if task.type in BOUND_TYPES and task.state is not State.ASSIGNED:  # Its start is in the log before it happens.
        return Refused(code="bound", detail=f"a {task.type} attempt that has started lives and dies with its node")
    unable = _able_member(table, command.node, task) or _unable_to_take(
        table.members[command.node], task.attempt, from_present=present is not None
    )
    if unable is not None:
        return unable
    server = task.attempt.server or _server(table, command.node, task)
    moved = msgspec.structs.replace(task.attempt, node=command.node, server=server, moved_at=entry.at)
    taken = f"taken over by node {command.node}, because node {command.from_node} {why}"
    reason = stop_reason(task, task.stop) if task.stop else taken
    return Edits(tasks=(msgspec.structs.replace(task, attempt=moved, unreachable=False, reason=reason),))


def _unable_to_take(member: Member, attempt: Attempt, *, from_present: bool) -> Refused | None:
    """Refuse a node that would look for the Job in another cluster, or whose way there is no better than the holder's.

    From a node that is lost an attempt may go to one that does not reach the context yet: nobody else looks after it.
    """
    view = member.context(attempt.context)
    if view is None:
        return None
    if view.is_elsewhere(attempt):
        detail = f"{member.node} reaches another cluster under the name {attempt.context}"
        return Refused(code="other-cluster", detail=detail)
    if from_present and not view.reachable:
        return Refused(code="context-unreachable", detail=f"{member.node} does not reach {attempt.context}")
    return None


def _report(table: Rows, entry: Entry, command: Report) -> Edits | Refused:
    task = _reported(table, command)
    if isinstance(task, Refused):
        return task
    assert task.attempt is not None
    attempt = _observed(task.attempt, command, entry.at)
    if command.signal is Signal.GONE:
        return _gone(task, entry, attempt, command)
    state = step(task.state, command.signal)
    if state is None or command.signal not in REPORT_SIGNALS:
        return Refused(code="illegal-change", detail=f"a task that is {task.state} cannot {command.signal} by report")
    if command.signal is Signal.GIVE_UP:
        stop = Stop(kind=StopKind.GIVEN_UP, at=entry.at, cause=command.cause, message=command.message)
        return _stop(msgspec.structs.replace(task, attempt=attempt), stop)
    if command.signal in (Signal.SUCCEED, Signal.FAIL):
        return Edits(tasks=(_conclude(task, state, entry, attempt, command),))
    row = msgspec.structs.replace(
        task,
        state=state,
        attempt=attempt,
        unreachable=command.unreachable,
        reason=stop_reason(task, task.stop, command.message) if task.stop else limits.clip(command.reason),
        pending_cause=command.cause,
        job=command.job or task.job,
    )
    return Edits(tasks=(row,)) if row != task else NOTHING


def _reported(table: Rows, command: Report) -> Task | Refused:
    """Return the task that the report is about, if its node may still speak for the attempt."""
    task = _attempted(table, command.task_id, command.attempt)
    if isinstance(task, Refused):
        return task
    assert task.attempt is not None
    if command.sequence not in (0, task.sequence):
        return Refused(code="stale-attempt", detail=f"{command.task_id} is another task by now")
    if task.attempt.node != command.node:
        return Refused(code="not-assigned", detail=f"{command.task_id} is looked after by {task.attempt.node}")
    if task.attempt.job_uid and command.job_uid not in ("", task.attempt.job_uid):
        return Refused(code="other-job", detail=f"attempt {command.attempt} has the Job {task.attempt.job_uid}")
    return task


def _observed(attempt: Attempt, report: Report, at: Instant) -> Attempt:
    runs_now = report.signal is Signal.START and attempt.running_since is None
    return msgspec.structs.replace(
        attempt,
        running_since=at if runs_now else attempt.running_since,
        job_name=report.job_name or attempt.job_name,
        job_uid=report.job_uid or attempt.job_uid,
        started_at=attempt.started_at if attempt.started_at is not None else report.started_at,
    )


def _gone(task: Task, entry: Entry, attempt: Attempt, command: Report) -> Edits | Refused:
    stop = task.stop
    if stop is None:
        return Refused(code="not-stopping", detail=f"nobody asked for the end of {command.task_id}")
    errors = {StopKind.CANCEL: CANCELLED, StopKind.GIVEN_UP: stop.message or "Job failed"}
    ended = msgspec.structs.replace(
        command,
        exit_code=-1,
        killed_by=None,
        cause=stop.cause,
        message=stop.message,
        error=errors.get(stop.kind, TIMED_OUT),
        job=msgspec.structs.replace(task.job, active=0) if task.job else None,  # The proof: none of its Pods exists.
    )
    state = AFTER_STOP[stop.kind]
    return Edits(tasks=(_conclude(task, state, entry, attempt, ended),))


def _conclude(task: Task, state: State, entry: Entry, attempt: Attempt, report: Report) -> Task:
    """Return the row of a task that ends now, in *state*."""
    success = state is State.COMPLETED
    cause = None if state is not State.FAILED else report.cause or Cause.INTERNAL
    exit_code = report.exit_code if report.exit_code is not None else -1
    over = msgspec.structs.replace(
        attempt,
        ended_at=report.ended_at if report.ended_at is not None else entry.at,
        exit_code=exit_code,
        signal=report.killed_by,
        cause=cause,
        message=limits.clip(report.message),
    )
    return msgspec.structs.replace(
        task,
        state=state,
        attempt=over,
        stop=None,
        unreachable=False,
        reason=limits.clip(report.reason or ("" if success else report.message)),
        pending_cause=None,
        job=report.job or task.job,
        exit_code=exit_code,
        error="" if success else limits.clip(report.error),
        cause=cause,
        completed_at=entry.at,
        output_tail=limits.clip(report.output_tail, limits.OUTPUT_TAIL_BYTES),
        error_tail=limits.clip(report.error_tail, limits.OUTPUT_TAIL_BYTES),
    )


def _cancel(table: Rows, entry: Entry, command: Cancel) -> Edits | Refused:
    task = table.task(command.task_id)
    if task is not None and task.state is State.CANCELLED:
        return NOTHING
    if task is not None and command.if_index is not None and task.index not in command.if_index:
        if task.stop is not None and task.stop.kind is StopKind.CANCEL:
            return NOTHING  # What was wished for is in force: most likely by this command, whose answer was lost.
        return Refused(code="version-conflict", detail=f"task {command.task_id} has changed: it is at {task.index}")
    live = _attempted(table, command.task_id, None)
    if isinstance(live, Refused):
        return live
    if live.state is State.QUEUED:
        row = msgspec.structs.replace(
            live, state=State.CANCELLED, reason="", exit_code=-1, error=CANCELLED, completed_at=entry.at
        )
        return Edits(tasks=(row,))
    return _stop(live, Stop(kind=StopKind.CANCEL, at=entry.at))


def _expire(table: Rows, entry: Entry, command: Expire) -> Edits | Refused:
    task = _attempted(table, command.task_id, command.attempt)
    if isinstance(task, Refused):
        return task
    if command.kind is StopKind.START_TIMEOUT:
        if task.state is not State.ASSIGNED:
            return Refused(code="illegal-change", detail=f"{command.task_id} is {task.state}: it did start in time")
        cause, limit_ms = task.pending_cause or Cause.START_TIMEOUT, task.start_timeout_ms
        message = task.reason or f"it did not run within {limit_ms} ms"
    elif command.kind is StopKind.TIMEOUT and task.state is State.RUNNING:
        cause, message = Cause.TIMEOUT, f"it ran longer than {task.timeout_ms} ms"
    else:
        return Refused(code="illegal-change", detail=f"{command.task_id} is {task.state}: no {command.kind} is due")
    return _stop(task, Stop(kind=command.kind, at=entry.at, cause=cause, message=message))


_STOP_REASONS: dict[StopKind, str] = {
    StopKind.CANCEL: "cancelled",
    StopKind.TIMEOUT: "timed out",
    StopKind.START_TIMEOUT: "did not start in time",
    StopKind.GIVEN_UP: "cannot start",
}


def _stop(task: Task, stop: Stop) -> Edits:
    """Ask for the end of an attempt. The first wish stands: cancelling what times out does not make it cancelled."""
    if task.stop is not None:
        return NOTHING
    stop = msgspec.structs.replace(stop, message=limits.clip(stop.message))
    return Edits(tasks=(msgspec.structs.replace(task, stop=stop, reason=stop_reason(task, stop)),))


def stop_reason(task: Task, stop: Stop, obstacle: str = "") -> str:
    """Return the reason of a task that is being stopped; *obstacle*: what is in the way of its end."""
    what = "its processes are" if task.type in BOUND_TYPES else "its Job and Pods are"
    why = f" ({stop.message})" if stop.message else ""
    obstacle = f", and {obstacle}" if obstacle else ""
    return limits.clip(f"{_STOP_REASONS[stop.kind]}; waiting until {what} gone{obstacle}{why}")


def _attempted(table: Rows, task_id: TaskId, attempt: int | None) -> Task | Refused:
    """Return the live task, if *attempt* is its current one (None: whatever it is)."""
    task = table.live.get(task_id)
    if task is None:
        ended = table.ended.get(task_id)
        if ended is None:
            return Refused(code="task-not-found", detail=f"there is no task {task_id}")
        return Refused(code="already-ended", detail=f"task {task_id} is {ended.state}")
    current = task.attempt.number if task.attempt else 0
    if attempt is not None and (attempt != current or current == 0):
        return Refused(code="stale-attempt", detail=f"{task_id} is at attempt {current}")
    return task


def _forget(table: Rows, _entry: Entry, command: Forget) -> Edits | Refused:
    present = tuple(dict.fromkeys(each for each in command.task_ids if each in table.ended))
    return Edits(forget=present, repeated=not present)


def _nothing(_table: Rows, _entry: Entry, _command: Barrier | Checkpoint) -> Edits | Refused:
    return NOTHING


TASK_RULES: Rules = {
    Assign: _assign,
    Reassign: _reassign,
    Report: _report,
    Cancel: _cancel,
    Expire: _expire,
    Forget: _forget,
    Barrier: _nothing,
    Checkpoint: _nothing,
}
"""One rule per command about tasks; those that change nothing stand here, too."""
