"""Stopping on real Kubernetes: only the proof that Job and Pods are gone ends the task, and nothing is left behind."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from raftsman.client import Client, LogEnd, LogLine
from raftsman.errors import Conflict
from raftsman.wire.views import TaskView
from tests.harness.commandline import raftsman
from tests.harness.kube import Place, new_id
from tests.harness.nodes import NodeGroup, eventually
from tests.kubernetes.conftest import Places

pytestmark = pytest.mark.kubernetes

Ended = Callable[[str], TaskView]

ENDLESS = "while true; do sleep 0.2; done"
OBEDIENT = f"trap 'echo told to go; exit 0' TERM; echo begun; {ENDLESS}"
"""Ends with 0 when it is told to: which must not make a stopped task completed."""

ENDS_OR_NOT = ("sleep 12; echo result; exit 3", ENDLESS)


@pytest.fixture(scope="module")
def submitted(client: Client, places: Places) -> Mapping[str, str]:
    """Every task of this story."""
    first, _ = places
    stories = ("running", "obedient", "waiting", "queued", "timeout", "polite", "start", "words")
    ids = {story: new_id(story) for story in stories}
    missing = {"image": "registry.invalid/raftsman:has-no-such-tag"}
    for spec in (
        first.shell(ids["running"], ENDLESS),
        first.shell(ids["obedient"], OBEDIENT),
        first.shell(ids["words"], ENDLESS),
        first.shell(ids["waiting"], ENDLESS, missing),
        first.shell(ids["queued"], ENDLESS, constraints={"allowedNodes": ["nobody"]}),
        first.shell(ids["timeout"], f"echo begun; {ENDLESS}", timeoutMs=3000),
        first.shell(ids["polite"], OBEDIENT, timeoutMs=3000),
        first.shell(ids["start"], ENDLESS, missing, startTimeoutMs=6000),
    ):
        client.submit(spec)
    return ids


def runs(client: Client, task_id: str) -> None:
    """Wait until the task runs."""
    (task,) = client.wait(task_id, for_="running", timeout_s=60)
    assert task["state"] == "running", task


def output_of(client: Client, task_id: str) -> tuple[list[str], str, str]:
    """Return the lines of the task, how its output ended, and why."""
    *lines, end = client.logs(task_id)
    assert isinstance(end, LogEnd)
    return [each.line for each in lines if isinstance(each, LogLine)], end.end, end.reason


def goes_on(client: Client, task_id: str) -> None:
    """Wait until the task says that it has a Pod and no Job."""
    told = "its Job was deleted, its Pod goes on"
    eventually(lambda: client.get(task_id)["reason"] == told, within_s=10, what="the task says so")


def nothing_is_left(place: Place, task_id: str) -> bool:
    return not place.jobs(task_id) and not place.pods(task_id)


def test_cancelling_a_running_task_leaves_neither_job_nor_pod(
    client: Client, places: Places, submitted: Mapping[str, str], ended: Ended
) -> None:
    task_id = submitted["running"]
    runs(client, task_id)
    answer = client.cancel(task_id)
    assert answer["state"] == "cancelled" or answer["conditions"] == ["stopping"]
    task = ended(task_id)
    assert (task["state"], task["error"], task["exitCode"], task["cause"]) == ("cancelled", "Task cancelled", -1, None)
    assert nothing_is_left(places[0], task_id)
    assert output_of(client, task_id) == ([], "complete", "")


def test_a_program_that_ends_well_because_it_was_cancelled_is_cancelled(
    client: Client, places: Places, submitted: Mapping[str, str], ended: Ended
) -> None:
    task_id = submitted["obedient"]
    runs(client, task_id)
    client.cancel(task_id)
    task = ended(task_id)
    assert (task["state"], task["error"], task["exitCode"]) == ("cancelled", "Task cancelled", -1)
    assert nothing_is_left(places[0], task_id)
    assert (task["stdoutTail"] or "").startswith("begun")
    lines, end, why = output_of(client, task_id)
    assert (lines[0], lines[-1], end, why) == ("begun", "told to go", "complete", "")  # A shell may name what it lost.


def test_cancelling_a_task_whose_pod_waits_leaves_neither_job_nor_pod(
    client: Client, places: Places, submitted: Mapping[str, str], ended: Ended
) -> None:
    task_id = submitted["waiting"]
    eventually(lambda: places[0].pods(task_id), within_s=30, what="its Pod is there")
    client.cancel(task_id)
    task = ended(task_id)
    assert (task["state"], task["error"]) == ("cancelled", "Task cancelled")
    assert nothing_is_left(places[0], task_id)


def test_a_queued_task_is_cancelled_at_once(client: Client, places: Places, submitted: Mapping[str, str]) -> None:
    task = client.cancel(submitted["queued"])
    assert (task["state"], task["error"], task["attempt"]) == ("cancelled", "Task cancelled", 0)
    assert nothing_is_left(places[0], submitted["queued"])


def test_cancelling_twice_is_cancelling_once(client: Client, submitted: Mapping[str, str]) -> None:
    before = client.cancel(submitted["queued"])
    assert client.cancel(submitted["queued"])["index"] == before["index"]


@pytest.mark.parametrize("story", ["timeout", "polite"])
def test_a_timeout_leaves_neither_job_nor_pod(
    places: Places, submitted: Mapping[str, str], ended: Ended, story: str
) -> None:
    task = ended(submitted[story])
    assert (task["state"], task["cause"], task["error"]) == ("failed", "Timeout", "Job timed out")
    assert task["exitCode"] == -1
    assert (task["stderrTail"] or "").startswith("begun")
    assert nothing_is_left(places[0], submitted[story])


def test_a_start_timeout_leaves_neither_job_nor_pod(places: Places, submitted: Mapping[str, str], ended: Ended) -> None:
    task = ended(submitted["start"])
    assert (task["state"], task["cause"], task["error"]) == ("failed", "ImagePull", "Job timed out")
    assert nothing_is_left(places[0], submitted["start"])


def test_the_command_line_cancels_waits_for_the_proof_and_says_cancelled(
    nodes: NodeGroup, client: Client, places: Places, submitted: Mapping[str, str], tmp_path: Path
) -> None:
    task_id = submitted["words"]
    runs(client, task_id)
    done = raftsman(nodes.addresses, "cancel", "--wait", task_id, home=tmp_path)
    assert (done.returncode, done.stdout.split()[:2]) == (0, [task_id, "cancelled"]), done
    assert nothing_is_left(places[0], task_id)
    waited = raftsman(nodes.addresses, "wait", task_id, home=tmp_path)
    assert (waited.returncode, waited.stdout.split()) == (3, [task_id, "cancelled"]), waited


def test_what_has_ended_cannot_be_cancelled(client: Client, submitted: Mapping[str, str], ended: Ended) -> None:
    before = ended(submitted["start"])
    with pytest.raises(Conflict, match="failed"):
        client.cancel(submitted["start"])
    assert client.get(submitted["start"]) == before


def test_a_job_that_is_deleted_without_its_pod_leaves_the_attempt_to_the_pod(
    client: Client, places: Places, ended: Ended
) -> None:
    place, kube = places[0], places[0].kube
    ends, stopped = (client.submit(place.shell(new_id("orphan"), script))["taskId"] for script in ENDS_OR_NOT)
    for task_id in (ends, stopped):
        runs(client, task_id)
        kube.run("delete", "job", f"task-{task_id}-1", "-n", place.namespace, "--cascade=orphan")
    for task_id in (ends, stopped):
        goes_on(client, task_id)
    client.cancel(stopped)
    assert ended(stopped)["state"] == "cancelled"
    assert nothing_is_left(place, stopped)
    task = ended(ends)
    assert (task["state"], task["exitCode"], task["stderrTail"]) == ("failed", 3, "result")
