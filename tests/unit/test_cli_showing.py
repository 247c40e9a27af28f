"""``describe``, ``events`` and ``get``: what is shown of tasks, and of what became of them."""

import pytest

from raftsman.cli.main import main
from tests.harness.fake_api import END, FakeApi, event, line, task
from tests.unit.conftest import Run


def test_describe_tells_the_whole_story(api: FakeApi, run: Run) -> None:
    waiting = {
        "code": "no-node",
        "message": "nobody can take it",
        "nodes": [{"node": "beta", "code": "x", "message": "M"}],
    }
    waiting |= {"contexts": [{"context": "dev-a", "code": "y", "message": "N"}]}
    attempt = {
        "number": 1,
        "node": "alpha",
        "context": "dev-a",
        "jobName": "task-a-1",
        "jobUid": "u",
        "startedAt": None,
    }
    attempt |= {"endedAt": None, "exitCode": None, "signal": None, "cause": "NodeLost", "message": "gone"}
    api.put(
        task("a", "queued", waiting=waiting, attempts=[attempt], stdoutTail="hello\n", environment={"SECRET": "x1y2"})
    )
    api.events = [event(1, "a", None, "queued", reason="submitted")]
    out = run("describe", "a").out
    for words in (
        "State:         queued",
        "node beta: M (x)",
        "context dev-a: N (y)",
        "task-a-1",
        "submitted",
        "  hello",
    ):
        assert words in out
    assert "SECRET" in out
    assert "x1y2" not in out


def test_events_are_a_table_or_lines(api: FakeApi, run: Run) -> None:
    api.put(task("a", "completed"))
    api.events = [event(1, "a", None, "queued"), event(2, "a", "queued", "assigned")]
    assert run("events", "a").out.splitlines()[2].split()[3:6] == ["queued", "→", "assigned"]
    assert len(run("events", "-o", "jsonl").out.splitlines()) == 2
    assert run("events", "a", "-w", "-o", "jsonl").out.count("\n") == 2
    assert run("events", "-w", "-o", "json").code == 2


@pytest.mark.parametrize("prefix", ["tasks/", "task/"])
@pytest.mark.parametrize(
    "verb", ["get tasks", "describe", "explain", "logs", "events", "wait", "cancel", "retry"]
)  # fmt: skip
def test_what_o_name_prints_is_taken_for_an_id(api: FakeApi, run: Run, verb: str, prefix: str) -> None:
    api.put(task("a", "cancelled"))
    assert run(*verb.split(), f"{prefix}a").code in (0, 3)
    assert all("/tasks/a" in each.path for each in api.seen)


def test_nodes_and_contexts_are_named_as_they_are_printed(api: FakeApi, run: Run) -> None:
    api.cluster = {"members": [{"name": "alpha"}, {"name": "beta"}]}
    api.contexts = [{"name": "dev-a"}]
    assert run("get", "nodes", "nodes/beta", "-o", "name").out == "nodes/beta\n"
    assert run("get", "contexts", "context/dev-a", "-o", "name").out == "contexts/dev-a\n"


def test_output_reaches_a_program_byte_for_byte(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("RAFTSMAN_ADDRESS", api.url)
    api.put(task("a", "completed"))
    text = "\x1b[31mred\x1b[0m\t\x00é\r"
    api.logs["a"] = [[line(text), END]]
    assert main(["logs", "a"]) == 0
    assert capfdbinary.readouterr().out == f"{text}\n".encode()
