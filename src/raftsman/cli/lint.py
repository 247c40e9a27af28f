"""``raftsman lint``: what is wrong with task files, with its place, without asking a node.

The rules are those of ``raftsman.wire.spec``, the same that a node applies. What depends on the cluster (whether a
context is known, whether there is room) is not looked at: that is ``submit``'s.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from raftsman.cli.exits import Code
from raftsman.cli.places import Places, places_in
from raftsman.cli.printing import output_option, print_value
from raftsman.cli.specfile import InvalidFile, documents_in, is_json, read_text
from raftsman.cli.words import out, plain, say
from raftsman.wire.faults import MALFORMED_JSON
from raftsman.wire.spec import check_submission

UNREADABLE = "unreadable"
"""The code of a file that holds no document at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault of a file. *line* and *column* count from 1; 0: no single place is at fault."""

    file: str
    line: int
    column: int
    pointer: str
    code: str
    detail: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{plain(place)}: {plain(self.detail)} ({self.code})"


@click.command(name="lint")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_option("text", "json")
def command(files: tuple[str, ...], *, output: str) -> None:
    """Check task files (- is stdin) without a node: every fault with file, line and column.

    Exit code 10 when there is one.
    """
    findings: list[Finding] = []
    tasks = 0
    for file in files:
        count, found = check_file(file)
        tasks += count
        findings += found
    if output == "json":
        print_value({"items": [asdict(finding) for finding in findings]}, "json")
    else:
        for finding in findings:
            out(str(finding))
    say(f"{_count(tasks, 'task')} in {_count(len(files), 'file')}: {_count(len(findings), 'fault')}")
    raise click.exceptions.Exit(Code.INVALID if findings else Code.DONE)


def check_file(file: str) -> tuple[int, list[Finding]]:
    """Return how many tasks a file holds, and all that is wrong with them."""
    try:
        name, text = read_text(file)
        documents = documents_in(name, text, is_json=is_json(file, text))
    except InvalidFile as error:
        code = MALFORMED_JSON if file.endswith(".json") else UNREADABLE
        return 0, [
            Finding(file=error.name, line=error.line, column=error.column, pointer="", code=code, detail=error.detail)
        ]
    places = places_in(text)
    if len(places) != len(documents):
        places = [Places(None)] * len(documents)
    findings = [
        finding
        for document, where in zip(documents, places, strict=True)
        for finding in _findings(name, document, where)
    ]
    return len(documents), sorted(findings, key=lambda finding: (finding.line, finding.column))


def _findings(name: str, document: object, places: Places) -> Iterator[Finding]:
    checked = check_submission(document)
    if not isinstance(checked, list):
        return
    for fault in checked:
        line, column = places.find(fault.pointer)
        yield Finding(file=name, line=line, column=column, pointer=fault.pointer, code=fault.code, detail=fault.detail)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
