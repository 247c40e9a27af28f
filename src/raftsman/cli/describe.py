"""``raftsman describe``: the story of one task, as a person reads it."""

import shlex
import sys
from collections.abc import Iterator

import click

from raftsman.cli import rows
from raftsman.cli.explaining import reason_lines
from raftsman.cli.faults import failure_story, output_tails
from raftsman.cli.options import TASK_ID, connection_options, open_client
from raftsman.cli.printing import as_list, output_option, print_value
from raftsman.cli.words import out, paint_state, plain, seconds_since, span, table, terminal_width
from raftsman.client import is_ended
from raftsman.wire.quantities import parse_memory
from raftsman.wire.views import AttemptView, EventView, ResourcesView, TaskView, WaitingView

EVENTS_SHOWN = 32
"""All that a task's row keeps."""

_ATTEMPT_COLUMNS = ["ATTEMPT", "NODE", "CONTEXT", "STARTED", "TOOK", "EXIT", "CAUSE", "JOB", "MESSAGE"]
_BINARY_UNITS = ("", "Ki", "Mi", "Gi", "Ti")
_EVENT_COLUMNS = ["AT", "ATTEMPT", "CHANGE", "NODE", "REASON"]


@click.command(name="describe")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", type=TASK_ID)
@output_option("text", "json", "yaml")
@connection_options
def command(ids: tuple[str, ...], *, output: str) -> None:
    """Tell all about a task: what was asked, what was tried, why it waits, what changed, what it said."""
    client = open_client()
    found = [client.get(task_id) for task_id in ids]
    if output != "text":
        print_value(found[0] if len(ids) == 1 else as_list(found), output)
        return
    for place, task in enumerate(found):
        if place:
            out()
        for line in story(task, list(client.events(task["taskId"]))[-EVENTS_SHOWN:]):
            out(line)


def story(task: TaskView, events: list[EventView]) -> Iterator[str]:
    """Yield the lines that tell about a task."""
    yield from (f"{name + ':':<15}{text}" for name, text in _facts(task) if text)
    if task["state"] == "failed":
        yield from _section("Failure", failure_story(task, with_output=False))
    if waiting := task.get("waiting"):
        yield from _section("Waiting", _waiting_lines(waiting))
    if attempts := task.get("attempts"):
        lines = table(
            _ATTEMPT_COLUMNS, [_attempt_row(each, ended=is_ended(task)) for each in attempts], columns=_room()
        )
        yield from _section("Attempts", [f"  {line}" for line in lines])
    if events:
        lines = table(_EVENT_COLUMNS, [[at, *rest] for at, _, *rest in rows.event_rows(events)], columns=_room())
        yield from _section("Events", [f"  {line}" for line in lines])
    for name, tail in output_tails(task):
        yield from _section(f"End of {name}", [f"  {plain(line)}" for line in tail.splitlines()])


def _facts(task: TaskView) -> Iterator[tuple[str, str]]:
    state = task["state"]
    yield "Task", plain(task["taskId"])
    yield "State", paint_state(state, sys.stdout, rows.state_of(task))
    yield "Reason", plain(rows.reason_of(task))
    yield "Type", plain(task["type"])
    if job := task.get("k8sJob"):
        yield "Context", plain(job["clusterContext"])
        yield "Namespace", plain(job.get("namespace"))
        yield "Image", plain(job["image"])
        yield "Command", plain(shlex.join([*(job.get("command") or []), *(job.get("args") or [])]))
        yield "Resources", _pairs(_readable(job.get("resources")))
    if shell := task.get("shell"):
        yield "Command", plain(shell["command"])
        yield "Directory", plain(shell.get("workingDirectory"))
    yield "Environment", plain(", ".join(sorted(task.get("environment") or {})))  # Names only: values may be secret.
    yield "Labels", _pairs(task.get("labels"))
    yield "Priority", str(task.get("priority") or "")
    yield "Node", plain(task["assignedNode"])
    yield "Submitted", f"{task['submittedAt']} by {plain(task['principal'] or 'nobody named')} ({_ago(task)} ago)"
    yield "Started", plain(task["startedAt"])
    took = span(seconds_since(task["startedAt"], task["completedAt"])) if task["startedAt"] else ""
    yield "Ended", f"{task['completedAt']}{f' (ran {took})' if took else ''}" if task["completedAt"] else ""
    yield "Pods", _pairs(task.get("job"))
    yield "Exit code", "" if task["exitCode"] is None else str(task["exitCode"])
    yield "Retry of", plain(task["retryOf"])


def _ago(task: TaskView) -> str:
    return span(seconds_since(task["submittedAt"]))


def _pairs(mapping: object) -> str:
    return plain(", ".join(f"{key}={value}" for key, value in mapping.items())) if isinstance(mapping, dict) else ""


def _readable(resources: ResourcesView | None) -> dict[str, object]:
    """Return the resources with memory in the largest binary unit that divides it."""
    asked: dict[str, object] = dict(resources or {})
    size = parse_memory(asked.get("memory", ""))
    if isinstance(size, int):
        power = next((power for power in (4, 3, 2, 1) if size % 1024**power == 0), 0)
        asked["memory"] = f"{size // 1024**power}{_BINARY_UNITS[power]}"
    return asked


def _waiting_lines(waiting: WaitingView) -> Iterator[str]:
    yield f"  {plain(waiting['message'])} ({plain(waiting['code'])})"
    yield from (f"  {line}" for line in reason_lines(waiting["nodes"], waiting["contexts"]))


def _attempt_row(attempt: AttemptView, *, ended: bool) -> list[str]:
    started = attempt["startedAt"]
    unstarted = "never" if ended or attempt["endedAt"] else "not yet"
    cells = [
        attempt["number"],
        attempt["node"],
        attempt["context"],
        started or unstarted,
        span(seconds_since(started, attempt["endedAt"])),
        attempt["exitCode"],
        attempt["cause"],
        attempt["jobName"],
        attempt["message"],
    ]
    return [plain(cell) for cell in cells]


def _section(title: str, lines: Iterator[str] | list[str]) -> Iterator[str]:
    yield ""
    yield f"{title}:"
    yield from lines


def _room() -> int:
    return max(terminal_width() - 2, 0)
