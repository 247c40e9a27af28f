"""One container from its image to its end.

Says what happens to it by Events and by its state; the Pod around it (``podrun``) makes a status of that. How a
process runs is ``process``'s.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raftsman.executor.sandbox import quantities
from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.environment import MissingReference, variables, words
from raftsman.executor.sandbox.events import NORMAL, WARNING, Recorder
from raftsman.executor.sandbox.guard import Guard
from raftsman.executor.sandbox.images import PullFault, pull_fault
from raftsman.executor.sandbox.kinds import PODS
from raftsman.executor.sandbox.logfile import LogFile
from raftsman.executor.sandbox.memory import MemoryWatch
from raftsman.executor.sandbox.podstatus import UNKNOWN_END, ContainerState, running, terminated, waiting
from raftsman.executor.sandbox.process import Process, StartError, start
from raftsman.executor.sandbox.store import Store, key_of

PULL_SHOWN_S = 1.0
"""How long a failed pull is shown before the pause after it is, so that both can be seen."""

FIRST_BACKOFF_S = 10.0
MOST_BACKOFF_S = 300.0
START_ERROR = 128
KILLED = 137
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")
"""Of the sandbox's own environment: what ordinary programs need to be found and to run, nothing that may be secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What all Pods share."""

    store: Store
    scheduler: Recorder
    recorder: Recorder
    guard: Guard
    memory: MemoryWatch
    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the containers of one Pod share."""

    node: Node
    pod: Json
    directory: Path
    stopping: asyncio.Event
    publish: Callable[[], None]  # Makes the Pod's status tell the states of its containers.


class ContainerRun:
    """Runs one container; ``state`` says how far it is."""

    def __init__(self, around: Surroundings, container: Json, field_path: str, *, wait_reason: str) -> None:
        """*field_path* is where the Pod's spec has the container, *wait_reason* why it does not run yet."""
        self.state = ContainerState(
            name=container["name"],
            image=container["image"],
            state=waiting(wait_reason),
            resources=container["resources"],
        )
        self.log: LogFile | None = None
        self._around = around
        self._container = container
        self._field_path = field_path
        self._process: Process | None = None
        self._kill_timer: asyncio.TimerHandle | None = None
        self._exceeded = False

    async def run(self) -> None:
        """Run it to its end, or give up when the Pod is stopped before it has begun."""
        if not await self._obtain_image():
            return
        environment = await self._configure()
        if environment is None or self._around.stopping.is_set():
            return
        self._start(environment)
        self._around.publish()
        if self._process is not None:
            await self._await_end(self._process)
            self._around.publish()

    def stop(self, grace_s: float, *, again: bool) -> None:
        """Ask the process to end, unless that is done *again*, and end it after *grace_s*."""
        if self._process is None:
            return
        if not again:
            self._record(NORMAL, "Killing", f"Stopping container {self.state.name}")
            self._process.terminate()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._kill_timer = asyncio.get_running_loop().call_later(grace_s, self._process.kill)

    def give_up(self) -> None:
        """The Pod ends without it: say that nobody knows what became of it, if it has not ended."""
        if self.state.exit_code is None:
            lost = terminated(KILLED, "ContainerStatusUnknown", started_at=None, finished_at=None, message=UNKNOWN_END)
            self.state.state = lost

    def close(self) -> None:
        """Kill what still runs and let go of it."""
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if self._process is not None:
            self._process.kill()
            self._process.close()

    # --- the image ----------------------------------------------------------------------------------

    async def _obtain_image(self) -> bool:
        """Return True with the image, False when the Pod was stopped before."""
        fault = pull_fault(self.state.image, self._container["imagePullPolicy"])
        if fault is None:
            self._record_pull()
            return not self._around.stopping.is_set()
        pause_s = FIRST_BACKOFF_S
        while not self._around.stopping.is_set():
            await self._show_fault(fault, pause_s)
            pause_s = min(pause_s * 2, MOST_BACKOFF_S)
        return False

    def _record_pull(self) -> None:
        image = self.state.image
        if self._container["imagePullPolicy"] != "Always":
            self._record(NORMAL, "Pulled", f'Container image "{image}" already present on machine')
            return
        self._record(NORMAL, "Pulling", f'Pulling image "{image}"')
        size = "Image size: 0 bytes."
        self._record(NORMAL, "Pulled", f'Successfully pulled image "{image}" in 0s (0s including waiting). {size}')

    async def _show_fault(self, fault: PullFault, pause_s: float) -> None:
        """Say that the image is not to be had, and wait until that is tried again."""
        image = self.state.image
        if fault.may_pass:
            self._record(NORMAL, "Pulling", f'Pulling image "{image}"')
            self._record(WARNING, "Failed", f'Failed to pull image "{image}": {fault.message}')
        else:
            said = "InspectFailed" if fault.reason == "InvalidImageName" else fault.reason
            self._record(WARNING, said, fault.message)
        self._record(WARNING, "Failed", f"Error: {fault.reason}")
        self._wait_for(fault.reason, fault.message)
        await self._pause(PULL_SHOWN_S)
        if fault.may_pass and not self._around.stopping.is_set():
            self._record(NORMAL, "BackOff", f'Back-off pulling image "{image}"')
            self._record(WARNING, "Failed", "Error: ImagePullBackOff")
            self._wait_for("ImagePullBackOff", f'Back-off pulling image "{image}": {fault.reason}: {fault.message}')
        await self._pause(pause_s - PULL_SHOWN_S)

    # --- the process --------------------------------------------------------------------------------

    async def _configure(self) -> dict[str, str] | None:
        """Return the container's environment, or None when the Pod was stopped before there was one."""
        pod = self._around.node.store.find(PODS, *key_of(self._around.pod)) or self._around.pod
        try:
            asked = variables(pod, self._container)
        except MissingReference as error:
            self._record(WARNING, "Failed", f"Error: {error}")
            self._wait_for("CreateContainerConfigError", str(error))
            await self._around.stopping.wait()  # Nothing can come into being here that would change it.
            return None
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        own = {
            "HOME": str(self._working_directory()),
            "TMPDIR": str(self._around.directory),
            "HOSTNAME": pod["metadata"]["name"],
        }
        return {**passed_on, **own, **asked}

    def _start(self, environment: Mapping[str, str]) -> None:
        """Start the process; if that is impossible the container has ended."""
        container_id = secrets.token_hex(32)
        self.state.container_id = f"containerd://{container_id}"
        log = self.log = LogFile(self._around.directory / f"{self.state.name}.log")
        self._record(NORMAL, "Created", f"Created container: {self.state.name}")
        directory = self._working_directory()
        now = self._around.node.store.now()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._process = start(
                words(self._container, environment),
                environment,
                directory=directory,
                log=log,
                guard=self._around.node.guard,
                container_id=container_id,
            )
        except (StartError, OSError) as error:
            log.close(time.time_ns())
            self._record(WARNING, "Failed", f"Error: {error}")
            self._end(terminated(START_ERROR, "StartError", started_at=0, finished_at=now, message=str(error)))
            return
        self._record(NORMAL, "Started", f"Started container {self.state.name}")
        self.state.state = running(now)

    async def _await_end(self, process: Process) -> None:
        node, started_at = self._around.node, self._around.node.store.now()
        limit = (self._container["resources"].get("limits") or {}).get("memory")
        if limit is not None:
            node.memory.watch(process.session, int(quantities.parse(limit)), self._exceed)
        try:
            code = await process.wait()
        finally:
            node.memory.forget(process.session)
        self._process = None
        reason = "OOMKilled" if self._exceeded else "Completed" if code == 0 else "Error"
        message = self._message() if code else ""
        ended = terminated(code, reason, started_at=started_at, finished_at=node.store.now(), message=message)
        self._end(ended)

    def _exceed(self) -> None:
        self._exceeded = True
        if self._process is not None:
            self._process.kill()

    def _message(self) -> str:
        """Return the end of the output, if the container explains its failures by it."""
        explains = self._container["terminationMessagePolicy"] == "FallbackToLogsOnError"
        return self.log.message() if explains and self.log is not None else ""

    # --- small steps --------------------------------------------------------------------------------

    def _working_directory(self) -> Path:
        """Return where the process starts: below the Pod's own folder, whatever it asked for."""
        asked: str = self._container.get("workingDir") or ""
        return self._around.directory / "root" / os.path.normpath(f"/{asked}").lstrip("/")

    def _end(self, ended: Json) -> None:
        ended["terminated"]["containerID"] = self.state.container_id
        self.state.state = ended

    def _wait_for(self, reason: str, message: str) -> None:
        self.state.state = waiting(reason, message)
        self._around.publish()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._around.stopping.wait(), seconds)

    def _record(self, type_: str, reason: str, message: str) -> None:
        recorder, pod = self._around.node.recorder, self._around.pod
        recorder.record(PODS, pod, type_, reason, message, field_path=self._field_path)
