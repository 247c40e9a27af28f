"""Five hundred commands while the leader is killed twice: each task ends once, and the nodes agree on every row."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raftsman.client import Client
from raftsman.errors import ConnectionFailed, OutcomeUnknown, Unavailable
from raftsman.wire.views import TaskView
from tests.cluster.shells import TOML
from tests.harness.nodes import NodeGroup, eventually, node_group

pytestmark = pytest.mark.cluster

TASKS = 500
CLIENTS = 4
KILLS = (60, 260)
"""After so many acknowledged submissions the leader is killed."""
IDS = [f"chaos-{number:03d}" for number in range(TASKS)]


class Clients:
    """They submit tasks, and repeat what was left unknown under the same id."""

    def __init__(self, group: NodeGroup, marks: Path) -> None:
        self._group = group
        self._marks = marks
        self._acknowledged = 0
        self._changed = threading.Condition()

    def run(self, ids: Sequence[str]) -> None:
        client = self._group.client(timeout_s=20)
        for task_id in ids:
            self._submit(client, task_id)
            with self._changed:
                self._acknowledged += 1
                self._changed.notify_all()

    def wait_for(self, acknowledged: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._acknowledged >= acknowledged, timeout=30)

    def _submit(self, client: Client, task_id: str) -> None:
        block = {"command": f"echo x >> {self._marks}/{task_id}"}
        deadline = time.monotonic() + 30
        while True:
            try:
                client.submit({"taskId": task_id, "type": "shell", "shell": block})
            except (OutcomeUnknown, ConnectionFailed, Unavailable):
                assert time.monotonic() < deadline
            else:
                return


def test_every_command_ends_once_while_leaders_are_killed(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with node_group(tmp_path, more_toml=TOML) as group:
        group.wait_ready()
        clients = Clients(group, marks)
        killed = []
        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(clients.run, IDS[first::CLIENTS]) for first in range(CLIENTS)]
            for acknowledged in KILLS:
                clients.wait_for(acknowledged)
                leader = group.leader()
                leader.kill()
                killed.append(leader.name)
                assert group.leader() is not leader
                leader.start()
            for each in running:
                each.result(timeout=60)
        ended = {task["taskId"]: task for task in group.client().as_reached(IDS, timeout_s=40)}
        check_ends(group, ended, killed, marks)
        hashes = {state_hash for _, state_hash in group.state_hashes().values()}
        assert len(hashes) == 1


def check_ends(group: NodeGroup, ended: Mapping[str, TaskView], killed: list[str], marks: Path) -> None:
    assert sorted(ended) == IDS
    for task in ended.values():
        runs = len((marks / task["taskId"]).read_text()) // 2 if (marks / task["taskId"]).exists() else 0
        if task["state"] == "completed":
            assert (runs, task["exitCode"], task["attempt"]) == (1, 0, 1)
        else:
            assert (task["state"], task["cause"]) == ("failed", "NodeLost"), task
            assert task["assignedNode"] in killed
            assert runs <= 1  # It may have died before its first step, or after its last.
    rows = {task["taskId"]: task["state"] for task in group.client().list()}
    assert rows == {task_id: task["state"] for task_id, task in ended.items()}
    for node in group.running():
        client = group.client(node.name)
        ends = Counter(each["taskId"] for each in client.events() if each["to"] in ("completed", "failed", "cancelled"))
        assert {task_id: count for task_id, count in ends.items() if count != 1} == {}
    eventually(
        lambda: not any(task.get("conditions") for task in group.client().list()), within_s=5, what="all is said"
    )
