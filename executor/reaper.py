"""A process that outlives its parent for a moment, to kill the process groups that the parent has left.

Run as ``python -I -S reaper.py`` with a pipe as its standard input: ``+PGID`` and ``-PGID`` lines say which groups
are alive; the end of the input means that the parent is gone, however it went. It imports nothing of raftsman, so
that it starts in milliseconds. Who writes those lines is ``processes``.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read until the parent is gone, then kill what it has left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Only the parent's end ends it.
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
