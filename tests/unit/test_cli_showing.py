"""``describe``, ``events`` and ``get``: what is shown of tasks, and of what became of them."""

from tests.harness.fake_api import FakeApi, event, task
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
