"""``raftsman wait``: one line per task as it ends, and an exit code that says how."""

import sys

import click

from raftsman.cli.exits import Code, code_of_task
from raftsman.cli.faults import saying_what_goes_on
from raftsman.cli.options import TASK_ID, connection_options, duration_ms, open_client
from raftsman.cli.rows import reason_of
from raftsman.cli.words import out, paint_state, plain
from raftsman.wire.views import TaskView

GOALS = ("ended", "assigned", "running", "completed", "failed", "cancelled")


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
    with saying_what_goes_on(*ids):
        for task in open_client().as_reached(ids, for_=goal, timeout_s=timeout_s):
            out(ending_line(task))
            code = code_of_task(task, goal=goal)
            worst = code if worst in (Code.DONE, Code.CANCELLED) and code != Code.DONE else worst
    raise click.exceptions.Exit(worst)


def ending_line(task: TaskView) -> str:
    """Return how a task ended, or stands, in a line."""
    code = task["exitCode"]
    exit_code = f", exit code {code}" if code is not None and code >= 0 else ""
    reason = reason_of(task) if task["state"] != "completed" else ""
    state = paint_state(task["state"], sys.stdout)
    return f"{plain(task['taskId'])} {state}{exit_code}{': ' if reason else ''}{plain(reason)}"
