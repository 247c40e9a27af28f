"""What states a task has, and which changes between them are legal.

``TRANSITIONS`` is the whole truth: what is not in it is refused by ``table``. The state diagram in
``docs/states.md`` is generated from it. What happened besides (who, when, why) is in ``records``;
``table`` decides which signal a command means.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a task stands. Within an attempt it only moves down this list."""

    QUEUED = "queued"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether a task in this state can never change again."""
        return self in ENDED


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})

RANK: dict[State, int] = {
    State.QUEUED: 0,
    State.ASSIGNED: 1,
    State.RUNNING: 2,
    State.COMPLETED: 3,
    State.FAILED: 3,
    State.CANCELLED: 3,
}
"""Orders the states; (attempt, RANK[state]) of a task never decreases."""


class Signal(StrEnum):
    """What can happen to a task that has not ended."""

    ASSIGN = "assign"  # The leader chose a node for the next attempt.
    REASSIGN = "reassign"  # Another node takes the same attempt over: its own is lost, or cut off from the context.
    OBSERVE = "observe"  # Something about the attempt changed, its state did not (reason, Job counts, reachability).
    START = "start"  # The container runs.
    SUCCEED = "succeed"  # The Job is complete.
    FAIL = "fail"  # The attempt ended without success.
    CANCEL = "cancel"  # A user wants it to end.
    EXPIRE = "expire"  # A timeout passed.
    GIVE_UP = "give-up"  # Its node sees that it can never start (no such Secret, image name invalid …).
    GONE = "gone"  # After a stop: proof that neither Job nor Pod exists any more.


TRANSITIONS: dict[tuple[State, Signal], State] = {
    (State.QUEUED, Signal.ASSIGN): State.ASSIGNED,
    (State.QUEUED, Signal.CANCEL): State.CANCELLED,
    (State.ASSIGNED, Signal.REASSIGN): State.ASSIGNED,
    (State.ASSIGNED, Signal.OBSERVE): State.ASSIGNED,
    (State.ASSIGNED, Signal.START): State.RUNNING,
    (State.ASSIGNED, Signal.SUCCEED): State.COMPLETED,
    (State.ASSIGNED, Signal.FAIL): State.FAILED,
    (State.ASSIGNED, Signal.CANCEL): State.ASSIGNED,  # With the condition `stopping`, until GONE.
    (State.ASSIGNED, Signal.EXPIRE): State.ASSIGNED,
    (State.ASSIGNED, Signal.GIVE_UP): State.ASSIGNED,
    (State.RUNNING, Signal.REASSIGN): State.RUNNING,
    (State.RUNNING, Signal.OBSERVE): State.RUNNING,
    (State.RUNNING, Signal.START): State.RUNNING,  # Said again by a node that did not hear the first answer.
    (State.RUNNING, Signal.SUCCEED): State.COMPLETED,
    (State.RUNNING, Signal.FAIL): State.FAILED,
    (State.RUNNING, Signal.CANCEL): State.RUNNING,
    (State.RUNNING, Signal.EXPIRE): State.RUNNING,
    (State.RUNNING, Signal.GIVE_UP): State.RUNNING,
}
"""(state, signal) → next state. ``GONE`` is not here: where it leads depends on the stop, see ``after_stop``."""


class StopKind(StrEnum):
    """Why an attempt is being stopped."""

    CANCEL = "cancel"  # A user wants it to end.
    TIMEOUT = "timeout"  # It ran longer than timeoutMs.
    START_TIMEOUT = "start-timeout"  # It did not run within startTimeoutMs.
    GIVEN_UP = "given-up"  # Its node saw that it can never start.


AFTER_STOP: dict[StopKind, State] = {
    StopKind.CANCEL: State.CANCELLED,
    StopKind.TIMEOUT: State.FAILED,
    StopKind.START_TIMEOUT: State.FAILED,
    StopKind.GIVEN_UP: State.FAILED,
}
"""Where ``GONE`` leads an assigned or running task, by the stop that asked for it."""


def step(state: State, signal: Signal) -> State | None:
    """Return the state that *signal* leads to from *state*, or None when the change is not legal."""
    return TRANSITIONS.get((state, signal))


class Cause(StrEnum):
    """Why an attempt ended without success: a closed list, so that programs can decide on it."""

    NON_ZERO_EXIT = "NonZeroExit"
    SIGNAL = "Signal"
    OOM_KILLED = "OOMKilled"
    COMMAND_NOT_RUNNABLE = "CommandNotRunnable"
    IMAGE_PULL = "ImagePull"
    IMAGE_INVALID = "ImageInvalid"
    CONTAINER_CONFIG = "ContainerConfig"
    CONTAINER_CREATE = "ContainerCreate"
    TIMEOUT = "Timeout"
    START_TIMEOUT = "StartTimeout"
    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_SECURITY = "PodSecurity"
    LIMIT_RANGE = "LimitRange"
    REFERENCE_MISSING = "ReferenceMissing"
    ADMISSION_DENIED = "AdmissionDenied"
    FORBIDDEN = "Forbidden"
    INVALID_SPEC = "InvalidSpec"
    NAMESPACE_MISSING = "NamespaceMissing"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    DRAINED = "Drained"
    NODE_LOST = "NodeLost"
    NODE_SHUTDOWN = "NodeShutdown"
    NODE_REJECTED = "NodeRejected"
    CONTAINER_LOST = "ContainerLost"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    JOB_NAME_CONFLICT = "JobNameConflict"
    CONTEXT_UNREACHABLE = "ContextUnreachable"
    RESULT_UNKNOWN = "ResultUnknown"
    INTERNAL = "Internal"
