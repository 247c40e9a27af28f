"""``docs/cli.md`` leaves nothing out."""

import re
from importlib import import_module
from pathlib import Path

from raftsman.cli.exits import Code
from raftsman.cli.main import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def test_every_command_is_on_the_page() -> None:
    assert [name for name in COMMANDS if not re.search(rf"(`|raftsman ){name}\b", PAGE)] == []


def test_every_part_of_a_command_is_on_the_page() -> None:
    groups = {name: import_module(lazy.module).command for name, lazy in COMMANDS.items()}
    parts = [f"{name} {part}" for name, group in groups.items() for part in getattr(group, "commands", ())]
    assert parts
    assert [each for each in parts if not re.search(rf"`{each}\b", PAGE)] == []


def test_every_exit_code_is_on_the_page() -> None:
    assert [int(code) for code in Code if f"| {int(code)} |" not in PAGE] == []
