"""Every scenario in this folder reads as the table answers today.

``RAFTSMAN_REWRITE=1 pytest tests/scenarios`` writes the answers anew; whoever does that reads the difference.
"""

import os
from pathlib import Path

import pytest

from raftsman.raft.commands import KINDS
from tests.harness.scenarios import Stage, play

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_table_answers_as_the_scenario_says(path: Path) -> None:
    written = path.read_text()
    played = play(written)
    if os.environ.get("RAFTSMAN_REWRITE"):
        path.write_text(played)
    else:
        assert played == written


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_begins_with_what_it_establishes(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


def test_every_kind_of_command_has_a_scenario() -> None:
    stages = [Stage() for _ in FILES]
    for path, stage in zip(FILES, stages, strict=True):
        play(path.read_text(), stage)
    assert set().union(*(stage.kinds for stage in stages)) == set(KINDS)
