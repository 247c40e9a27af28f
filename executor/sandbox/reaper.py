"""Ends what Pods leave behind, also when the development Kubernetes itself was killed.

As a program (``python -I reaper.py MARK``) it is a process of its own session that holds one end of a pipe. On it the
sandbox names the sessions of its containers (``+SESSION``, ``-SESSION``). When the pipe ends, however the sandbox
ended, every process of those sessions, and every process whose environment carries MARK, is killed. So a process
would have to leave its session *and* drop its environment to escape. It uses the standard library only, for it has to
start in milliseconds. ``container`` uses its functions when a container ends.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Set
from pathlib import Path

MARK_NAME = "RAFTSMAN_SANDBOX"
PROC = Path("/proc")
ROUNDS = 50
"""A process can fork while it is being looked for; each round takes a few milliseconds."""

PAUSE_S = 0.01
_SESSION_FIELD = 3  # Of /proc/PID/stat, counted behind the command: state, parent, group, session.


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yield id and status fields (behind the command's name) of every process, its state first."""
    for entry in os.scandir(PROC):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                # The command stands in parentheses and may hold some itself.
                text = (PROC / entry.name / "stat").read_text(encoding="utf-8", errors="replace")
                yield int(entry.name), text.rpartition(")")[2].split()


def find(sessions: Set[int], mark: str) -> list[int]:
    """Return the living processes of these sessions and those whose environment has the mark."""
    found = []
    needle = f"{MARK_NAME}={mark}".encode()
    for pid, fields in processes():
        if fields[0] in "ZX" or pid == os.getpid():
            continue
        if int(fields[_SESSION_FIELD]) in sessions or _carries(pid, needle):
            found.append(pid)
    return found


def kill(sessions: Set[int], mark: str) -> bool:
    """Kill those processes and those they start meanwhile; return whether there were any."""
    for at in range(ROUNDS):
        found = find(sessions, mark)
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return at > 0
        time.sleep(PAUSE_S)
    return True


def main(mark: str) -> int:
    """Read sessions until the pipe ends, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # It ends when the sandbox does, not before.
    sessions: set[int] = set()
    for line in sys.stdin:
        if line.startswith("+"):
            sessions.add(int(line[1:]))
        else:
            sessions.discard(int(line[1:]))
    kill(sessions, mark)
    return 0


def _carries(pid: int, needle: bytes) -> bool:
    try:
        environment = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return any(entry.startswith(needle) for entry in environment.split(b"\0"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
