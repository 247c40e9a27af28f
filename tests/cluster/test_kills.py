"""Nodes that are killed, stopped, paused and started again: what was acknowledged stays, and leaders follow."""

import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftsman.client import Client
from raftsman.errors import ConnectionFailed, OutcomeUnknown, Unavailable
from tests.cluster.asking import ask, get, spec, submit
from tests.harness.nodes import NodeGroup, eventually

pytestmark = pytest.mark.cluster

STOP, CONTINUE = signal.SIGSTOP, signal.SIGCONT
SUBMISSIONS = 200
THREADS = 4
KILL_AFTER = 40


class Submitters:
    """Clients that submit tasks and repeat what was not acknowledged, under the same id."""

    def __init__(self, group: NodeGroup) -> None:
        self._group = group
        self._acknowledged: set[str] = set()
        self._lock = threading.Lock()
        self.many = threading.Event()
        """Set once some submissions are acknowledged."""

    def run(self, ids: Sequence[str]) -> None:
        client = self._group.client(timeout_s=20)
        for task_id in ids:
            self._submit(client, task_id)
            with self._lock:
                self._acknowledged.add(task_id)
                if len(self._acknowledged) >= KILL_AFTER:
                    self.many.set()

    @staticmethod
    def _submit(client: Client, task_id: str) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                client.submit(spec(task_id))
            except (OutcomeUnknown, ConnectionFailed, Unavailable):
                assert time.monotonic() < deadline
            else:
                return


def everywhere(group: NodeGroup) -> list[list[str]]:
    """Return the sorted ids of the tasks of each node."""
    group.state_hashes()
    return [sorted(task["taskId"] for task in group.client(node.name).list()) for node in group.running()]


def one_hash(group: NodeGroup) -> str:
    hashes = {state_hash for _, state_hash in group.state_hashes().values()}
    assert len(hashes) == 1
    return hashes.pop()


def test_what_was_acknowledged_survives_the_leaders_death_once(group: NodeGroup) -> None:
    ids = [f"killed-{number:03d}" for number in range(SUBMISSIONS)]
    submitters = Submitters(group)
    leader = group.leader()
    with ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(submitters.run, ids[first::THREADS]) for first in range(THREADS)]
        assert submitters.many.wait(30)
        leader.kill()
        for each in running:
            each.result(timeout=90)
    assert everywhere(group) == [ids] * 2
    leader.start()
    group.wait_ready()
    assert everywhere(group) == [ids] * 3
    assert one_hash(group)


def test_tasks_survive_the_death_of_all_nodes(group: NodeGroup) -> None:
    before = everywhere(group)
    for node in group.running():
        node.kill()
    for node in group.nodes.values():
        node.start()
    group.wait_ready()
    assert everywhere(group) == before
    assert one_hash(group)
    task = submit(group.follower(), "after-the-restart")
    assert task["index"] > 0


def test_a_stop_hands_leadership_over(group: NodeGroup) -> None:
    before = everywhere(group)
    leader = group.leader()
    term = get(leader, "/v1/cluster").json["term"]
    assert leader.stop() == 0
    assert b"another node leads now" in leader.log.read_bytes()
    other = group.leader()
    assert other is not leader
    assert get(other, "/v1/cluster").json["term"] > term
    submit(other, "during-the-stop")
    leader.start()
    group.wait_ready()
    assert everywhere(group) == [sorted([*before[0], "during-the-stop"])] * 3
    assert one_hash(group)


def test_all_nodes_can_be_stopped_one_after_another(group: NodeGroup) -> None:
    before = everywhere(group)
    assert [node.stop() for node in group.running()] == [0, 0, 0]
    for node in group.nodes.values():
        node.start()
    group.wait_ready()
    assert everywhere(group) == before


def test_what_is_asked_of_a_follower_is_answered_as_soon_as_another_node_leads(group: NodeGroup) -> None:
    """The frozen leader keeps its connections: who waits for it to answer, or for the link to end, waits for 5 s."""
    leader, node = group.leader(), group.follower()
    submit(leader, "before-the-frost")
    leader.signal(STOP)
    try:
        with ThreadPoolExecutor(2) as pool:
            reading = pool.submit(get, node, "/v1/tasks/before-the-frost?consistent=true")
            absent = pool.submit(get, node, "/v1/tasks/nobody")
            submit(node, "in-the-frost")
        assert (reading.result().status, absent.result().status) == (200, 404)
    finally:
        leader.signal(CONTINUE)
    group.wait_ready()
    assert one_hash(group)


def test_a_paused_follower_is_lost_and_comes_back(group: NodeGroup) -> None:
    leader, paused = group.leader(), group.follower()

    def role() -> str:
        members = {each["name"]: each for each in get(leader, "/v1/cluster").json["members"]}
        shown: str = members[paused.name]["role"]
        assert members[paused.name]["alive"] == (shown != "lost")
        return shown

    assert role() == "follower"
    began = time.monotonic()
    paused.signal(STOP)
    eventually(lambda: role() == "lost", within_s=15, what="the paused node is lost")
    assert time.monotonic() - began >= 5
    assert get(leader, "/v1/cluster").json["canLose"] == 0
    submit(leader, "while-one-is-lost")
    paused.signal(CONTINUE)
    eventually(lambda: role() == "follower", within_s=15, what="it is back")
    assert ask(paused, "POST", "/v1/tasks/while-one-is-lost/cancel").status == 200
    assert one_hash(group)
