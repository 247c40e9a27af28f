"""A container's output on disk: what is written, what is read back, and what is followed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor.sandbox.logfile import MESSAGE_BYTES, LogFile, Reading

SECOND = 10**9
AT = 1_800_000_000 * SECOND


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    made = LogFile(tmp_path / "log")
    yield made
    made.close(AT)


async def read(log: LogFile, **reading: Any) -> bytes:
    return b"".join([chunk async for chunk in log.read(Reading(**reading))])


async def test_lines_come_back_in_the_order_in_which_they_ended(log: LogFile) -> None:
    log.feed("stdout", b"on", AT)
    log.feed("stderr", b"two\n", AT + 1)
    log.feed("stdout", b"e\nthr", AT + 2)
    assert await read(log) == b"two\none\n"
    log.close(AT + 3)
    assert await read(log) == b"two\none\nthr"
    assert await read(log, timestamps=True) == (
        b"2027-01-15T08:00:00.000000001Z two\n2027-01-15T08:00:00.000000002Z one\n2027-01-15T08:00:00.000000003Z thr"
    )


async def test_a_long_line_is_kept_in_pieces_and_comes_back_whole(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", line_bytes=4)
    log.feed("stdout", b"0123456789\nab\n", AT)
    log.close(AT)
    assert await read(log) == b"0123456789\nab\n"
    assert (tmp_path / "log").read_bytes().count(b" P ") == 2
    assert (await read(log, timestamps=True)).count(b"2027-") == 2


async def test_the_tail_counts_lines(log: LogFile) -> None:
    log.feed("stdout", b"".join(b"%d\n" % number for number in range(100)), AT)
    log.close(AT)
    assert await read(log, tail_lines=0) == b""
    assert await read(log, tail_lines=1) == b"99\n"
    assert await read(log, tail_lines=3) == b"97\n98\n99\n"
    assert (await read(log, tail_lines=1000)).count(b"\n") == 100
    assert await read(log, tail_lines=3, limit_bytes=4) == b"97\n9"


async def test_a_time_is_heeded_in_whole_seconds(log: LogFile) -> None:
    for second in range(3):
        log.feed("stdout", b"%d\n" % second, AT + second * SECOND + 5)
    assert await read(log, since_s=AT // SECOND + 1) == b"1\n2\n"
    assert await read(log, since_s=AT // SECOND + 9) == b""


async def test_a_follower_gets_what_comes_until_the_end(log: LogFile) -> None:
    log.feed("stdout", b"0\n1\n", AT)
    following = asyncio.create_task(read(log, follow=True, tail_lines=1))
    await asyncio.sleep(0)
    for number in (2, 3):
        log.feed("stdout", b"%d\n" % number, AT)
        await asyncio.sleep(0.01)
    assert not following.done()
    log.feed("stdout", b"4", AT)
    log.close(AT)
    assert await following == b"1\n2\n3\n4"


async def test_a_full_file_makes_room_and_only_the_newest_is_served(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", rotate_bytes=200)
    following = asyncio.create_task(read(log, follow=True))
    for number in range(20):
        log.feed("stdout", b"%02d\n" % number, AT)
        await asyncio.sleep(0)
    log.close(AT)
    newest = await read(log)
    assert newest.endswith(b"19\n")
    assert 0 < len(newest.splitlines()) < 20
    assert (await following).endswith(newest)


async def test_the_message_of_a_failure_is_the_end_of_the_output(log: LogFile) -> None:
    log.feed("stderr", b"x" * 100 + b"\n" + b"line\n" * 100, AT)
    log.close(AT)
    assert log.message() == "line\n" * 80
    assert len(log.message().encode()) <= MESSAGE_BYTES


async def test_a_message_is_text_whatever_was_written(log: LogFile) -> None:
    log.feed("stdout", b"\xff\xfe\x00" * 2000, AT)
    log.close(AT)
    assert len(log.message()) == MESSAGE_BYTES


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=30)), max_size=30), st.integers(1, 9)
)
def test_each_stream_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[str, bytes]], line_bytes: int
) -> None:
    log = LogFile(tmp_path_factory.mktemp("logs") / "log", line_bytes=line_bytes)
    for stream, piece in pieces:
        log.feed(stream, piece, AT)
    log.close(AT)
    read_back = asyncio.run(read(log))
    written = b"".join(piece for _, piece in pieces)
    assert sorted(read_back) == sorted(written)
    if len({stream for stream, _ in pieces}) == 1:
        assert read_back == written
