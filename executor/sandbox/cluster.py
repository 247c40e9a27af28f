"""One context: a store, its controllers and a kubelet, started and stopped together.

Knows no HTTP; ``server`` puts that in front, ``sandbox`` has one for each context.
"""

import asyncio
import contextlib
import logging
from pathlib import Path

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.deletion import Collector
from raftsman.executor.sandbox.events import Recorder
from raftsman.executor.sandbox.guard import Guard
from raftsman.executor.sandbox.jobcontroller import JobController
from raftsman.executor.sandbox.kinds import NAMESPACES, SERVICE_ACCOUNTS
from raftsman.executor.sandbox.kubelet import Kubelet
from raftsman.executor.sandbox.store import HISTORY, Store

logger = logging.getLogger(__name__)

FIRST_NAMESPACES = ("default", "kube-system")


class Cluster:
    """A Kubernetes of one imaginary node, without its API server."""

    def __init__(self, guard: Guard, directory: Path, *, history: int = HISTORY) -> None:
        self.store = Store(history=history)
        self.kubelet = Kubelet(self.store, guard, directory)
        self._controllers = (
            JobController(self.store, Recorder(self.store, "job-controller")),
            Collector(self.store),
            self.kubelet,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the first namespaces and start the controllers."""
        for name in FIRST_NAMESPACES:
            add_namespace(self.store, {"metadata": {"name": name}})
        self._tasks = [asyncio.create_task(each.run(), name=type(each).__name__) for each in self._controllers]

    async def stop(self) -> None:
        """Stop the controllers; Pods are killed, not asked."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []


def add_namespace(store: Store, namespace: Json) -> Json:
    """Add a namespace with what belongs to every one, its default service account, and return it."""
    metadata = namespace["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    made = store.create(
        NAMESPACES, {**namespace, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    )
    store.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": metadata["name"]}})
    return made
