"""What a command says when the cluster cannot serve it, and what while it waits."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raftsman.cli.main import main
from tests.harness.fake_api import Answer, FakeApi, problem
from tests.unit.test_client import free_address

NO_LEADER = problem(503, "no-leader", "nobody leads; nothing was changed", requestId="r1")
SUBMIT = ["submit", "--detach", "--context", "dev-a", "--image", "busybox"]
IMPATIENT = """
import sys
import raftsman.client, raftsman.endpoints
from raftsman.cli.main import main
raftsman.client.Client.__init__.__kwdefaults__["timeout_s"] = 1.0
raftsman.endpoints.TELL_AFTER_S = 0.0
sys.exit(main())
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def environment(api: FakeApi, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAFTSMAN_")}
    addresses = f"{free_address()},{api.url}"
    return kept | {"XDG_CONFIG_HOME": str(tmp_path), "RAFTSMAN_ADDRESS": addresses, "NO_COLOR": "1"}


@pytest.fixture
def run(at_api: None, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(*arguments: str) -> tuple[int, str]:
        return main(arguments), capsys.readouterr().err

    return run_it


def impatiently(*arguments: str, environment: dict[str, str], stderr: int) -> "subprocess.CompletedProcess[bytes]":
    """Run a command that tells at once what it waits for, and gives up after a second."""
    command = [sys.executable, "-c", IMPATIENT, *arguments]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stderr=stderr, timeout=30, check=False)


def test_without_a_leader_it_says_so_and_who_did_not_answer(api: FakeApi, environment: dict[str, str]) -> None:
    api.failures = [NO_LEADER] * 100
    ended = impatiently(*SUBMIT, environment=environment, stderr=subprocess.PIPE)
    assert ended.returncode == 9
    assert ended.stderr.decode().splitlines() == [
        "error: nobody leads; nothing was changed (no-leader)",
        f"  {environment['RAFTSMAN_ADDRESS'].split(',')[0]}: connection refused",
        "  request id: r1",
        "  which nodes are lost: raftsman get nodes",
    ]


def test_a_person_hears_what_a_command_waits_for(api: FakeApi, environment: dict[str, str]) -> None:
    api.failures = [NO_LEADER] * 100
    reading_end, writing_end = pty.openpty()
    ended = impatiently(*SUBMIT, environment=environment, stderr=writing_end)
    os.close(writing_end)
    with os.fdopen(reading_end, "rb") as terminal:
        said = terminal.read1(65536).decode().splitlines()
    assert ended.returncode == 9
    assert [line for line in said if "trying again" in line] == said[:1]
    assert said[0].endswith("trying again for up to 1 s")


def test_leadership_of_which_nobody_knows_is_looked_up_in_the_status(api: FakeApi, run: Run) -> None:
    version = Answer(200, {"version": "1"})
    api.failures = [version, problem(503, "outcome-unknown", "the leader fell silent", taskId="")]
    code, said = run("cluster", "transfer")
    assert code == 9
    assert "the outcome is not known" in said
    assert "raftsman cluster status" in said


@pytest.mark.parametrize(
    ("token", "words"),
    [("", "a token is needed, and none was sent"), ("t0ken", "the token that was sent is not accepted")],
)
def test_a_missing_token_and_a_wrong_one_are_told_apart(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, token: str, words: str
) -> None:
    monkeypatch.setenv("RAFTSMAN_TOKEN", token)
    api.failures = [problem(401, "unauthorized", "send Authorization: Bearer \u2026")]
    assert run("get", "tasks") == (
        7,
        f"error: {words} (unauthorized)\n  set RAFTSMAN_TOKEN or RAFTSMAN_TOKEN_FILE, or token_file of the profile\n",
    )


def test_what_a_token_may_not_do_is_said_in_the_nodes_words(api: FakeApi, run: Run) -> None:
    api.failures = [problem(403, "forbidden", "the token may only read")]
    assert run("get", "tasks") == (7, "error: the token may only read (forbidden)\n")
