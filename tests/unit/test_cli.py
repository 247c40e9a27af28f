"""The command line as a whole: commands in, words, data and exit codes out."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raftsman.cli.main import COMMANDS
from tests.harness.fake_api import CUT, END, HANG_UP_AFTERWARDS, FakeApi, Json, line, moving, problem, task
from tests.unit.conftest import Outcome, Run

JOB = ["submit", "--context", "dev-a", "--image", "busybox"]

HEAVY = (
    "kubernetes",
    "pydantic",
    "aiohttp",
    "pysyncobj",
    "msgspec",
    "msgpack",
    "ruamel",
    "asyncio",
    "prometheus_client",
)
"""What reading a task must not pay for."""


# --- the whole -----------------------------------------------------------------------------------


def test_help_lists_every_command_and_imports_none() -> None:
    script = "import sys; from raftsman.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30).stdout
    assert all(f"  {name} " in text for name in COMMANDS)
    assert not [lazy.module for lazy in COMMANDS.values() if f"'{lazy.module}'" in text]


def test_reading_and_submitting_from_options_import_nothing_heavy() -> None:
    modules = ["get", "describe", "wait", "logs", "cancel", "submit", "events", "cluster", "version", "following"]
    modules += ["explain", "plan", "retry"]
    script = f"import sys; import {', '.join(f'raftsman.cli.{name}' for name in modules)}; print(*sys.modules)"
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30).stdout
    assert not {name.partition(".")[0] for name in text.split()} & set(HEAVY)


def test_every_command_has_help(run: Run) -> None:
    for name, lazy in COMMANDS.items():
        outcome = run(name, "--help")
        assert outcome.code == 0, name
        assert lazy.short_help


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["get", "tasks", "--nonsense"], ["wait"], ["submit"], ["get", "tasks", "-o", "xml"]]
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Error" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["logs", "a", "--since", "foo"], "neither a duration such as 10m nor an instant"),
        (["logs", "a", "--since", "2026-13-01T12:00:00Z"], "neither a duration such as 10m nor an instant"),
        (["get", "tasks", "--state", "queued,runing"], "'runing' is no state: there are queued, assigned"),
    ],
)
def test_a_wrong_option_is_wrong_usage_before_anything_is_sent(
    api: FakeApi, run: Run, arguments: list[str], words: str
) -> None:
    outcome = run(*arguments)
    assert (outcome.code, api.seen) == (2, [])
    assert words in outcome.err


def test_a_wrong_command_and_a_command_without_its_dashes_are_told_what_was_meant(run: Run) -> None:
    assert "Did you mean 'submit'?" in run("sumbit").err
    outcome = run(*JOB, "sh", "-c", "true")
    assert outcome.code == 2
    assert "No such option '-c'. When it belongs to the command of the task, write -- before" in outcome.err
    assert "write --" not in run(*JOB, "--imagee", "x").err


def test_the_cluster_may_be_named_before_and_behind_the_command(api: FakeApi, run: Run) -> None:
    api.put(task("a"))
    nobody = "http://127.0.0.1:9"
    assert run("--address", api.url, "get", "tasks", "-o", "name").out == "tasks/a\n"
    assert run("--address", nobody, "get", "tasks", "-o", "name", "--address", api.url).out == "tasks/a\n"


def test_no_node_is_exit_code_9(run: Run) -> None:
    outcome = run("get", "tasks", "--address", "http://127.0.0.1:9")
    assert outcome.code == 9
    assert "no node answered" in outcome.err


def test_an_unusable_address_or_profile_is_exit_code_10(run: Run) -> None:
    assert run("get", "tasks", "--address", "localhost:7117").code == 10
    assert run("get", "tasks", "--profile", "absent").code == 10


# --- get -----------------------------------------------------------------------------------------


def test_a_table_of_tasks(api: FakeApi, run: Run) -> None:
    api.put(
        task("a", "queued", conditions=["waiting"], reason="no node"),
        task("b", "failed", exitCode=7, cause="NonZeroExit", error="boom"),
    )
    lines = run("get", "tasks").out.splitlines()
    assert lines[0].split() == ["ID", "STATE", "CONTEXT", "NODE", "ATTEMPT", "AGE", "EXIT", "REASON"]
    assert lines[1].startswith("a    queued (waiting)   dev-a")
    assert lines[1].endswith("no node")
    assert lines[2].endswith("7      NonZeroExit: boom")


def test_no_tasks_is_said_on_stderr(run: Run) -> None:
    outcome = run("get", "tasks")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "No tasks found.\n")


def test_formats_print_the_apis_own_shapes(api: FakeApi, run: Run) -> None:
    api.put(task("a"), task("b"))
    assert json.loads(run("get", "task", "a", "-o", "json").out) == api.tasks["a"]
    both = json.loads(run("get", "tasks", "-o", "json").out)
    assert [each["taskId"] for each in both["items"]] == ["a", "b"]
    assert both["next"] is None
    assert [json.loads(each)["taskId"] for each in run("get", "tasks", "-o", "jsonl").out.splitlines()] == ["a", "b"]
    assert run("get", "tasks", "-o", "name").out == "tasks/a\ntasks/b\n"
    assert run("get", "tasks", "a", "-o", "yaml").out.startswith("taskId: a\ntype: k8s_job\n")
    assert "busybox" in run("get", "tasks", "-o", "wide").out


def test_filters_reach_the_api(api: FakeApi, run: Run) -> None:
    run("get", "tasks", "-l", "run=7", "--state", "queued", "--context", "dev-a", "--node", "alpha", "--limit", "3")
    assert api.seen[0].query == {"label": "run=7", "state": "queued", "context": "dev-a", "node": "alpha", "limit": "3"}


def test_a_task_that_is_not_there_is_exit_code_5(run: Run) -> None:
    outcome = run("get", "tasks", "a")
    assert (outcome.code, outcome.out) == (5, "")
    assert "there is no task a (task-not-found)" in outcome.err


def test_watching_named_tasks_ends_with_them(api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftsman.cli.get.WATCH_PAUSE_S", 0.01)
    api.put(task("a", "running"))
    with moving(api, "a", ("completed", {})):
        states = [json.loads(each)["state"] for each in run("get", "tasks", "a", "-w", "-o", "jsonl").out.splitlines()]
    assert states == ["running", "completed"]


def test_nodes_and_contexts_are_listed(api: FakeApi, run: Run) -> None:
    member = {"name": "alpha", "role": "leader", "url": "http://x", "alive": True, "lag": 0, "contexts": ["dev-a"]}
    api.cluster = {"members": [member | {"slots": 64, "version": "1"}]}
    context: Json = {"name": "dev-a", "reachableFrom": [], "health": "down", "since": None, "error": "refused"}
    api.contexts = [context | {"credentialsExpireAt": None, "running": 3}]
    assert run("get", "nodes").out.splitlines()[1].split() == [
        "alpha",
        "leader",
        "yes",
        "0",
        "64",
        "1",
        "dev-a",
        "http://x",
    ]
    assert run("get", "contexts").out.splitlines()[1].split() == ["dev-a", "down", "nobody", "3", "refused"]
    assert json.loads(run("get", "nodes", "-o", "json").out) == {"items": api.cluster["members"]}
    assert run("get", "contexts", "absent").code == 5


def test_cluster_status_tells_who_leads(api: FakeApi, run: Run) -> None:
    api.cluster = {"name": "raftsman", "uuid": "u", "leader": None, "term": 7, "commitIndex": 9, "appliedIndex": 8}
    api.cluster |= {"stateHash": "h", "canLose": 0, "members": []}
    out = run("cluster", "status").out
    assert "leader:    none\n" in out
    assert "nothing can be committed now" in out


# --- submit --------------------------------------------------------------------------------------


def test_options_become_a_task(api: FakeApi, run: Run) -> None:
    options = ["-n", "batch", "-e", "SEED=7", "-e", "EMPTY=", "--id", "mine", "--label", "run=7", "--cpu", "500m"]
    options += ["--memory", "8Gi", "--gpu", "2", "--service-account", "sa", "--timeout", "10m", "--start-timeout", "0"]
    options += ["--priority", "-5", "--prefer-local", "--", "sh", "-c", "echo --image"]
    outcome = run(*JOB, *options)
    assert (outcome.code, outcome.out) == (0, "mine\n")
    assert api.seen[0].body == {
        "taskId": "mine",
        "type": "k8s_job",
        "k8sJob": {
            "clusterContext": "dev-a",
            "image": "busybox",
            "namespace": "batch",
            "command": ["sh", "-c", "echo --image"],
            "serviceAccountName": "sa",
            "resources": {"cpu": "500m", "memory": "8Gi", "gpuCount": 2},
        },
        "environment": {"SEED": "7", "EMPTY": ""},
        "labels": {"run": "7"},
        "timeoutMs": 600_000,
        "startTimeoutMs": 0,
        "priority": -5,
        "constraints": {"preferLocal": True},
    }


def test_files_become_tasks_in_their_order(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("taskId: a\ntype: x\n---\ntaskId: b\ntype: x\n")
    (tmp_path / "one.json").write_text('{"taskId": "c", "type": "x"}')
    assert run("submit", str(tmp_path / "two.yaml"), str(tmp_path / "one.json")).out == "a\nb\nc\n"


def test_a_file_and_options_exclude_one_another(run: Run) -> None:
    assert run(*JOB, "task.yaml").code == 2
    assert run("submit", "task.yaml", "--", "echo").code == 2


def test_a_file_that_cannot_be_read_is_exit_code_10(run: Run) -> None:
    assert run("submit", "absent.yaml").code == 10


def test_every_fault_stands_on_its_own_line(api: FakeApi, run: Run) -> None:
    errors = [{"pointer": "/a", "code": "x", "detail": "A"}, {"pointer": "", "code": "y", "detail": "B"}]
    api.failures = [problem(422, "invalid-spec", "2 faults", errors=errors)]
    outcome = run(*JOB)
    assert (outcome.code, outcome.out) == (10, "")
    assert outcome.err == "error: 2 faults (invalid-spec)\n  /a: A\n  /: B\n"


def test_a_bad_task_does_not_keep_the_others_out(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("taskId: a\ntype: x\n---\ntaskId: b\ntype: x\n")
    api.failures = [problem(422, "invalid-spec", "no")]
    outcome = run("submit", str(tmp_path / "two.yaml"))
    assert (outcome.code, outcome.out) == (10, "b\n")
    assert "two.yaml (task 1):" in outcome.err


def failing(api: FakeApi, run: Run, *arguments: str, **more: object) -> Outcome:
    api.failures = []
    spec = {"type": "k8s_job", "k8sJob": {"clusterContext": "dev-a", "image": "busybox"}, "taskId": "a"}
    api.put(task("a", spec=spec) | {"state": "failed", "cause": "NonZeroExit", "error": "Job failed"} | more)
    return run(*JOB, "--id", "a", *arguments)


def test_a_failed_task_says_whose_move_it_is(api: FakeApi, run: Run) -> None:
    outcome = failing(api, run, "--follow", exitCode=7, stderrTail="boom\n")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines() == [
        "task a failed",
        "  cause:     NonZeroExit (lies with the task)",
        "  exit code: 7",
        "  error:     Job failed",
        "  end of the output:",
        "    boom",
        "  next:      raftsman logs a",
    ]


def test_the_tasks_own_exit_code_is_used_when_asked_for_and_known(api: FakeApi, run: Run) -> None:
    assert failing(api, run, "--task-exit-code", exitCode=7).code == 7
    assert failing(api, run, "--task-exit-code", exitCode=-1, cause="Timeout").code == 1


def test_an_unknown_outcome_names_the_id_to_repeat(api: FakeApi, run: Run) -> None:
    api.failures = [HANG_UP_AFTERWARDS, problem(429, "rate-limited")]
    outcome = run(*JOB, "--id", "mine")
    assert outcome.code == 9
    assert "the outcome for task mine is not known" in outcome.err


# --- one task ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("states", "code"), [(["completed"], 0), (["completed", "failed"], 1), (["cancelled"], 3),
                                              (["cancelled", "failed"], 1), (["failed", "cancelled"], 1)])  # fmt: skip
def test_wait_ends_with_how_the_tasks_ended(api: FakeApi, run: Run, states: list[str], code: int) -> None:
    ids = [f"t{n}" for n in range(len(states))]
    api.put(*(task(task_id, state) for task_id, state in zip(ids, states, strict=True)))
    outcome = run("wait", *ids)
    assert outcome.code == code
    assert [each.split()[1].rstrip(":,") for each in outcome.out.splitlines()] == states


def test_wait_gives_up_with_exit_code_4(api: FakeApi, run: Run) -> None:
    api.put(task("a", "running", conditions=["unreachable"], reason="node alpha does not answer"))
    outcome = run("wait", "a", "--timeout", "100ms")
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.splitlines() == [
        "error: still waiting for a",
        "  a is running (unreachable) on alpha: node alpha does not answer",
    ]


def test_a_wait_for_what_cannot_be_any_more_says_so(api: FakeApi, run: Run) -> None:
    api.put(task("a", "completed"))
    outcome = run("wait", "a", "--for", "failed")
    assert (outcome.code, outcome.out) == (1, "a completed, exit code 0\n")
    assert outcome.err == "waited for a to be failed; it has ended as completed\n"


def test_interrupting_a_wait_says_that_the_task_goes_on(api: FakeApi) -> None:
    api.put(task("a", "running"))
    environment = {**os.environ, "RAFTSMAN_ADDRESS": api.url, "HOME": "/nonexistent"}
    main = [sys.executable, "-c", "import sys; from raftsman.cli.main import main; sys.exit(main())"]
    # As from a terminal: whoever runs the tests in the background may have them ignore the signal.
    command = ["env", "--default-signal=INT", *main, "wait", "a"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        until = time.monotonic() + 20
        while len(api.seen) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        waiting.send_signal(signal.SIGINT)
        try:
            _, err = waiting.communicate(timeout=20)
        finally:
            waiting.kill()
    assert waiting.returncode == 130
    assert "a goes on" in err


def test_logs_say_on_stderr_what_is_missing(api: FakeApi, run: Run) -> None:
    api.put(task("a", "running"))
    api.logs["a"] = [[{"cut": 9}, line("one"), {"end": "truncated", "reason": "too much"}]]
    outcome = run("logs", "a", "--timestamps")
    assert outcome.out == f"{line('')['at']} one\n"
    assert outcome.err == "[9 bytes of output were not kept]\n[the rest of the output was cut: too much]\n"


def test_followed_logs_go_on_after_a_cut(api: FakeApi, run: Run) -> None:
    api.put(task("a", "running"))
    api.logs["a"] = [[line("one"), CUT], [line("one"), line("two"), END]]
    assert run("logs", "-f", "a", "--tail", "5", "--since", "10m").out == "one\ntwo\n"
    assert api.seen[0].query["since"].endswith("Z")


def test_a_reader_that_goes_away_ends_the_command_quietly(api: FakeApi) -> None:
    api.put(task("a", "running"))
    api.logs["a"] = [[*(line("x" * 1000) for _ in range(500)), END]]
    environment = {**os.environ, "RAFTSMAN_ADDRESS": api.url, "HOME": "/nonexistent"}
    command = [sys.executable, "-c", "import sys; from raftsman.cli.main import main; sys.exit(main())", "logs", "a"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        reading.stdout.readline()
        reading.stdout.close()
        assert reading.stderr.read() == b""
        assert reading.wait(timeout=20) == 141


def test_cancel_tells_what_became_of_each(api: FakeApi, run: Run) -> None:
    api.put(task("a", "queued"), task("b", "running"), task("c", "completed"))
    outcome = run("cancel", "a", "c", "b")
    assert (outcome.code, outcome.out) == (6, "a cancelled\nb stopping\n")
    assert "c has completed (already-ended)" in outcome.err


def test_cancel_can_wait_for_the_proof(api: FakeApi, run: Run) -> None:
    api.put(task("a", "running"))
    with moving(api, "a", ("cancelled", {})):
        assert run("cancel", "--wait", "a").out == "a cancelled\n"


def test_version_shows_both_sides(api: FakeApi, run: Run) -> None:
    assert json.loads(run("version", "-o", "json").out).keys() == {"client", "server"}
    assert "server" not in run("version", "--client").out


def test_a_terminal_gets_colour_and_lines_that_fit(api: FakeApi) -> None:
    api.put(task("a", "failed", error="a reason that is much longer than any terminal is wide " * 5))
    environment = {**os.environ, "RAFTSMAN_ADDRESS": api.url, "HOME": "/nonexistent", "COLUMNS": "80", "TERM": "xterm"}
    assert "\x1b[31mfailed" in on_a_terminal(["get", "tasks"], environment)
    plain = on_a_terminal(["get", "tasks"], environment | {"NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert [len(each) for each in plain.splitlines()][1] == 80


def on_a_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """Return what a command writes to a terminal."""
    reading_end, writing_end = pty.openpty()
    command = [sys.executable, "-c", "import sys; from raftsman.cli.main import main; sys.exit(main())", *arguments]
    subprocess.run(command, env=environment, stdout=writing_end, check=True, timeout=30)
    os.close(writing_end)
    with os.fdopen(reading_end, "rb") as terminal:
        return terminal.read1(65536).decode()
