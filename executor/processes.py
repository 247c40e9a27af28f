"""Local commands as process groups that die with this process, whatever ends it.

A command starts behind a gate: it runs only after its group is known to the reaper (``reaping``) and its owner has
opened it, so not even ``kill -9`` in between leaves one behind. A process that makes a session of its own leaves its
group and is out of reach; only cgroups would hold it. What a command is for, and what becomes of its output, is the
caller's.

Not asyncio's subprocesses: in Python 3.11 their ``wait`` ends only when nobody holds the pipes any more, which a
process in the background does for as long as it likes.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from raftsman.executor.exits import watch_exit
from raftsman.executor.orphans import Census, reap_group, reap_strangers
from raftsman.executor.reaping import Reaper
from raftsman.executor.threads import NoThread, Threads

log = logging.getLogger(__name__)

_GATE = 'read -r _ || exit 1; exec "$@" </dev/null'
"""What the shell runs first: a line on its input opens; the end without one means that the starter is gone."""
_POLL_S = 0.02
_INIT = 1
"""The process id of the first process of a machine or of a container: orphans become its children."""
_REAP_EVERY_S = 5.0
_KILLED_WITHIN_S = 5.0
"""A killed process that is still there then hangs in the kernel; nothing that we could do would end it."""
_DIRECTORY_WITHIN_S = 10.0
"""A directory that does not answer is on a file system that is gone. Entering it would stop this whole process."""
_HANGING_DIRECTORIES = 16
"""So many of them may hang at a time; then no command with a directory is started until one answers."""


class Stream:
    """One output of a command, read in the event loop; the pipe holds the command back when nobody reads."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe

    async def read(self, size_bytes: int) -> bytes:
        """Return what there is, at most *size_bytes*; wait while there is nothing; empty: nobody can write any more."""
        while True:
            try:
                return os.read(self._pipe, size_bytes)
            except BlockingIOError:
                await self._readable()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._pipe, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._pipe)


class ProcessGroup:
    """One command, behind its gate or running, and whatever it has started. Made by ``Processes``."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        gate: int,
        census: Census,
        on_gone: Callable[["ProcessGroup"], None],
    ) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid = process.pid  # Also the number of the group.
        self.gone = False
        """Whether nothing is left of it. Its number may belong to others then, so no signal is sent any more."""
        self.stdout = Stream(process.stdout.fileno())
        self.stderr = Stream(process.stderr.fileno())
        self._process = process
        self._gate: int | None = gate
        self._census = census
        self._seen_dead_at_s: float | None = None
        self._on_gone = on_gone
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        watch_exit(process, self._note_exit)

    def open_gate(self) -> None:
        """Let the command run."""
        gate, self._gate = self._gate, None
        assert gate is not None, "a gate opens once"
        with contextlib.suppress(BrokenPipeError):  # Somebody has killed it already; its exit code says so.
            os.write(gate, b"\n")
        os.close(gate)

    async def wait(self) -> int:
        """Wait for the command itself; return its exit code, negative for the signal that ended it."""
        return await asyncio.shield(self._exited)

    def signal(self, number: int) -> bool:
        """Send a signal to the whole group; return whether anybody was there to get it."""
        if self.gone:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            self._note_gone()
            return False
        except PermissionError:  # What is left runs as somebody else: it is there.
            return True
        return True

    async def wait_until_gone(self, timeout_s: float) -> bool:
        """Wait until no process of the group is left; return whether that came in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self._is_left(loop.time(), began):
            if loop.time() >= began + timeout_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _is_left(self, now_s: float, began_s: float) -> bool:
        """Whether one of the group still lives: zombies get signals, too, and may stay for ever."""
        if not self._exited.done():
            return self.signal(0)
        reap_group(self.pid)  # Orphans of the group whose end is for this process to hear, as the first of a container.
        if not self.signal(0):
            return False
        census = self._census.take(now_s, began_s)
        if census is None or self.pid in census[1]:
            return True
        # Whoever was born while the census was taken may not be in it: the next one must find nobody either.
        self.signal(signal.SIGKILL)
        if self._seen_dead_at_s in (None, census[0]):
            self._seen_dead_at_s = census[0]
            return True
        self._note_gone()
        return False

    def _note_gone(self) -> None:
        if not self.gone:
            self.gone = True
            self._on_gone(self)

    async def end(self, grace_s: float) -> bool:
        """End the whole group: SIGTERM, and after *grace_s* SIGKILL. Return whether nothing is left of it."""
        self.signal(signal.SIGTERM)
        if await self.wait_until_gone(grace_s):
            return True
        self.signal(signal.SIGKILL)
        return await self.wait_until_gone(_KILLED_WITHIN_S)

    async def close(self) -> None:
        """Kill what is left of the group, and let go of its pipes. Returns when nothing is left of it, if it can."""
        gate, self._gate = self._gate, None
        if gate is not None:
            os.close(gate)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        self.signal(signal.SIGKILL)
        await self.wait_until_gone(_KILLED_WITHIN_S)

    def _note_exit(self, code: int) -> None:
        if not self._exited.done():
            self._exited.set_result(code)


class Processes:
    """Starts commands, and makes sure that none outlives this process."""

    def __init__(self) -> None:
        self._reaper = Reaper()
        self._directories = _Directories()
        self._census = Census()
        self.errors = 0

    async def start(
        self, command: Sequence[str], *, directory: Path | None, environment: Mapping[str, str]
    ) -> ProcessGroup:
        """Start *command* in a group of its own, behind its gate. The caller closes it.

        Raises OSError when *directory* cannot be entered, or the machine has no room for another process.
        """
        if directory is not None:
            await self._directories.reach(directory)
        self._reaper.start()
        group = self._spawn(command, directory, environment)
        self._reaper.add(group.pid)
        return group

    async def reap_strangers(self) -> None:
        """Wait for whatever ends as a child of this process, until cancelled, if it is the first one of its container.

        Nobody else can then, and the container has room for so many zombies only.
        """
        while os.getpid() == _INIT:
            await asyncio.sleep(_REAP_EVERY_S)
            try:
                reap_strangers(self._reaper.known())
            except Exception:  # The outermost frame of the loop.
                self.errors += 1
                log.exception("waiting for ended processes met an error and goes on")

    def stop(self) -> None:
        """End the reaper, and with it every group that is left."""
        self._reaper.stop()

    def _spawn(self, command: Sequence[str], directory: Path | None, environment: Mapping[str, str]) -> ProcessGroup:
        behind, gate = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603 — carrying out what users submit is what this is for.
                ["/bin/sh", "-c", _GATE, "sh", *command],
                cwd=directory,
                env=dict(environment),
                start_new_session=True,
                stdin=behind,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except BaseException:
            os.close(gate)
            raise
        finally:
            os.close(behind)
        return ProcessGroup(process, gate, self._census, lambda group: self._reaper.discard(group.pid))


class _Directories:
    """Finds out whether a directory answers, in a thread: one for each that hangs, however often it is asked about."""

    def __init__(self) -> None:
        self._threads = Threads("working directory", _HANGING_DIRECTORIES)
        self._looks: dict[Path, asyncio.Future[os.stat_result]] = {}

    async def reach(self, directory: Path) -> None:
        """Return when it answers. Raises OSError."""
        look = self._looks.get(directory) or self._look(directory)
        await asyncio.wait({look}, timeout=_DIRECTORY_WITHIN_S)
        if not look.done():
            raise OSError(0, "its file system does not answer", str(directory))
        look.result()

    def _look(self, directory: Path) -> "asyncio.Future[os.stat_result]":
        try:
            look = self._threads.start(partial(os.stat, directory))
        except NoThread as error:
            message = f"no thread is left that could look at its working directory: {error}"
            raise OSError(errno.EAGAIN, message, str(directory)) from error
        self._looks[directory] = look
        look.add_done_callback(lambda done: (self._looks.pop(directory), done.exception()))
        return look
