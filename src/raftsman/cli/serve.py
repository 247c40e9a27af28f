"""``raftsman serve``: one node. The only command here that is a server; it is imported when it is meant to run."""

from pathlib import Path

import click

from raftsman.cli.options import label_pairs


@click.command(name="serve")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The node's settings (TOML).",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    callback=label_pairs,
    help="A setting that goes before file and environment: --set http.bind=127.0.0.1:7127",
)
def command(*, config: Path | None, overrides: dict[str, str]) -> None:
    """Run one node, until it is told to stop."""
    from raftsman.node.main import serve

    raise click.exceptions.Exit(serve(config, overrides))
