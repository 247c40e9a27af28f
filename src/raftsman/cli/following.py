"""A task from its submission to its end, as the person who submitted it sees it: words, output, ending.

Output and states come side by side: while a node is lost, the output stands still, and the states say why.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from raftsman.cli.faults import failure_story
from raftsman.cli.output import print_record
from raftsman.cli.rows import ENDED, reason_of, state_of, with_conditions
from raftsman.cli.sidebyside import SideBySide
from raftsman.cli.words import paint_state, plain, say, seconds_since, span
from raftsman.client import Client, LogEnd, LogRecord, is_ended
from raftsman.errors import EventsCompacted
from raftsman.wire.views import EventView, TaskView

_WAIT = re.compile(r"(?:container \S+: )?(?P<word>[A-Z][A-Za-z]+)(?:: |$)")
"""How a reason begins that is Kubernetes' own; what follows counts tries and seconds."""
_SAME_WAIT = {"ImagePullBackOff": "ErrImagePull"}
"""The kubelet says one between its tries, the other one after each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """Where a task was at one moment."""

    state: str
    shown: str  # The state with its conditions.
    node: str | None
    reason: str
    task: TaskView | None = None  # None: the task has moved on since.

    @classmethod
    def of_task(cls, task: TaskView) -> Self:
        shown, reason = state_of(task), reason_of(task)
        return cls(state=task["state"], shown=shown, node=task["assignedNode"], reason=reason, task=task)

    @classmethod
    def of_event(cls, event: EventView) -> Self:
        shown = with_conditions(event["to"], event["conditions"])
        return cls(state=event["to"], shown=shown, node=event["node"], reason=event["reason"] or "")

    def sentence(self) -> str:
        """Return the state, the node and the reason, as they stand behind ``task ID is``."""
        node = f" on {plain(self.node)}" if self.node else ""
        reason = f": {plain(self.reason)}" if self.reason else ""
        return f"{paint_state(self.state, sys.stderr, self.shown)}{node}{reason}"


class _Told:
    """What has been said about a task, so that nothing is said twice."""

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id
        self._place: tuple[str, str | None] | None = None
        self._why = ""

    def is_news(self, standing: _Standing) -> bool:
        """Return whether *standing* differs from the last one in what a person wants to know, and remember it."""
        place, why = (standing.shown, standing.node), _kind_of(standing.reason)
        if place == self._place and why in ("", self._why):
            return False  # A reason that has gone is no news: the state says what is.
        self._place, self._why = place, why
        return True

    def tell(self, standing: _Standing) -> None:
        """Say where the task is now, unless that is known; its end has words of its own."""
        if self.is_news(standing) and standing.state not in ENDED:
            say(f"task {self._task_id} is {standing.sentence()}")


def follow_task(client: Client, task_id: str) -> TaskView:
    """Tell on stderr what becomes of a task, print its output, and return it when it has ended."""
    told, task = _Told(task_id), None
    streamed, reading, output_seen = 0, False, False
    with SideBySide[_Standing | LogRecord]() as streams:
        streams.read(_standings(client, task_id))
        while task is None or reading or not is_ended(task):
            item = streams.take()
            if isinstance(item, _Standing):
                told.tell(item)
                task = item.task or task
            else:
                output_seen = print_record(item) or output_seen
                reading = not isinstance(item, LogEnd)
            if task is not None and not reading and task["attempt"] > streamed and _has_output(task):
                streamed, reading, output_seen = task["attempt"], True, False
                streams.read(client.logs(task_id, attempt=streamed, follow=True))
    _say_ending(task, output_seen=output_seen)
    return task


def follow_output(client: Client, task_id: str, records: Iterable[LogRecord], *, timestamps: bool) -> None:
    """Print the followed output of a task, and tell on stderr what changes meanwhile."""
    told, first = _Told(task_id), True
    with SideBySide[_Standing | LogRecord]() as streams:
        streams.read(_standings(client, task_id))
        streams.read(records)
        while not isinstance(item := streams.take(), LogEnd):
            if not isinstance(item, _Standing):
                print_record(item, timestamps=timestamps)
            elif first:
                first = not told.is_news(item)  # Where it stands was not asked for.
            else:
                told.tell(item)
        print_record(item, timestamps=timestamps)


def _standings(client: Client, task_id: str) -> Iterator[_Standing]:
    """Yield where the task is and where it goes, also when it goes on too quickly for ``watch``: until it has ended."""
    seen = 0
    for task in client.watch(task_id):
        if seen:
            yield from map(_Standing.of_event, _between(client, task_id, seen, task["index"]))
        seen = task["index"]
        yield _Standing.of_task(task)


def _between(client: Client, task_id: str, seen: int, index: int) -> list[EventView]:
    """Return the changes behind the entry *seen*, but for the last one up to *index*, which the task itself shows."""
    try:
        return [event for event in client.events(task_id) if seen < event["index"] <= index][:-1]
    except EventsCompacted:
        return []  # The task as it is now has to do.


def _kind_of(reason: str) -> str:
    """Return what makes one reason another one than the last."""
    match = _WAIT.match(reason)
    return _SAME_WAIT.get(match["word"], match["word"]) if match else reason


def _has_output(task: TaskView) -> bool:
    return task["state"] in ("running", "completed") or (is_ended(task) and task["startedAt"] is not None)


def _say_ending(task: TaskView, *, output_seen: bool) -> None:
    state = paint_state(task["state"], sys.stderr)
    took = span(seconds_since(task["startedAt"], task["completedAt"])) if task["completedAt"] else ""
    say(f"task {task['taskId']} {state}{f' after {took}' if took else ''}")
    if task["state"] == "failed":
        for line in failure_story(task, with_output=not output_seen):
            say(line)
