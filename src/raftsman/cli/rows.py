"""Tables of tasks, nodes, contexts and events: which columns, and what stands in them."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from raftsman.cli.words import aligned, paint_state, plain, seconds_since, span, table, terminal_width, width_of
from raftsman.wire.views import ContextView, EventView, MemberView, TaskView

ENDED = ("completed", "failed", "cancelled")
STATES = ("queued", "assigned", "running", *ENDED)

TASK_COLUMNS = ["ID", "STATE", "CONTEXT", "NODE", "ATTEMPT", "AGE", "EXIT", "REASON"]
WIDE_TASK_COLUMNS = [*TASK_COLUMNS[:-1], "TYPE", "NAMESPACE", "IMAGE", "PRIORITY", "CAUSE", "LABELS", "REASON"]
NODE_COLUMNS = ["NAME", "ROLE", "ALIVE", "LAG", "SLOTS", "VERSION", "CONTEXTS", "ADDRESS"]
CONTEXT_COLUMNS = ["NAME", "HEALTH", "REACHABLE FROM", "RUNNING", "CREDENTIALS EXPIRE", "ERROR"]
EVENT_COLUMNS = ["AT", "TASK", "ATTEMPT", "CHANGE", "NODE", "REASON"]

_STATE = TASK_COLUMNS.index("STATE")
_WIDTHS_OF_A_STREAM = (26, 9, 12, 8, 7, 5, 4)
"""Least widths when rows are still to come: an id of ours, the longest state, and room for names."""


def task_row(task: TaskView, *, wide: bool = False) -> list[str]:
    """Return the cells of one task."""
    job = task.get("k8sJob")
    code = task["exitCode"]
    cells = [
        task["taskId"],
        state_of(task),
        job["clusterContext"] if job else "",
        task["assignedNode"],
        task["attempt"] or "",
        span(seconds_since(task["submittedAt"])),
        "" if code is None else code,
    ]
    if wide:
        labels = ",".join(f"{key}={value}" for key, value in (task.get("labels") or {}).items())
        namespace, image = (job.get("namespace", ""), job["image"]) if job else ("", "")
        cells += [task["type"], namespace, image, task.get("priority", 0), task["cause"], labels]
    return [plain(cell) for cell in [*cells, reason_of(task)]]


def state_of(task: TaskView) -> str:
    """Return the state, and what else is true, in a word: ``running (stopping)``."""
    return with_conditions(task["state"], task["conditions"])


def with_conditions(text: str, conditions: Sequence[str]) -> str:
    """Return *text*, and the conditions behind it if there are any."""
    return f"{text} ({', '.join(conditions)})" if conditions else text


def reason_of(task: TaskView) -> str:
    """Return the sentence that says why the task is where it is; "" when there is nothing to say."""
    waiting = task.get("waiting")
    cause = f"{task['cause']}: " if task["cause"] else ""
    if task["state"] == "failed":
        return f"{cause}{task['reason'] or task['error'] or ''}"
    return (waiting["message"] if waiting else None) or task["reason"] or ""


def node_row(member: MemberView) -> list[str]:
    """Return the cells of one node."""
    cells = [
        member["name"],
        member["role"],
        "yes" if member["alive"] else "no",
        member["lag"],
        member["slots"],
        member["version"],
        ",".join(_names(member["contexts"])),
        member["url"],
    ]
    return [plain(cell) for cell in cells]


def context_row(context: ContextView) -> list[str]:
    """Return the cells of one context."""
    cells = [
        context["name"],
        context["health"],
        ",".join(context["reachableFrom"]) or "nobody",
        context["running"],
        context["credentialsExpireAt"],
        context["error"],
    ]
    return [plain(cell) for cell in cells]


def event_row(event: EventView) -> list[str]:
    """Return the cells of one event."""
    change = event["to"] if event["from"] in (None, event["to"]) else f"{event['from']} → {event['to']}"
    reason = ": ".join(each for each in (event["cause"], event["reason"]) if each)
    change = with_conditions(change, event["conditions"])
    cells = [event["at"], event["taskId"], event["attempt"] or "", change, event["node"], reason]
    return [plain(cell) for cell in cells]


def event_rows(events: Iterable[EventView]) -> Iterator[list[str]]:
    """Yield the cells of each event that shows something new; where only Pods were counted, the counts."""
    last: dict[str, EventView] = {}
    for event in events:
        row, before = event_row(event), last.get(event["taskId"])
        last[event["taskId"]] = event
        if event["to"] in ENDED:
            del last[event["taskId"]]
        if before is not None and _stands_the_same(before, event):
            counts = event["job"]
            if counts is None or counts == before["job"]:
                continue
            row[-1] = f"Pods: {', '.join(f'{count} {name}' for name, count in counts.items())}"
        yield row


def _stands_the_same(before: EventView, event: EventView) -> bool:
    """Return whether all that a row shows has stayed; a reason that has only gone leaves nothing to show."""
    facts = [(each["attempt"], each["to"], each["conditions"], each["node"]) for each in (before, event)]
    return facts[0] == facts[1] and (event["cause"], event["reason"]) in (
        (None, None),
        (before["cause"], before["reason"]),
    )


def task_table(rows: list[list[str]], columns: list[str]) -> list[str]:
    """Return the lines of a table of tasks, each in the colour of its state."""
    head, *lines = table(columns, rows, columns=terminal_width())
    return [head, *(_coloured(line, row) for line, row in zip(lines, rows, strict=True))]


def streamed_line(row: Sequence[str], *, least: Sequence[int] = _WIDTHS_OF_A_STREAM) -> str:
    """Return one line of a table whose other rows are not known yet."""
    widths = [max(width_of(cell), floor) for cell, floor in zip(row, [*least, *[0] * len(row)], strict=False)]
    return aligned(list(row), widths, columns=terminal_width())


def _coloured(line: str, row: list[str]) -> str:
    state = row[_STATE]
    before, found, after = line.partition(f" {state}")  # The first cell is an id and holds no space.
    return f"{before} {paint_state(state.partition(' ')[0], sys.stdout, state)}{after}" if found else line


def _names(contexts: Sequence[Any]) -> list[str]:
    # A member may come to tell more about its contexts than their names.
    return [str(each["name"]) if isinstance(each, dict) else str(each) for each in contexts]
