"""What is kept of an output, in memory and on disk, and what its readers get."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor.lines import LINE_BYTES, KeptLines, Mark, encode, last_text, line_size, nanoseconds
from raftsman.executor.output import Cut, End, KeepLimits, LogLine, Output, OutputStore
from raftsman.executor.outputfiles import stored_outputs

AT = "2026-01-02T03:04:05.5Z"
ROOMY = KeepLimits()
NARROW = KeepLimits(head_bytes=100, tail_bytes=100)


def at_second(second: int) -> str:
    return f"2026-01-02T03:04:{second:02}Z"


def fill(output: Output, count: int, *, start: int = 0) -> None:
    for n in range(start, start + count):
        output.append(AT, "stdout", f"line {n:04}".encode())


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def texts(output: Output, *, tail: int | None = None, since: str = "", follow: bool = False) -> list[str | int]:
    """Return what a reader gets: lines as text, cuts as numbers, the end in brackets."""
    seen: list[str | int] = []
    async for each in output.read(tail=tail, since=since, follow=follow):
        match each:
            case LogLine():
                seen.append(each.line)
            case Cut():
                seen.append(each.bytes)
            case End():
                seen.append(f"[{each.end}]")
    return seen


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path, ROOMY)


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000001Z"),
        ("2026-01-02T03:04:05.09Z", "2026-01-02T03:04:05.1Z"),
        ("2026-01-02T03:04:05.123456788Z", "2026-01-02T03:04:05.123456789Z"),
        ("2026-01-02T05:04:05.1+02:00", "2026-01-02T03:04:05.2Z"),
    ],
)
def test_instants_compare_by_value_whatever_their_digits_and_zone(earlier: str, later: str) -> None:
    first, second = nanoseconds(earlier), nanoseconds(later)
    assert first is not None
    assert second is not None
    assert first < second


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02T03:04:05", "٢"])
def test_what_is_no_instant_has_no_nanoseconds(text: str) -> None:
    assert nanoseconds(text) is None


# --- what is kept ----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(0, 300), st.integers(0, 300), st.integers(1, 70))
def test_kept_and_missing_bytes_add_up_for_every_reader(sizes: list[int], head: int, tail: int, pace: int) -> None:
    kept = KeptLines(head, tail)
    mark, seen_bytes = kept.start(), 0
    for n, size in enumerate(sizes, start=1):
        kept.add(encode(AT, "stdout", b"x" * size))
        if n % pace == 0:  # A reader that looks in now and then.
            mark, seen_bytes = look(kept, mark, seen_bytes)
    before = None
    while mark != before:
        before = mark
        mark, seen_bytes = look(kept, mark, seen_bytes)
    assert seen_bytes == sum(sizes) + len(sizes)
    assert sum(map(len, kept.head)) <= head
    assert sum(map(len, kept.tail)) <= tail


def look(kept: KeptLines, mark: Mark, seen_bytes: int) -> tuple[Mark, int]:
    missing_bytes, records, mark = kept.after(mark)
    return mark, seen_bytes + missing_bytes + sum(map(line_size, records))


async def test_the_first_and_the_last_lines_are_kept_and_the_bytes_between_them_counted(tmp_path: Path) -> None:
    output = OutputStore(tmp_path, NARROW).open("t", 5, 1)
    fill(output, 10)
    output.finish("complete")
    assert await texts(output) == ["line 0000", "line 0001", 6 * 10, "line 0008", "line 0009", "[complete]"]


async def test_a_line_that_does_not_fit_closes_the_head(tmp_path: Path) -> None:
    output = OutputStore(tmp_path, NARROW).open("t", 5, 1)
    for line in (b"a", b"b" * 90, b"c"):
        output.append(AT, "stdout", line)
    assert await texts(output) == ["a", 91, "c"]


async def test_a_long_line_is_cut_and_says_how_much_is_missing(store: OutputStore) -> None:
    output = store.open("t", 5, 1)
    output.append(AT, "stdout", b"x" * (LINE_BYTES + 5), beyond_bytes=7)
    assert await texts(output) == ["x" * LINE_BYTES + "… [12 bytes cut]"]


async def test_bytes_that_are_no_utf8_are_replaced_and_others_left_alone(store: OutputStore) -> None:
    output = store.open("t", 5, 1)
    output.append("", "stdout", b"\xff\x00\r")
    output.append(AT, "stderr", b"")
    assert [each async for each in output.read()] == [
        LogLine(1, "stdout", "", "\ufffd\x00\r"),
        LogLine(1, "stderr", AT, ""),
    ]


# --- reading ---------------------------------------------------------------------------------------


async def test_an_output_that_has_not_ended_is_read_without_an_end(store: OutputStore) -> None:
    output = store.open("t", 5, 1)
    fill(output, 1)
    assert await texts(output) == ["line 0000"]
    assert output.end is None


@pytest.mark.parametrize(
    ("tail", "seen"),
    [
        (0, []),
        (1, ["line 0009"]),
        (2, ["line 0008", "line 0009"]),
        (5, [60, "line 0008", "line 0009"]),
        (9, ["line 0001", 60, "line 0008", "line 0009"]),
        (99, ["line 0000", "line 0001", 60, "line 0008", "line 0009"]),
    ],
)
async def test_tail_counts_lines_from_the_end(tmp_path: Path, tail: int, seen: list[str | int]) -> None:
    output = OutputStore(tmp_path, NARROW).open("t", 5, 1)
    fill(output, 10)
    assert await texts(output, tail=tail) == seen


async def test_one_stream_is_read_alone_and_its_tail_counts_its_lines_only(tmp_path: Path) -> None:
    output = OutputStore(tmp_path, KeepLimits(head_bytes=200, tail_bytes=300)).open("train-7", 5, 1)
    for n in range(30):
        output.append(at_second(n), "stderr" if n % 3 == 0 else "stdout", b"%02d" % n)
    output.finish("complete")

    async def errors(tail: int | None) -> list[str]:
        return [each.line async for each in output.read(tail=tail, stream="stderr") if isinstance(each, LogLine)]

    everything = await errors(None)
    assert [line for line in everything if int(line) % 3] == []
    assert everything[-3:] == ["21", "24", "27"]
    for tail in range(len(everything) + 2):
        assert await errors(tail) == everything[max(0, len(everything) - tail) :]
    assert output.tail_text(8, stream="stderr") == "21\n24\n27"


async def test_since_shows_what_is_not_older_and_no_cut_before_it(tmp_path: Path) -> None:
    output = OutputStore(tmp_path, NARROW).open("t", 5, 1)
    for second in range(10, 22):
        output.append(at_second(second), "stdout", b"%d" % second)
    assert await texts(output, since=at_second(11)) == ["11", "12", 6 * 3, "19", "20", "21"]
    assert await texts(output, since="2026-01-02T03:04:19.5Z") == ["20", "21"]


async def test_since_that_is_no_instant_is_a_value_error(store: OutputStore) -> None:
    with pytest.raises(ValueError, match="no RFC 3339"):
        await texts(store.open("t", 5, 1), since="today")


async def test_every_follower_gets_each_line_and_the_end(store: OutputStore) -> None:
    output = store.open("t", 5, 1)
    fill(output, 1)
    followers = [asyncio.create_task(texts(output, follow=True)) for _ in range(3)]
    await asyncio.sleep(0)
    fill(output, 2, start=1)
    await asyncio.sleep(0)
    output.finish("truncated", "the Pod is gone")
    for each in followers:
        assert await each == ["line 0000", "line 0001", "line 0002", "[truncated]"]


async def test_a_slow_follower_misses_what_the_ring_dropped_and_goes_on(tmp_path: Path) -> None:
    output = OutputStore(tmp_path, KeepLimits(head_bytes=0, tail_bytes=100)).open("t", 5, 1)
    fill(output, 2)
    reading = output.read(follow=True)
    first = await anext(reading)
    fill(output, 10, start=2)
    output.finish("complete")
    rest = [each async for each in reading]
    assert isinstance(first, LogLine)
    assert [each.line for each in rest if isinstance(each, LogLine)] == ["line 0001", "line 0010", "line 0011"]
    assert Cut(8 * 10) in rest
    assert rest[-1] == End("complete", "")


async def test_nothing_is_added_after_the_end_and_the_first_end_counts(store: OutputStore) -> None:
    output = store.open("t", 5, 1)
    output.finish("complete")
    output.finish("truncated", "late")
    fill(output, 1)
    assert await texts(output) == ["[complete]"]


# --- the last lines as text --------------------------------------------------------------------------


async def test_the_tail_text_has_the_last_whole_lines_that_fit(store: OutputStore) -> None:
    output = store.open("t", 5, 1)
    fill(output, 3)
    assert output.tail_text(len("line 0001\nline 0002")) == "line 0001\nline 0002"
    assert output.tail_text(len("line 0001\nline 0002") - 1) == "line 0002"
    assert output.tail_text() == "line 0000\nline 0001\nline 0002"


async def test_of_a_last_line_that_does_not_fit_the_tail_text_has_the_end(store: OutputStore) -> None:
    output = store.open("t", 5, 1)
    output.append(AT, "stdout", "ä".encode() * 50 + b"end")
    assert output.tail_text(10) == "…ääend"
    assert output.tail_text(2) == ""


async def test_the_tail_text_does_not_reach_over_a_gap(tmp_path: Path) -> None:
    output = OutputStore(tmp_path, NARROW).open("t", 5, 1)
    fill(output, 10)
    assert output.tail_text() == "line 0008\nline 0009"


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=8), st.integers(0, 60))
def test_the_tail_text_never_exceeds_its_limit(lines: list[bytes], limit: int) -> None:
    kept = KeptLines(60, 60)
    for line in lines:
        kept.add(encode(AT, "stdout", line))
    assert len(last_text(kept, limit).encode()) <= limit


# --- on disk -------------------------------------------------------------------------------------------


async def test_an_ended_output_reads_the_same_after_a_restart(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, NARROW)
    output = store.open("t", 5, 1)
    fill(output, 9)
    output.append("", "stdout", b"\xff \r\x00")
    output.finish("truncated", "the Pod is gone")
    again = OutputStore(tmp_path, NARROW).find("t", 5, 1)
    assert again is not None
    assert again.end == End("truncated", "the Pod is gone")
    for tail in (None, 0, 1, 4, 9):
        assert await texts(again, tail=tail) == await texts(output, tail=tail)
    assert again.tail_text() == output.tail_text()


async def test_an_output_that_was_open_when_the_node_was_killed_is_truncated(tmp_path: Path) -> None:
    output = OutputStore(tmp_path, NARROW).open("t", 5, 1)
    fill(output, 10)
    output.flush()
    with (tmp_path / "t" / "5-1" / "draft").open("ab") as draft:
        draft.write(b"2026-01-02T03:04")  # Torn in the middle of a record.
    again = OutputStore(tmp_path, NARROW).find("t", 5, 1)
    assert again is not None
    assert again.end == End("truncated", "the node was restarted")
    assert await texts(again, follow=True) == ["line 0000", "line 0001", "[truncated]"]


async def test_a_torn_final_file_is_no_output(tmp_path: Path) -> None:
    folder = tmp_path / "t" / "5-1"
    folder.mkdir(parents=True)
    (folder / "output").write_bytes(b"\0" * 10)
    assert OutputStore(tmp_path, ROOMY).find("t", 5, 1) is None


async def test_the_head_goes_to_disk_by_itself(store: OutputStore, tmp_path: Path) -> None:
    output = store.open("t", 5, 1)
    for _ in range(5):
        output.append(AT, "stdout", b"x" * LINE_BYTES)
    assert (tmp_path / "t" / "5-1" / "draft").stat().st_size >= 4 * LINE_BYTES
    output.finish("complete")
    assert names_in(tmp_path / "t" / "5-1") == ["output"]


async def test_a_closing_store_writes_what_it_holds(store: OutputStore, tmp_path: Path) -> None:
    fill(store.open("t", 5, 1), 1)
    store.close()
    assert (tmp_path / "t" / "5-1" / "draft").read_bytes() == f"{AT} stdout line 0000\n".encode()


async def test_a_disk_that_refuses_costs_no_reader_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    output = OutputStore(tmp_path / "file", ROOMY).open("t", 5, 1)
    fill(output, 1)
    output.flush()
    fill(output, 1, start=1)
    output.finish("complete")
    assert await texts(output) == ["line 0000", "line 0001", "[complete]"]
    assert len(caplog.messages) == 2


async def test_an_open_output_is_found_itself_and_an_unknown_one_is_none(store: OutputStore) -> None:
    output = store.open("t", 5, 1)
    assert store.find("t", 5, 1) is output
    assert store.find("t", 5, 2) is None
    assert store.find("T", 5, 1) is None


async def test_opening_an_attempt_again_starts_empty_and_ends_the_earlier_output(store: OutputStore) -> None:
    earlier = store.open("t", 5, 1)
    fill(earlier, 1)
    earlier.flush()
    reader = asyncio.create_task(texts(earlier, follow=True))
    await asyncio.sleep(0)
    later = store.open("t", 5, 1)
    fill(later, 1, start=7)
    assert await reader == ["line 0000", "[truncated]"]
    later.finish("complete")
    found = store.find("t", 5, 1)
    assert found is not None
    assert await texts(found) == ["line 0007", "[complete]"]


async def test_an_id_that_is_used_again_has_no_output_of_the_earlier_task(store: OutputStore) -> None:
    earlier = store.open("t", 5, 1)
    fill(earlier, 1)
    assert store.find("t", 6, 1) is None
    earlier.finish("complete")
    assert store.find("t", 6, 1) is None
    fill(store.open("t", 6, 1), 1, start=7)
    found = store.find("t", 5, 1)
    assert found is not None
    assert await texts(found) == ["line 0000", "[complete]"]


async def test_an_output_that_was_swept_while_somebody_held_it_says_so(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, KeepLimits(total_bytes=0))
    store.open("t", 5, 1).finish("complete")
    held = store.find("t", 5, 1)
    await store.sweep()
    assert held is not None
    assert [each async for each in held.read()] == [End("unavailable", "it is no longer kept")]


async def test_a_sweep_removes_the_oldest_ended_outputs_and_no_open_one(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, KeepLimits(total_bytes=350))
    opened = store.open("opened", 5, 1)
    fill(opened, 2)
    opened.flush()
    os.utime(tmp_path / "opened" / "5-1", (1, 1))
    for age, task_id in enumerate(["newest", "middle", "oldest"]):
        output = store.open(task_id, 5, 1)
        fill(output, 2)
        output.finish("complete")
        os.utime(tmp_path / task_id / "5-1", (1000 - age, 1000 - age))
    await store.sweep()
    assert names_in(tmp_path) == ["newest", "opened"]


def test_a_task_whose_output_goes_while_the_disk_is_looked_at_is_left_out(store: OutputStore, tmp_path: Path) -> None:
    for number in range(5):
        store.open(f"t{number}", 1, 1).finish("complete")
    found = stored_outputs(tmp_path)
    first = next(found).folder.parent.name
    gone = next(name for name in ("t0", "t4") if name != first)
    shutil.rmtree(tmp_path / gone)
    assert {first, *(each.folder.parent.name for each in found)} == {f"t{number}" for number in range(5)} - {gone}


async def test_a_sweep_that_fails_is_counted_and_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, third = OutputStore(tmp_path, ROOMY), asyncio.Event()

    async def sweep() -> None:
        if store.errors == 2:
            third.set()
        raise OSError("the disk is gone")

    monkeypatch.setattr(store, "sweep", sweep)
    sweeping = asyncio.create_task(store.keep_sweeping(0.001))
    await asyncio.wait_for(third.wait(), 5)
    sweeping.cancel()


@pytest.mark.parametrize("task_id", ["", "..", ".hidden", "a/b", "a" * 129])
def test_what_is_no_task_id_never_becomes_a_path(store: OutputStore, task_id: str) -> None:
    with pytest.raises(ValueError, match="no task id"):
        store.open(task_id, 5, 1)
