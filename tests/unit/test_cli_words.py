"""What is printed: alignment, clipping, spans, stories."""

from typing import cast

import pytest

from raftsman.cli.exits import Code, code_of_error, code_of_task
from raftsman.cli.faults import BLAME, CONFIGURATION, INFRASTRUCTURE, TASK, blame_of, failure_story
from raftsman.cli.rows import event_row, event_rows, reason_of, state_of
from raftsman.cli.words import clip, plain, seconds_since, span, table, width_of
from raftsman.errors import ApiProblem, ConnectionFailed, OutcomeUnknown, UnexpectedAnswer, problem_from
from raftsman.raft.lifecycle import Cause
from raftsman.wire.views import EventView, TaskView
from tests.harness import fake_api


def task(state: str, **more: object) -> TaskView:
    return cast("TaskView", fake_api.task("a", state, **more))


def test_columns_are_aligned_and_nothing_trails() -> None:
    assert table(["A", "B"], [["long one", ""], ["x", "y"]]) == ["A          B", "long one", "x          y"]


def test_wide_characters_take_two_columns() -> None:
    assert width_of("é日") == 3
    assert table(["A", "B"], [["日", "y"]]) == ["A    B", "日   y"]


def test_the_last_column_is_cut_to_the_terminal() -> None:
    assert table(["A", "B"], [["x", "a long reason"]], columns=13) == ["A   B", "x   a long r…"]
    assert clip("abc", 3) == "abc"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "0s"), (119.9, "119s"), (120, "2m"), (150, "2m30s"), (3599, "59m"), (8000, "133m"),
     (3 * 3600 + 300, "3h5m"), (9 * 3600 + 300, "9h"), (4 * 86400, "4d")],
)  # fmt: skip
def test_a_span_is_as_exact_as_a_person_reads_it(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_seconds_lie_between_two_instants() -> None:
    assert seconds_since("2026-01-31T12:00:00.500Z", "2026-01-31T12:00:02Z") == 1.5
    assert seconds_since(None) is None


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[31mb\nc\u202ed") == "a [31mb c d"
    assert plain(None) == ""


def test_every_cause_has_somebody_whose_move_it_is() -> None:
    assert set(BLAME) == set(Cause)
    assert {blame.party for blame in BLAME.values()} == {TASK, CONFIGURATION, INFRASTRUCTURE}
    assert blame_of("OfALaterVersion").party == INFRASTRUCTURE


def test_a_failure_tells_cause_message_output_and_what_to_do() -> None:
    failed = task("failed", cause="OOMKilled", exitCode=137, error="Job failed", stderrTail="one\ntwo\n")
    assert failure_story(failed, with_output=True) == [
        "  cause:     OOMKilled (lies with the task)",
        "  exit code: 137",
        "  error:     Job failed",
        "  end of the output:",
        "    one",
        "    two",
        "  next:      submit it again with more --memory; raftsman logs a",
    ]


def test_a_state_shows_its_conditions() -> None:
    assert state_of(task("running", conditions=["stopping", "unreachable"])) == "running (stopping, unreachable)"


def test_the_reason_of_a_waiting_task_is_what_it_waits_for() -> None:
    waiting = {"code": "x", "message": "no node reaches it", "nodes": [], "contexts": []}
    assert reason_of(task("queued", waiting=waiting)) == "no node reaches it"
    assert reason_of(task("failed", cause="Timeout", error="Job timed out")) == "Timeout: Job timed out"


def test_an_event_that_changed_no_state_names_it_once() -> None:
    event = fake_api.event(1, "a", "running", "running", conditions=["unreachable"], reason="why")
    assert event_row(cast("EventView", event))[3:] == ["running (unreachable)", "alpha", "why"]


def test_events_that_show_nothing_new_are_left_out_and_counts_of_pods_are_shown() -> None:
    counted = {"active": 1, "succeeded": 0, "failed": 0}
    events = [
        fake_api.event(1, "a", "assigned", "running"),
        fake_api.event(2, "a", "running", "running", job=counted),
        fake_api.event(3, "a", "running", "running", job=counted),
        fake_api.event(4, "b", "running", "running", job=counted),
        fake_api.event(5, "a", "running", "running", job=counted, node="beta", reason="taken over"),
        fake_api.event(6, "a", "running", "running", job=counted, node="beta"),
        fake_api.event(7, "a", "running", "running", job=counted, node="beta", conditions=["stopping"]),
    ]
    assert [row[1:] for row in event_rows(cast("list[EventView]", events))] == [
        ["a", "1", "assigned → running", "alpha", ""],
        ["a", "1", "running", "alpha", "Pods: 1 active, 0 succeeded, 0 failed"],
        ["b", "1", "running", "alpha", ""],
        ["a", "1", "running", "beta", "taken over"],
        ["a", "1", "running (stopping)", "beta", ""],
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, 5), (409, 6), (412, 6), (401, 7), (403, 7), (400, 10), (422, 10), (413, 12), (429, 12), (507, 12), (503, 9),
     (504, 9), (500, 1), (410, 1)],
)  # fmt: skip
def test_every_answer_has_its_exit_code(status: int, code: int) -> None:
    assert code_of_error(problem_from(status, b"")) == code


def test_nobody_and_nobody_knows_are_the_same_exit_code() -> None:
    assert code_of_error(ConnectionFailed("x")) == code_of_error(OutcomeUnknown("a", "x")) == Code.UNAVAILABLE
    assert code_of_error(UnexpectedAnswer("x")) == code_of_error(ApiProblem(status=500, code="")) == Code.FAILED


@pytest.mark.parametrize(
    ("state", "goal", "code"),
    [("completed", "ended", 0), ("failed", "ended", 1), ("cancelled", "ended", 3), ("running", "running", 0),
     ("completed", "running", 0), ("failed", "running", 1), ("failed", "failed", 0), ("completed", "failed", 1),
     ("cancelled", "completed", 3)],
)  # fmt: skip
def test_waiting_has_an_exit_code_for_how_it_ended(state: str, goal: str, code: int) -> None:
    assert code_of_task(task(state), goal=goal) == code
