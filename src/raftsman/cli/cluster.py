"""``raftsman cluster``: the nodes together."""

import click

from raftsman.cli import rows
from raftsman.cli.options import connection_options, open_client
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.words import out, plain, table, terminal_width
from raftsman.wire.views import ClusterView


@click.group(name="cluster")
def command() -> None:
    """Look at the nodes together, and choose who leads."""


@command.command(name="status")
@output_option("table", "json", "yaml")
@connection_options
def status(*, output: str) -> None:
    """Show who leads, who is alive, and how many more nodes may be lost."""
    view = open_client().cluster()
    if output != "table":
        print_value(view, output)
        return
    for line in status_lines(view):
        out(line)


@command.command(name="transfer")
@click.argument("node", required=False)
@connection_options
def transfer(*, node: str | None) -> None:
    """Let NODE lead, or whoever has most of the log, before the leader is stopped."""
    out(f"{open_client().transfer_leadership(node)} leads")


def status_lines(view: ClusterView) -> list[str]:
    """Return the cluster's status as a person reads it."""
    facts = [
        ("cluster", view["name"]),
        ("leader", view["leader"] or "none"),
        ("term", view["term"]),
        ("committed", view["commitIndex"]),
        ("applied", view["appliedIndex"]),
        ("can lose", _can_lose(view)),
    ]
    members = table(rows.NODE_COLUMNS, [rows.node_row(each) for each in view["members"]], columns=terminal_width())
    return [*(f"{name + ':':<11}{plain(value)}" for name, value in facts), "", *members]


def _can_lose(view: ClusterView) -> str:
    if view["leader"] is None:
        return "nothing can be committed now"
    count = view["canLose"]
    return f"{count} more node{'' if count == 1 else 's'}"
