"""What runs add up to, and that nothing is missing in it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.__main__ import main
from tests.simulation.record import Summary, as_line, read, table, with_table
from tests.simulation.record import main as record
from tests.simulation.run import Result


def result(seed: int, nodes: int = 3) -> Result:
    return Result(
        seed=seed,
        nodes=nodes,
        faults={"kill": 20 + seed, "pause": 1},
        acknowledged=1000,
        reads=10,
        seconds=1800.0,
        violation="",
        trace=f"{seed}",
    )


def test_slices_in_any_order_add_up_to_what_one_run_would_have_said() -> None:
    results = [result(seed) for seed in range(4)]
    lines = [as_line(each) for each in (results[2], results[3], results[0], result(7, nodes=5), results[1])]
    assert read(lines) == [Summary.of(results), Summary.of([result(7, nodes=5)])]


def test_a_seed_that_was_not_run_is_missed() -> None:
    with pytest.raises(ValueError, match="of the seeds 0 to 2 only 2 were run"):
        read([as_line(result(0)), as_line(result(2))])


def test_the_table_has_a_column_for_each_number_of_nodes() -> None:
    broken = replace(result(1, nodes=5), violation="a promise is broken")
    said = table(read([as_line(each) for each in (result(0), result(1), broken)]))
    assert "|  | 3 nodes | 5 nodes |" in said
    assert "| seeds | 2 (from 0) | 1 (from 1) |" in said
    assert "| simulated time | 1.0 h | 0.5 h |" in said
    assert "| faults | 43, at least 21 a seed | 22, at least 22 a seed |" in said
    assert "| – kill | 41 | 21 |" in said
    assert "| violations | 0 | 1 |" in said


def test_a_run_is_recorded_seed_by_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record"
    for first in (0, 1):
        assert main(["--seeds", "1", "--from", f"{first}", "--record", str(file)]) == 0
    capsys.readouterr()
    assert main(["--seeds", "2"]) == 0
    (recorded,) = read(file.read_text().splitlines())
    assert capsys.readouterr().out.splitlines()[-1] == recorded.last_line()


def test_the_table_takes_the_place_of_the_one_on_the_page(tmp_path: Path) -> None:
    file, page = tmp_path / "record", tmp_path / "page.md"
    old, new = ([result(seed) for seed in range(count)] for count in (1, 2))
    file.write_text("".join(as_line(each) + "\n" for each in new))
    page.write_text(f"Before.\n\n{table([Summary.of(old)])}\n\n| another | table |\n")
    record([str(file), "--page", str(page)])
    assert page.read_text() == f"Before.\n\n{table([Summary.of(new)])}\n\n| another | table |\n"


def test_the_track_record_has_the_place_for_it() -> None:
    page = (Path(__file__).parents[2] / "docs" / "track-record.md").read_text()
    assert "a new table" in with_table(page, "a new table")
