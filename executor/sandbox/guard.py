"""The sandbox's end of the pipe to its ``reaper``, which outlives it by the moment it takes to clean up."""

import asyncio
import contextlib
import logging
import secrets
import subprocess
import sys
from pathlib import Path

from raftsman.executor.sandbox import reaper

logger = logging.getLogger(__name__)

END_S = 5.0


class Guard:
    """A running reaper, and the mark that its processes carry in their environment."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the reaper; nothing must be started before that."""
        command = [sys.executable, "-I", "-S", str(Path(reaper.__file__)), self.mark]
        self._process = subprocess.Popen(  # noqa: S603 — our own file, by the running interpreter.
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            bufsize=0,
        )

    def environment(self, container: str) -> dict[str, str]:
        """Return what the processes of a container carry, so that they are found wherever they go."""
        return {reaper.MARK_NAME: self._mark_of(container)}

    def watch(self, session: int) -> None:
        """Let the reaper kill this session if the sandbox ends."""
        self._send(f"+{session}\n")

    def forget(self, session: int) -> None:
        """The session is over."""
        self._send(f"-{session}\n")

    async def kill(self, session: int, container: str) -> bool:
        """Kill all that is left of a container, and return whether there was anything."""
        return await asyncio.to_thread(reaper.kill, {session}, self._mark_of(container))

    async def stop(self) -> None:
        """Let the reaper kill everything and end."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            await asyncio.to_thread(process.wait, END_S)
        except subprocess.TimeoutExpired:
            logger.warning("the reaper of this sandbox has not ended; its process is %d", process.pid)

    def _mark_of(self, container: str) -> str:
        return f"{self.mark}.{container}"

    def _send(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # A reaper that somebody killed must not take the sandbox along.
                self._process.stdin.write(line.encode())
