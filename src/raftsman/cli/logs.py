"""``raftsman logs``: a task's output on stdout, and on stderr what became of the rest of it."""

from datetime import UTC, datetime, timedelta

import click

from raftsman.cli.faults import saying_what_goes_on
from raftsman.cli.options import connection_options, open_client
from raftsman.cli.words import out, plain, say
from raftsman.client import Client, LogCut, LogEnd, LogLine
from raftsman.wire.durations import parse_duration_ms


@click.command(name="logs")
@click.argument("task_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the output ends.")
@click.option("--attempt", type=click.IntRange(min=1), help="Of this attempt (the last one).")
@click.option("-c", "--container", metavar="NAME", help="Of this container (the task's own).")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--since", metavar="WHEN", help="Only what is younger: a duration (10m) or an instant (RFC 3339).")
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
    with saying_what_goes_on(*([task_id] if follow else [])):
        print_output(
            client,
            task_id,
            attempt=attempt,
            container=container,
            follow=follow,
            tail=tail,
            since=_instant(since),
            timestamps=timestamps,
        )


def print_output(
    client: Client,
    task_id: str,
    *,
    attempt: int | None = None,
    container: str | None = None,
    follow: bool = False,
    tail: int | None = None,
    since: str | None = None,
    timestamps: bool = False,
) -> bool:
    """Print output; return whether any of it was to be had."""
    printed = False
    records = client.logs(task_id, attempt=attempt, container=container, follow=follow, tail=tail, since=since)
    for record in records:
        match record:
            case LogLine():
                printed = True
                out(f"{record.at} {record.line}" if timestamps else record.line)
            case LogCut():
                say(f"[{record.cut_bytes} bytes of output were not kept]")
            case LogEnd(end="complete"):
                printed = True
            case LogEnd():
                why = f": {plain(record.reason)}" if record.reason else ""
                what = (
                    "the output is not available" if record.end == "unavailable" else "the rest of the output was cut"
                )
                say(f"[{what}{why}]")
    return printed


def _instant(since: str | None) -> str | None:
    """Return the instant that a duration before now, or an instant, names."""
    if since is None:
        return None
    try:
        at = datetime.now(UTC) - timedelta(milliseconds=parse_duration_ms(since))
    except ValueError:
        return since  # An instant, or something that the node explains.
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
