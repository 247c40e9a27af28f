"""Tables for tests, built the only way there is: by commands that the table accepts."""

from collections.abc import Iterable

from raftsman.raft.codec import pack_spec
from raftsman.raft.commands import Accepted, Assign, Command, Entry, MemberJoined, Report, Submit
from raftsman.raft.lifecycle import Signal
from raftsman.raft.records import (
    ContextName,
    Instant,
    K8sJobSpec,
    Member,
    MemberContext,
    NodeId,
    Placement,
    ShellSpec,
    Task,
    TaskId,
    TaskSpec,
)
from raftsman.raft.table import TaskTable


def table_of(*commands: Command, at: Iterable[int] = ()) -> TaskTable:
    """Return the table after *commands*, the first at the instants *at*, the others at 0."""
    return apply(TaskTable(), *commands, at=at)


def apply(table: TaskTable, *commands: Command, at: Iterable[int] = ()) -> TaskTable:
    """Apply *commands* to *table*, and return it; every one must be accepted."""
    instants = iter(at)
    for command in commands:
        entry = Entry(command_id="", command=command, at=Instant(next(instants, 0)))
        verdict, _ = table.apply(entry, table.index + 1)
        assert isinstance(verdict, Accepted), verdict
    return table


def context(
    name: str = "prod",
    *,
    reachable: bool = True,
    error: str = "",
    max_jobs: int = 1000,
    allow_host: bool = False,
    server: str = "",
    since: int = 0,
) -> MemberContext:
    """Return a context as a member sees it."""
    return MemberContext(
        name=ContextName(name),
        reachable=reachable,
        error=error,
        max_jobs=max_jobs,
        allow_host=allow_host,
        server=server,
        since=Instant(since),
    )


def member(node: str, *contexts: MemberContext, slots: int = 0) -> Member:
    """Return a member that has *contexts*, or else the reachable context prod, and *slots* for shell tasks."""
    return Member(node=NodeId(node), url=f"http://{node}", contexts=contexts or (context(),), slots=slots)


def joined(node: str, *contexts: MemberContext, slots: int = 0) -> MemberJoined:
    """Return the command that ``member`` joins by."""
    return MemberJoined(member=member(node, *contexts, slots=slots))


def spec(
    *,
    context: str = "prod",
    priority: int = 0,
    timeout_ms: int = 600_000,
    start_timeout_ms: int = 900_000,
    placement: Placement | None = None,
) -> TaskSpec:
    """Return a specification of a Kubernetes task."""
    return TaskSpec(
        type="k8s_job",
        k8s_job=K8sJobSpec(context=context, image="busybox"),
        priority=priority,
        timeout_ms=timeout_ms,
        start_timeout_ms=start_timeout_ms,
        placement=placement or Placement(),
    )


def shell(command: str = "true", *, placement: Placement | None = None) -> TaskSpec:
    """Return a specification of a shell task."""
    return TaskSpec(type="shell", shell=ShellSpec(command=command), placement=placement or Placement())


def submit(task_id: str, of: TaskSpec | None = None, *, submitter: str = "") -> Submit:
    """Return a submission."""
    return Submit(task_id=TaskId(task_id), spec=pack_spec(of or spec()), submitter_node=submitter)


def assign(task_id: str, node: str, attempt: int = 1) -> Assign:
    """Return an assignment of a first attempt."""
    return Assign(task_id=TaskId(task_id), attempt=attempt, node=NodeId(node))


def report(task_id: str, node: str, signal: Signal) -> Report:
    """Return a report about a first attempt that says no more than *signal*."""
    return Report(task_id=TaskId(task_id), attempt=1, node=NodeId(node), signal=signal)


def find(table: TaskTable, task_id: str) -> Task:
    """Return a task that is there."""
    task = table.task(task_id)
    assert task is not None, task_id
    return task
