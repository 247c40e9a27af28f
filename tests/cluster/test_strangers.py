"""Strangers at the log's port of a real cluster: nobody gets in, nothing grows, and work goes on."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from raftsman.errors import RaftsmanError
from raftsman.raft import complaints
from raftsman.raft import messages as m
from raftsman.raft.complaints import PER_WINDOW, WINDOW_S
from tests.cluster.asking import get, spec
from tests.harness.nodes import NodeGroup, NodeProcess, eventually

pytestmark = pytest.mark.cluster

CROWD, FEW = 15, 8
"""Connections at once to each node by each kind of stranger: with all kinds together, and with one kind alone."""
SUBMISSIONS_BETWEEN = 5
GROWTH_KIB = 4 << 10
"""What a node's memory may grow by, for hundreds of strangers and what else a node does meanwhile (seen: 850)."""


@dataclass(frozen=True)
class Port:
    """Where a node's log listens, and what is known of the node."""

    node: NodeProcess
    number: int

    def hello(self, name: str, cluster: str = "raftsman", *, protocol: int = m.PROTOCOL, to: str = "") -> bytes:
        """Return the hello of a node called *name*."""
        return m.encode(
            m.Hello(
                protocol=protocol,
                cluster=cluster,
                cluster_id="",
                node=name,
                to=to or self.node.name,
                incarnation="f" * 16,
            )
        )


def ports(group: NodeGroup) -> list[Port]:
    members = re.findall(r'"(\w+)=127\.0\.0\.1:(\d+)"', next(iter(group.nodes.values())).config.read_text())
    return [Port(group[name], int(number)) for name, number in members]


def memory_kib(node: NodeProcess) -> int:
    """Return the resident memory of the node's process."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


Kind = Callable[[Port], list[bytes]]
"""What a stranger says, piece by piece."""


# --- kinds of strangers -----------------------------------


def junk(_port: Port) -> list[bytes]:
    return [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100]


def giant_length(_port: Port) -> list[bytes]:
    return [(0x7FFFFFFF).to_bytes(4), bytes(1 << 20)]


def wrong_cluster(port: Port) -> list[bytes]:
    return [port.hello("alpha", "production")]


def wrong_name(port: Port) -> list[bytes]:
    return [port.hello("omega")]


def own_name(port: Port) -> list[bytes]:
    return [port.hello(port.node.name)]


def wrong_version(port: Port) -> list[bytes]:
    return [port.hello("alpha", protocol=77)]


def another_nodes_hello(port: Port) -> list[bytes]:
    return [port.hello("alpha", to="somebody")]


def byte_by_byte(port: Port) -> list[bytes]:
    return [bytes([byte]) for byte in port.hello("alpha")[:50]]


def nothing(_port: Port) -> list[bytes]:
    return []


def impostor_with_a_giant_frame(port: Port) -> list[bytes]:
    return [port.hello("alpha"), (16 << 20).to_bytes(4), bytes(1 << 20)]


def impostor_with_half_a_frame(port: Port) -> list[bytes]:
    return [port.hello("alpha"), m.FRAME_BYTES.to_bytes(4), bytes(m.FRAME_BYTES // 2)]


def silent_impostor(port: Port) -> list[bytes]:
    return [port.hello("alpha" if port.node.name != "alpha" else "beta")]


KINDS = [
    junk,
    giant_length,
    wrong_cluster,
    wrong_name,
    own_name,
    wrong_version,
    another_nodes_hello,
    byte_by_byte,
    nothing,
    impostor_with_a_giant_frame,
    impostor_with_half_a_frame,
    silent_impostor,
]


REASONS = [
    "bytes, where 256 are the most",
    "others came after it, and it has not said hello",
    "no link: ",
]
"""What every node's log must tell of them."""


def say(talks: list[tuple[socket.socket, list[bytes]]]) -> None:
    """Send the first piece of everybody, then the second, as long as somebody listens."""
    for turn in range(max(len(parts) for _, parts in talks)):
        for talk, parts in talks:
            with suppress(OSError, IndexError):
                talk.send(parts[turn])
        time.sleep(0.03)


@contextmanager
def strangers(at: list[Port], kinds: Sequence[Kind], count: int) -> Iterator[None]:
    """Connect *count* times to each of *at* as each kind, say what there is to say, and stay as long as one is let."""
    with ExitStack() as stack:
        talks: list[tuple[socket.socket, list[bytes]]] = []
        for port, says in product(at * count, kinds):
            talk = stack.enter_context(socket.create_connection(("127.0.0.1", port.number), timeout=5))
            talk.setblocking(False)
            talks.append((talk, says(port)))
        say(talks)
        yield


@dataclass(slots=True)
class Submitter:
    """A client that submits all the time, and notes what it is answered."""

    group: NodeGroup
    name: str
    acknowledged: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        client = self.group.client(timeout_s=10)
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                self.acknowledged.append(client.submit(spec(f"{self.name}-{number}"))["taskId"])
            except RaftsmanError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            time.sleep(0.02)

    @contextmanager
    def running(self) -> Iterator["Submitter"]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def goes_on(self) -> None:
        """Wait until some more submissions are acknowledged."""
        before = len(self.acknowledged)
        eventually(
            lambda: len(self.acknowledged) >= before + SUBMISSIONS_BETWEEN, within_s=20, what="submissions go on"
        )


def leadership(group: NodeGroup) -> set[tuple[str, int]]:
    views = [get(node, "/v1/cluster").json for node in group.running()]
    return {(view["leader"], view["term"]) for view in views}


def test_strangers_at_the_logs_port_change_nothing(group: NodeGroup, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    pickle = b"cos\nsystem\n(S'touch %s'\ntR." % str(bomb).encode()
    doors = ports(group)
    everybody = [*KINDS, lambda _port: [len(pickle).to_bytes(4) + pickle], lambda _port: [pickle]]
    with Submitter(group, "strangers").running() as submitter:
        submitter.goes_on()
        before = leadership(group)
        memory = {door.node.name: memory_kib(door.node) for door in doors}
        grown = 0
        began = time.monotonic()
        for kinds, count in [(everybody, CROWD), *(([kind], FEW) for kind in everybody)]:
            with strangers(doors, kinds, count):
                submitter.goes_on()
                grown = max(grown, *(memory_kib(door.node) - memory[door.node.name] for door in doors))
        lasted_s = time.monotonic() - began
        assert leadership(group) == before
    assert len(before) == 1
    assert submitter.failures == []
    assert not bomb.exists()
    assert grown <= GROWTH_KIB
    for door in doors:
        lines = [line for line in door.node.log.read_text().splitlines() if "raftsman.raft.transport" in line]
        assert [reason for reason in REASONS if not any(reason in line for line in lines)] == []
        assert len(lines) <= (lasted_s / WINDOW_S + 2) * PER_WINDOW * len(get_args(complaints.Kind))
        page = get(door.node, "/metrics").body.decode()
        assert (
            float(page.partition("\nraftsman_raft_refused_connections_total ")[2].split()[0]) >= CROWD * len(KINDS) / 2
        )


def test_impostors_of_a_dead_node_neither_stop_the_others_nor_keep_it_away(group: NodeGroup) -> None:
    doors = {door.node.name: door for door in ports(group)}
    dead = group["alpha"]  # The others are called by it, so that its name can be used there.
    if group.leader() is dead:
        group.client().transfer_leadership("beta")
        eventually(lambda: group.leader() is not dead, within_s=20, what="another node leads")
    with Submitter(group, "impostors").running() as submitter:
        dead.kill()
        submitter.goes_on()
        before = leadership(group)
        others = [doors["beta"], doors["gamma"]]
        memory = {door.node.name: memory_kib(door.node) for door in others}
        with strangers(others, [silent_impostor, impostor_with_half_a_frame, impostor_with_a_giant_frame], FEW):
            submitter.goes_on()
            assert leadership(group) == before
            assert max(memory_kib(door.node) - memory[door.node.name] for door in others) <= GROWTH_KIB
            dead.start()
            eventually(lambda: dead.get("/readyz"), within_s=20, what="the real one is there again")
            submitter.goes_on()
        assert leadership(group) == before
