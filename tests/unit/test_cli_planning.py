"""``explain``, ``plan`` and ``retry``: what would happen, and once more."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raftsman.cli.main import main
from raftsman.cli.specfile import FileTask
from tests.harness.fake_api import (
    END,
    HANG_UP_AFTERWARDS,
    PLACEABLE,
    UNPLACEABLE,
    Answer,
    FakeApi,
    moving,
    problem,
    task,
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(at_api: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command against *api*; return its exit code and what it wrote."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return code, *capsys.readouterr()

    return run_it


# --- explain -------------------------------------------------------------------------------------


def test_a_task_that_can_be_placed_is_told_where_and_what_is_excluded(api: FakeApi, run: Run) -> None:
    api.put(task("a"))
    assert run("explain", "a") == (
        0,
        "a can be placed: node alpha, context dev-a\n  node beta: the task excludes node beta (excluded)\n",
        "",
    )


def test_a_task_that_cannot_be_placed_is_exit_code_8_and_told_what_would_help(api: FakeApi, run: Run) -> None:
    api.put(task("a"))
    api.explanation = UNPLACEABLE
    code, out, err = run("explain", "a")
    assert (code, err) == (8, "")
    assert out.splitlines() == [
        "a cannot be placed now: no node can take it (no-node)",
        "  node beta: the task excludes node beta (excluded)",
        "  context dev-a: nobody reaches it (context-unreachable)",
        "  what would help:",
        "    take the node out of constraints.excludedNodes",
    ]


def test_an_explanation_can_be_had_in_the_apis_own_shape(api: FakeApi, run: Run) -> None:
    api.put(task("a"))
    api.explanation = UNPLACEABLE
    code, out, _ = run("explain", "a", "-o", "json")
    assert (code, json.loads(out)) == (8, {**UNPLACEABLE, "taskId": "a"})


HELD = {
    "number": 2,
    "node": "gamma",
    "context": "dev-a",
    "conditions": ["unreachable"],
    "reason": "context dev-a does not answer",
    "cause": "ContextUnreachable",
    "nodes": [{"node": "beta", "code": "other-cluster", "message": "node beta reaches another cluster"}],
}


def test_a_task_that_has_a_node_is_said_to_have_it_before_anything_else(api: FakeApi, run: Run) -> None:
    api.put(task("a", "running"))
    api.explanation = PLACEABLE | {"state": "running", "attempt": HELD, "nodes": []}
    code, out, _ = run("explain", "a")
    assert code == 0
    assert out.splitlines() == [
        "a is assigned to node gamma, context dev-a: running, unreachable (attempt 2)",
        "  reason: context dev-a does not answer (ContextUnreachable)",
        "  node beta cannot take it over: node beta reaches another cluster (other-cluster)",
        "  if it were tried again, it could be placed: node alpha, context dev-a",
    ]
    api.explanation = UNPLACEABLE | {"state": "running", "attempt": HELD}
    code, out, _ = run("explain", "a")
    assert code == 8
    assert "  if it were tried again, it could not be placed now: no node can take it (no-node)" in out.splitlines()


def test_a_shell_task_that_waits_for_nothing_is_said_to_run(api: FakeApi, run: Run) -> None:
    api.put(task("a", "running"))
    held = HELD | {"context": None, "conditions": [], "reason": None, "cause": None, "nodes": []}
    api.explanation = PLACEABLE | {"state": "running", "attempt": held, "nodes": []}
    assert run("explain", "a")[1].splitlines()[0] == "a is assigned to node gamma: running (attempt 2)"


def test_a_task_that_has_ended_is_said_to_have_ended(api: FakeApi, run: Run) -> None:
    api.put(task("a", "failed"))
    api.explanation = PLACEABLE | {"state": "failed", "nodes": []}
    told = "a has ended (failed); if it were tried again, it could be placed: node alpha, context dev-a\n"
    assert run("explain", "a") == (0, told, "")


def test_what_a_node_says_that_knows_no_leader_is_marked(api: FakeApi, run: Run, two: str) -> None:
    api.put(task("a"))
    api.explanation = PLACEABLE | {"leader": None}
    marked = "  no leader is known: nothing is placed until there is one, and what is said here may be old"
    assert run("explain", "a")[1].splitlines()[1] == marked
    assert run("plan", two)[1].splitlines().count(marked) == 2


def test_an_older_node_that_says_nothing_of_attempts_and_leaders_is_understood(api: FakeApi, run: Run) -> None:
    api.put(task("a", "running"))
    api.explanation = {key: PLACEABLE[key] for key in PLACEABLE if key not in ("state", "attempt", "leader")}
    assert run("explain", "a")[1].splitlines()[0] == "a can be placed: node alpha, context dev-a"


def test_a_task_that_is_not_there_cannot_be_explained(run: Run) -> None:
    assert run("explain", "a")[0] == 5


# --- plan ----------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> str:
    """A file with two tasks."""
    file = tmp_path / "two.yaml"
    file.write_text("type: k8s_job\n---\ntype: k8s_job\npriority: 1\n")
    return str(file)


def test_the_tasks_of_a_file_are_planned_together_and_not_submitted(api: FakeApi, run: Run, two: str) -> None:
    code, out, _ = run("plan", two)
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        f"{two} (task {number}) can be placed: node alpha, context dev-a" for number in (1, 2)
    ]
    assert [(seen.path, seen.body) for seen in api.seen] == [
        ("/v1/plan", {"tasks": [{"type": "k8s_job"}, {"type": "k8s_job", "priority": 1}]})
    ]
    assert api.tasks == {}


def test_a_plan_with_a_task_that_cannot_be_placed_is_exit_code_8(api: FakeApi, run: Run, two: str) -> None:
    api.explanation = UNPLACEABLE
    assert run("plan", two)[0] == 8
    code, out, _ = run("plan", two, "-o", "json")
    assert (code, len(json.loads(out)["items"])) == (8, 2)


def test_a_plan_of_what_is_no_task_is_exit_code_10_and_says_where_in_which_file(
    api: FakeApi, run: Run, two: str, tmp_path: Path
) -> None:
    (tmp_path / "first.yaml").write_text("type: k8s_job\n")
    faults = [
        {"pointer": f"/tasks/2{each}", "code": "invalid-spec", "detail": "D"} for each in ("/k8sJob", "/priority")
    ]
    api.failures = [problem(422, "invalid-spec", "2 faults", errors=faults)]
    code, _, err = run("plan", str(tmp_path / "first.yaml"), two)
    assert code == 10
    assert err == f"error: 2 faults (invalid-spec)\n  {two}:3:1: D\n  {two}:4:1: D\n"
    assert run("plan", "absent.yaml")[0] == 10
    assert run("plan")[0] == 2


def test_a_submission_says_where_in_the_file_its_only_fault_is_once(api: FakeApi, run: Run, two: str) -> None:
    fault = {"pointer": "/priority", "code": "invalid-spec", "detail": "priority is odd"}
    api.failures = [Answer(201, task("a")), problem(422, "invalid-spec", "one fault: priority is odd", errors=[fault])]
    code, out, err = run("submit", two)
    assert (code, out) == (10, "a\n")
    assert err == f"error: {two}:4:1: priority is odd (invalid-spec)\n"


def test_a_fault_whose_line_cannot_be_told_names_the_task_and_the_field() -> None:
    assert FileTask({}, "two.yaml", "{", 2, 2).where("/priority") == "two.yaml (task 2): /priority"


# --- retry ---------------------------------------------------------------------------------------


def test_a_retry_prints_the_new_id_on_a_pipe(api: FakeApi, run: Run) -> None:
    api.put(task("a", "failed"))
    code, out, _ = run("retry", "a")
    assert code == 0
    assert api.tasks[out.strip()]["retryOf"] == "a"


def test_a_retry_whose_answer_was_lost_is_one_retry(api: FakeApi, run: Run) -> None:
    api.put(task("a", "failed"))
    api.failures = [HANG_UP_AFTERWARDS]
    assert run("retry", "a", "--id", "b")[:2] == (0, "b\n")
    assert sorted(api.tasks) == ["a", "b"]


def test_what_has_not_ended_cannot_be_retried(api: FakeApi, run: Run) -> None:
    api.put(task("a", "running"))
    code, out, err = run("retry", "a")
    assert (code, out) == (6, "")
    assert "(not-ended)" in err
    assert run("retry", "b")[0] == 5


def test_a_followed_retry_ends_as_its_task_does(api: FakeApi, run: Run) -> None:
    api.put(task("a", "failed"))
    api.put(task("b", retryOf="a"))
    api.logs["b"] = [[END]]
    with moving(api, "b", ("running", {}), ("cancelled", {})):
        assert run("retry", "a", "--id", "b", "--follow")[0] == 3
