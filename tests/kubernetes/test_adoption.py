"""A Job outlives the nodes that look after it: somebody adopts it, and nothing is started twice.

Every program here counts seconds and then ends with an exit code of its own, so that output which is missing, doubled
or of another Job shows.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftsman.client import Client, LogEnd, LogLine
from raftsman.executor.jobs import ANNOTATION_RELEASED, Json
from raftsman.wire.views import AttemptView, TaskView
from tests.harness.kube import JobWatch, Place, new_id
from tests.harness.nodes import NodeGroup, NodeProcess, eventually
from tests.kubernetes.conftest import Places

pytestmark = pytest.mark.kubernetes

Ended = Callable[[str], TaskView]

RUNS_S = 14
"""So long that a lost node (5 s of silence) has been replaced before its Job ends."""
ADOPTED_WITHIN_S = 15.0
_log = logging.getLogger(__name__)


@pytest.fixture
def first(places: Places, nodes: NodeGroup) -> Iterator[Place]:
    """The place of a story that may kill nodes: afterwards all of them run again."""
    yield places[0]
    for node in nodes.nodes.values():
        if not node.runs:
            node.start()
    nodes.wait_ready([place.context for place in places])


@pytest.fixture(scope="module")
def watch(places: Places) -> Iterator[JobWatch]:
    with JobWatch(places[0]) as each:
        yield each


def count(seconds: int, exit_code: int) -> str:
    return f"i=0; while [ $i -lt {seconds} ]; do echo line $i; i=$((i+1)); sleep 1; done; exit {exit_code}"


def run_on(nodes: NodeGroup, node: NodeProcess, place: Place, script: str) -> TaskView:
    """Submit the script so that *node* looks after it, and return the task once it runs."""
    client = nodes.client(node.name)
    spec = place.shell(new_id("counts"), script, constraints={"preferLocal": True})
    (task,) = client.wait(client.submit(spec)["taskId"], for_="running", timeout_s=60)
    assert (task["state"], task["assignedNode"]) == ("running", node.name)
    return task


def attempt_of(task: TaskView) -> AttemptView:
    (attempt,) = task["attempts"]
    return attempt


def assert_same_job_to_the_end(
    nodes: NodeGroup, watch: JobWatch, place: Place, before: TaskView, *, seconds: int, exit_code: int
) -> TaskView:
    """Wait for the end of the task: of the same attempt and Job, with its real exit code and all its output."""
    client, task_id = nodes.client(), before["taskId"]
    (task,) = client.wait(task_id, timeout_s=90)
    uid = attempt_of(before)["jobUid"]
    assert uid is not None
    state = "failed" if exit_code else "completed"
    assert (task["state"], task["exitCode"], task["attempt"]) == (state, exit_code, 1), task
    assert attempt_of(task)["jobUid"] == uid
    assert watch.uids()[task_id, "1"] == {uid}
    assert place.pods_made()[uid] == 1
    *lines, end = client.logs(task_id)
    assert [each.line for each in lines if isinstance(each, LogLine)] == [f"line {n}" for n in range(seconds)]
    assert isinstance(end, LogEnd)
    assert end.end == "complete", end
    return task


def wait_for_another(nodes: NodeGroup, task: TaskView) -> str:
    """Return who looks after the task once that is somebody else, and it still runs."""
    begin = time.monotonic()
    client = nodes.client(*(node.name for node in nodes.running()))

    def look() -> str | None:
        now = client.get(task["taskId"])
        assert now["state"] == "running", now
        return now["assignedNode"] if now["assignedNode"] != task["assignedNode"] else None

    name = eventually(look, within_s=ADOPTED_WITHIN_S, every_s=0.1, what="another node looks after the task")
    _log.info("adopted %.1f s after its node was killed", time.monotonic() - begin)
    return name


def follow(client: Client, task_id: str) -> list[str]:
    """Return the lines of the task as somebody sees them who follows its output from now on."""
    return [each.line for each in client.logs(task_id, follow=True) if isinstance(each, LogLine)]


def test_when_its_node_is_killed_another_one_adopts_the_job(nodes: NodeGroup, first: Place, watch: JobWatch) -> None:
    follower = nodes.follower()
    task = run_on(nodes, follower, first, count(RUNS_S, 5))
    with ThreadPoolExecutor() as pool:
        followed = pool.submit(follow, nodes.client(), task["taskId"])
        time.sleep(2.0)
        follower.kill()
        adopter = wait_for_another(nodes, task)
        ended = assert_same_job_to_the_end(nodes, watch, first, task, seconds=RUNS_S, exit_code=5)
        assert ended["assignedNode"] == adopter
        assert followed.result(timeout=30) == [f"line {n}" for n in range(RUNS_S)]


def test_when_the_leader_is_killed_its_own_job_is_adopted_and_the_others_go_on(
    nodes: NodeGroup, first: Place, watch: JobWatch
) -> None:
    leader, follower = nodes.leader(), nodes.follower()
    leaders = run_on(nodes, leader, first, count(RUNS_S, 6))
    followers = run_on(nodes, follower, first, count(6, 0))
    leader.kill()
    wait_for_another(nodes, leaders)
    ended = assert_same_job_to_the_end(nodes, watch, first, followers, seconds=6, exit_code=0)
    assert ended["assignedNode"] == follower.name
    assert_same_job_to_the_end(nodes, watch, first, leaders, seconds=RUNS_S, exit_code=6)


def test_when_all_nodes_are_killed_at_once_they_find_their_jobs_again(
    nodes: NodeGroup, first: Place, watch: JobWatch
) -> None:
    long = run_on(nodes, nodes.leader(), first, count(RUNS_S, 7))
    short = run_on(nodes, nodes.follower(), first, count(3, 8))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: node.kill(), nodes.running()))
    eventually(
        lambda: first.job(short["taskId"])["status"].get("failed"), within_s=30, what="a Job ends that nobody watches"
    )
    for node in nodes.nodes.values():
        node.start()
    nodes.wait_ready()
    assert_same_job_to_the_end(nodes, watch, first, short, seconds=3, exit_code=8)
    assert_same_job_to_the_end(nodes, watch, first, long, seconds=RUNS_S, exit_code=7)


def test_a_cancellation_survives_its_node_and_the_leader(nodes: NodeGroup, first: Place, watch: JobWatch) -> None:
    follower = nodes.follower()
    task = run_on(nodes, follower, first, count(60, 9))
    follower.kill()
    answer = nodes.client(nodes.leader().name).cancel(task["taskId"])
    assert "stopping" in answer["conditions"]
    (ended,) = nodes.client().wait(task["taskId"], timeout_s=60)
    assert (ended["state"], ended["error"]) == ("cancelled", "Task cancelled")
    assert not first.jobs(task["taskId"])
    assert not first.pods(task["taskId"])
    assert len(watch.uids()[task["taskId"], "1"]) == 1


def test_output_that_was_followed_before_anybody_had_the_task_is_followed_to_its_end(
    nodes: NodeGroup, first: Place
) -> None:
    awaited = nodes.follower()
    others = [name for name in nodes.nodes if name != awaited.name]
    awaited.kill()
    client = nodes.client(*others)
    spec = first.shell(new_id("early"), count(3, 0), constraints={"allowedNodes": [awaited.name]})
    eventually(lambda: lost(client, awaited), within_s=ADOPTED_WITHIN_S, what="the node is lost")
    task = client.submit(spec)
    assert task["state"] == "queued"
    with ThreadPoolExecutor() as pool:
        followed = pool.submit(follow, client, task["taskId"])
        time.sleep(0.5)
        awaited.start()
        assert followed.result(timeout=60) == ["line 0", "line 1", "line 2"]


def lost(client: Client, node: NodeProcess) -> bool:
    return any(member["name"] == node.name and not member["alive"] for member in client.cluster()["members"])


@pytest.mark.kubelet
def test_a_node_that_slept_through_a_cancellation_starts_nothing(nodes: NodeGroup, first: Place) -> None:
    # The quota on Jobs holds the creation back; when the node wakes up, its table still says that the Job is due.
    kube, quota = first.kube, {"metadata": {"name": "no-jobs"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    sleeper = nodes.follower()
    others = nodes.client(*(name for name in nodes.nodes if name != sleeper.name))
    with kube.namespace("fence") as name, JobWatch(Place(kube, name)) as watch:
        place = Place(kube, name)
        kube.create(name, {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
        eventually(lambda: kube.get("resourcequotas", name)[0].get("status"), within_s=15, what="the quota is in force")
        spec = place.shell(new_id("fence"), "sleep 60", constraints={"preferLocal": True})
        task_id = nodes.client(sleeper.name).submit(spec)["taskId"]
        eventually(lambda: "quota" in (others.get(task_id)["reason"] or ""), within_s=15, what="the create is refused")
        sleeper.signal(signal.SIGSTOP)
        try:
            eventually(lambda: others.get(task_id)["assignedNode"] != sleeper.name, within_s=15, what="it is moved")
            others.cancel(task_id)
            (task,) = others.wait(task_id, timeout_s=30)
            kube.run("delete", "resourcequota", "no-jobs", "-n", name)
            time.sleep(1.0)  # The API server learns of it through a watch of its own.
        finally:
            sleeper.signal(signal.SIGCONT)
        nodes.wait_ready([first.context])
        time.sleep(3.0)
        assert task["state"] == "cancelled"
        assert watch.uids() == {}


def as_created(job: Json) -> Json:
    """Return the Job as raftsman had sent it."""
    metadata, template = job["metadata"], job["spec"]["template"]
    theirs = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
    labels = {name: value for name, value in template["metadata"]["labels"].items() if name not in theirs}
    annotations = {name: value for name, value in metadata["annotations"].items() if name != ANNOTATION_RELEASED}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": metadata["name"], "labels": metadata["labels"], "annotations": annotations},
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "template": {**template, "metadata": {"labels": labels, "annotations": annotations}},
        },
    }


def test_a_create_that_comes_after_the_end_of_its_attempt_begins_nothing(
    nodes: NodeGroup, first: Place, watch: JobWatch
) -> None:
    # As one does that a frozen node has sent: the attempt went on elsewhere, ended, and its Job was removed meanwhile.
    task = run_on(nodes, nodes.follower(), first, count(1, 0))
    task_id = task["taskId"]
    nodes.client().wait(task_id, timeout_s=30)
    job = first.job(task_id)
    assert job["metadata"]["annotations"][ANNOTATION_RELEASED] == "true"
    first.kube.run("delete", "job", job["metadata"]["name"], "-n", first.namespace)
    first.kube.create(first.namespace, as_created(job))
    late = first.job(task_id)["metadata"]["uid"]
    eventually(lambda: not first.jobs(task_id), within_s=40, what="the late Job is removed")
    assert watch.uids()[task_id, "1"] == {job["metadata"]["uid"], late}
    assert late not in first.pods_made()
    assert {node.metric("duplicate_jobs_total") for node in nodes.running()} == {0}
