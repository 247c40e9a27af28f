"""The development Kubernetes as a process of its own: options, signals, one line when it is ready.

It outlives the nodes that use it; ``--die-with`` ties it to the process that should not leave it behind. What it is:
the package's own docstring.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from raftsman.executor.sandbox.sandbox import Sandbox

_DESCRIPTION = (
    "A Kubernetes for development: its API on 127.0.0.1, its Pods as local processes. It executes commands as you, "
    "without containers. See docs/development-kubernetes.md."
)


def main(argv: Sequence[str]) -> int:
    """Run until a signal, or the end of the process named by ``--die-with``; return the exit code."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    if os.geteuid() == 0:
        logging.getLogger(__name__).info("the commands of Pods run as root")
    contexts = [name for name in options.contexts.split(",") if name]
    if not contexts or len(set(contexts)) < len(contexts):
        sys.stderr.write(f"--contexts {options.contexts!r} does not name different contexts\n")
        return 2
    try:
        asyncio.run(_serve(options.dir.absolute(), contexts, port=options.port, die_with=options.die_with))
    except OSError as error:
        sys.stderr.write(f"the development Kubernetes cannot start: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m raftsman.executor.sandbox", description=_DESCRIPTION)
    parser.add_argument("--dir", type=Path, required=True, help="where the kubeconfig and the Pods' folders go")
    parser.add_argument("--contexts", default="dev-a,dev-b", help="names, separated by commas (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=0, help="of the first context, the others follow (default: free ones)"
    )
    parser.add_argument("--die-with", type=int, default=0, metavar="PID", help="end when this process does")
    parser.add_argument("--log-level", default="warning", choices=("debug", "info", "warning", "error"))
    return parser


async def _serve(directory: Path, contexts: Sequence[str], *, port: int, die_with: int) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    if die_with:
        _end_with(die_with, ending)
    async with Sandbox(directory, contexts, port=port) as sandbox:
        ready = {"kubeconfig": str(sandbox.kubeconfig), "pid": os.getpid(), "servers": sandbox.servers}
        with contextlib.suppress(OSError):  # Nobody has to listen.
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
        await ending.wait()


def _end_with(pid: int, ending: asyncio.Event) -> None:
    """Set *ending* when the process ends, also one that is not our parent and one that nobody reaps."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        ending.set()
        return

    def notice() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        ending.set()

    loop.add_reader(descriptor, notice)
