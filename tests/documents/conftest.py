"""A newcomer's checkout and terminals, and what the pages' placeholders stand for."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.harness.documents import ROOT
from tests.harness.terminal import Terminal

PLACEHOLDERS = MappingProxyType(
    {
        "CONTEXT": "a context of the reader's kubeconfig",
        "DIR": "a folder of the reader's choice",
        "FILE": "a task, or the settings of a node",
        "ID": "the id of the task that was submitted last",
        "NAME": "the name of a node",
        "NAMESPACE": "a namespace for raftsman's Jobs",
        "VERB": "each verb of the command line",
    }
)
"""The words of the pages' commands that a reader replaces by something of their own; ``Checkout.replaced`` has what."""
PLACEHOLDER = re.compile(r"(?<![\w$])[A-Z]{2,}(?![\w=])")


@dataclass(slots=True)
class Checkout:
    """What a reader has in front of them: the files that commands name, and an empty home."""

    directory: Path
    home: Path
    replaced: dict[str, str] = field(default_factory=dict)
    """What stands for the placeholders, and for addresses that only one on a machine can have."""

    def terminal(self, **variables: str) -> Terminal:
        """Open a terminal, with nothing in its environment that readers would not have."""
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        places = {"HOME": str(self.home), "TMPDIR": str(self.home), "TERM": "xterm", "NO_COLOR": "1"}
        return Terminal(self.directory, {**inherited, **places, **variables})

    def fill_in(self, command: str, more: Mapping[str, str] | None = None) -> str:
        """Return a command as a reader would type it; *more* goes before what is known already."""
        known = {**self.replaced, **(more or {})}
        missing = {*PLACEHOLDER.findall(command)} & {*PLACEHOLDERS} - {*known}
        assert not missing, f"nobody has said what {missing} is in: {command}"
        words = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
        return re.sub(rf"(?<![\w$])({words})(?!\w)", lambda match: known[match[1]], command) if words else command


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of the examples beside the environment that ``make setup`` makes: this one."""
    directory, home = tmp_path / "checkout", tmp_path / "home"
    shutil.copytree(ROOT / "examples", directory / "examples")
    home.mkdir()
    (directory / ".venv").symlink_to(sys.prefix)
    assert (directory / ".venv" / "bin" / "raftsman").exists()
    return Checkout(directory, home)


@pytest.fixture
def make_target() -> Callable[[str], str]:
    """Return the recipe of a ``make`` command's target; fails for one that the Makefile does not have."""
    text = (ROOT / "Makefile").read_text()
    recipes: dict[str, str] = dict(re.findall(r"^([a-z-]+):[^\n]*\n((?:\t[^\n]*\n)*)", text, re.MULTILINE))

    def find(command: str) -> str:
        target, *values = command.removeprefix("make ").split()
        assert target in recipes, f"{command}: the Makefile has no such target"
        unknown = {value.partition("=")[0] for value in values} - {*re.findall(r"^([A-Z]+) \?=", text, re.MULTILINE)}
        assert not unknown, f"{command}: the Makefile has no {unknown}"
        return recipes[target]

    return find
