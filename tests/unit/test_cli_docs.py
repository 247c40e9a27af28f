"""``docs/cli.md`` leaves nothing out."""

import re
from pathlib import Path

from raftsman.cli.exits import Code
from raftsman.cli.main import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def test_every_command_is_on_the_page() -> None:
    assert [name for name in COMMANDS if not re.search(rf"(`|raftsman ){name}\b", PAGE)] == []


def test_every_exit_code_is_on_the_page() -> None:
    assert [int(code) for code in Code if f"| {int(code)} |" not in PAGE] == []
