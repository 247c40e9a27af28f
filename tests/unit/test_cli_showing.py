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


def test_describe_shows_what_a_shell_task_was_asked_and_both_of_its_streams(api: FakeApi, run: Run) -> None:
    shell = {"command": "make report", "workingDirectory": "/srv"}
    shown = task("a", "failed", type="shell", shell=shell, stdoutTail="1\n", stderrTail="2\n")
    del shown["k8sJob"]
    api.put(shown)
    out = run("describe", "a").out
    assert "Command:       make report\nDirectory:     /srv\n" in out
    assert out.endswith("\nEnd of stdout:\n  1\n\nEnd of stderr:\n  2\n")


def test_the_output_of_a_job_is_one_whichever_stream_holds_it(api: FakeApi, run: Run) -> None:
    api.put(task("a", "failed", stdoutTail="1\n", stderrTail="1\n"))
    assert run("describe", "a").out.endswith("\n\nEnd of the output:\n  1\n")


@pytest.mark.parametrize(("state", "said"), [("assigned", "not yet"), ("failed", "never")])
def test_an_attempt_that_did_not_start_may_still_do_so_until_the_end(
    api: FakeApi, run: Run, state: str, said: str
) -> None:
    attempt = dict.fromkeys(["startedAt", "endedAt", "exitCode", "signal", "cause", "message", "jobName"])
    api.put(task("a", state, attempts=[attempt | {"number": 1, "node": "alpha", "context": "dev-a"}]))
    lines = run("describe", "a").out.splitlines()
    assert said in lines[lines.index("Attempts:") + 2]


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_describe_and_get_print_the_same_document(api: FakeApi, run: Run, output: str) -> None:
    api.put(task("a"), task("b"))
    for ids in (["a"], ["a", "b"]):
        assert run("describe", *ids, "-o", output).out == run("get", "tasks", *ids, "-o", output).out


def test_columns_of_watched_events_stay_in_place_with_a_condition(api: FakeApi, run: Run) -> None:
    api.put(task("a", "completed"))
    api.events = [event(1, "a", "running", "queued", conditions=["backoff"]), event(2, "a", "queued", "assigned")]
    lines = run("events", "a", "-w").out.splitlines()
    assert [each.index("alpha") for each in lines[1:]] == [lines[0].index("NODE")] * 2


@pytest.mark.parametrize(
    ("memory", "shown"), [("12582912Mi", "12Ti"), ("8192Mi", "8Gi"), ("1536Mi", "1536Mi"), ("2048", "2Ki"), ("7", "7")]
)
def test_memory_is_shown_in_the_largest_unit_that_divides_it(api: FakeApi, run: Run, memory: str, shown: str) -> None:
    job = {"clusterContext": "dev-a", "image": "busybox", "resources": {"cpu": "2", "memory": memory}}
    api.put(task("a", k8sJob=job))
    assert f"Resources:     cpu=2, memory={shown}\n" in run("describe", "a").out
