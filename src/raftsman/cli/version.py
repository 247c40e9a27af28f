"""``raftsman version``."""

import click

from raftsman.cli.exits import code_of_error
from raftsman.cli.faults import say_problem
from raftsman.cli.options import connection_options, open_client
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.words import out, plain
from raftsman.errors import RaftsmanError

SERVER_TIMEOUT_S = 5.0
"""Whoever asks for versions may well have no server at all."""


@click.command(name="version")
@click.option("--client", "client_only", is_flag=True, help="Ask no server.")
@output_option("text", "json")
@connection_options
def command(*, client_only: bool, output: str) -> None:
    """Show the versions of client and server."""
    from importlib.metadata import version  # Costs as much as everything else here; no other command needs it.

    versions = {"client": version("raftsman")}
    problem: RaftsmanError | None = None
    if not client_only:
        try:
            versions["server"] = open_client(timeout_s=SERVER_TIMEOUT_S).version()["version"]
        except RaftsmanError as error:
            problem = error
    if output == "json":
        print_value(versions, output)
    else:
        for side, text in versions.items():
            out(f"{side}: {plain(text)}")
    if problem is not None:
        say_problem(problem)
        raise click.exceptions.Exit(code_of_error(problem))
