"""``raftsman context``: the contexts of the node on this machine, tried out before tasks need them.

It needs no running node: it reads the settings and the kubeconfigs that ``serve`` would read.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftsman.cli.exits import Code, CommandFailed
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.words import out, paint, plain, say, table, terminal_width

if TYPE_CHECKING:
    from raftsman.node.contexttest import ContextReport

COLUMNS = ["CONTEXT", "RESULT", "NAMESPACE", "KUBERNETES", "SERVER", "WHAT IS WRONG"]


@click.group(name="context")
def command() -> None:
    """Look at the Kubernetes contexts of this machine's node."""


@command.command(name="test")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="All contexts of the node.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The node's settings (TOML); without: $KUBECONFIG or ~/.kube/config.",
)
@output_option("table", "json")
def test(names: tuple[str, ...], *, every: bool, config: Path | None, output: str) -> None:
    """Try contexts out: whether each answers, and whether raftsman's account may do there what it must.

    Exit code 1 when something is missing; then the Role that would help is printed.
    """
    if bool(names) == every:
        raise click.UsageError("name contexts, or say --all")
    reports = _reports(config, names)
    if output == "json":
        print_value({"items": [asdict(report) | {"fine": report.is_fine} for report in reports]}, "json")
    else:
        for line in table(COLUMNS, [_row(report) for report in reports], columns=terminal_width()):
            out(line)
    for report in reports:
        _advise(report)
    raise click.exceptions.Exit(Code.DONE if all(report.is_fine for report in reports) else Code.FAILED)


def _reports(config: Path | None, names: tuple[str, ...]) -> "list[ContextReport]":
    from raftsman.node.contexttest import ContextTestError, try_contexts
    from raftsman.node.settings.model import SettingsError

    try:
        return try_contexts(config, names)
    except SettingsError as error:
        for line in str(error).splitlines():
            say(line)
        raise CommandFailed("the node would not start with these settings", Code.INVALID) from error
    except ContextTestError as error:
        raise CommandFailed(str(error), Code.NOT_FOUND) from error


def _row(report: "ContextReport") -> list[str]:
    result = "ok" if report.is_fine else "unreachable" if report.error else "incomplete"
    cells = [report.name, result, report.namespace, report.version, report.server, _fault(report)]
    return [plain(cell) for cell in cells]


def _fault(report: "ContextReport") -> str:
    if report.error:
        return report.error
    faults = [f"the namespace {report.namespace} does not exist"] if report.namespace_exists is False else []
    if report.missing:
        faults.append(f"may not {', '.join(report.missing)}")
    return "; ".join(faults)


def _advise(report: "ContextReport") -> None:
    if report.namespace_exists is False:
        say(f"\n{report.name}: create the namespace: kubectl create namespace {report.namespace}")
    if report.missing:
        from raftsman.node.contexttest import role_lines

        heading = (
            f"{plain(report.name)}: this Role allows what raftsman needs; bind it to the account of the kubeconfig:"
        )
        say(f"\n{paint(heading, 'yellow', sys.stderr)}")
        for line in role_lines(report.namespace):
            say(f"  {line}")
    if not report.certain and not report.error:
        say(f"{plain(report.name)}: rights cannot be asked about there; only listing was tried")
