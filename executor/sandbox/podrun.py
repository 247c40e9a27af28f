"""One Pod from its place on the node to its end: containers in order, a status, stopping.

The part of a kubelet that looks after a single Pod. One container's life is ``containerrun``'s, what the status says
``podstatus``'s; which Pods there are ``kubelet``'s.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.containerrun import ContainerRun, Node, Surroundings
from raftsman.executor.sandbox.events import NORMAL, WARNING
from raftsman.executor.sandbox.kinds import PODS
from raftsman.executor.sandbox.logfile import LogFile
from raftsman.executor.sandbox.podstatus import pod_status, scheduled
from raftsman.executor.sandbox.scheduling import NODE, unschedulable
from raftsman.executor.sandbox.store import key_of


class PodRun:
    """Runs one Pod."""

    def __init__(self, node: Node, pod: Json) -> None:
        self.directory: Path = node.directory / pod["metadata"]["uid"]
        self._node = node
        self._pod = pod
        self._key = key_of(pod)
        self._stopping = asyncio.Event()
        around = Surroundings(
            node=node, pod=pod, directory=self.directory, stopping=self._stopping, publish=self._publish
        )
        reason = "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"
        self._inits, self._mains = (
            [
                ContainerRun(around, each, f"spec.{field}{{{each['name']}}}", wait_reason=reason)
                for each in pod["spec"].get(field) or []
            ]
            for field in ("initContainers", "containers")
        )

    @property
    def exists(self) -> bool:
        """Whether the store still has the Pod."""
        found = self._node.store.find(PODS, *self._key)
        return found is not None and found["metadata"]["uid"] == self._pod["metadata"]["uid"]

    def log_of(self, container: str) -> LogFile | None:
        """Return the output of a container, if it has been started."""
        return next((each.log for each in self._containers if each.state.name == container), None)

    async def run(self) -> None:
        """Run the Pod to its end, and remove it then when it is being deleted."""
        try:
            if self._schedule():
                await self._run_containers()
                self._end()
            else:
                await self._stopping.wait()
        finally:
            for each in self._containers:
                each.close()

    def stop(self, grace_s: float) -> None:
        """Ask all containers to end, and end them after *grace_s*; a later call can only shorten that."""
        again = self._stopping.is_set()
        self._stopping.set()
        for each in self._containers:
            each.stop(grace_s, again=again)

    @property
    def _containers(self) -> list[ContainerRun]:
        return [*self._inits, *self._mains]

    def _schedule(self) -> bool:
        """Give the Pod its place, or say why it has none."""
        store, recorder = self._node.store, self._node.scheduler
        why = unschedulable(self._pod["spec"])
        if why is not None:
            self._update(lambda pod: pod.update(status=scheduled(pod["status"], now=store.now(), why=why)))
            recorder.record_scheduling(PODS, self._pod, WARNING, "FailedScheduling", why[1])
            return False
        self._update(lambda pod: pod["spec"].update(nodeName=NODE))
        self._update(lambda pod: pod.update(status=scheduled(pod["status"], now=store.now())))
        message = f"Successfully assigned {'/'.join(self._key)} to {NODE}"
        recorder.record_scheduling(PODS, self._pod, NORMAL, "Scheduled", message)
        return True

    async def _run_containers(self) -> None:
        """Run those that initialise one by one, then the others side by side."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._publish()
        for each in self._inits:
            await each.run()
            if each.state.exit_code != 0:
                return
        async with asyncio.TaskGroup() as group:
            for each in self._mains:
                group.create_task(each.run())

    def _end(self) -> None:
        """Say how the Pod ended; take it away when its deletion is what ended it."""
        deleted = self._stopping.is_set()
        for each in self._containers if deleted else []:
            each.give_up()
        self._publish()
        if deleted:
            self._update(_without_grace)

    def _publish(self) -> None:
        inits, mains = ([each.state for each in group] for group in (self._inits, self._mains))
        now = self._node.store.now()

        def change(pod: Json) -> None:
            generation = pod["metadata"]["generation"]
            pod["status"] = pod_status(pod["status"], inits, mains, generation=generation, now=now)

        self._update(change)

    def _update(self, change: Callable[[Json], None]) -> None:
        """Change the Pod if it is still there: it may have been deleted without grace."""
        if self.exists:
            self._node.store.update(PODS, self._key, change)


def _without_grace(pod: Json) -> None:
    pod["metadata"]["deletionGracePeriodSeconds"] = 0
