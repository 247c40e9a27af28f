"""``raftsman wait``: one line per task as it ends, and an exit code that says how."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from raftsman.cli.exits import Code, code_of_task
from raftsman.cli.faults import say_error, saying_what_goes_on
from raftsman.cli.options import TASK_ID, connection_options, duration_ms, open_client
from raftsman.cli.rows import STATES, reason_of, state_of
from raftsman.cli.words import out, paint_state, plain, say
from raftsman.client import Client
from raftsman.errors import RaftsmanError, WaitTimedOut
from raftsman.wire.views import TaskView

GOALS = ("ended", *STATES[1:])


@click.command(name="wait")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", type=TASK_ID)
@click.option("--for", "goal", type=click.Choice(GOALS), default="ended", show_default=True, help="What to wait for.")
@click.option(
    "--timeout", "timeout_ms", callback=duration_ms, metavar="DURATION", help="Give up (exit code 4) after this."
)
@connection_options
def command(ids: tuple[str, ...], *, goal: str, timeout_ms: int | None) -> None:
    """Wait until tasks have ended, or have reached a state.

    Exit code 0: all completed (or reached what --for names). 1: one failed. 3: one was cancelled. 4: time was up.
    """
    worst = Code.DONE
    timeout_s = None if timeout_ms is None else timeout_ms / 1000
    client = open_client()
    with saying_what_goes_on(*ids), saying_what_is_pending(client):
        for task in client.as_reached(ids, for_=goal, timeout_s=timeout_s):
            out(ending_line(task))
            code = code_of_task(task, goal=goal)
            if goal != "ended" and code != Code.DONE:
                say(f"waited for {plain(task['taskId'])} to be {goal}; it has ended as {task['state']}")
            worst = code if worst in (Code.DONE, Code.CANCELLED) and code != Code.DONE else worst
    raise click.exceptions.Exit(worst)


@contextmanager
def saying_what_is_pending(client: Client) -> Iterator[None]:
    """Say on stderr where the tasks stand that were waited for in vain, and end with the exit code of that."""
    try:
        yield
    except WaitTimedOut as error:
        say_error(str(error))
        with suppress(RaftsmanError):  # That the time is over is known all the same.
            for task_id in error.pending:
                say(f"  {_standing(client.get(task_id))}")
        raise click.exceptions.Exit(Code.TIMED_OUT) from error


def _standing(task: TaskView) -> str:
    node = f" on {plain(task['assignedNode'])}" if task["assignedNode"] else ""
    reason = plain(reason_of(task))
    return f"{plain(task['taskId'])} is {state_of(task)}{node}{': ' if reason else ''}{reason}"


def ending_line(task: TaskView) -> str:
    """Return how a task ended, or stands, in a line."""
    code = task["exitCode"]
    exit_code = f", exit code {code}" if code is not None and code >= 0 else ""
    reason = reason_of(task) if task["state"] != "completed" else ""
    state = paint_state(task["state"], sys.stdout)
    return f"{plain(task['taskId'])} {state}{exit_code}{': ' if reason else ''}{plain(reason)}"
