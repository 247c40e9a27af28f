"""``raftsman explain``: where a task would run, or why nowhere."""

import click

from raftsman.cli.exits import Code
from raftsman.cli.explaining import explanation_lines
from raftsman.cli.options import TASK_ID, connection_options, open_client
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.words import out, plain


@click.command(name="explain")
@click.argument("task_id", metavar="ID", type=TASK_ID)
@output_option("text", "json", "yaml")
@connection_options
def command(task_id: str, *, output: str) -> None:
    """Explain where a task would run now, what is in the way, and what would help.

    Of a task that has a node it says first which, and what it waits for; then, as of one that has ended, where it would
    run if it were tried again. Exit code 8: it cannot be placed now, or could not be placed again.
    """
    explanation = open_client().explain(task_id)
    if output == "text":
        for line in explanation_lines(explanation, name=plain(task_id)):
            out(line)
    else:
        print_value(explanation, output)
    raise click.exceptions.Exit(Code.DONE if explanation["placeable"] else Code.UNPLACEABLE)
