"""``raftsman config``: the settings of a node as it would understand them; ``raftsman.node.settings`` says how."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftsman.cli.exits import Code, CommandFailed
from raftsman.cli.options import label_pairs
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.words import out, say

if TYPE_CHECKING:
    from raftsman.node.settings.model import Loaded, Shown


@click.group(name="config")
def command() -> None:
    """Look at the settings of a node."""


@command.command(name="show")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The node's settings (TOML).",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", callback=label_pairs, help="As for serve.")
@click.option("--origin", "with_origin", is_flag=True, help="Say of every key who has set it.")
@output_option("toml", "json")
def show(*, config: Path | None, overrides: dict[str, str], with_origin: bool, output: str) -> None:
    """Show every setting of the node that `serve` would start with these options, in this environment.

    Secrets are not shown, only the files that hold them. Exit code 10 when the node would refuse them.
    """
    loaded = _load(config, overrides)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    if output == "json":
        print_value({"items": [_item(each) for each in loaded.shown]}, "json")
        return

    from raftsman.node.settings.showing import toml_lines

    comments = {each.path: _origin(each, config) for each in loaded.shown} if with_origin else {}
    for line in toml_lines(loaded.shown, comments=comments):
        out(line)


def _load(config: Path | None, overrides: dict[str, str]) -> "Loaded":
    from raftsman.node.settings.file import read_settings
    from raftsman.node.settings.model import SettingsError

    try:
        return read_settings(config, overrides=overrides)
    except SettingsError as error:
        for line in str(error).splitlines():
            say(line)
        raise CommandFailed("the node would not start with these settings", Code.INVALID) from error


def _item(shown: "Shown") -> dict[str, object]:
    import tomllib

    from raftsman.node.settings.schema import dotted

    return {
        "key": dotted(shown.path),
        "value": tomllib.loads(f"value = {shown.value}")["value"],
        "origin": shown.origin,
        "line": shown.line,
        "variable": shown.variable or None,
    }


def _origin(shown: "Shown", config: Path | None) -> str:
    match shown.origin:
        case "file":
            return f"{config}{f':{shown.line}' if shown.line else ''}"
        case "environment":
            return shown.variable
        case "flag":
            return "--set"
        case _:
            return "follows from other keys" if shown.derived else "default"
