"""``raftsman retry``: an ended task once more, as a new task."""

import sys

import click

from raftsman.cli.exits import code_of_task
from raftsman.cli.faults import saying_what_was_submitted
from raftsman.cli.following import follow_task
from raftsman.cli.options import TASK_ID, connection_options, open_client
from raftsman.cli.words import is_terminal, out


@click.command(name="retry")
@click.argument("task_id", metavar="ID", type=TASK_ID)
@click.option("--id", "new_id", metavar="ID", help="The new task's id; the same id again is the same retry.")
@click.option("--follow/--detach", default=None, help="Stream the output, or print the id only (off a terminal).")
@connection_options
def command(task_id: str, *, new_id: str | None, follow: bool | None) -> None:
    """Submit a new task of the same spec as one that has ended.

    On a terminal the output is shown until the new task has ended, and the exit code says how; otherwise its id is
    printed.
    """
    client = open_client()
    task = client.retry(task_id, new_id=new_id)
    if follow is None:
        follow = is_terminal(sys.stdout)
    if not follow:
        out(task["taskId"])
        return
    with saying_what_was_submitted(task["taskId"]):
        ended = follow_task(client, task["taskId"])
    raise click.exceptions.Exit(code_of_task(ended))
