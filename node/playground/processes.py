"""The processes of a playground: nodes and the development Kubernetes, each with a log, none outliving us.

A node is a plain ``raftsman serve --config FILE``: whoever kills one may start it again by that command line, and it
is then found by it. When this process dies, however, the reaper of ``executor.processes`` kills what it has started.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raftsman.executor.processes import Processes, ProcessGroup
from raftsman.node.playground.layout import Layout, NodePlace, addresses_in_use

STOP_S = 5.0
"""How long a process may take to end by itself; a node that leads hands its leadership over first."""
KUBERNETES_READY_S = 30.0

_WORDS_INTO_LOG = 'log=$1; shift; exec "$@" 2>>"$log"'
_ALL_INTO_LOG = 'log=$1; shift; exec "$@" >>"$log" 2>&1'
_PROC = Path("/proc")
_CHUNK_BYTES = 4096
_SAID_CHARS = 300  # Of a log's last line: enough for a sentence.


class StartFailed(Exception):
    """A process of the playground did not come up; with a *log*, the text says what it said last, and where."""

    def __init__(self, what: str, log: Path | None = None) -> None:
        super().__init__(f"{what}{_last_words(log)}; see {log}" if log else what)


@dataclass(frozen=True, slots=True)
class DevKubernetes:
    """The development Kubernetes as it runs."""

    group: ProcessGroup
    kubeconfig: Path


def node_command(node: NodePlace) -> list[str]:
    """Return the command line of a node."""
    return [sys.executable, "-P", "-m", "raftsman.cli.main", "serve", "--config", str(node.config)]


def require_free(nodes: Sequence[NodePlace]) -> None:
    """Raise StartFailed when something listens where a node is to listen: that would answer in the node's place."""
    for node in nodes:
        for address in addresses_in_use(node):
            pid = find_node(node)
            who = f"process {pid} serves {node.name} already: end it" if pid else "end what listens there"
            raise StartFailed(f"{node.name} cannot listen on {address}, which is in use; {who}, or take another folder")


async def start_node(processes: Processes, layout: Layout, node: NodePlace) -> ProcessGroup:
    """Start a node, over the data that an earlier one left."""
    words = ["/bin/sh", "-c", _ALL_INTO_LOG, "sh", str(node.log), *node_command(node)]
    return await _start(processes, layout, words)


async def start_kubernetes(processes: Processes, layout: Layout, contexts: Sequence[str]) -> DevKubernetes:
    """Start the development Kubernetes; return when its API answers. Raises StartFailed."""
    log = layout.kubernetes_log
    sandbox = [sys.executable, "-P", "-m", "raftsman.executor.sandbox", "--dir", str(layout.kubernetes_directory)]
    options = ["--contexts", ",".join(contexts), "--die-with", str(os.getpid())]
    words = ["/bin/sh", "-c", _WORDS_INTO_LOG, "sh", str(log), *sandbox, *options]
    group = await _start(processes, layout, words)
    try:
        async with asyncio.timeout(KUBERNETES_READY_S):
            said = json.loads(await _first_line(group))
        return DevKubernetes(group, Path(said["kubeconfig"]))
    except (TimeoutError, ValueError, LookupError) as error:
        await end_all([group])
        raise StartFailed("the development Kubernetes did not start", log) from error


async def end_all(groups: Sequence[ProcessGroup]) -> None:
    """End the processes side by side, by SIGTERM, and by SIGKILL when that is not heard."""
    await asyncio.gather(*(group.end(STOP_S) for group in groups))
    for group in groups:
        await group.close()


async def end_stranger(pid: int) -> None:
    """End a node that somebody else has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        send(pid, number)
        for _ in range(int(STOP_S / 0.05)):
            if not is_alive(pid):
                return
            await asyncio.sleep(0.05)


def send(pid: int, number: int) -> None:
    """Send a signal to one process, if it is there."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def is_alive(pid: int) -> bool:
    """Return whether the process runs; one that has ended and was not waited for does not."""
    try:
        status = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def find_node(node: NodePlace) -> int | None:
    """Return the process that serves with this node's settings, whoever has started it; None when there is none."""
    wanted = ["serve", "--config", str(node.config)]
    found = [
        int(entry.name)
        for entry in _PROC.iterdir()
        if entry.name.isdecimal() and _words(entry)[-len(wanted) :] == wanted and is_alive(int(entry.name))
    ]
    return max(found, default=None)  # A wrapper such as timeout(1) has the same words, and came first.


async def _start(processes: Processes, layout: Layout, words: Sequence[str]) -> ProcessGroup:
    group = await processes.start(words, directory=None, environment=_environment(layout))
    group.open_gate()
    return group


async def _first_line(group: ProcessGroup) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        chunk = await group.stdout.read(_CHUNK_BYTES)
        if not chunk:
            break
        line += chunk
    return line


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return f" ({_message(said[-1])[:_SAID_CHARS]})" if said else ""


def _message(line: str) -> str:
    """Return what a line of a log says; a node's are JSON."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, LookupError, TypeError):
        return line


def _words(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _environment(layout: Layout) -> Mapping[str, str]:
    """Return our environment without what would change the settings of a node, and with a place for temporary files.

    The Kubernetes client writes certificates into some, which a killed node leaves behind.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAFTSMAN_")}
    return ours | {"TMPDIR": str(layout.temporary_directory)}
