"""The command line in this process, against an API in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from raftsman.cli.main import main
from tests.harness.fake_api import FakeApi


@dataclass
class Outcome:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Return the API of one node."""
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def at_api(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands of this process ask *api*, whatever the machine's own settings are."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("RAFTSMAN_ADDRESS", api.url)
    for name in ("RAFTSMAN_CONFIG", "RAFTSMAN_TOKEN", "RAFTSMAN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(at_api: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs a command against *api*."""

    def run_it(*arguments: str) -> Outcome:
        code = main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run_it
