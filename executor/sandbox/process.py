"""A container as a local process: a session of its own, whose output goes into a log.

Like the first process of a real container, its end is the end of all others in it. Knows nothing of Pods
(``podrun``); whatever survives everything else is ``reaper``'s.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from raftsman.executor.sandbox.guard import Guard
from raftsman.executor.sandbox.logfile import LogFile

READ_BYTES = 64 * 1024
DRAIN_S = 2.0
"""How long output may still come after everybody who could write it was killed."""

_HEAD = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)


class StartError(Exception):
    """The command cannot be executed; the message is in containerd's words."""


class Process:
    """A running container."""

    def __init__(self, popen: subprocess.Popen[bytes], container_id: str, log: LogFile, guard: Guard) -> None:
        self._popen = popen
        self._container_id = container_id
        self._log = log
        self._guard = guard
        self._exited = asyncio.Event()
        self._drained = asyncio.Event()
        self._open: dict[int, str] = {}
        self._pidfd = os.pidfd_open(popen.pid)
        self._follow()

    @property
    def session(self) -> int:
        """The id of its session, which is that of its first process."""
        return self._popen.pid

    async def wait(self) -> int:
        """Return the exit code (128 + n when signal n ended it) once nothing of the container is left."""
        await self._exited.wait()
        await self._guard.kill(self.session, self._container_id)
        self._guard.forget(self.session)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), DRAIN_S)
        self.close()
        code = self._popen.returncode
        return 128 - code if code < 0 else code

    def terminate(self) -> None:
        """Ask the whole group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of everything; the log is complete."""
        loop = asyncio.get_running_loop()
        for descriptor in list(self._open):
            self._end_stream(descriptor)
        if self._pidfd >= 0:
            loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self._log.close(time.time_ns())

    def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._notice_exit)
        for name, pipe in (("stdout", self._popen.stdout), ("stderr", self._popen.stderr)):
            assert pipe is not None, "both streams are pipes"
            descriptor = os.dup(pipe.fileno())
            pipe.close()
            os.set_blocking(descriptor, False)
            self._open[descriptor] = name
            loop.add_reader(descriptor, self._read, descriptor)

    def _notice_exit(self) -> None:
        if self._popen.poll() is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            self._exited.set()

    def _read(self, descriptor: int) -> None:
        try:
            chunk = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            self._log.feed(self._open[descriptor], chunk, time.time_ns())
        else:
            self._end_stream(descriptor)

    def _end_stream(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        del self._open[descriptor]
        if not self._open:
            self._drained.set()

    def _signal(self, number: signal.Signals) -> None:
        if self._popen.returncode is None:  # Not reaped yet, so the id is still its own.
            with contextlib.suppress(OSError):
                os.killpg(self.session, number)


def start(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    directory: Path,
    log: LogFile,
    guard: Guard,
    container_id: str,
) -> Process:
    """Start a container. Raises StartError."""
    try:
        popen = subprocess.Popen(  # noqa: S603 — executing what Pods say is what this program is for.
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env={**environment, **guard.environment(container_id)},
            start_new_session=True,
            bufsize=0,
        )
    except (OSError, ValueError) as error:
        raise StartError(_HEAD + _sentence(words[0], error)) from error
    guard.watch(popen.pid)
    return Process(popen, container_id, log, guard)


def _sentence(program: str, error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError() if "/" not in program:
            why = "executable file not found in $PATH"
        case FileNotFoundError():
            why = f"stat {program}: no such file or directory"
        case PermissionError():
            why = "permission denied"
        case OSError():
            why = (error.strerror or "cannot be executed").lower()
        case _:
            why = "invalid argument"
    return f'exec: "{program}": {why}: unknown'
