"""``raftsman plan``: where the tasks of files would run if they were submitted now."""

import click

from raftsman.cli.exits import Code
from raftsman.cli.explaining import explanation_lines
from raftsman.cli.options import connection_options, open_client
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.specfile import read_specs
from raftsman.cli.words import out, plain
from raftsman.wire.views import ExplainView


@click.command(name="plan")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_option("text", "json", "yaml")
@connection_options
def command(files: tuple[str, ...], *, output: str) -> None:
    """Explain where tasks would run if they were submitted now, one after the other. Nothing is submitted.

    Exit code 8: one of them cannot be placed now.
    """
    specs = [(file, spec) for file in files for spec in read_specs(file)]
    planned = open_client().plan([spec for _, spec in specs])
    if output == "text":
        for place, ((file, _), explanation) in enumerate(zip(specs, planned, strict=True), 1):
            name = _name(explanation, f"{file} (task {place})" if len(specs) > 1 else file)
            for line in explanation_lines(explanation, name=name):
                out(line)
    else:
        print_value({"items": planned}, output)
    placeable = all(explanation["placeable"] for explanation in planned)
    raise click.exceptions.Exit(Code.DONE if placeable else Code.UNPLACEABLE)


def _name(explanation: ExplainView, origin: str) -> str:
    return plain(explanation["taskId"] or origin)
