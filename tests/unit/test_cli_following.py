"""A task that is followed: its output and its states side by side, and what is said when nothing more can be heard."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raftsman.cli.sidebyside import THREAD
from tests.harness.fake_api import CUT, END, FakeApi, Json, event, line, moving, task
from tests.unit.conftest import Run

JOB = ["submit", "--context", "dev-a", "--image", "busybox"]
LOST = "node alpha does not answer"


def test_following_prints_output_on_stdout_and_words_on_stderr(api: FakeApi, run: Run) -> None:
    api.logs["a"] = [[line("one"), line("two"), END]]
    submitted(api, "queued")
    steps: list[tuple[str, Json]] = [("assigned", {"reason": "pulling"}), ("running", {}), ("completed", {})]
    with moving(api, "a", *steps):
        outcome = run(*JOB, "--id", "a", "--follow")
    assert (outcome.code, outcome.out) == (0, "one\ntwo\n")
    said = outcome.err.splitlines()
    assert said[0] == "task a is queued"
    assert said[1] == "task a is assigned on alpha: pulling"
    assert said[2] == "task a is running on alpha"
    assert said[-1] == "task a completed after 0s"


def submitted(api: FakeApi, state: str, **more: object) -> None:
    """Let the task of JOB, with the id a, be there already: submitting it again is the same task."""
    spec = {"type": "k8s_job", "k8sJob": {"clusterContext": "dev-a", "image": "busybox"}, "taskId": "a"}
    api.put(task("a", state, spec=spec, **more))


@contextmanager
def moving_while_the_output_stands_still(api: FakeApi, *steps: tuple[str, Json]) -> Iterator[None]:
    """Let the output say a line and wait until *steps* have been seen, say another one, and the task end."""
    gate = threading.Event()
    api.logs["a"] = [[line("one"), gate, line("two"), END]]

    def open_then_end() -> None:
        with moving(api, "a", *steps):
            pass
        api.wait_until_shown("a")
        gate.set()
        api.move("a", "completed")

    thread = threading.Thread(target=open_then_end)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_states_are_told_while_the_output_stands_still(api: FakeApi, run: Run) -> None:
    submitted(api, "running")
    lost = ("running", {"conditions": ["unreachable"], "reason": LOST})
    adopted = ("running", {"assignedNode": "beta", "reason": "taken over by node beta"})
    with moving_while_the_output_stands_still(api, lost, adopted):
        outcome = run(*JOB, "--id", "a", "--follow")
    assert (outcome.code, outcome.out) == (0, "one\ntwo\n")
    assert outcome.err.splitlines() == [
        "task a is running on alpha",
        f"task a is running (unreachable) on alpha: {LOST}",
        "task a is running on beta: taken over by node beta",
        "task a completed after 0s",
    ]


def test_changes_that_follow_one_another_at_once_are_all_told(api: FakeApi, run: Run) -> None:
    submitted(api, "running")
    api.index = 3
    api.events = [
        event(1, "a", "assigned", "running"),
        event(2, "a", "running", "running", conditions=["unreachable"], reason=LOST),
        event(3, "a", "running", "running", node="beta", reason="taken over by node beta"),
        event(4, "a", "running", "running", node="beta"),
    ]
    with moving_while_the_output_stands_still(api, ("running", {"assignedNode": "beta"})):
        outcome = run(*JOB, "--id", "a", "--follow")
    assert outcome.err.splitlines()[1:-1] == [
        f"task a is running (unreachable) on alpha: {LOST}",
        "task a is running on beta: taken over by node beta",
    ]


def test_no_thread_outlives_a_followed_task(api: FakeApi, run: Run) -> None:
    submitted(api, "running")
    with moving_while_the_output_stands_still(api, ("running", {"reason": "x"})):
        run(*JOB, "--id", "a", "--follow")
    for each in threading.enumerate():
        if each.name == THREAD:
            each.join(timeout=5)
    assert THREAD not in [each.name for each in threading.enumerate()]


def test_two_words_for_the_same_wait_are_told_once(api: FakeApi, run: Run) -> None:
    submitted(api, "queued")
    reasons = [f"{word}: x:1 cannot be had" for word in ("ErrImagePull", "ImagePullBackOff", "ErrImagePull")]
    steps: list[tuple[str, Json]] = [("assigned", {"reason": each}) for each in [*reasons, "CreateContainerError: y"]]
    with moving(api, "a", *steps, ("running", {}), ("completed", {})):
        outcome = run(*JOB, "--id", "a", "--follow")
    assert [each for each in outcome.err.splitlines() if "assigned" in each] == [
        "task a is assigned on alpha: ErrImagePull: x:1 cannot be had",
        "task a is assigned on alpha: CreateContainerError: y",
    ]


def test_when_following_breaks_off_the_task_that_goes_on_is_named(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftsman.follow.FIRST_PAUSE_S", 0.001)
    submitted(api, "running")
    api.logs["a"] = [[CUT]]
    outcome = run(*JOB, "--id", "a", "--follow")
    assert (outcome.code, outcome.out) == (9, "")
    assert "error: the stream broke" in outcome.err
    assert outcome.err.splitlines()[-1] == "  a goes on all the same (raftsman wait a, or raftsman cancel …)"


def test_interrupting_says_at_once_that_the_task_goes_on_although_nothing_comes(api: FakeApi) -> None:
    submitted(api, "running")
    api.logs["a"] = [[line("one"), threading.Event(), END]]
    environment = {**os.environ, "RAFTSMAN_ADDRESS": api.url, "HOME": "/nonexistent"}
    main = [sys.executable, "-c", "import sys; from raftsman.cli.main import main; sys.exit(main())"]
    # As from a terminal: whoever runs the tests in the background may have them ignore the signal.
    command = ["env", "--default-signal=INT", *main, *JOB, "--id", "a", "--follow"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe) as following:
        try:
            assert following.stdout is not None
            assert following.stdout.readline() == "one\n"
            following.send_signal(signal.SIGINT)
            _, err = following.communicate(timeout=5)
        finally:
            following.kill()
    assert following.returncode == 130
    assert "a goes on" in err
