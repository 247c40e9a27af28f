"""May this submission enter the table? Advice only: ``table`` decides when the command is applied.

What needs no table (types, grammar, sizes) was checked by ``raftsman.wire.spec`` before. A wish that
nobody can fulfil now (a context that does not answer, nodes that are not there) is no fault: such a task
waits, and ``planner`` says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from raftsman.raft import limits
from raftsman.raft.lifecycle import State
from raftsman.raft.records import TaskSpec
from raftsman.raft.table import TaskTable

NO_ADAPTER = "Kubernetes adapter not available"
"""What a Kubernetes task is told when no member has any context."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a submission may not enter. *field* is a JSON pointer into it."""

    code: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A submission as admission looks at it."""

    spec: TaskSpec
    packed_bytes: int
    host_uses: Sequence[tuple[str, str]]  # (JSON pointer, what): the template's wishes for the host itself.


def admit(table: TaskTable, submitted: Submitted, *, max_queued: int) -> list[Rejection]:
    """Return everything that speaks against the submission; an empty list lets it in."""
    rejections = [*_context(table, submitted), *_size(submitted)]
    queued = sum(1 for task in table.live.values() if task.state is State.QUEUED) if table.live else 0
    if queued >= max_queued:
        rejections.append(
            Rejection("queue-full", "", f"{queued} tasks are queued, the limit is {max_queued}; try later")
        )
    return rejections


def _context(table: TaskTable, submitted: Submitted) -> list[Rejection]:
    job = submitted.spec.k8s_job
    if job is None:
        return []
    field = "/k8sJob/clusterContext"
    known = sorted({view.name for member in table.members.values() for view in member.contexts})
    if job.context not in known:
        return [Rejection("unknown-context", field, unknown_context(job.context, known))]
    views = [view for member in table.members.values() if (view := member.context(job.context))]
    if all(view.allow_host for view in views):
        return []
    return [
        Rejection("invalid-spec", pointer, f"context {job.context} does not allow {what} (its setting allow_host)")
        for pointer, what in submitted.host_uses
    ]


def unknown_context(name: str, known: Sequence[str]) -> str:
    """Return why the context *name* is none of those that are *known*."""
    if not known:
        return NO_ADAPTER
    return f"no node has a context {name!r}; there are {', '.join(known)}"


def _size(submitted: Submitted) -> list[Rejection]:
    if submitted.packed_bytes <= limits.SPEC_BYTES:
        return []
    reason = f"the specification has {submitted.packed_bytes} bytes, the limit is {limits.SPEC_BYTES}"
    return [Rejection("too-large", "", reason)]
