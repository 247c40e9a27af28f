"""What the pages name is there: every block of commands has a test, every target, option and example exists."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from raftsman.cli.main import COMMANDS, main, raftsman
from tests.documents.conftest import PLACEHOLDER, PLACEHOLDERS
from tests.harness.documents import PAGES, ROOT, Block, blocks_of, mentioned_in, typed_in

TOURS = {
    ("README.md", "First contact"): "test_first_contact",
    ("README.md", "Five minutes with your clusters"): "test_five_minutes",
    ("README.md", "What it needs in Kubernetes"): "test_five_minutes",
    ("docs/cli.md", "Completion"): "test_completion",
    ("docs/track-record.md", "How to run it again"): "test_track_record",
    ("docs/development-kubernetes.md", "The development Kubernetes"): "test_development_kubernetes",
}
"""Which test types the blocks of commands of a section; all of them, so that what is added there is tried as well."""
OWN_FOLDERS = ("executor", "node", "raft", "scheduler")
YAML = [block for block in blocks_of("docs/tasks.md") if block.language == "yaml"]
CLI_PAGE = "docs/cli.md"
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|-[a-z])(?![\w-])")


def test_every_block_of_commands_is_typed_by_a_test() -> None:
    sections = {(command.page, command.section) for page in PAGES for command in typed_in(page)}
    assert sections == set(TOURS)
    assert [name for name in TOURS.values() if not Path(__file__).with_name(f"{name}.py").exists()] == []


def test_every_placeholder_is_one_that_the_tests_fill_in() -> None:
    commands = [command for page in PAGES for command in (*typed_in(page), *mentioned_in(page))]
    words = {word for command in commands for word in PLACEHOLDER.findall(command.text)}
    assert words == set(PLACEHOLDERS)


def test_every_target_that_the_pages_name_is_in_the_makefile(make_target: Callable[[str], str]) -> None:
    pages = (*PAGES, "CONTRIBUTING.md")
    commands = {command.text for page in pages for command in (*typed_in(page), *mentioned_in(page))}
    targets = {command for command in commands if command.startswith("make ")}
    assert {"make demo", "make setup", "make test"} <= targets
    for target in targets:
        make_target(target)


_NAMED = re.compile(r"`((?:tests|docs|benchmarks|examples|raft|node|executor|scheduler)/[\w./-]*\w)`|\]\(([\w./-]+)\)")
"""A file or folder of the repository, by its path or as the target of a link."""


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", *(f"{folder}/DESIGN.md" for folder in OWN_FOLDERS)])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    path = ROOT / page
    missing = [
        named or linked
        for named, linked in _NAMED.findall(path.read_text())
        if not ((ROOT / named).exists() if named else (path.parent / linked).exists())
    ]
    assert missing == []


@pytest.mark.parametrize("block", YAML, ids=lambda block: f"line {block.line}")
def test_a_task_on_its_page_has_no_fault(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(block.text)
    assert main(["lint", str(file)]) == 0


def rows() -> Iterator[tuple[list[str], str]]:
    """Yield the verbs of each row of the tables in ``docs/cli.md``, and the row."""
    verbs = {*COMMANDS, *(f"{group} {name}" for group, name in _subcommands())}
    for line in (ROOT / CLI_PAGE).read_text().splitlines():
        cell = line.strip("|").split(" | ")[0]
        spans = [span.removeprefix("raftsman ") for span in re.findall(r"`([^`]+)`", cell)]
        named = [verb for verb in verbs for span in spans if re.match(rf"{verb}\b", span)]
        if line.startswith("| `") and named:
            yield named, line


def _subcommands() -> Iterator[tuple[str, str]]:
    context = click.Context(raftsman)
    for name in COMMANDS:
        command = raftsman.get_command(context, name)
        if isinstance(command, click.Group):
            yield from ((name, each) for each in command.list_commands(context))


def test_every_option_on_the_page_of_the_command_line_is_one_of_its_verb() -> None:
    seen = set()
    for verbs, row in rows():
        written = {option for span in re.findall(r"`([^`]+)`", row) for option in _OPTION.findall(span)}
        assert written <= {option for verb in verbs for option in _options(verb)}, row
        seen |= {verb.split()[0] for verb in verbs}
    assert seen == {*COMMANDS} - {"completion"}  # It has a section of its own.


def test_the_formats_on_the_page_of_the_command_line_are_those_of_their_verb() -> None:
    for verbs, row in rows():
        for written in re.findall(r"-o ([a-z│]+)", row):
            formats = [
                set(option.type.choices)
                for verb in verbs
                for option in _parameters(verb)
                if "-o" in option.opts and isinstance(option.type, click.Choice)
            ]
            assert any(set(written.split("│")) <= choices for choices in formats), row


def _parameters(verb: str) -> list[click.Parameter]:
    command: click.Command = raftsman
    context = click.Context(command)
    for word in verb.split():
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        command = found
    return command.get_params(context)


def _options(verb: str) -> set[str]:
    return {option for each in _parameters(verb) for option in (*each.opts, *each.secondary_opts)}
