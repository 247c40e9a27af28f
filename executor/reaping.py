"""This process's end of the pipe to its ``reaper``, which outlives it by the moment it takes to clean up."""

import contextlib
import logging
import subprocess
import sys
from pathlib import Path

from raftsman.executor.exits import watch_exit

log = logging.getLogger(__name__)

_REAPER = Path(__file__).with_name("reaper.py")
_ENDS_WITHIN_S = 5.0


class Reaper:
    """Knows the living groups, and keeps a reaper that knows them too. Belongs to the event loop."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The reaper's process id, None while there is none."""
        return self._process.pid if self._process is not None else None

    def known(self) -> set[int]:
        """Return the process ids that this process waits for: the first of each group, and the reaper."""
        return self._groups | ({self._process.pid} if self._process is not None else set())

    def start(self) -> None:
        """Start the reaper unless it is there. Raises OSError when that is not possible."""
        if self._process is not None:
            return
        process = subprocess.Popen(  # noqa: S603 — our own file, by the running interpreter.
            [sys.executable, "-I", "-S", str(_REAPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # What a terminal sends to this process's group is not for it.
            cwd="/",
            bufsize=0,
        )
        self._process = process
        watch_exit(process, lambda _code: self._died(process))
        for group in self._groups:
            self._tell("+", group)

    def add(self, group: int) -> None:
        """Let the reaper kill this group if this process ends."""
        self._groups.add(group)
        self._tell("+", group)

    def discard(self, group: int) -> None:
        """Nothing is left of the group: its number may come to belong to another one."""
        self._groups.discard(group)
        self._tell("-", group)

    def stop(self) -> None:
        """End the reaper, and with it every group that is left."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ENDS_WITHIN_S)

    def _died(self, process: "subprocess.Popen[bytes]") -> None:
        """Replace a reaper that somebody has killed: the next one is told of every group."""
        assert process.stdin is not None
        process.stdin.close()
        if process is not self._process:
            return
        self._process = None
        log.warning("the reaper of the commands was killed; another one takes its place")
        try:
            self.start()
        except OSError as error:
            log.warning("the reaper cannot be started: %s; the next command tries again", error)

    def _tell(self, sign: str, group: int) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # It was killed; its successor is told everything.
            self._process.stdin.write(f"{sign}{group}\n".encode())
