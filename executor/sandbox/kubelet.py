"""The node: every Pod of the store gets a run, and a stop when it is being deleted.

Keeps the Pods' folders and logs for as long as the Pods exist. One Pod's life is ``podrun``'s.
"""

import asyncio
import logging
import shutil
from pathlib import Path

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.containerrun import Node
from raftsman.executor.sandbox.events import Recorder
from raftsman.executor.sandbox.guard import Guard
from raftsman.executor.sandbox.kinds import PODS, Kind
from raftsman.executor.sandbox.logfile import LogFile
from raftsman.executor.sandbox.memory import MemoryWatch
from raftsman.executor.sandbox.podrun import PodRun
from raftsman.executor.sandbox.scheduling import NODE
from raftsman.executor.sandbox.store import Change, Store

logger = logging.getLogger(__name__)


class Kubelet:
    """Runs the Pods of one store as processes below *directory*."""

    def __init__(self, store: Store, guard: Guard, directory: Path) -> None:
        self._node = Node(
            store=store,
            scheduler=Recorder(store, "default-scheduler"),
            recorder=Recorder(store, "kubelet", NODE),
            guard=guard,
            memory=MemoryWatch(),
            directory=directory,
        )
        self._runs: dict[str, PodRun] = {}  # By the Pod's UID.
        self._tasks: dict[str, asyncio.Task[None]] = {}
        store.subscribe(self._notice)

    async def run(self) -> None:
        """Watch memory until cancelled; Pods run in tasks of their own, which then end too."""
        try:
            await self._node.memory.run()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def log_of(self, pod: Json, container: str) -> LogFile | None:
        """Return the output of a container that has been started."""
        run = self._runs.get(pod["metadata"]["uid"])
        return run.log_of(container) if run else None

    def _notice(self, kind: Kind, change: Change) -> None:
        if kind is not PODS:
            return
        uid, metadata = change.object["metadata"]["uid"], change.object["metadata"]
        if change.type == "ADDED":
            self._runs[uid] = PodRun(self._node, change.object)
            task = self._tasks[uid] = asyncio.create_task(self._runs[uid].run(), name=f"pod {metadata['name']}")
            task.add_done_callback(lambda _: self._forget(uid))
            return
        run = self._runs.get(uid)
        if run is None:
            return
        if change.type == "DELETED":
            run.stop(0.0)
            if self._tasks.get(uid) is None:
                self._drop(uid)
        elif "deletionTimestamp" in metadata and uid in self._tasks:
            run.stop(float(metadata["deletionGracePeriodSeconds"]))

    def _forget(self, uid: str) -> None:
        """The Pod has ended; its output stays until it is deleted."""
        task = self._tasks.pop(uid)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s broke", task.get_name(), exc_info=task.exception())
        run = self._runs.get(uid)
        if run is not None and not run.exists:
            self._drop(uid)

    def _drop(self, uid: str) -> None:
        run = self._runs.pop(uid, None)
        if run is not None:
            shutil.rmtree(run.directory, ignore_errors=True)
