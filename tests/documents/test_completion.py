"""``docs/cli.md``, "Completion": each shell takes what it is told to take."""

import os
import re
import shutil
import subprocess

import pytest

from tests.documents.conftest import Checkout
from tests.harness.documents import typed_in

pytestmark = pytest.mark.cluster

SHELLS = ("bash", "zsh", "fish")


def test_the_page_has_a_line_for_each_shell() -> None:
    assert [_shell_of(command.text) for command in typed_in("docs/cli.md", "Completion")] == [*SHELLS]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_its_line(shell: str, checkout: Checkout) -> None:
    (command,) = (each.text for each in typed_in("docs/cli.md", "Completion") if _shell_of(each.text) == shell)
    script = checkout.home / ".config" / "fish" / "completions" / "raftsman.fish"
    script.parent.mkdir(parents=True)  # As fish itself does when it is first started.
    typed_into = "bash" if shell == "fish" else shell  # That line is typed once, anywhere.
    if shutil.which(typed_into) is None:
        pytest.skip(f"{typed_into} is not installed")
    path = f"{checkout.directory}/.venv/bin:{os.environ['PATH']}"
    variables = {**checkout.terminal().variables, "PATH": path}
    checked = {
        "bash": "complete -p raftsman",
        "zsh": "whence _raftsman_completion",
        "fish": f"grep -q raftsman {script}",
    }
    start = "autoload -U compinit && compinit -u\n" if shell == "zsh" else ""
    done = subprocess.run(
        [typed_into, "-c", f"{start}{command}\n{checked[shell]}"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def _shell_of(command: str) -> str:
    (shell,) = re.findall(r"raftsman completion (\w+)", command)
    return str(shell)
