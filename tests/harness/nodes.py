"""Real raftsman nodes on loopback, for tests: started, killed, started again, and ended by their process ids."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from raftsman.client import Client

NAMES = ("alpha", "beta", "gamma")
READY_S = 20.0
STOP_S = 10.0
_PORTS = range(10_000, 32_000)
_given: set[int] = set()

T = TypeVar("T")


def eventually(look: Callable[[], T | None], *, within_s: float, what: str, every_s: float = 0.05) -> T:
    """Return the first true answer of *look*, or fail after *within_s* saying *what* was waited for."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}; last seen: {found!r}")
        time.sleep(every_s)


@dataclass(slots=True)
class NodeProcess:
    """One ``raftsman serve`` process and what it was given."""

    name: str
    url: str
    config: Path
    environment: Mapping[str, str]
    log: Path
    token: str | None = None
    within: Sequence[str] = ()
    """A command that runs the node's, in another namespace perhaps."""
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the process, over the data that an earlier one left."""
        assert self.process is None or self.process.poll() is not None, f"{self.name} runs already"
        command = [*self.within, sys.executable, "-m", "raftsman.cli.main", "serve", "--config", str(self.config)]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(self.environment)
            )

    def signal(self, number: int) -> None:
        """Send a signal such as SIGKILL, SIGSTOP or SIGCONT."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the process as a power cut would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(timeout=STOP_S)

    def stop(self) -> int:
        """Stop the process gracefully; return its exit code."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(timeout=STOP_S)

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def get(self, path: str) -> Any:
        """Return the JSON that this very node answers, None when it does not answer or says 503."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=3) as answer:
                return json.loads(answer.read())
        except (OSError, urllib.error.HTTPError, ValueError):
            return None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of any request to this node."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers={**sent, **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        _, _, page = self.request("GET", "/metrics")
        values = dict(line.split() for line in page.decode().splitlines() if line[0] != "#" and "{" not in line)
        return float(values[f"raftsman_{name}"])


@dataclass(slots=True)
class NodeGroup:
    """The nodes of one cluster."""

    nodes: dict[str, NodeProcess] = field(default_factory=dict)
    token: str | None = None

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    @property
    def addresses(self) -> list[str]:
        """The base URLs of all nodes."""
        return [node.url for node in self.nodes.values()]

    def client(self, *names: str, timeout_s: float = 30.0) -> Client:
        """Return a client of the named nodes, or of all."""
        return Client([self.nodes[name].url for name in names or self.nodes], token=self.token, timeout_s=timeout_s)

    def running(self) -> list[NodeProcess]:
        """Return the nodes whose processes are there."""
        return [node for node in self.nodes.values() if node.runs]

    def leader(self, within_s: float = READY_S) -> NodeProcess:
        """Return the node that a majority of the running ones takes for the leader."""

        def look() -> NodeProcess | None:
            views = [node.get("/v1/cluster") for node in self.running()]
            named = [view["leader"] for view in views if view and view["leader"]]
            agreed = [name for name in set(named) if named.count(name) * 2 > len(self.nodes)]
            return self.nodes[agreed[0]] if agreed and self.nodes[agreed[0]].runs else None

        return eventually(look, within_s=within_s, what="a leader that a majority agrees on")

    def follower(self) -> NodeProcess:
        """Return a running node that does not lead."""
        leader = self.leader()
        return next(node for node in self.running() if node is not leader)

    def wait_ready(self, contexts: Sequence[str] = (), within_s: float = READY_S) -> None:
        """Wait until every running node is ready and reaches *contexts*."""

        def ready() -> bool:
            return all(node.get("/readyz") for node in self.running())

        eventually(ready, within_s=within_s, what="all running nodes are ready")

        def reached() -> bool:
            view = self.running()[0].get("/v1/contexts") or {"items": []}
            reaching = {item["name"]: set(item["reachableFrom"]) for item in view["items"]}
            return all(reaching.get(name, set()) >= {node.name for node in self.running()} for name in contexts)

        eventually(reached, within_s=within_s, what=f"all nodes reach {', '.join(contexts)}")

    def state_hashes(self) -> dict[str, tuple[int, str]]:
        """Return each running node's applied index and state hash, once all are at the same index."""

        def look() -> dict[str, tuple[int, str]] | None:
            views = {node.name: node.get("/v1/cluster") for node in self.running()}
            if not all(views.values()):
                return None
            found = {name: (view["appliedIndex"], view["stateHash"]) for name, view in views.items()}
            return found if len({index for index, _ in found.values()}) == 1 else None

        return eventually(look, within_s=READY_S, what="all nodes have applied the same index")


def free_port() -> int:
    """Return a port of loopback that nobody listens on at the moment.

    It is below those that the system gives to outgoing connections, is given once, and no other worker of this run
    gives it: a node that is started again finds it free.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = _PORTS[worker::workers]
    while True:
        port = random.choice(mine)
        with socket.socket() as probe, suppress(OSError):
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port


def raft_addresses(names: Sequence[str] = NAMES) -> dict[str, str]:
    """Return an address of loopback for the log of each node."""
    return {name: f"127.0.0.1:{free_port()}" for name in names}


@contextmanager
def node_group(
    directory: Path,
    *,
    names: Sequence[str] = NAMES,
    kubeconfig: Path | None = None,
    more_toml: str = "",
    token: str | None = None,
    environment: Mapping[str, str] | None = None,
    members_of: Callable[[str], Mapping[str, str]] | None = None,
    within: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[NodeGroup]:
    """Start a cluster under *directory* and end its processes afterwards.

    *kubeconfig*: whose contexts the nodes reach; None: they have none. *more_toml* is appended to every node's
    settings. *token*: asked of every client. *members_of* gives each node its own list of members, with its own
    address in it; None: all have the same. *within*: the commands that run nodes in other namespaces.
    """
    group = NodeGroup(token=token)
    addresses = raft_addresses(names)
    auth = ""
    if token is not None:
        token_file = directory / "token"
        token_file.write_text(token)
        token_file.chmod(0o600)
        auth = f'[auth]\nadmin_token_file = "{token_file}"\n'
    empty = directory / "empty.kubeconfig"
    empty.write_text('{"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}')
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAFTSMAN_")}
    for name in names:
        http = free_port()
        told = members_of(name) if members_of else addresses
        members = ", ".join(f'"{member}={address}"' for member, address in told.items())
        config = directory / f"{name}.toml"
        config.write_text(
            f'name = "{name}"\ndata_dir = "{directory / name}"\n'
            f'[http]\nbind = "127.0.0.1:{http}"\n[raft]\nmembers = [{members}]\n{auth}{more_toml}'
        )
        group.nodes[name] = NodeProcess(
            name=name,
            url=f"http://127.0.0.1:{http}",
            config=config,
            environment={**inherited, "KUBECONFIG": str(kubeconfig or empty), **(environment or {})},
            log=directory / f"{name}.log",
            token=token,
            within=(within or {}).get(name, ()),
        )
    with ExitStack() as stack:
        for node in group.nodes.values():
            stack.callback(_end, node)
            node.start()
        yield group


CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)


def _end(node: NodeProcess) -> None:
    process = node.process
    if process is None:
        return
    if process.poll() is not None:
        assert -process.returncode not in CRASHES, f"{node.name} crashed: {node.log.read_text()[-4000:]}"
        return
    process.send_signal(signal.SIGCONT)  # A stopped process does not hear SIGTERM.
    process.terminate()
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=STOP_S)
