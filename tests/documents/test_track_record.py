"""The commands that do the long runs again, with fewer seeds than a reader has hours for."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.harness.documents import ROOT, Command, typed_in

PAGE = "docs/track-record.md"
LAST_LINE = re.compile(r"seeds=1 faults=\d+ violations=0 trace=[0-9a-f]{64}")


@pytest.mark.parametrize("command", typed_in(PAGE), ids=str)
def test_a_long_run_can_be_done_again(command: Command, tmp_path: Path) -> None:
    record = tmp_path / "record"
    short = re.sub(r"SEEDS=\d+", "SEEDS=1", command.text).replace("FILE", str(record))
    assert short != command.text
    arguments = ["make", "--silent", "--old-file", "setup", *short.split()[1:]]  # What is set up stays as it is.
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert LAST_LINE.fullmatch(done.stdout.splitlines()[-1]), done.stdout + done.stderr
    assert len(record.read_text().splitlines()) == 1


def test_what_the_page_says_was_found_has_a_test() -> None:
    page = (ROOT / PAGE).read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named
    assert {name for name in named if f"def {name}(" not in tests} == set()
