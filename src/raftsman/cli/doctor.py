"""``raftsman doctor``: looks at everything between this command and the contexts, and says what to do.

It gathers facts; what they mean is ``diagnosis``.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftsman.cli.diagnosis import (
    Finding,
    Level,
    NodeAnswer,
    about_cluster,
    about_contexts,
    about_nodes,
    about_room,
    tally,
)
from raftsman.cli.exits import Code
from raftsman.cli.options import connection_options, given_connection, open_client
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.profile import InvalidConfig
from raftsman.cli.words import out, paint, plain, say
from raftsman.client import Client
from raftsman.errors import NotAllowed, RaftsmanError
from raftsman.exchange import NoAnswer, Request, exchange

if TYPE_CHECKING:
    import ssl

ANSWER_S = 3.0
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command(name="doctor")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Look at the node of this machine too: its settings (TOML) and its disk.",
)
@output_option("text", "json")
@connection_options
def command(*, config: Path | None, output: str) -> None:
    """Look for what is wrong: configuration, nodes, versions, clocks, leader, contexts; every line ok, warn or fail.

    Exit code 1 when something fails; warnings leave it 0.
    """
    findings = []
    for finding in _findings(config):
        findings.append(finding)
        if output == "text":
            _print(finding)
    if output == "json":
        print_value({"items": [asdict(finding) for finding in findings]}, "json")
    counts = tally(findings)
    say(f"{counts[Level.OK]} ok, {counts[Level.WARN]} to look at, {counts[Level.FAIL]} wrong")
    raise click.exceptions.Exit(Code.FAILED if counts[Level.FAIL] else Code.DONE)


def _print(finding: Finding) -> None:
    level = paint(f"{finding.level:<5}", _COLOURS[finding.level], sys.stdout)
    out(f"{level} {plain(finding.what)}")
    if finding.advice:
        out(f"      {plain(finding.advice)}")


def _findings(config: Path | None) -> Iterator[Finding]:
    try:
        connection = given_connection()
        client = open_client(timeout_s=ANSWER_S)
    except InvalidConfig as error:
        yield Finding(Level.FAIL, f"the client's configuration: {error}", "correct it; see docs/cli.md, Profiles")
    else:
        token = "with a token" if connection.token else "without a token"
        yield Finding(Level.OK, f"the client's configuration: {', '.join(connection.addresses)}, {token}")
        yield from _of_the_cluster(client, connection.addresses)
    if config is not None:
        yield from _of_this_machine(config)


def _of_the_cluster(client: Client, addresses: tuple[str, ...]) -> Iterator[Finding]:
    from importlib.metadata import version

    answers = [_ask_version(address) for address in addresses]
    yield from about_nodes(answers, own_version=version("raftsman"))
    if all(answer.error for answer in answers):
        return
    try:
        yield from about_cluster(client.cluster(), addresses)
        yield from about_contexts(client.contexts()["items"])
    except NotAllowed as error:
        yield Finding(Level.FAIL, f"the token is not accepted: {error}", "RAFTSMAN_TOKEN or the profile's token_file")
    except RaftsmanError as error:
        yield Finding(Level.FAIL, f"the cluster does not answer: {error}", "look at the nodes' logs")


def _ask_version(address: str) -> NodeAnswer:
    """Ask one node what needs no token."""
    import ssl

    deadline = time.monotonic() + ANSWER_S
    asked_at = datetime.now(UTC)
    connection = given_connection()
    try:
        tls = ssl.create_default_context(cafile=connection.ca) if address.startswith("https:") else None
        with exchange(address, Request(path="/v1/version"), {}, tls=tls, deadline=deadline) as answer:
            version = str(json.loads(answer.whole(deadline))["version"])
            date = answer.header("Date") or ""
        unready = _why_unready(address, tls)
        return NodeAnswer(address=address, version=version, unready=unready, date=date, asked_at=asked_at)
    except (NoAnswer, RaftsmanError, OSError) as error:
        return NodeAnswer(address=address, error=str(error))
    except (ValueError, LookupError, TypeError):
        return NodeAnswer(address=address, error="what answers there is not raftsman")


def _why_unready(address: str, tls: "ssl.SSLContext | None") -> list[str]:
    """Return the reasons that a node's probe gives. Raises OSError, ValueError."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        with urlopen(f"{address}/readyz", timeout=ANSWER_S, context=tls):  # noqa: S310 — ``exchange`` took it for http.
            return []
    except HTTPError as error:
        with error:
            return [str(reason["message"]) for reason in json.loads(error.read()).get("reasons", [])]


def _of_this_machine(config: Path) -> Iterator[Finding]:
    from raftsman.node.settings.file import read_settings
    from raftsman.node.settings.model import SettingsError

    try:
        loaded = read_settings(config)
    except SettingsError as error:
        for fault in error.faults:
            advice = f"correct it; raftsman config show --config {config} looks again"
            yield Finding(Level.FAIL, f"{config}: {fault}", advice)
        return
    yield Finding(Level.OK, f"{config} is sound")
    for warning in loaded.warnings:
        yield Finding(Level.WARN, warning)
    folder = loaded.settings.data_dir
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    try:
        if not os.access(there, os.W_OK):
            raise PermissionError(13, "Permission denied")
        yield about_room(str(folder), shutil.disk_usage(there).free, "")
    except OSError as error:
        yield about_room(str(folder), None, str(error.strerror))
