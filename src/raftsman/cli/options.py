"""Options that several commands share, and the client that they lead to.

The options that name a cluster work before and behind the command: both places put what they are given into the
context that all of them share, and the later one wins.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.types import StringParamType

from raftsman.cli.exits import Code, CommandFailed
from raftsman.cli.profile import Connection, InvalidConfig, resolve
from raftsman.cli.words import is_terminal, say
from raftsman.client import Client
from raftsman.wire.durations import parse_duration_ms

_META = "raftsman.connection."

F = TypeVar("F", bound=Callable[..., Any])


class NameOf(StringParamType):
    """The name of one *kind* (``task``), as itself or as ``-o name`` prints it: ``tasks/ID``."""

    def __init__(self, kind: str) -> None:
        self._prefixes = (f"{kind}s/", f"{kind}/")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name alone."""
        name = str(super().convert(value, param, ctx))
        return name.partition("/")[2] if name.startswith(self._prefixes) else name


TASK_ID = NameOf("task")


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[f"{_META}{param.name}"] = value


def connection_options(command: F) -> F:
    """Add the options that say which cluster is meant."""
    profile = click.option(
        "--profile",
        metavar="NAME",
        expose_value=False,
        callback=_remember,
        help="The profile of the configuration file to use.",
    )
    address = click.option(
        "--address",
        metavar="URL[,URL]",
        expose_value=False,
        callback=_remember,
        help="Where the nodes answer (RAFTSMAN_ADDRESS).",
    )
    return profile(address(command))


def given_connection() -> Connection:
    """Return what options, environment and file together say about the cluster. Raises InvalidConfig."""
    meta = click.get_current_context().meta
    return resolve(os.environ, profile=meta.get(f"{_META}profile"), address=meta.get(f"{_META}address"))


def open_client(*, timeout_s: float | None = None) -> Client:
    """Return the client for the cluster that options, environment and file name."""
    found = given_connection()
    try:
        on_wait = say if is_terminal(sys.stderr) else None
        if timeout_s is None:
            return Client(found.addresses, token=found.token, ca=found.ca, on_wait=on_wait)
        return Client(found.addresses, token=found.token, ca=found.ca, timeout_s=timeout_s)
    except ValueError as error:
        raise InvalidConfig(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"the CA file {found.ca} cannot be used: {error}", Code.INVALID) from error


def duration_ms(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return the milliseconds of an option such as 30s or 1h30m (a click callback)."""
    if value is None:
        return None
    try:
        return parse_duration_ms(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def label_pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Return ``KEY=VALUE`` options as a dictionary (a click callback)."""
    pairs: dict[str, str] = {}
    for each in value:
        name, equals, rest = each.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{each!r} is not KEY=VALUE", ctx, param)
        if name in pairs:
            raise click.BadParameter(f"{name!r} is given twice", ctx, param)
        pairs[name] = rest
    return pairs
