"""The task table: the state machine that every node runs over the same log.

``TaskTable.apply`` is deterministic and total: the same entries give the same table on every node, a
refusal leaves it as it was, and nothing in here looks at a clock. A rule is a function from the table and
a command to ``Edits`` or ``Refused``; it changes nothing itself, so there is nothing to undo. Where
entries come from is ``consensus``; what to propose next is ``scheduler``'s and ``executor``'s business.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from raftsman.raft import limits
from raftsman.raft.codec import MalformedEntry, pack_row, unpack_spec
from raftsman.raft.commands import (
    REPORT_SIGNALS,
    Accepted,
    Assign,
    Barrier,
    Cancel,
    Command,
    Entry,
    Expire,
    Forget,
    FoundCluster,
    MemberBack,
    MemberJoined,
    MemberLost,
    MemberUpdated,
    Reassign,
    Refused,
    Report,
    Submit,
    Verdict,
)
from raftsman.raft.lifecycle import AFTER_STOP, Cause, Signal, State, StopKind, step
from raftsman.raft.records import Attempt, Change, Instant, Member, NodeId, Row, Stop, Task, TaskId

CANCELLED = "Task cancelled"
TIMED_OUT = "Job timed out"
_HASH_BYTES = 16
_HASH_MODULUS = 1 << (8 * _HASH_BYTES)


class Edits(Row, frozen=True, kw_only=True):
    """What a rule wants changed. Tasks are whole new rows; the table adds index and history."""

    tasks: tuple[Task, ...] = ()
    members: tuple[Member, ...] = ()
    forget: tuple[TaskId, ...] = ()
    cluster_uuid: str = ""
    repeated: bool = False


NOTHING = Edits(repeated=True)


class TaskTable:
    """Tasks and members, as the log up to ``index`` says they are."""

    def __init__(self) -> None:
        self.cluster_uuid = ""
        self.index = 0
        self.members: dict[NodeId, Member] = {}
        self.live: dict[TaskId, Task] = {}
        self.ended: dict[TaskId, Task] = {}  # In the order they ended.
        self._hash = 0

    # --- queries ---

    def task(self, task_id: str) -> Task | None:
        """Return the task, or None when there is none (or it was forgotten)."""
        key = TaskId(task_id)
        return self.live.get(key) or self.ended.get(key)

    def member(self, node: str) -> Member | None:
        """Return the member, or None when it never joined."""
        return self.members.get(NodeId(node))

    def tasks(self) -> Iterable[Task]:
        """Yield every task, the ended ones first."""
        yield from self.ended.values()
        yield from self.live.values()

    @property
    def state_hash(self) -> str:
        """A fingerprint of every row: equal on two nodes at the same index, or they have diverged."""
        return f"{self._hash:0{2 * _HASH_BYTES}x}"

    def copy(self) -> "TaskTable":
        """Return a table that later entries do not change. Rows are shared, for they are frozen."""
        twin = TaskTable()
        twin.cluster_uuid, twin.index, twin._hash = self.cluster_uuid, self.index, self._hash
        twin.members, twin.live, twin.ended = dict(self.members), dict(self.live), dict(self.ended)
        return twin

    # --- changes ---

    def apply(self, entry: Entry, index: int) -> tuple[Verdict, tuple[Change, ...]]:
        """Carry out *entry*, the log's number *index*; return the verdict and the tasks' visible changes."""
        self.index = index
        answer = RULES[type(entry.command)](self, entry, entry.command)
        if isinstance(answer, Refused):
            return answer, ()
        if answer.cluster_uuid:
            self._rehash(None, None, answer.cluster_uuid)
            self.cluster_uuid = answer.cluster_uuid
        for member in answer.members:
            self._rehash(self.members.get(member.node), member)
            self.members[member.node] = member
        for task_id in answer.forget:
            self._rehash(self.ended.pop(task_id), None)
        changes = [self._put(task, entry.at, n) for n, task in enumerate(answer.tasks)]
        return Accepted(repeated=answer.repeated), tuple(change for change in changes if change)

    def _put(self, task: Task, at: Instant, n: int) -> Change | None:
        """Store the row, stamped with this index and, when users can see a difference, with the change."""
        before = self.live.pop(task.task_id, None)
        change = _difference(before, task, index=self.index, n=n, at=at)
        history = (*task.changes, change)[-limits.CHANGES_PER_TASK :] if change else task.changes
        after = msgspec.structs.replace(task, index=self.index, changes=history)
        self._rehash(before, after)
        (self.ended if after.ended else self.live)[after.task_id] = after
        return change

    def _rehash(self, before: Row | None, after: Row | None, text: str = "") -> None:
        # A sum over rows needs no order and no second pass; 128 bits make an accidental match impossible in practice.
        self._hash = (self._hash - _digest(before) + _digest(after) + _digest_text(text)) % _HASH_MODULUS


def _digest(row: Row | None) -> int:
    if row is None:
        return 0
    return int.from_bytes(blake2b(pack_row(row), digest_size=_HASH_BYTES, person=type(row).__name__.encode()).digest())


def _digest_text(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=_HASH_BYTES).digest()) if text else 0


def _difference(before: Task | None, after: Task, *, index: int, n: int, at: Instant) -> Change | None:
    """Return the change as users see it, or None when only bookkeeping differs."""

    def visible(task: Task) -> tuple[Any, ...]:
        number = task.attempt.number if task.attempt else 0
        return number, task.state, task.conditions, task.cause, task.node, task.reason, task.job

    if before is not None and visible(before) == visible(after):
        return None
    number, state, conditions, cause, node, reason, job = visible(after)
    return Change(
        index=index,
        n=n,
        at=at,
        task_id=after.task_id,
        attempt=number,
        before=before.state if before else None,
        after=state,
        conditions=conditions,
        cause=cause,
        node=node or "",
        reason=reason,
        job=job,
    )


# --- rules about members ----------------------------------------------------------------------------


def _found_cluster(table: TaskTable, _entry: Entry, command: FoundCluster) -> Edits | Refused:
    if table.cluster_uuid:
        return Refused(code="already-founded", detail=f"the cluster is already {table.cluster_uuid}")
    if not command.uuid:
        return Refused(code="invalid-uuid", detail="a cluster needs a UUID")
    return Edits(cluster_uuid=command.uuid)


def _member_joined(table: TaskTable, entry: Entry, command: MemberJoined) -> Edits | Refused:
    new = command.member
    if not new.node or len(new.contexts) > limits.CONTEXTS_PER_MEMBER:
        return Refused(code="invalid-member", detail=f"a member has a name and ≤ {limits.CONTEXTS_PER_MEMBER} contexts")
    if new.node not in table.members and len(table.members) >= limits.MEMBERS:
        return Refused(code="too-many-members", detail=f"a cluster has at most {limits.MEMBERS} members")
    return Edits(members=(msgspec.structs.replace(new, joined_at=entry.at, lost_at=None),))


def _member_updated(table: TaskTable, _entry: Entry, command: MemberUpdated) -> Edits | Refused:
    new = command.member
    old = table.members.get(new.node)
    if old is None:
        return Refused(code="unknown-member", detail=f"{new.node} has not joined")
    if len(new.contexts) > limits.CONTEXTS_PER_MEMBER:
        return Refused(code="invalid-member", detail=f"a member has ≤ {limits.CONTEXTS_PER_MEMBER} contexts")
    return Edits(members=(msgspec.structs.replace(new, joined_at=old.joined_at, lost_at=old.lost_at),))


def _member_lost(table: TaskTable, entry: Entry, command: MemberLost) -> Edits | Refused:
    member = table.members.get(command.node)
    if member is None:
        return Refused(code="unknown-member", detail=f"{command.node} has not joined")
    if member.lost_at is not None:
        return NOTHING
    reason = f"node {command.node} does not answer; what its attempt does now is not known"
    orphans = tuple(
        msgspec.structs.replace(task, unreachable=True, reason=reason)
        for task in table.live.values()
        if task.node == command.node
    )
    return Edits(members=(msgspec.structs.replace(member, lost_at=entry.at),), tasks=orphans)


def _member_back(table: TaskTable, _entry: Entry, command: MemberBack) -> Edits | Refused:
    member = table.members.get(command.node)
    if member is None:
        return Refused(code="unknown-member", detail=f"{command.node} has not joined")
    if member.lost_at is None:
        return NOTHING
    return Edits(members=(msgspec.structs.replace(member, lost_at=None),))


# --- rules about tasks ------------------------------------------------------------------------------


def _submit(table: TaskTable, entry: Entry, command: Submit) -> Edits | Refused:
    present = table.task(command.task_id)
    if present is not None:
        if present.spec == command.spec:
            return NOTHING
        return Refused(code="task-exists", detail=f"task {command.task_id} exists with another specification")
    if not 0 < len(command.task_id) <= limits.TASK_ID_CHARS:
        return Refused(code="invalid-spec", detail=f"a task's id has 1 to {limits.TASK_ID_CHARS} characters")
    if len(command.spec) > limits.SPEC_BYTES:
        return Refused(code="too-large", detail=f"a specification has at most {limits.SPEC_BYTES} bytes")
    try:
        spec = unpack_spec(command.spec)
    except MalformedEntry as error:
        return Refused(code="invalid-spec", detail=str(error))
    task = Task(
        task_id=command.task_id,
        spec=command.spec,
        type=spec.type,
        context=spec.k8s_job.context if spec.k8s_job else "",
        priority=spec.priority,
        timeout_ms=spec.timeout_ms,
        start_timeout_ms=spec.start_timeout_ms,
        placement=spec.placement,
        submitter_node=command.submitter_node,
        principal=entry.principal,
        submitted_at=entry.at,
        sequence=table.index,
    )
    return Edits(tasks=(task,))


def _able_member(table: TaskTable, node: NodeId, task: Task) -> Refused | None:
    member = table.members.get(node)
    if member is None:
        return Refused(code="unknown-member", detail=f"{node} has not joined")
    if member.lost_at is not None:
        return Refused(code="member-lost", detail=f"{node} does not answer")
    if task.context and member.context(task.context) is None:
        return Refused(code="context-missing", detail=f"{node} does not have the context {task.context}")
    return None


def _assign(table: TaskTable, entry: Entry, command: Assign) -> Edits | Refused:
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
    )
    return Edits(tasks=(msgspec.structs.replace(task, state=state, attempt=attempt, reason=""),))


def _namespace(task: Task) -> str:
    job = unpack_spec(task.spec).k8s_job
    return job.namespace if job else ""


def _reassign(table: TaskTable, _entry: Entry, command: Reassign) -> Edits | Refused:
    task = _attempted(table, command.task_id, command.attempt)
    if isinstance(task, Refused):
        return task
    assert task.attempt is not None
    if task.attempt.node != command.from_node:
        return Refused(code="not-assigned", detail=f"{command.task_id} is looked after by {task.attempt.node}")
    holder = table.members.get(command.from_node)
    if holder is not None and holder.lost_at is None:
        return Refused(code="not-lost", detail=f"{command.from_node} answers, so it keeps {command.task_id}")
    unable = _able_member(table, command.node, task)
    if unable is not None:
        return unable
    moved = msgspec.structs.replace(task.attempt, node=command.node)
    taken = f"taken over by node {command.node}, because node {command.from_node} does not answer"
    reason = _stop_reason(task.stop) if task.stop else taken
    return Edits(tasks=(msgspec.structs.replace(task, attempt=moved, unreachable=False, reason=reason),))


def _report(table: TaskTable, entry: Entry, command: Report) -> Edits | Refused:
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
        reason=_stop_reason(task.stop) if task.stop else limits.clip(command.reason),
        pending_cause=command.cause,
        job=command.job or task.job,
    )
    return Edits(tasks=(row,)) if row != task else NOTHING


def _reported(table: TaskTable, command: Report) -> Task | Refused:
    """Return the task that the report is about, if its node may still speak for the attempt."""
    task = _attempted(table, command.task_id, command.attempt)
    if isinstance(task, Refused):
        return task
    assert task.attempt is not None
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
    )
    state = AFTER_STOP[stop.kind]
    return Edits(tasks=(_conclude(task, state, entry, attempt, ended),))


def _conclude(task: Task, state: State, entry: Entry, attempt: Attempt, report: Report) -> Task:
    """Return the row of a task that ends now, in *state*."""
    success = state is State.COMPLETED
    cause = None if state is not State.FAILED else report.cause or Cause.INTERNAL
    over = msgspec.structs.replace(
        attempt,
        ended_at=report.ended_at if report.ended_at is not None else entry.at,
        exit_code=report.exit_code,
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
        exit_code=report.exit_code if report.exit_code is not None else -1,
        error="" if success else limits.clip(report.error),
        cause=cause,
        completed_at=entry.at,
        output_tail=limits.clip(report.output_tail, limits.OUTPUT_TAIL_BYTES),
    )


def _cancel(table: TaskTable, entry: Entry, command: Cancel) -> Edits | Refused:
    task = table.task(command.task_id)
    if task is not None and task.state is State.CANCELLED:
        return NOTHING
    live = _attempted(table, command.task_id, None)
    if isinstance(live, Refused):
        return live
    if live.state is State.QUEUED:
        row = msgspec.structs.replace(
            live, state=State.CANCELLED, reason="", exit_code=-1, error=CANCELLED, completed_at=entry.at
        )
        return Edits(tasks=(row,))
    return _stop(live, Stop(kind=StopKind.CANCEL, at=entry.at))


def _expire(table: TaskTable, entry: Entry, command: Expire) -> Edits | Refused:
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
    StopKind.CANCEL: "cancelled; waiting until its Job and Pods are gone",
    StopKind.TIMEOUT: "timed out; waiting until its Job and Pods are gone",
    StopKind.START_TIMEOUT: "did not start in time; waiting until its Job and Pods are gone",
    StopKind.GIVEN_UP: "cannot start; waiting until its Job and Pods are gone",
}


def _stop(task: Task, stop: Stop) -> Edits:
    """Ask for the end of an attempt. The first wish stands: cancelling what times out does not make it cancelled."""
    if task.stop is not None:
        return NOTHING
    stop = msgspec.structs.replace(stop, message=limits.clip(stop.message))
    return Edits(tasks=(msgspec.structs.replace(task, stop=stop, reason=_stop_reason(stop)),))


def _stop_reason(stop: Stop) -> str:
    return limits.clip(_STOP_REASONS[stop.kind] + (f" ({stop.message})" if stop.message else ""))


def _attempted(table: TaskTable, task_id: TaskId, attempt: int | None) -> Task | Refused:
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


def _forget(table: TaskTable, _entry: Entry, command: Forget) -> Edits | Refused:
    present = tuple(dict.fromkeys(each for each in command.task_ids if each in table.ended))
    return Edits(forget=present, repeated=not present)


def _barrier(_table: TaskTable, _entry: Entry, _command: Barrier) -> Edits | Refused:
    return NOTHING


RULES: dict[type[Command], Callable[[TaskTable, Entry, Any], Edits | Refused]] = {
    FoundCluster: _found_cluster,
    MemberJoined: _member_joined,
    MemberUpdated: _member_updated,
    MemberLost: _member_lost,
    MemberBack: _member_back,
    Submit: _submit,
    Assign: _assign,
    Reassign: _reassign,
    Report: _report,
    Cancel: _cancel,
    Expire: _expire,
    Forget: _forget,
    Barrier: _barrier,
}
"""One rule per kind of command."""
