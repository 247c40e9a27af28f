"""``raftsman log``: a node's log on disk, read offline. It changes nothing; the node had better be stopped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from raftsman.cli.exits import Code, CommandFailed
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.words import out, plain, table, terminal_width

_folder = click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))

Report = Mapping[str, Any]
"""A ``raftsman.node.log_files.LogReport`` as JSON: modules of the command line do not know the server's classes."""


@click.group(name="log")
def command() -> None:
    """Look at a node's log on disk: DIR is its data directory, or the raft folder in it."""


@command.command(name="inspect")
@output_option("table", "json", "yaml")
@_folder
def inspect(*, folder: Path, output: str) -> None:
    """Show the segments, entries and snapshots of a stopped node."""
    report = _report(folder)
    if output == "table":
        for line in summary_lines(report):
            out(line)
    else:
        print_value(report, output)
    _exit(report)


@command.command(name="verify")
@_folder
def verify(*, folder: Path) -> None:
    """Check every byte: 0 whole, or with a torn end, which is named; 1 damaged, with file, offset and advice."""
    report = _report(folder)
    for line in [*report["damage"], *_torn(report)]:
        out(plain(line))
    if not report["damage"]:
        counts = [*_owner(report), _count(report["segments"], "segment"), _count(report["snapshots"], "snapshot")]
        out(f"whole: {', '.join(counts)}{_entries(report)}")
    _exit(report)


def _report(folder: Path) -> Report:
    from raftsman.node.log_files import Unreadable, log_folder, report_on

    try:
        found = log_folder(folder)
        if found is None:
            raise CommandFailed(f"{folder} holds no log", Code.NOT_FOUND)
        return report_on(found).as_json()
    except Unreadable as error:  # Not 1: whoever takes that for damage would throw a good log away.
        raise CommandFailed(f"{folder} cannot be read: {error}", Code.USAGE) from error


def _exit(report: Report) -> None:
    if report["damage"]:
        raise click.exceptions.Exit(Code.FAILED)


def summary_lines(report: Report) -> list[str]:
    """Return the report as a person reads it."""
    facts = [("folder", report["folder"]), *_identity_facts(report["identity"]), *_journal_facts(report["journal"])]
    segments = [
        [Path(each["file"]).name, _range(each), each["frames"], each["written"], "sealed" if each["sealed"] else "open"]
        for each in report["segments"]
    ]
    snapshots = [
        [Path(each["file"]).name, each["index"], each["term"], each["tasks"], each["bytes"]]
        for each in report["snapshots"]
    ]
    return [
        *(f"{name + ':':<11}{plain(value)}" for name, value in facts),
        *_section(["SEGMENT", "ENTRIES", "FRAMES", "BYTES", "END"], segments),
        *_section(["SNAPSHOT", "INDEX", "TERM", "TASKS", "BYTES"], snapshots),
        *(line for text in [*_torn(report), *report["damage"]] for line in ("", plain(text))),
    ]


def _identity_facts(identity: Mapping[str, Any] | None) -> list[tuple[str, object]]:
    if identity is None:
        return []
    return [("node", f"{identity['node']} of cluster {identity['cluster']}, {identity['stage']}")]


def _journal_facts(journal: Mapping[str, Any] | None) -> list[tuple[str, object]]:
    if journal is None:
        return []
    return [
        ("entries", f"{journal['firstIndex']} to {journal['lastIndex']}, the last of term {journal['lastTerm']}"),
        ("committed", journal["commitIndex"]),
        ("term", f"{journal['term']}, vote for {journal['vote'] or 'nobody'}"),
        ("kinds", ", ".join(f"{count} {kind}" for kind, count in journal["kinds"].items())),
        ("terms", ", ".join(f"{count} of term {term}" for term, count in journal["terms"].items())),
    ]


def _section(header: list[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = table(header, [[str(cell) for cell in row] for row in rows], columns=terminal_width())
    return ["", *lines] if rows else []


def _torn(report: Report) -> list[str]:
    torn = report["torn"]
    return [f"{torn}: a torn end, of which nobody was told; the next start cuts it"] if torn else []


def _owner(report: Report) -> list[str]:
    identity = report["identity"]
    return [f"node {identity['node']}"] if identity else []


def _entries(report: Report) -> str:
    journal = report["journal"]
    return f", entries {journal['firstIndex']} to {journal['lastIndex']}" if journal else ""


def _range(segment: Mapping[str, Any]) -> str:
    return f"{segment['firstIndex']}-{segment['lastIndex']}" if segment["entries"] else "none"


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
