"""The playground itself: starts everything side by side, notices what happens, kills and revives nodes on demand.

Whoever uses it is told the news and need not ask. ``dev.json`` is kept true meanwhile, for programs. It ends with
``stop``, after which nothing of it is left but the files.
"""

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from raftsman.executor.processes import Processes, ProcessGroup
from raftsman.node.playground import processes
from raftsman.node.playground.layout import DEV_CONTEXTS, ContextPlace, Layout, NodePlace, write_files, write_private
from raftsman.node.playground.looking import Sight, is_ready, look_at, reached_by_all
from raftsman.node.playground.news import KubernetesGone, LeaderChanged, News, NodeGone, NodeReady, NodeStarted
from raftsman.node.playground.processes import DevKubernetes, StartFailed

LOOK_EVERY_S = 0.2
LOOK_WHILE_STARTING_S = 0.05
READY_S = 60.0
"""Longer than the slowest machine needs; a node that cannot start ends by itself and is noticed at once."""


@dataclass(slots=True)
class _Node:
    """One node of the playground; *pid* is None while it does not run."""

    place: NodePlace
    pid: int | None = None
    group: ProcessGroup | None = None  # None although it runs: somebody else has started it.
    starting: bool = False  # We are about to run it: who looks for it would find it before we know it.
    asked_to_die: bool = False
    reviving: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Parts:
    """What runs."""

    nodes: dict[str, _Node]
    kubernetes: DevKubernetes | None = None
    watchers: set["asyncio.Task[None]"] = field(default_factory=set)


class Playground:
    """Some nodes and the development Kubernetes; an asynchronous context manager that yields when all is ready.

    *tell* is called with what happens afterwards. *contexts* are those of real clusters beside DEV_CONTEXTS. When
    nobody *keeps_data*, nodes are killed at the end: nothing waits for them.
    """

    def __init__(
        self, layout: Layout, *, contexts: Sequence[ContextPlace], keeps_data: bool, tell: Callable[[News], None]
    ) -> None:
        self.layout = layout
        self.kubeconfig = layout.kubernetes_directory / "kubeconfig"
        self._contexts = [
            *(ContextPlace(name=each, kubeconfig=str(self.kubeconfig)) for each in DEV_CONTEXTS),
            *contexts,
        ]
        self._keeps_data = keeps_data
        self._tell = tell
        self._processes = Processes()
        self._parts = _Parts({place.name: _Node(place) for place in layout.nodes})
        self._sight = Sight(leader=None, term=0)
        self._stopping = False
        self._is_ready = False

    # --- its life ---

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self) -> None:
        processes.require_free(self.layout.nodes)
        write_files(self.layout, self._contexts)
        self._parts.kubernetes = await processes.start_kubernetes(self._processes, self.layout, DEV_CONTEXTS)
        self._watch(self._wait_for_kubernetes(self._parts.kubernetes.group))
        await asyncio.gather(*(self._start_node(node) for node in self._parts.nodes.values()))
        try:
            async with asyncio.timeout(READY_S):
                await self._wait_until_ready()
        except TimeoutError as error:
            raise StartFailed(f"not all was ready within {READY_S:.0f} s", self.layout.nodes[0].log) from error
        self._is_ready = True
        self._take_note()
        self._watch(self._keep_looking())

    async def stop(self) -> None:
        """End every process, and take back what says that they run."""
        self._stopping = True
        for watcher in self._parts.watchers:
            watcher.cancel()
        await asyncio.gather(*self._parts.watchers, return_exceptions=True)
        groups = [node.group for node in self._parts.nodes.values() if node.group is not None]
        strangers = [node.pid for node in self._parts.nodes.values() if node.pid is not None and node.group is None]
        if not self._keeps_data:
            for group in groups:
                group.signal(signal.SIGKILL)
        await asyncio.gather(processes.end_all(groups), *(processes.end_stranger(pid) for pid in strangers))
        if self._parts.kubernetes is not None:
            await processes.end_all([self._parts.kubernetes.group])
        self._processes.stop()
        self.layout.notes_file.unlink(missing_ok=True)

    # --- what may be done to it ---

    @property
    def leader(self) -> str | None:
        """The node that leads; None while none does."""
        return self._sight.leader

    @property
    def context_names(self) -> list[str]:
        """The contexts that every node reaches."""
        return [context.name for context in self._contexts]

    def pid_of(self, name: str) -> int | None:
        """Return the node's process; None while it does not run."""
        return self._parts.nodes[name].pid

    async def kill_leader(self) -> str | None:
        """End the leader as a power cut would (SIGKILL); return its name, None when nobody leads."""
        node = self._parts.nodes.get(self._sight.leader or "")
        if node is None or node.pid is None:
            return None
        node.asked_to_die = True
        node.gone.clear()
        processes.send(node.pid, signal.SIGKILL)
        await node.gone.wait()
        return node.place.name

    async def revive(self) -> list[str]:
        """Start every node again that does not run; return their names."""
        gone = [node for node in self._parts.nodes.values() if node.pid is None]
        for node in gone:
            await self._start_node(node)
            self._tell_started(node, by_us=True)
        return [node.place.name for node in gone]

    # --- processes ---

    async def _start_node(self, node: _Node) -> None:
        node.starting = True
        try:
            node.group = await processes.start_node(self._processes, self.layout, node.place)
        finally:
            node.starting = False
        node.pid = node.group.pid
        node.asked_to_die = False
        self._watch(self._wait_for_node(node, node.group))

    async def _wait_for_node(self, node: _Node, group: ProcessGroup) -> None:
        code = await group.wait()
        if node.group is group:
            self._note_gone(node, code)
        await group.close()

    def _note_gone(self, node: _Node, code: int | None) -> None:
        name, pid = node.place.name, node.pid or 0
        node.pid = node.group = None
        node.reviving = False
        node.gone.set()
        if self._sight.leader == name:
            self._sight = replace(self._sight, leader=None)
        running = sum(each.pid is not None for each in self._parts.nodes.values())
        total = len(self._parts.nodes)
        self._publish(NodeGone(name, pid, code, asked=node.asked_to_die, running=running, of=total))

    async def _wait_for_kubernetes(self, group: ProcessGroup) -> None:
        code = await group.wait()
        self._parts.kubernetes = None
        self._publish(KubernetesGone(code))
        await group.close()

    def _watch(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._parts.watchers.add(task)
        task.add_done_callback(self._parts.watchers.discard)

    # --- looking ---

    async def _wait_until_ready(self) -> None:
        while True:
            await asyncio.sleep(LOOK_WHILE_STARTING_S)
            self._sight = await self._look()
            leader = self._parts.nodes.get(self._sight.leader or "")
            whole = leader is not None and await self._is_whole(leader.place)
            self._require_all()  # Behind the questions: one may have ended while we asked.
            if whole:
                return

    def _require_all(self) -> None:
        """Raise StartFailed when a process has ended at its start."""
        for node in self._parts.nodes.values():
            if node.pid is None:
                raise StartFailed(f"{node.place.name} did not start", node.place.log)
        if self._parts.kubernetes is None:
            raise StartFailed("the development Kubernetes did not stay", self.layout.kubernetes_log)

    async def _is_whole(self, leader: NodePlace) -> bool:
        """Return whether every node serves and, as the leader knows, reaches both contexts."""
        token = self.layout.token
        serving = await asyncio.gather(*(is_ready(place, token) for place in self.layout.nodes))
        names = [place.name for place in self.layout.nodes]
        return all(serving) and await reached_by_all(leader, token, contexts=DEV_CONTEXTS, nodes=names)

    async def _look(self) -> Sight:
        nodes = [node.place for node in self._parts.nodes.values() if node.pid is not None]
        return await look_at(nodes, self.layout.token, of=len(self._parts.nodes))

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            sight = await self._look()
            if sight.leader and self._parts.nodes[sight.leader].pid is None:
                sight = replace(sight, leader=None)  # It died while we looked.
            before, self._sight = self._sight, sight  # Only now: a death may have been noted meanwhile.
            if sight.leader != before.leader:
                self._publish(LeaderChanged(sight.leader, sight.term))
            for node in self._parts.nodes.values():
                await self._look_for(node)

    async def _look_for(self, node: _Node) -> None:
        """Notice what becomes of a node that was started again, by us or by somebody else."""
        if node.reviving and await is_ready(node.place, self.layout.token):
            node.reviving = False
            self._publish(NodeReady(node.place.name))
        if node.pid is None:
            await self._find(node)
        elif node.group is None and not processes.is_alive(node.pid):
            self._note_gone(node, None)

    async def _find(self, node: _Node) -> None:
        pid = None if node.starting else await asyncio.to_thread(processes.find_node, node.place)
        if pid is not None and node.pid is None and not node.starting:
            node.pid = pid
            node.asked_to_die = False
            self._tell_started(node, by_us=False)

    # --- telling ---

    def _tell_started(self, node: _Node, *, by_us: bool) -> None:
        assert node.pid is not None
        node.reviving = True
        self._publish(NodeStarted(node.place.name, node.pid, by_us=by_us))

    def _publish(self, news: News) -> None:
        if self._is_ready and not self._stopping:
            self._take_note()
            self._tell(news)

    def _take_note(self) -> None:
        write_private(self.layout.notes_file, json.dumps(self.notes(), indent=2) + "\n")

    def notes(self) -> Mapping[str, object]:
        """Return what ``dev.json`` says: a program's view of what runs now."""
        kubernetes = self._parts.kubernetes
        return {
            "nodes": [
                {"name": name, "url": node.place.url, "pid": node.pid} for name, node in self._parts.nodes.items()
            ],
            "leader": self._sight.leader,
            "token": self.layout.token,
            "kubeconfig": str(self.kubeconfig),
            "contexts": self.context_names,
            "kubernetesPid": kubernetes.group.pid if kubernetes else None,
        }
