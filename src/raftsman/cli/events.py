"""``raftsman events``: what changed, when, and why."""

import click

from raftsman.cli import rows
from raftsman.cli.faults import saying_what_goes_on
from raftsman.cli.options import TASK_ID, connection_options, open_client
from raftsman.cli.printing import output_option, print_lines, print_value
from raftsman.cli.words import out, say, table, terminal_width

_LEAST_WIDTHS = (24, 26, 7, 26, 8)
"""Of an instant, an id of ours, and ``running → queued (backoff)``."""


@click.command(name="events")
@click.argument("task_id", metavar="[ID]", required=False, type=TASK_ID)
@click.option("-w", "--watch", is_flag=True, help="Go on with what happens next.")
@click.option("--after", metavar="EVENT", default="", help="Only what follows this event id.")
@output_option("table", "json", "yaml", "jsonl")
@connection_options
def command(task_id: str | None, *, watch: bool, after: str, output: str) -> None:
    """Show the changes of one task, or of all that the node remembers."""
    events = open_client().events(task_id, follow=watch, after=after)
    if watch and output in ("json", "yaml"):
        raise click.UsageError(f"--watch has no end, and {output} needs one: use -o jsonl")
    with saying_what_goes_on():
        if output == "jsonl":
            print_lines(events)
        elif output in ("json", "yaml"):
            found = list(events)
            print_value({"items": found, "next": None, "index": found[-1]["index"] if found else 0}, output)
        elif watch:
            out(rows.streamed_line(rows.EVENT_COLUMNS, least=_LEAST_WIDTHS))
            for row in rows.event_rows(events):
                out(rows.streamed_line(row, least=_LEAST_WIDTHS))
        else:
            _print_table(list(rows.event_rows(events)))


def _print_table(found: list[list[str]]) -> None:
    if not found:
        say("No events found.")
        return
    for line in table(rows.EVENT_COLUMNS, found, columns=terminal_width()):
        out(line)
