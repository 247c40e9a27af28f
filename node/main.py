"""The composition root: builds a node from its settings, starts its parts in order, stops them in reverse.

Time, randomness and ids come into the program here and nowhere else. The order of starting: the log, then HTTP
(so that a probe is answered at once), then the contexts, whose client takes a while to import, then the loops.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version as distribution_version
from pathlib import Path

from raftsman.executor.contexts import ContextSettings, KubernetesContexts, discover
from raftsman.executor.deeds import Deeds
from raftsman.executor.kubernetes.kubeconfig import KubeconfigError
from raftsman.executor.moments import Moment
from raftsman.executor.output import KeepLimits, OutputStore
from raftsman.executor.processes import Processes
from raftsman.executor.shell import Shells
from raftsman.executor.worker import Worker
from raftsman.node.changes import ChangeFeed
from raftsman.node.descriptors import raise_limit, shares
from raftsman.node.forward import Forwarder
from raftsman.node.http.app import build_app
from raftsman.node.http.listener import CannotListen, listen
from raftsman.node.http.site import Site
from raftsman.node.leader import LeaderLoop
from raftsman.node.log_format import set_up_logging
from raftsman.node.membership import Membership, context_of, member_of
from raftsman.node.metrics import Metrics, Reading
from raftsman.node.settings import ContextEntry, Settings, SettingsError
from raftsman.node.settings.file import read_settings, token
from raftsman.raft.consensus import Consensus, ConsensusError
from raftsman.raft.figures import Timings
from raftsman.raft.records import Change, Instant, Member, MemberContext, NodeId, Task
from raftsman.raft.replica import Applied, Replica
from raftsman.scheduler.planner import plan
from raftsman.ulid import new_task_id

log = logging.getLogger(__name__)

CONFIG_EXIT = 10
FAILURE_EXIT = 1
SWITCH_S = 0.0005
"""How long a busy thread may keep the interpreter (Python: 5 ms): a commit goes from thread to thread four times."""


def serve(config: Path | None, overrides: Mapping[str, object]) -> int:
    """Run a node until it is told to stop; return the process's exit code."""
    try:
        loaded = read_settings(config, overrides=overrides)
        secret = token(loaded.settings)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 — without settings there is no logging yet.
        return CONFIG_EXIT
    sys.setswitchinterval(SWITCH_S)
    raise_limit()
    faulthandler.enable()  # A library that crashes says at least where, on standard error.
    set_up_logging(level=loaded.settings.logging.level, style=loaded.settings.logging.format)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    try:
        broken = asyncio.run(_run(loaded.settings, secret))
    except CannotListen as error:
        bind = loaded.settings.http.bind
        advice = "set http.bind to a free address of this machine, or end what listens there"
        log.critical("the node cannot run: cannot listen on http.bind %s: %s; %s", bind, error, advice)
        return FAILURE_EXIT
    except (ConsensusError, KubeconfigError, OSError) as error:
        log.critical("the node cannot run: %s", error)
        return FAILURE_EXIT if isinstance(error, OSError) else CONFIG_EXIT
    return FAILURE_EXIT if broken else 0


def now() -> Instant:
    """Return the wall clock, in milliseconds."""
    return Instant(time.time_ns() // 1_000_000)


def moment() -> Moment:
    """Return the clock that nobody can set, in milliseconds."""
    return Moment(time.monotonic_ns() // 1_000_000)


async def _run(settings: Settings, secret: str | None) -> str:
    """Run the node until it is told to stop, or must; return why it must not go on, "" when all is well."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        node = Node(settings, secret, stop=stopping.set)
        await node.start(stack)
        log.info("node %s answers at %s", settings.name, settings.http.advertise)
        await stopping.wait()
        log.info("node %s stops; its Jobs go on, its commands end", settings.name)
        if await node.replica.transfer_leadership():
            log.info("another node leads now")
    return node.replica.broken


class Node:
    """One raftsman process, put together. It calls *stop* when it must not go on."""

    def __init__(self, settings: Settings, secret: str | None, *, stop: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self._settings = settings
        self._version = distribution_version("raftsman")
        self.metrics = Metrics(version=self._version, since=now())
        self.feed = ChangeFeed()
        self.replica = Replica(
            now=now,
            new_id=lambda: uuid.uuid4().hex,
            on_applied=self._on_applied,
            on_restored=self.feed.begin_behind,
            on_committed=self.metrics.commit_seconds.observe,
        )
        self._entries = context_entries(settings)
        self.contexts = KubernetesContexts(
            [context_settings(entry) for entry in self._entries],
            on_request=lambda context, verb, code: self.metrics.context_requests.labels(context, verb, code).inc(),
        )
        keep = settings.executor.log_keep
        self.output = OutputStore(
            settings.data_dir / "output",
            KeepLimits(head_bytes=keep.head_bytes, tail_bytes=keep.tail_bytes, total_bytes=keep.total_bytes),
        )
        self._processes = Processes()
        self._shares = shares()
        self.forwarder = Forwarder(
            node=settings.name,
            url_of_leader=self._url_of_leader,
            leads=lambda: self.replica.standing().leads,
            relays=self._shares.relays,
        )
        self._membership = self._own_membership()
        self._leader = self._leader_loop()
        self._site = Site(
            settings=settings,
            replica=self.replica,
            feed=self.feed,
            forwarder=self.forwarder,
            contexts=self.contexts,
            output=self.output,
            metrics=self.metrics,
            token=secret,
            new_task_id=new_task_id,
            joined=lambda: self._membership.joined,
            leaderless_for_s=lambda: self._leader.leaderless_for_s,
            version=self._version,
        )
        self.metrics.gauges(self._reading)

    async def start(self, stack: AsyncExitStack) -> None:
        """Start everything; leaving *stack* stops it in reverse."""
        await self.replica.start(self._consensus())
        stack.push_async_callback(self.replica.stop)
        await self.forwarder.start()
        stack.push_async_callback(self.forwarder.stop)
        await self._listen(stack)
        await self.contexts.start()
        stack.push_async_callback(self.contexts.stop)
        shells = self._shells()
        stack.callback(self._processes.stop)
        stack.push_async_callback(shells.stop)
        wakeup = stack.enter_context(self.feed.wakeup())
        for name, work in (
            ("leader", self._leader.run()),
            ("worker", self._worker(wakeup, shells).run()),
            ("membership", self._membership.run()),
            ("strangers", self._processes.reap_strangers()),
            ("sweep", self.output.keep_sweeping()),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(work, name=name))

    async def _listen(self, stack: AsyncExitStack) -> None:
        bind = self._settings.http.bind
        connections = self._shares.connections
        await listen(build_app(self._site), bind.host, bind.port, stack=stack, connections=connections)

    # --- parts ---

    def _consensus(self) -> Consensus:
        raft = self._settings.raft
        return Consensus(
            name=self._settings.name,
            members=dict(raft.members),
            cluster=self._settings.cluster,
            journal=self._settings.data_dir / "raft" / "journal",
            election_timeout_s=raft.election_timeout_s,
            compact_entries=raft.compact_entries,
            apply=self.replica.apply,
            rows=self.replica,
            monotonic=time.monotonic,
            ended=_end_at_once,
            timings=Timings(
                synced=self.metrics.sync_seconds.observe, snapshot_written=self.metrics.snapshot_seconds.observe
            ),
        )

    def _leader_loop(self) -> LeaderLoop:
        return LeaderLoop(
            node=self._settings.name,
            replica=self.replica,
            feed=self.feed,
            settings=self._settings.scheduler,
            now=now,
            monotonic=time.monotonic,
            new_uuid=lambda: str(uuid.uuid4()),
            on_leader_change=self.metrics.leader_changes.inc,
            on_decided=self.metrics.plan_seconds.observe,
        )

    def _worker(self, wakeup: asyncio.Event, shells: Shells) -> Worker:
        entries = {entry.name: entry for entry in self._entries}
        deeds = Deeds(
            cluster=lambda: self.replica.read(lambda table: table.cluster_uuid),
            pod_security=lambda context: entries[context].pod_security,
            propose=self.replica.propose,
            still_due=self._still_due,
            moment=moment,
            on_created=lambda context: self.metrics.started.labels(context).inc(),
            on_adopted=lambda context: self.metrics.adopted.labels(context).inc(),
        )
        return Worker(
            node=NodeId(self._settings.name),
            replica=self.replica,
            contexts=self.contexts,
            output=self.output,
            deeds=deeds,
            job_ttl_s=self._settings.executor.job_ttl_s,
            wakeup=wakeup,
            now=now,
            moment=moment,
            shells=shells,
            on_second_job=self.metrics.duplicates.inc,
        )

    def _shells(self) -> Shells:
        return Shells(
            processes=self._processes,
            output=self.output,
            propose=self.replica.propose,
            row=lambda task_id: self.replica.read(lambda table: table.task(task_id)),
            joined=lambda: self._membership.joined,
            slots=self._settings.executor.slots,
            now=now,
            environment=os.environ,
        )

    def _own_membership(self) -> Membership:
        contexts: dict[str, MemberContext] = {
            entry.name: context_of(
                entry.name,
                namespace=entry.namespace,
                pod_security=entry.pod_security,
                max_jobs=entry.max_jobs,
                allow_host=entry.allow_host,
                labels=entry.labels,
            )
            for entry in self._entries
        }
        member: Member = member_of(
            node=self._settings.name,
            url=self._settings.http.advertise,
            version=self._version,
            slots=self._settings.executor.slots if self._settings.executor.allow_shell else 0,
            contexts=contexts,
        )
        return Membership(
            member=member,
            replica=self.replica,
            health=self.contexts.health,
            fingerprint=self.contexts.server_fingerprint,
            monotonic=time.monotonic,
        )

    # --- small things that connect them ---

    async def _still_due(self, task: Task) -> bool:
        if not isinstance(await self.replica.barrier(), Applied):
            return False  # Whoever cannot ask the cluster may have been replaced without noticing.
        current = self.replica.read(lambda table: table.live.get(task.task_id))
        if current is None or current.stop is not None or current.attempt is None or task.attempt is None:
            return False
        due = (task.sequence, task.attempt.number, self._settings.name)
        return (current.sequence, current.attempt.number, current.attempt.node) == due

    def _url_of_leader(self) -> str | None:
        leader = self.replica.standing().leader
        if leader is None or leader == self._settings.name:
            return None
        member = self.replica.read(lambda table: table.member(leader))
        return member.url if member is not None else None

    def _on_applied(self, index: int, changes: tuple[Change, ...]) -> None:
        if self.replica.broken:
            self._loop.call_soon_threadsafe(self._stop)
        tasks = self.replica.read(lambda table: [table.task(change.task_id) for change in changes])
        for change, task in zip(changes, tasks, strict=True):
            if task is not None:
                self.metrics.note(change, task)
        self.feed.publish(index, changes)

    def _reading(self) -> Reading:
        standing = self.replica.standing()
        table = self.replica.copy()
        waiting = plan(table, now()).waiting.values() if standing.leads else ()
        return Reading(
            leads=standing.leads,
            term=standing.term,
            applied_index=table.index,
            log=self.replica.figures(),
            apply_errors=self.replica.apply_errors,
            tasks=Counter(task.state for task in table.tasks()),
            unplaceable=Counter(each.code for each in waiting),
            context_up={name: self.contexts.health(name).reachable for name in self.contexts.names()},
            watchers=self.metrics.watchers,
        )


def context_entries(settings: Settings) -> tuple[ContextEntry, ...]:
    """Return the contexts of this node: those in its settings, or else all that the official client would find."""
    if settings.contexts:
        return settings.contexts
    return tuple(
        ContextEntry(
            name=found.name,
            kubeconfig=None,
            context=found.context or found.name,
            namespace="default",
            labels=(),
            max_jobs=1000,
            pod_security="baseline",
            allow_host=False,
            qps=20,
            burst=40,
        )
        for found in discover(os.environ, Path.home())
    )


def context_settings(entry: ContextEntry) -> ContextSettings:
    """Return how the executor is to reach a context."""
    return ContextSettings(
        name=entry.name,
        kubeconfig=str(entry.kubeconfig) if entry.kubeconfig else None,
        context=entry.context,
        qps=entry.qps,
        burst=entry.burst,
    )


def _end_at_once(_why: str) -> None:
    """End the process without another promise: the log cannot keep one any more."""
    logging.shutdown()
    os._exit(FAILURE_EXIT)


async def _cancel(work: "asyncio.Task[None]") -> None:
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
