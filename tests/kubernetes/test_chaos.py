"""Four clients, sixty Jobs, and a leader that is killed twice meanwhile."""

import logging
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from raftsman.client import Client
from raftsman.errors import ConnectionFailed, OutcomeUnknown, Unavailable
from raftsman.wire.views import TaskView
from tests.harness.kube import JobWatch, Json, Place, new_id
from tests.harness.nodes import NodeGroup
from tests.kubernetes.conftest import Places

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(420)]

CLIENTS = 4
JOBS_PER_CLIENT = 15
LAST_THIRD = 10
SUBMITTED_WITHIN_S = 60.0
ENDED_WITHIN_S = 240.0
ENDS = ("completed", "failed", "cancelled")
_log = logging.getLogger(__name__)


def specs_of(number: int, places: Sequence[Place]) -> list[Json]:
    """Return what one client submits: tasks in both contexts, whose exit codes are known beforehand."""
    return [
        places[each % 2].task(new_id(f"chaos-{number}-{each}"), "sh", "-c", f"echo {each}; exit {each % 3}")
        for each in range(JOBS_PER_CLIENT)
    ]


def submit_all(client: Client, specs: Sequence[Json], second_kill: threading.Event) -> int:
    """Submit one after the other, the last third at the second kill; return how many submissions were repeated."""
    repeated = 0
    for place, spec in enumerate(specs):
        if place == LAST_THIRD:
            assert second_kill.wait(SUBMITTED_WITHIN_S)
        repeated += submit(client, spec)
        time.sleep(random.uniform(0.0, 0.3))
    return repeated


def submit(client: Client, spec: Json) -> int:
    """Submit until the task is known to be in; return how often that took a repetition."""
    repeated = 0
    deadline = time.monotonic() + SUBMITTED_WITHIN_S
    while time.monotonic() < deadline:
        try:
            client.submit(spec)
        except (OutcomeUnknown, ConnectionFailed, Unavailable):
            repeated += 1
        else:
            return repeated
    raise AssertionError(f"nobody takes {spec['taskId']}")


def kill_the_leader(nodes: NodeGroup, announced: threading.Event | None = None) -> None:
    """Kill the leader, and start it again when another one has led for a moment."""
    killed = nodes.leader()
    if announced is not None:
        announced.set()
        time.sleep(0.1)
    killed.kill()
    begin = time.monotonic()
    successor = nodes.leader()
    _log.info("%s leads %.1f s after %s was killed", successor.name, time.monotonic() - begin, killed.name)
    time.sleep(0.5)
    killed.start()
    nodes.wait_ready()


def ends_of(nodes: NodeGroup, task_id: str) -> list[str]:
    """Return the ends of a task, as the events of every node tell them."""
    ends = []
    for name in nodes.nodes:
        events = list(nodes.client(name).events(task_id))
        assert all(event["from"] not in ENDS for event in events), f"a task that had ended changed: {events}"
        ends.append([event["to"] for event in events if event["to"] in ENDS])
    (first, *others) = ends
    assert all(other == first for other in others), f"the nodes tell different stories: {ends}"
    return first


def test_sixty_jobs_end_once_each_while_the_leader_is_killed_twice(nodes: NodeGroup, places: Places) -> None:
    specs = [specs_of(number, places) for number in range(CLIENTS)]
    second_kill = threading.Event()
    with ExitStack() as stack:
        watches = [stack.enter_context(JobWatch(place)) for place in places]
        pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        submissions = [pool.submit(submit_all, nodes.client(timeout_s=3.0), each, second_kill) for each in specs]
        time.sleep(1.0)
        kill_the_leader(nodes)
        kill_the_leader(nodes, second_kill)
        repeated = sum(each.result() for each in submissions)
        begin = time.monotonic()
        tasks = nodes.client().wait([spec["taskId"] for each in specs for spec in each], timeout_s=ENDED_WITHIN_S)
        _log.info("%d submissions repeated; all ended %.1f s later", repeated, time.monotonic() - begin)
        uids = {key: found for watch in watches for key, found in watch.uids().items()}

    assert_same_state(nodes, [task["taskId"] for task in tasks])
    assert len(tasks) == CLIENTS * JOBS_PER_CLIENT
    for number, task in enumerate(tasks):
        assert_ended_as_written(task, exit_code=number % JOBS_PER_CLIENT % 3)
        assert ends_of(nodes, task["taskId"]) == [task["state"]]
    assert uids == {(task["taskId"], "1"): {task["attempts"][0]["jobUid"]} for task in tasks}
    assert {node.metric("duplicate_jobs_total") for node in nodes.running()} == {0}
    assert [number for place in places for number in place.pods_made().values()] == [1] * len(tasks)


def assert_ended_as_written(task: TaskView, *, exit_code: int) -> None:
    expected = ("failed", "NonZeroExit") if exit_code else ("completed", None)
    assert (task["state"], task["cause"]) == expected, task
    assert (task["exitCode"], task["attempt"], len(task["attempts"])) == (exit_code, 1, 1), task


def assert_same_state(nodes: NodeGroup, ids: Sequence[str]) -> None:
    hashes = nodes.state_hashes()
    if len(set(hashes.values())) == 1:
        return
    told = {name: {task_id: nodes[name].get(f"/v1/tasks/{task_id}") for task_id in ids} for name in nodes.nodes}
    (name, first), *others = told.items()
    differences = [
        (task_id, name, first[task_id], other, rows[task_id])
        for other, rows in others
        for task_id in ids
        if rows[task_id] != first[task_id]
    ]
    raise AssertionError(f"the nodes' tables differ: {hashes}; in {differences or 'something that tasks do not show'}")
