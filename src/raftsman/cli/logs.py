"""``raftsman logs``: a task's output."""

import re
import sys
from datetime import UTC, datetime, timedelta

import click

from raftsman.cli.faults import saying_what_goes_on
from raftsman.cli.following import follow_output
from raftsman.cli.options import TASK_ID, connection_options, open_client
from raftsman.cli.output import print_record
from raftsman.cli.words import is_terminal
from raftsman.wire.durations import parse_duration_ms

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
"""As a node takes it (RFC 3339)."""


def _instant(ctx: click.Context, param: click.Parameter, since: str | None) -> str | None:
    """Return the instant that a duration before now, or an instant, names (a click callback)."""
    if since is None:
        return None
    try:
        if _INSTANT.fullmatch(since):
            datetime.fromisoformat(since)  # A day that there is not is none.
            return since
        at = datetime.now(UTC) - timedelta(milliseconds=parse_duration_ms(since))
    except (ValueError, OverflowError):
        words = f"{since!r} is neither a duration such as 10m nor an instant such as 2026-01-31T12:00:00Z"
        raise click.BadParameter(words, ctx, param) from None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@click.command(name="logs")
@click.argument("task_id", metavar="ID", type=TASK_ID)
@click.option("-f", "--follow", is_flag=True, help="Go on until the output ends.")
@click.option("--attempt", type=click.IntRange(min=1), help="Of this attempt (the last one).")
@click.option("-c", "--container", metavar="NAME", help="Of this container (the task's own).")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option(
    "--since",
    metavar="WHEN",
    callback=_instant,
    help="Only what is younger: a duration (10m) or an instant (RFC 3339).",
)
@click.option("--timestamps", is_flag=True, help="Begin each line with its instant.")
@connection_options
def command(
    task_id: str,
    *,
    follow: bool,
    attempt: int | None,
    container: str | None,
    tail: int | None,
    since: str | None,
    timestamps: bool,
) -> None:
    """Show the output of a task."""
    client = open_client()
    records = client.logs(task_id, attempt=attempt, container=container, follow=follow, tail=tail, since=since)
    with saying_what_goes_on(*([task_id] if follow else [])):
        if follow and is_terminal(sys.stdout):
            follow_output(client, task_id, records, timestamps=timestamps)
            return
        for record in records:
            print_record(record, timestamps=timestamps)
