"""Hearing of the end of a child process in the event loop, at no cost while it runs.

asyncio's own watchers belong to its subprocesses, and in Python 3.11 they take a thread for each child.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable

_POLL_S = 0.02


def watch_exit(process: "subprocess.Popen[bytes]", done: Callable[[int], None]) -> None:
    """Call *done* with the exit code, negative for a signal's number, once the process has ended."""
    loop = asyncio.get_running_loop()
    try:
        watched = os.pidfd_open(process.pid)
    except OSError:  # Linux before 5.3, or no file descriptor is left.
        _poll(loop, process, done)
        return

    def ended() -> None:
        loop.remove_reader(watched)
        os.close(watched)
        done(process.wait())

    loop.add_reader(watched, ended)


def _poll(loop: asyncio.AbstractEventLoop, process: "subprocess.Popen[bytes]", done: Callable[[int], None]) -> None:
    code = process.poll()
    if code is None:
        loop.call_later(_POLL_S, _poll, loop, process, done)
    else:
        done(code)
