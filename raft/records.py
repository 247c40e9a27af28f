"""The rows of the task table, and the stored form of a task's specification.

Rows are frozen: a copy of the table is a copy of its dictionaries. Instants are integers, milliseconds
since the Unix epoch in UTC, and travel inside commands; sizes are bytes, processor shares are thousandths
of a core. How rows change is ``table``; how they look in JSON is ``raftsman.wire.views``.
"""

from typing import NewType

import msgspec

from raftsman.raft.lifecycle import Cause, State, StopKind

TaskId = NewType("TaskId", str)
NodeId = NewType("NodeId", str)
"""The name of a node in the settings, and of its member row."""
ContextName = NewType("ContextName", str)
Instant = NewType("Instant", int)
"""Milliseconds since the Unix epoch, UTC."""


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Base of everything the table holds: compared by value, never changed in place.

    A field that this program does not know is no row to it: to leave it out would make another table than that of a
    newer program (``codec.UnknownFormat``).

    Subclasses repeat ``frozen`` and ``kw_only``: type checkers see neither inherited, msgspec the first only.
    """


# --- the specification, as stored -------------------------------------------------------------


class Resources(Row, frozen=True, kw_only=True):
    """What the Job's container may use; 0 means that nothing was asked for."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    gpu_count: int = 0


class K8sJobSpec(Row, frozen=True, kw_only=True):
    """The ``k8sJob`` block of a submission in its normal form."""

    context: str
    image: str
    namespace: str = ""  # "": the context's own default, fixed when an attempt is assigned.
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()  # Sorted by key.
    resources: Resources = Resources()
    service_account: str = ""
    pod_template: str = ""  # Canonical JSON (sorted keys, no spaces) of the user's PodTemplateSpec; "" for none.
    pod_security: str = ""  # baseline | restricted | none; "": the context's own default.


K8S_JOB, SHELL = "k8s_job", "shell"
BOUND_TYPES = frozenset({SHELL})
"""Types whose attempts live in the process of their node: once started they cannot move, and die with it."""


class ShellSpec(Row, frozen=True, kw_only=True):
    """The ``shell`` block of a submission in its normal form."""

    command: str  # For /bin/sh -c.
    working_directory: str = ""  # Absolute; "": the node's own.


class Placement(Row, frozen=True, kw_only=True):
    """Which nodes may carry a task out."""

    allowed_nodes: tuple[str, ...] = ()  # Empty: every node.
    excluded_nodes: tuple[str, ...] = ()
    target_nodes: tuple[str, ...] = ()  # Empty: every node.
    prefer_local: bool = False  # Prefer the node that received the submission.


class TaskSpec(Row, frozen=True, kw_only=True):
    """What a user submitted, after defaults: two equal specs are the same wish."""

    type: str
    k8s_job: K8sJobSpec | None = None
    shell: ShellSpec | None = None
    environment: tuple[tuple[str, str], ...] = ()  # In the order given.
    labels: tuple[tuple[str, str], ...] = ()  # raftsman's own, sorted by key.
    priority: int = 0
    timeout_ms: int = 600_000
    start_timeout_ms: int = 900_000
    placement: Placement = Placement()


# --- tasks --------------------------------------------------------------------------------------


class JobCounts(Row, frozen=True, kw_only=True):
    """Kubernetes' own counts of a Job's Pods."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0


class Attempt(Row, frozen=True, kw_only=True):
    """One try at a task. It has at most one Job, whose name follows from the task and *number*."""

    number: int
    node: NodeId  # Who looks after it now; a reassignment changes nothing of what it is or does.
    context: str
    namespace: str
    assigned_at: Instant
    moved_at: Instant | None = None  # When another node took it over last.
    server: str = ""  # ``MemberContext.server`` of the cluster that it is in; "": not known.
    job_name: str = ""  # Empty until its node has seen the Job.
    job_uid: str = ""
    started_at: Instant | None = None  # By Kubernetes' clock.
    running_since: Instant | None = None  # By the clock of the node that saw it run; the timeout counts from here.
    ended_at: Instant | None = None
    exit_code: int | None = None
    signal: int | None = None
    cause: Cause | None = None
    message: str = ""


class Stop(Row, frozen=True, kw_only=True):
    """The table wants this attempt ended; it is over only when its node has proved that the Job is gone."""

    kind: StopKind
    at: Instant
    cause: Cause | None = None  # What the attempt will have failed of; None for a cancellation.
    message: str = ""


class Change(Row, frozen=True, kw_only=True):
    """One visible change of a task: an event of the API."""

    index: int  # Of the log entry that made it.
    n: int  # Its place among the changes of that entry.
    at: Instant
    task_id: TaskId
    attempt: int
    before: State | None  # None: the task did not exist before.
    after: State
    conditions: tuple[str, ...] = ()
    cause: Cause | None = None
    node: str = ""
    reason: str = ""
    job: JobCounts | None = None


class Task(Row, frozen=True, kw_only=True):
    """What a user submitted and what became of it."""

    task_id: TaskId
    spec: bytes  # A packed TaskSpec (``codec.unpack_spec``): a fifth of the memory of the unpacked one.
    type: str
    context: str
    priority: int
    timeout_ms: int
    start_timeout_ms: int
    placement: Placement
    submitter_node: str
    principal: str
    submitted_at: Instant
    sequence: int  # The log index that admitted it: first come, first served.
    state: State = State.QUEUED
    attempt: Attempt | None = None  # The current one, or the last.
    stop: Stop | None = None
    unreachable: bool = False  # Its context or node does not answer; what it does now is not known.
    reason: str = ""  # What it waits for, in a sentence; a note once it has ended.
    pending_cause: Cause | None = None  # What a start timeout would be blamed on.
    job: JobCounts | None = None
    exit_code: int | None = None
    error: str = ""
    cause: Cause | None = None
    completed_at: Instant | None = None
    output_tail: str = ""  # The last lines, at most limits.OUTPUT_TAIL_BYTES; of stdout alone where it is apart.
    error_tail: str = ""  # The same of stderr, where it is apart.
    changes: tuple[Change, ...] = ()  # The newest last, at most limits.CHANGES_PER_TASK.
    retry_of: TaskId = TaskId("")  # The task that a user wanted tried again; "" for a submission.
    index: int = 0  # Of the log entry that changed it last.

    @property
    def ended(self) -> bool:
        """Whether the task can never change again."""
        return self.state.ended

    @property
    def node(self) -> NodeId | None:
        """The node that looks after the current attempt."""
        return self.attempt.node if self.attempt else None

    @property
    def conditions(self) -> tuple[str, ...]:
        """What else is true of it; ``waiting`` is added by whoever can ask the planner."""
        if self.ended:
            return ()
        return (*(["stopping"] if self.stop else []), *(["unreachable"] if self.unreachable else []))


class KeyUse(Row, frozen=True, kw_only=True):
    """An ``Idempotency-Key`` that was used, kept for a while so that a repetition finds the same task.

    Keys and wishes are kept as fingerprints: a row takes a tenth of the memory, and tells nobody what a client sent.
    """

    key: bytes  # Of the command's kind, the key and the principal.
    wish: bytes  # Of what was asked for.
    task_id: TaskId
    at: Instant


# --- members ------------------------------------------------------------------------------------


class MemberContext(Row, frozen=True, kw_only=True):
    """A context as one member sees it."""

    name: ContextName
    reachable: bool = False
    error: str = ""  # Why not, in a sentence.
    since: Instant = Instant(0)  # Of the last change of `reachable`.
    namespace: str = "default"  # Default namespace of its tasks.
    pod_security: str = "baseline"  # Default of its tasks.
    max_jobs: int = 1000  # Jobs of ours at a time, over all nodes.
    allow_host: bool = False  # hostPath, hostPID, hostNetwork and privileged in pod templates.
    labels: tuple[tuple[str, str], ...] = ()
    server: str = (
        ""  # Fingerprint of the API server's address and CA: the same name may mean another cluster elsewhere.
    )

    def is_elsewhere(self, attempt: Attempt) -> bool:
        """Whether this is known to be another cluster than the one that *attempt* is in."""
        return "" not in (self.server, attempt.server) and self.server != attempt.server


class Member(Row, frozen=True, kw_only=True):
    """A node as the table knows it."""

    node: NodeId
    url: str  # Where its HTTP API answers.
    version: str = ""
    slots: int = 0  # Shell attempts at a time; 0: it runs none.
    labels: tuple[tuple[str, str], ...] = ()
    contexts: tuple[MemberContext, ...] = ()  # Sorted by name.
    lost_at: Instant | None = None  # Since when it has not answered the leader.
    joined_at: Instant = Instant(0)

    def context(self, name: str) -> MemberContext | None:
        """Return how this member sees the context, or None when it does not have it."""
        return next((each for each in self.contexts if each.name == name), None)

    def cut_off(self, attempt: Attempt) -> str:
        """Return why this member has no way to the cluster that *attempt* is in; "": it has one, or needs none."""
        if not attempt.context:
            return ""
        view = self.context(attempt.context)
        if view is None:
            return f"does not have the context {attempt.context}"
        if view.is_elsewhere(attempt):
            return f"reaches another cluster under the name {attempt.context}"
        return "" if view.reachable else f"does not reach {attempt.context}"
