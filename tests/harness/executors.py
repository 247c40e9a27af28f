"""Executors on a fake log and fake contexts: real ``Worker``s and ``Deeds``, the rest in memory and in virtual time.

A test submits and assigns tasks as the leader would, disturbs links, replicas and workers, and looks at what became
of the table and of Kubernetes.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from raftsman.executor.deeds import Deeds
from raftsman.executor.manifest import job_name
from raftsman.executor.output import KeepLimits, Output, OutputStore
from raftsman.executor.worker import Worker
from raftsman.raft.codec import pack_spec
from raftsman.raft.commands import (
    Assign,
    Barrier,
    Cancel,
    Command,
    Expire,
    Forget,
    FoundCluster,
    MemberBack,
    MemberJoined,
    MemberLost,
    Reassign,
    Refused,
    Submit,
)
from raftsman.raft.lifecycle import StopKind
from raftsman.raft.records import (
    ContextName,
    Instant,
    K8sJobSpec,
    Member,
    MemberContext,
    NodeId,
    Task,
    TaskId,
    TaskSpec,
)
from raftsman.raft.replica import Applied
from tests.harness.fake_jobs import FakeContext, FakeContexts, FakeJobs
from tests.harness.fake_link import Link
from tests.harness.fake_log import FakeLog, FakeReplica
from tests.harness.virtual_time import moment, now, run

CONTEXT = "prod"
ODD_CONTEXT = "odd"  # In the table, and on a node when a test puts it there.
NAMESPACE = "batch"
TTL_S = 3600
SERVER = "the cluster"  # Its fingerprint.


@dataclass(slots=True)
class Node:
    """One raftsman process, as far as it is the executor's."""

    replica: FakeReplica
    jobs: FakeJobs
    contexts: FakeContexts
    output: OutputStore
    worker: Worker
    loop: "asyncio.Task[None]"


@dataclass(slots=True)
class Executors:
    """A cluster of them; ``start`` and ``kill`` nodes by name."""

    root: Path
    log: FakeLog = field(default_factory=FakeLog)
    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    kubernetes: FakeContext = field(default_factory=FakeContext)
    wrong_by_ms: Counter[str] = field(
        default_factory=Counter
    )  # Nodes' wall clocks; the log's and Kubernetes' are right.

    def __post_init__(self) -> None:
        self.log.append(FoundCluster(uuid="6f0c"))
        for name in ("alpha", "beta"):
            contexts = tuple(
                MemberContext(name=ContextName(each), reachable=True, server=SERVER) for each in (ODD_CONTEXT, CONTEXT)
            )
            member = Member(node=NodeId(name), url="", contexts=contexts)
            self.log.append(MemberJoined(member=member))
            self.links[name] = Link()

    # --- nodes ---

    def start(self, name: str) -> Node:
        """Start the node, or start it again after ``kill``."""
        wakeup = asyncio.Event()
        replica = self.log.replica(name, wakeup)
        jobs = FakeJobs(self.kubernetes, self.links[name])
        contexts = FakeContexts({CONTEXT: jobs})
        contexts.servers = {CONTEXT: SERVER}
        output = OutputStore(self.root / name, KeepLimits())
        worker = Worker(
            node=NodeId(name),
            replica=replica,
            contexts=contexts,
            output=output,
            deeds=self._deeds(replica),
            job_ttl_s=TTL_S,
            wakeup=wakeup,
            now=partial(self._wall, name),
            moment=moment,
            on_second_job=lambda: self._count("second"),
        )
        node = Node(replica, jobs, contexts, output, worker, asyncio.create_task(worker.run(), name=name))
        self.nodes[name] = node
        return node

    def set_clock(self, name: str, wrong_by_s: float) -> None:
        """Set the node's wall clock: so far ahead of the right time, or, below zero, behind it."""
        self.wrong_by_ms[name] = round(1000 * wrong_by_s)

    async def kill(self, name: str) -> None:
        """End the node at once; what it has sent to Kubernetes has its effect all the same."""
        node = self.nodes.pop(name)
        del self.log.replicas[name]
        node.loop.cancel()
        await asyncio.gather(node.loop, return_exceptions=True)
        node.jobs.stop()

    async def stop(self) -> None:
        """End every node."""
        for name in list(self.nodes):
            await self.kill(name)

    def _wall(self, name: str) -> Instant:
        return Instant(now() + self.wrong_by_ms[name])

    def _deeds(self, replica: FakeReplica) -> Deeds:
        async def still_due(task: Task) -> bool:
            if not isinstance(await replica.propose(Barrier()), Applied):
                return False
            current = replica.table.live.get(task.task_id)
            if current is None or current.stop is not None or current.node != replica.node:
                return False
            return current.sequence == task.sequence

        return Deeds(
            cluster=lambda: replica.table.cluster_uuid,
            pod_security=lambda _context: "baseline",
            propose=replica.propose,
            still_due=still_due,
            moment=moment,
            on_created=lambda _context: self._count("created"),
            on_adopted=lambda _context: self._count("adopted"),
        )

    def _count(self, what: str) -> None:
        self.counted[what] += 1

    # --- the leader's part ---

    def submit(self, task_id: str, node: str = "alpha", *, context: str = CONTEXT, pod_template: str = "") -> None:
        """Admit a task and assign its first attempt to *node*."""
        job = K8sJobSpec(context=context, image="busybox", namespace=NAMESPACE, pod_template=pod_template)
        spec = TaskSpec(type="k8s_job", k8s_job=job)
        self._append(Submit(task_id=TaskId(task_id), spec=pack_spec(spec)))
        self._append(Assign(task_id=TaskId(task_id), attempt=1, node=NodeId(node)))

    def reassign(self, task_id: str, node: str) -> None:
        """Let *node* look after the attempt, as if its node had been lost for a moment."""
        holder = self.task(task_id).node
        assert holder is not None
        self._append(MemberLost(node=holder))
        self._append(Reassign(task_id=TaskId(task_id), attempt=1, from_node=holder, node=NodeId(node)))
        self._append(MemberBack(node=holder))

    def cancel(self, task_id: str) -> None:
        """Wish the task to end."""
        self.log.append(Cancel(task_id=TaskId(task_id)))

    def expire(self, task_id: str, kind: StopKind) -> None:
        """Let a timeout pass."""
        self._append(Expire(task_id=TaskId(task_id), attempt=1, kind=kind))

    def forget(self, task_id: str) -> None:
        """Let the time pass for which an ended task is kept: its id is free again."""
        self._append(Forget(task_ids=(TaskId(task_id),)))

    def _append(self, command: Command) -> None:
        verdict = self.log.append(command)
        assert not isinstance(verdict, Refused), verdict

    # --- looking ---

    def task(self, task_id: str) -> Task:
        """Return the task as the log says it is."""
        task = self.log.table.task(task_id)
        assert task is not None
        return task

    def output(self, node: str, task_id: str) -> Output | None:
        """Return what *node* has of the output of the task's attempt."""
        return self.nodes[node].output.find(task_id, self.task(task_id).sequence, 1)

    def made(self, task_id: str) -> list[str]:
        """Return the UIDs of all Jobs that the task's attempt ever had."""
        return [uid for name, uid in self.kubernetes.made if name == job_name(task_id, 1)]

    async def until(self, holds: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait until *holds*; fail when it does not *within_s*."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + within_s
        while not holds():
            assert loop.time() < limit, f"not within {within_s:.0f} s"
            await asyncio.sleep(0.01)

    async def ended(self, *task_ids: str, within_s: float = 60.0) -> Task:
        """Wait until all of them have ended, and return the last."""
        await self.until(lambda: all(self.task(each).ended for each in task_ids), within_s)
        return self.task(task_ids[-1])


def play(root: Path, scene: Callable[[Executors], Awaitable[None]]) -> None:
    """Play *scene* with executors of its own; afterwards no task may have gone back."""

    async def whole() -> None:
        executors = Executors(root)
        try:
            await scene(executors)
        finally:
            await executors.stop()
        assert executors.log.broken == []

    run(whole())


def played(scene: Callable[[Executors], Awaitable[None]]) -> Callable[[Path], None]:
    """Return the test that plays *scene*."""

    def test(tmp_path: Path) -> None:
        play(tmp_path, scene)

    test.__name__, test.__doc__ = getattr(scene, "__name__", "test"), scene.__doc__
    return test
