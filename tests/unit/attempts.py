"""Rows, Jobs, looks and Pods of one attempt, and ``decide`` on them: what the tests of ``reconcile`` are written in."""

import msgspec

from raftsman.executor.actions import Action, Conclude, Notes, Sight, Tell
from raftsman.executor.jobs import (
    ANNOTATION_SEQUENCE,
    ANNOTATION_TASK,
    LABEL_ATTEMPT,
    LABEL_CLUSTER,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    Json,
)
from raftsman.executor.moments import Moment
from raftsman.executor.reconcile import decide
from raftsman.raft.commands import Report
from raftsman.raft.lifecycle import State, StopKind
from raftsman.raft.records import Attempt, Instant, JobCounts, NodeId, Placement, Stop, Task, TaskId
from tests.unit.kubernetes_objects import container, ended, event, pod, unscheduled

CLUSTER = "6f0c"
T0 = Instant(1_767_225_600_000)  # 2026-01-01T00:00:00Z
FIRST_LOOK = Moment(7_000_000)  # By the clock of the node that looks, which counts from anywhere.
SECOND = 1_000


def at(ms: int) -> Moment:
    return FIRST_LOOK + ms


def task(state: State = State.ASSIGNED, *, uid: str = "", stop: StopKind | None = None, **row: object) -> Task:
    plain = Task(
        task_id=TaskId("t"),
        spec=b"",
        type="k8s_job",
        context="c",
        priority=0,
        timeout_ms=600_000,
        start_timeout_ms=900_000,
        placement=Placement(),
        submitter_node="alpha",
        principal="",
        submitted_at=T0,
        sequence=1,
        state=state,
        attempt=Attempt(
            number=1,
            node=NodeId("alpha"),
            context="c",
            namespace="batch",
            assigned_at=T0,
            job_name="task-t-1" if uid else "",
            job_uid=uid,
        ),
        stop=None if stop is None else Stop(kind=stop, at=T0),
        job=JobCounts() if uid else None,
    )
    return msgspec.structs.replace(plain, **row)


def job(
    uid: str = "u",
    *,
    ours: bool = True,
    sequence: int = 1,
    deleted: str = "",
    ended_as: str = "",
    ended_at: str = "",
    attempt: int = 1,
    suspended: bool = False,
    **status: object,
) -> Json:
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_CLUSTER: CLUSTER if ours else "another", LABEL_ATTEMPT: str(attempt)}
    annotations = {ANNOTATION_TASK: "t", ANNOTATION_SEQUENCE: str(sequence)}
    metadata = {"name": "task-t-1", "uid": uid, "labels": labels, "annotations": annotations}
    condition = {"type": ended_as, "status": "True", **({"lastTransitionTime": ended_at} if ended_at else {})}
    return {
        "metadata": {**metadata, **({"deletionTimestamp": deleted} if deleted else {})},
        "spec": {"suspend": True} if suspended else {},
        "status": {**status, "conditions": [condition] if ended_as else []},
    }


RUNS = pod(container("running", startedAt="2026-01-01T00:00:01Z"), phase="Running")
CREATING = pod(container("waiting", reason="ContainerCreating"), phase="Pending")
NOT_FOUND = pod(container("waiting", reason="ErrImagePull", message="manifest unknown"), phase="Pending")
BACK_OFF = pod(container("waiting", reason="ImagePullBackOff", message="Back-off pulling image"), phase="Pending")
UNPLACED = pod(conditions=(unscheduled("Unschedulable"),), phase="Pending")
EXITED_3 = pod(ended(3))
EXITED_0 = pod(ended(0, "Completed"), phase="Succeeded")
REFUSED_POD = event("Job", "FailedCreate", 'pods "task-t-1-x" is forbidden: violates PodSecurity "restricted:latest"')

BOUND = task(uid="u")
RUNNING = task(State.RUNNING, uid="u")
STOPPING = task(State.RUNNING, uid="u", stop=StopKind.CANCEL)
LONG_AGO = Notes(waits_since=at(-3_600_000), events_at=at(0), seen="u")


def step(row: Task, sight: Sight, notes: Notes | None = None, ms: int = 0) -> tuple[Action | None, Notes]:
    return decide(row, sight, notes or Notes(), at(ms), cluster=CLUSTER)


def action(row: Task, sight: Sight, notes: Notes | None = None, ms: int = 0) -> Action | None:
    return step(row, sight, notes, ms)[0]


def told(row: Task, sight: Sight, notes: Notes | None = None, ms: int = 0) -> Report:
    done = action(row, sight, notes, ms)
    assert isinstance(done, Tell)
    return done.report


def concluded(row: Task, sight: Sight, notes: Notes | None = None, ms: int = 0) -> Report:
    done = action(row, sight, notes, ms)
    assert isinstance(done, Conclude)
    return done.report
