"""Local commands as process groups that die with this process, whatever ends it.

A command starts behind a gate: it runs only after its group is known to the reaper, so not even ``kill -9`` in
between leaves one behind. A process that makes a session of its own leaves its group and is out of reach; only
cgroups would hold it. What a command is for, and what becomes of its output, is the caller's.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_GATE = 'read -r _ || exit 1; exec "$@" </dev/null'
"""What the shell runs first: a line on its input opens; the end without one means that the starter is gone."""
_POLL_S = 0.02
_REAPER = Path(__file__).with_name("reaper.py")


class ProcessGroup:
    """One running command, and whatever it has started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid  # Also the number of the group.

    @property
    def stdout(self) -> asyncio.StreamReader:
        """What the command writes to its standard output."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stderr(self) -> asyncio.StreamReader:
        """What the command writes to its standard error."""
        assert self._process.stderr is not None
        return self._process.stderr

    async def wait(self) -> int:
        """Wait for the command itself; return its exit code, negative for the signal that ended it."""
        return await self._process.wait()

    def signal(self, number: int) -> bool:
        """Send a signal to the whole group; return whether anybody was there to get it."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # A member runs as somebody else: it is there.
            return True
        return True

    async def wait_until_gone(self, timeout_s: float) -> bool:
        """Wait until no process of the group is left; return whether that came in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.signal(0):
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def end(self, grace_s: float) -> None:
        """End the whole group: SIGTERM, and after *grace_s* SIGKILL. Returns when nothing is left of it."""
        self.signal(signal.SIGTERM)
        if not await self.wait_until_gone(grace_s):
            self.signal(signal.SIGKILL)
            await self.wait_until_gone(grace_s)


class Processes:
    """Starts commands, and makes sure that none outlives this process."""

    def __init__(self) -> None:
        self._reaper: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()

    async def start(
        self, command: Sequence[str], *, directory: Path | None, environment: Mapping[str, str]
    ) -> ProcessGroup:
        """Start *command* in a group of its own. Raises OSError when *directory* cannot be entered."""
        await self._start_reaper()
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _GATE, "sh", *command),
                cwd=directory,
                env=dict(environment),
                start_new_session=True,
                stdin=read_end,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            self._tell_reaper("+", process.pid)
            os.write(write_end, b"\n")
        finally:
            os.close(read_end)
            os.close(write_end)
        return ProcessGroup(process)

    def forget(self, group: ProcessGroup) -> None:
        """Take note that nothing is left of the group: its number may come to belong to another one."""
        self._tell_reaper("-", group.pid)

    async def stop(self) -> None:
        """End the reaper, and with it every group that is left."""
        reaper, self._reaper = self._reaper, None
        if reaper is not None and reaper.stdin is not None:
            reaper.stdin.close()
            await reaper.wait()

    async def _start_reaper(self) -> None:
        async with self._starting:
            if self._reaper is None or self._reaper.returncode is not None:
                self._reaper = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    "-S",
                    str(_REAPER),
                    stdin=asyncio.subprocess.PIPE,
                    start_new_session=True,
                )

    def _tell_reaper(self, sign: str, group: int) -> None:
        reaper = self._reaper
        if reaper is not None and reaper.stdin is not None:
            reaper.stdin.write(f"{sign}{group}\n".encode())
