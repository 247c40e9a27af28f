"""A task from its submission to its end, as the person who submitted it sees it: words, output, ending."""

import sys

from raftsman.cli.faults import failure_story
from raftsman.cli.logs import print_output
from raftsman.cli.rows import reason_of, state_of
from raftsman.cli.words import paint_state, plain, say, seconds_since, span
from raftsman.client import Client, is_ended
from raftsman.wire.views import TaskView


def follow_task(client: Client, task_id: str) -> TaskView:
    """Tell on stderr what becomes of a task, print its output, and return it when it has ended."""
    streamed, told, output_seen = 0, "", False
    for task in client.watch(task_id):
        sentence = _standing(task)
        if sentence != told and not is_ended(task):
            say(sentence)
        told = sentence
        if task["attempt"] > streamed and _has_output(task):
            streamed = task["attempt"]
            output_seen = print_output(client, task_id, attempt=streamed, follow=True)
        if is_ended(task):
            _say_ending(task, output_seen=output_seen)
            return task
    raise AssertionError("watch ends with the end of the task")


def _has_output(task: TaskView) -> bool:
    return task["state"] in ("running", "completed") or (is_ended(task) and task["startedAt"] is not None)


def _standing(task: TaskView) -> str:
    node = f" on {plain(task['assignedNode'])}" if task["assignedNode"] else ""
    reason = plain(reason_of(task))
    state = paint_state(task["state"], sys.stderr, state_of(task))
    return f"task {task['taskId']} is {state}{node}{': ' if reason else ''}{reason}"


def _say_ending(task: TaskView, *, output_seen: bool) -> None:
    state = paint_state(task["state"], sys.stderr)
    took = span(seconds_since(task["startedAt"], task["completedAt"])) if task["completedAt"] else ""
    say(f"task {task['taskId']} {state}{f' after {took}' if took else ''}")
    if task["state"] == "failed":
        for line in failure_story(task, with_output=not output_seen):
            say(line)
