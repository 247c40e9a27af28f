"""A tenth of ``make chaos``: whatever happens to three real nodes under load, no answer turns out to be untrue."""

from pathlib import Path

import pytest

from tests.chaos.faults import Trouble
from tests.chaos.rounds import run_round

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(
    ("trouble", "count"),
    [
        (Trouble.KILL, 10),
        (Trouble.AT_COMPACTION, 5),
        (Trouble.EVERYBODY, 1),
        (Trouble.FROZEN_LEADER, 2),
        (Trouble.LONELY_LEADER, 2),
        (Trouble.HAND_OVER, 3),
        (Trouble.RESTART, 2),
        (Trouble.PAUSE, 2),
        (Trouble.CUT, 2),
        (Trouble.SEVERAL, 2),
        (Trouble.REPLACE, 1),
    ],
)
def test_no_answer_turns_out_to_be_untrue(trouble: Trouble, count: int, tmp_path: Path) -> None:
    result = run_round(trouble, count, tmp_path, seed=count)
    assert result.operations["acknowledged"] > 0
    assert result.faults == []
