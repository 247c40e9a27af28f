"""Five hundred commands and sixty Jobs while the leader is killed twice: each task ends once, and the nodes agree.

The Jobs are on the development Kubernetes, which outlives the nodes. The second leader stays away until the others
take it for lost, so that its Jobs are adopted; the first one is back at once.
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from raftsman.client import Client
from raftsman.errors import ConnectionFailed, OutcomeUnknown, Unavailable
from raftsman.wire.views import TaskView
from tests.cluster.shells import TOML
from tests.conftest import NO_KUBECTL
from tests.harness.kube import JobWatch, Json, Kube, Place
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, node_group
from tests.harness.sandbox import sandbox_process

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason=NO_KUBECTL),
]

COMMANDS, JOBS, CLIENTS = 500, 60, 4
ENDS = ("completed", "failed", "cancelled")
KILLS = (60, 300)
"""After so many acknowledged submissions the leader is killed."""


@dataclass(frozen=True, slots=True)
class Story:
    """Nodes, the two contexts where their Jobs are, and a folder where each command leaves a mark."""

    nodes: NodeGroup
    places: tuple[Place, Place]
    marks: Path

    def specs(self) -> list[Json]:
        """Return what is submitted: Jobs between commands, as many to each client; exit codes are known beforehand."""
        commands = [self._command(f"command-{number:03d}") for number in range(COMMANDS)]
        jobs = [self._job(number) for number in range(JOBS)]
        every = COMMANDS // JOBS
        mixed = [[*commands[every * place : every * (place + 1)], job] for place, job in enumerate(jobs)]
        return [spec for some in mixed for spec in some] + commands[every * JOBS :]

    def runs(self, task_id: str) -> int:
        """Return how often a command has run."""
        mark = self.marks / task_id
        return mark.read_text().count("x") if mark.exists() else 0

    def _command(self, task_id: str) -> Json:
        return {"taskId": task_id, "type": "shell", "shell": {"command": f"echo x >> {self.marks / task_id}"}}

    def _job(self, number: int) -> Json:
        task_id = f"job-{number % 3}-{number:02d}"
        return self.places[number % 2].task(task_id, "sh", "-c", f"sleep 0.3; exit {exit_code_of(task_id)}")


class Clients:
    """They submit tasks, and repeat what was left unknown under the same id."""

    def __init__(self, group: NodeGroup) -> None:
        self._group = group
        self._acknowledged = 0
        self._changed = threading.Condition()

    def run(self, specs: Sequence[Json]) -> None:
        client = self._group.client(timeout_s=20)
        for spec in specs:
            self._submit(client, spec)
            with self._changed:
                self._acknowledged += 1
                self._changed.notify_all()

    def wait_for(self, acknowledged: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._acknowledged >= acknowledged, timeout=120)

    @staticmethod
    def _submit(client: Client, spec: Json) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                client.submit(spec)
            except (OutcomeUnknown, ConnectionFailed, Unavailable):
                assert time.monotonic() < deadline
            else:
                return


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """Three nodes that reach both contexts of a development Kubernetes of their own."""
    marks = tmp_path / "marks"
    marks.mkdir()
    with ExitStack() as stack:
        kubeconfig = stack.enter_context(sandbox_process(tmp_path / "kubernetes"))
        nodes = stack.enter_context(node_group(tmp_path, kubeconfig=kubeconfig, more_toml=TOML))
        first, second = (Place(Kube(kubeconfig, name), "default") for name in ("dev-a", "dev-b"))
        nodes.wait_ready([first.context, second.context])
        yield Story(nodes, (first, second), marks)


def test_every_task_ends_once_while_leaders_are_killed(story: Story) -> None:
    specs, killed = story.specs(), []
    clients = Clients(story.nodes)
    with ExitStack() as stack:
        watches = [stack.enter_context(JobWatch(place)) for place in story.places]
        pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        running = [pool.submit(clients.run, specs[first::CLIENTS]) for first in range(CLIENTS)]
        for acknowledged in KILLS:
            clients.wait_for(acknowledged)
            killed.append(kill_the_leader(story.nodes, until_lost=acknowledged == KILLS[-1]))
        for each in running:
            each.result(timeout=60)
        ended = story.nodes.client().as_reached([spec["taskId"] for spec in specs], timeout_s=40)
        tasks = {task["taskId"]: task for task in ended}
        uids = {key: found for watch in watches for key, found in watch.uids().items()}
    assert sorted(tasks) == sorted(spec["taskId"] for spec in specs)
    jobs = [task for task in tasks.values() if task["type"] == "k8s_job"]
    assert uids == {(task["taskId"], "1"): {task["attempts"][0]["jobUid"]} for task in jobs}
    assert_ended_as_they_must(story, tasks, killed)
    assert_told_alike_by_all(story.nodes, tasks)


def kill_the_leader(nodes: NodeGroup, *, until_lost: bool) -> str:
    """Kill the leader, and start it again when another one leads; *until_lost*: not before it is missed."""
    killed = nodes.leader()
    killed.kill()
    successor = nodes.leader()
    assert successor is not killed
    if until_lost:
        eventually(lambda: is_lost(killed, successor), within_s=15, what=f"{killed.name} is taken for lost")
    killed.start()
    return killed.name


def is_lost(node: NodeProcess, leader: NodeProcess) -> bool:
    view = leader.get("/v1/cluster") or {"members": []}
    return any(member["name"] == node.name and member["role"] == "lost" for member in view["members"])


def exit_code_of(task_id: str) -> int:
    """Return what a Job ends with; its task's id says it."""
    return int(task_id.split("-")[1])


def assert_ended_as_they_must(story: Story, tasks: Mapping[str, TaskView], killed: Sequence[str]) -> None:
    for task_id, task in tasks.items():
        end = (task["state"], task["cause"], task["exitCode"], task["attempt"])
        if task["type"] == "k8s_job":
            code = exit_code_of(task_id)
            assert end == (("failed", "NonZeroExit", code, 1) if code else ("completed", None, 0, 1)), task
        elif task["state"] == "completed":
            assert (story.runs(task_id), *end[1:]) == (1, None, 0, 1), task
        else:  # It died with its node: before its first step, or after its last.
            assert end[:2] == ("failed", "NodeLost"), task
            assert task["assignedNode"] in killed
            assert story.runs(task_id) <= 1


def assert_told_alike_by_all(nodes: NodeGroup, tasks: Mapping[str, TaskView]) -> None:
    """Check that each node's table is the same, and that its events tell the one end of each task."""
    nodes.wait_ready()
    hashes = nodes.state_hashes()  # Once they are at the same index: who has just come back reads the log first.
    assert len(hashes) == 3
    assert len(set(hashes.values())) == 1, hashes
    states = {task_id: task["state"] for task_id, task in tasks.items()}
    for node in nodes.running():
        client = nodes.client(node.name)
        ends = Counter(event["taskId"] for event in client.events() if event["to"] in ENDS)
        assert {task_id: ends[task_id] for task_id in tasks if ends[task_id] != 1} == {}
        assert {task["taskId"]: task["state"] for task in client.list()} == states
    eventually(lambda: not any(task["conditions"] for task in nodes.client().list()), within_s=5, what="all is said")
