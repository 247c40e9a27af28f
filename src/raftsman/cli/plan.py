"""``raftsman plan``: where the tasks of files would run if they were submitted now."""

import re
from collections.abc import Sequence

import click

from raftsman.cli.exits import Code, code_of_error
from raftsman.cli.explaining import explanation_lines
from raftsman.cli.faults import say_problem
from raftsman.cli.options import connection_options, open_client
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.specfile import FileTask, read_tasks
from raftsman.cli.words import out, plain
from raftsman.errors import InvalidSpec
from raftsman.wire.views import ExplainView

_OF_TASK = re.compile(r"/tasks/(?P<place>[0-9]+)(?P<rest>/.*)?", re.DOTALL)
"""A pointer into what is sent: the files' tasks in their order."""


@click.command(name="plan")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_option("text", "json", "yaml")
@connection_options
def command(files: tuple[str, ...], *, output: str) -> None:
    """Explain where tasks would run if they were submitted now, one after the other. Nothing is submitted.

    Exit code 8: one of them cannot be placed now.
    """
    tasks = [task for file in files for task in read_tasks(file)]
    planned = _plan(tasks)
    if output == "text":
        for task, explanation in zip(tasks, planned, strict=True):
            for line in explanation_lines(explanation, name=plain(explanation["taskId"] or task.name)):
                out(line)
    else:
        print_value({"items": planned}, output)
    placeable = all(explanation["placeable"] for explanation in planned)
    raise click.exceptions.Exit(Code.DONE if placeable else Code.UNPLACEABLE)


def _plan(tasks: Sequence[FileTask]) -> Sequence[ExplainView]:
    """Return where the tasks would run; the faults of a refusal are said where they stand in the files."""

    def where(pointer: str) -> str:
        match = _OF_TASK.fullmatch(pointer)
        return tasks[int(match["place"])].where(match["rest"] or "") if match else pointer

    try:
        return open_client().plan([task.spec for task in tasks])
    except InvalidSpec as problem:
        say_problem(problem, where=where)
        raise click.exceptions.Exit(code_of_error(problem)) from problem
