"""``raftsman cancel``."""

import click

from raftsman.cli.exits import Code, code_of_error
from raftsman.cli.faults import say_problem, saying_what_goes_on
from raftsman.cli.options import TASK_ID, connection_options, duration_ms, open_client
from raftsman.cli.wait import ending_line, saying_what_is_pending
from raftsman.cli.words import out
from raftsman.errors import ApiProblem

DEFAULT_WAIT = "2m"
"""Kubernetes gives a Pod 30 s to end; then its node and ours have to notice."""


@click.command(name="cancel")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", type=TASK_ID)
@click.option("--wait", "wait", is_flag=True, help="Until their Jobs are proved gone.")
@click.option(
    "--timeout",
    "timeout_ms",
    callback=duration_ms,
    metavar="DURATION",
    default=DEFAULT_WAIT,
    show_default=True,
    help="How long to wait.",
)
@connection_options
def command(ids: tuple[str, ...], *, wait: bool, timeout_ms: int) -> None:
    """End tasks before they end by themselves.

    A queued task is cancelled at once; another one is stopping until its Job is gone.
    """
    client = open_client()
    worst = Code.DONE
    stopping = []
    for task_id in ids:
        try:
            task = client.cancel(task_id)
        except ApiProblem as problem:  # The others are to be cancelled all the same.
            say_problem(problem)
            worst = code_of_error(problem)
            continue
        if task["state"] == "cancelled":
            out(f"{task_id} cancelled")
        elif wait:
            stopping.append(task_id)
        else:
            out(f"{task_id} stopping")
    with saying_what_goes_on(*stopping), saying_what_is_pending(client):
        for task in client.as_reached(stopping, timeout_s=timeout_ms / 1000):
            out(ending_line(task))
            if task["state"] != "cancelled":
                worst = worst or Code.FAILED  # It ended by itself meanwhile.
    raise click.exceptions.Exit(worst)
