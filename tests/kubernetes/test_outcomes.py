"""How tasks end on real Kubernetes, and what is known of them afterwards."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from raftsman.client import Client, LogEnd, LogLine
from raftsman.wire.views import TaskView
from tests.harness.commandline import raftsman
from tests.harness.kube import Place, new_id
from tests.harness.nodes import NodeGroup
from tests.kubernetes.conftest import Places

pytestmark = pytest.mark.kubernetes

Ended = Callable[[str], TaskView]

MISSING_IMAGE = "registry.invalid/raftsman:has-no-such-tag"


@pytest.fixture(scope="module")
def submitted(nodes: NodeGroup, places: Places) -> Mapping[str, str]:
    """Every task of this story, handed to a follower at once: their waits are independent."""
    first, second = places
    follower = nodes.client(nodes.follower().name)
    ids = {story: new_id(story) for story in ("hello", "elsewhere", "exit-3", "memory", "image", "command", "killed")}
    for spec in (
        first.task(
            ids["hello"], "sh", "-c", "echo $GREETING; sleep 0.2; echo again >&2", environment={"GREETING": "hello"}
        ),
        second.task(ids["elsewhere"], "echo", "from the other context"),
        first.task(ids["exit-3"], "sh", "-c", "echo before; exit 3"),
        first.task(ids["memory"], "tail", "/dev/zero", job={"resources": {"memory": "32Mi"}}),
        first.task(ids["image"], job={"image": MISSING_IMAGE}, startTimeoutMs=20_000),
        first.task(ids["command"], "no-such-program"),
        first.task(ids["killed"], "sh", "-c", "sleep 9 & kill -KILL $!; wait $!; exit $?"),
    ):
        follower.submit(spec)
    return ids


def lines_of(client: Client, task_id: str) -> list[str]:
    """Return the output of a task, which has to be complete."""
    *lines, end = client.logs(task_id)
    assert isinstance(end, LogEnd)
    assert end.end == "complete", end
    return [record.line for record in lines if isinstance(record, LogLine)]


def test_a_task_given_to_a_follower_completes_in_a_real_container_with_its_output(
    client: Client, submitted: Mapping[str, str], ended: Ended
) -> None:
    task = ended(submitted["hello"])
    assert (task["state"], task["exitCode"], task["cause"], task["error"]) == ("completed", 0, None, None)
    assert (task["stdoutTail"] or "").split() == ["hello", "again"]
    assert lines_of(client, submitted["hello"]) == ["hello", "again"]


def test_every_node_gives_the_same_output(nodes: NodeGroup, submitted: Mapping[str, str], ended: Ended) -> None:
    ended(submitted["hello"])
    for name in nodes.nodes:
        records = [each for each in nodes.client(name).logs(submitted["hello"]) if isinstance(each, LogLine)]
        assert [record.line for record in records] == ["hello", "again"]


def test_the_second_context_runs_its_own_tasks(
    client: Client, places: Places, submitted: Mapping[str, str], ended: Ended
) -> None:
    task = ended(submitted["elsewhere"])
    assert (task["state"], task["k8sJob"]["clusterContext"]) == ("completed", places[1].context)
    assert lines_of(client, submitted["elsewhere"]) == ["from the other context"]
    (job,) = places[1].jobs(submitted["elsewhere"])
    assert job["metadata"]["uid"] == task["attempts"][0]["jobUid"]


def test_exit_code_3_fails_the_task_as_a_non_zero_exit(
    client: Client, submitted: Mapping[str, str], ended: Ended
) -> None:
    task = ended(submitted["exit-3"])
    assert (task["state"], task["exitCode"], task["cause"]) == ("failed", 3, "NonZeroExit")
    assert (task["stderrTail"] or "").strip() == "before"
    assert lines_of(client, submitted["exit-3"]) == ["before"]


def test_a_program_that_takes_more_memory_than_its_limit_is_out_of_memory(
    submitted: Mapping[str, str], ended: Ended
) -> None:
    task = ended(submitted["memory"])
    assert (task["state"], task["cause"]) == ("failed", "OOMKilled")
    assert "32Mi" in (task["attempts"][0]["message"] or "")


def test_an_image_that_is_not_there_fails_the_task_in_the_registrys_words(
    places: Places, submitted: Mapping[str, str], ended: Ended
) -> None:
    task = ended(submitted["image"])
    assert (task["state"], task["cause"], task["exitCode"], task["error"]) == (
        "failed",
        "ImagePull",
        -1,
        "Job timed out",
    )
    message = task["attempts"][0]["message"] or ""
    assert MISSING_IMAGE.partition(":")[2] in message
    assert re.search(r"not found|denied|unauthorized|unknown|no such host", message), message
    assert not places[0].jobs(submitted["image"])
    assert not places[0].pods(submitted["image"])


def test_a_command_that_does_not_exist_is_not_runnable(submitted: Mapping[str, str], ended: Ended) -> None:
    task = ended(submitted["command"])
    assert (task["state"], task["cause"]) == ("failed", "CommandNotRunnable")
    assert "no-such-program" in (task["attempts"][0]["message"] or "")


def test_a_program_that_a_signal_kills_fails_with_that_signal(submitted: Mapping[str, str], ended: Ended) -> None:
    task = ended(submitted["killed"])
    assert (task["state"], task["exitCode"], task["cause"]) == ("failed", 137, "Signal")
    assert task["attempts"][0]["signal"] == 9


# --- the same on the command line --------------------------------------------------------------------


@pytest.fixture
def first(places: Places) -> Place:
    return places[0]


def options(place: Place, story: str) -> list[str]:
    """Return the options of a submission."""
    return ["--context", place.context, "-n", place.namespace, "--image", "busybox:1.36", "--id", new_id(story)]


def test_submit_follow_prints_the_output_and_ends_with_0(nodes: NodeGroup, first: Place, tmp_path: Path) -> None:
    words = ["submit", "--follow", *options(first, "follow"), "--", "sh", "-c", "echo one; sleep 1; echo two"]
    done = raftsman(nodes.addresses, *words, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "one\ntwo\n"), done.stderr
    assert "completed" in done.stderr


def test_submit_follow_can_end_with_the_tasks_own_exit_code(nodes: NodeGroup, first: Place, tmp_path: Path) -> None:
    words = ["submit", "--follow", "--task-exit-code", *options(first, "own"), "--", "sh", "-c", "exit 7"]
    done = raftsman(nodes.addresses, *words, home=tmp_path)
    assert done.returncode == 7, done.stderr
    assert "NonZeroExit" in done.stderr


def test_a_failed_task_reads_the_same_in_wait_logs_and_describe(
    nodes: NodeGroup, submitted: Mapping[str, str], tmp_path: Path
) -> None:
    task_id = submitted["exit-3"]
    waited = raftsman(nodes.addresses, "wait", task_id, "--timeout", "2m", home=tmp_path, timeout_s=150)
    assert (waited.returncode, waited.stdout.split()[:2]) == (1, [task_id, "failed,"]), waited
    logs = raftsman(nodes.addresses, "logs", task_id, home=tmp_path)
    assert (logs.returncode, logs.stdout) == (0, "before\n"), logs.stderr
    story = raftsman(nodes.addresses, "describe", task_id, home=tmp_path)
    assert story.returncode == 0, story.stderr
    for words in ("failed", "NonZeroExit", "BackoffLimitExceeded", "before"):
        assert words in story.stdout
