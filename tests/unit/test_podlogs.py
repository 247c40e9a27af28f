"""Whatever a context does to a log stream: every line is kept once, and the end says what is missing."""

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftsman.executor.jobs import Denied, KubernetesError, Unreachable
from raftsman.executor.lines import LINE_BYTES, nanoseconds
from raftsman.executor.output import End, LogLine
from raftsman.executor.podlogs import PATIENCE_S, capture
from tests.unit.scripted_logs import (
    ABC,
    REFUSED,
    S5,
    WAITING,
    Read,
    ScriptedLog,
    Sleeps,
    captured,
    end_of,
    lines_of,
    new_output,
    stamped,
)

# --- lines -------------------------------------------------------------------------------------------


async def test_lines_carry_the_time_that_kubernetes_gave_them() -> None:
    seen = await captured(ScriptedLog([[stamped("a", "b")], [stamped("a", "b")]]))
    assert seen == [
        LogLine(1, "stdout", f"{S5}.000000001Z", "a"),
        LogLine(1, "stdout", f"{S5}.000000002Z", "b"),
        End("complete", ""),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.one_of(st.binary(max_size=12), st.just(ABC), st.just("ä\n€".encode())), max_size=6),
    st.lists(st.integers(0, 300), max_size=10),
)
async def test_the_chunks_of_a_stream_do_not_show_in_its_lines(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    whole = await captured(ScriptedLog([[stream], [stream]]))
    assert await captured(ScriptedLog([chunks, chunks])) == whole


async def test_a_line_is_cut_at_its_limit_and_the_stream_goes_on_behind_it() -> None:
    stream = [f"{S5}Z ".encode(), *[b"x" * 10_000] * 3, b"\n", f"{S5}.1Z next\n".encode()]
    long, following = lines_of(await captured(ScriptedLog([stream, stream])))
    assert long == "x" * LINE_BYTES + f"… [{30_000 - LINE_BYTES} bytes cut]"
    assert following == "next"


async def test_a_stream_without_line_ends_takes_no_more_memory_than_a_line() -> None:
    chunk = b"x" * 65_536
    log = ScriptedLog([[chunk] * 400, [ABC]])
    tracemalloc.start()
    seen = await captured(log)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000
    assert lines_of(seen) == ["a", "b", "c"]


async def test_carriage_returns_nul_and_empty_lines_are_kept() -> None:
    stream = stamped("10%\r20%\r", "", "\0")
    assert lines_of(await captured(ScriptedLog([[stream], [stream]]))) == ["10%\r20%\r", "", "\0"]


async def test_a_last_line_without_a_line_end_is_kept() -> None:
    stream = ABC + f"{S5}.9Z no end".encode()
    assert lines_of(await captured(ScriptedLog([[stream], [stream]]))) == ["a", "b", "c", "no end"]


async def test_a_timestamp_that_was_cut_off_is_no_line() -> None:
    stream = ABC + f"{S5}.9".encode()
    assert lines_of(await captured(ScriptedLog([[stream], [stream]]))) == ["a", "b", "c"]


async def test_a_line_without_a_timestamp_takes_the_last_one() -> None:
    stream = stamped("a") + b"unable to read the log: rotated\n"
    seen = await captured(ScriptedLog([[stream], [stream]]))
    assert seen[1] == LogLine(1, "stdout", f"{S5}.000000001Z", "unable to read the log: rotated")
    assert len(lines_of(seen)) == 2


async def test_a_stream_without_any_timestamps_is_kept_once_too() -> None:
    assert lines_of(await captured(ScriptedLog([[b"a b\nc\n"], [b"a b\nc\nd\n"]]))) == ["a b", "c", "d"]


# --- resuming -----------------------------------------------------------------------------------------


async def test_a_stream_that_ends_while_the_container_runs_is_resumed_where_it_ended() -> None:
    log = ScriptedLog([[stamped("a")], [stamped("a", "b"), REFUSED], [stamped("a", "b", "c")], [ABC]])
    assert lines_of(await captured(log, follows=3)) == ["a", "b", "c"]
    assert log.asked == [
        ("", True),
        (f"{S5}.000000001Z", True),
        (f"{S5}.000000002Z", True),
        (f"{S5}.000000003Z", False),
    ]


async def test_lines_of_the_same_instant_are_told_apart_by_their_number() -> None:
    same = f"{S5}.5Z same\n".encode()
    assert lines_of(await captured(ScriptedLog([[same * 2], [same * 3], [same * 3]]), follows=2)) == ["same"] * 3


async def test_a_line_that_was_cut_in_the_middle_comes_whole_when_resumed() -> None:
    seen = await captured(ScriptedLog([[ABC[:-2]], [ABC]]))
    assert lines_of(seen) == ["a", "b", "c"]


async def test_a_cut_line_that_never_came_again_is_kept_as_far_as_it_came() -> None:
    stream = stamped("a", "whole")
    seen = await captured(ScriptedLog([[stream[:-3]], *[[REFUSED]] * 9]))
    assert lines_of(seen) == ["a", "who"]
    assert end_of(seen).end == "truncated"


class Kubelet(ScriptedLog):
    """Sends the lines from the whole second of *since* on; each read is cut after so many bytes."""

    def __init__(self, lines: list[bytes], cuts: list[int]) -> None:
        super().__init__([])
        self.lines = lines
        self.cuts = cuts

    def play(self, since: str) -> Read:
        from_ns = (nanoseconds(since) or 0) // 10**9 * 10**9
        stamps = [nanoseconds(line.split(b" ")[0].decode()) or 0 for line in self.lines]
        stream = b"".join(line for at, line in zip(stamps, self.lines, strict=True) if at >= from_ns)
        return [stream[: self.cuts.pop(0)] if self.cuts else stream]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["", ".000000001", ".5", ".50", ".999999999"])), max_size=20),
    st.lists(st.integers(0, 400), max_size=8),
)
async def test_however_often_a_log_is_cut_each_line_is_kept_once(steps: list[tuple[int, str]], cuts: list[int]) -> None:
    lines, second = [], 10
    for n, (step, fraction) in enumerate(steps):
        second += step
        lines.append(f"2026-01-02T03:04:{second}{fraction}Z line {n}\n".encode())
    seen = await captured(Kubelet(lines, list(cuts)), follows=len(cuts))
    assert lines_of(seen) == [f"line {n}" for n in range(len(lines))]
    assert end_of(seen) == End("complete", "")


async def test_a_line_stamped_before_the_one_ahead_of_it_is_not_lost_at_the_turn_of_a_second() -> None:
    lines = [b"2026-01-02T03:04:06Z out\n", b"2026-01-02T03:04:05.998Z err\n", b"2026-01-02T03:04:05.999Z err 2\n"]
    assert lines_of(await captured(Kubelet(lines, [len(lines[0] + lines[1])]))) == ["out", "err", "err 2"]


async def test_a_stream_that_falls_silent_is_opened_anew() -> None:
    class Silent(ScriptedLog):
        async def read_log(
            self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
        ) -> AsyncGenerator[bytes, None]:
            self.asked.append((since, follow))
            yield ABC
            if len(self.asked) == 1:
                await asyncio.Event().wait()

    log = Silent([])
    assert lines_of(await captured(log, follows=2, idle_s=0.01)) == ["a", "b", "c"]
    assert [follow for _, follow in log.asked] == [True, True, False]


async def test_a_cancelled_capture_leaves_the_output_open_and_the_next_one_goes_on() -> None:
    output = new_output()
    running = asyncio.create_task(captured(ScriptedLog([[stamped("a", "b")]]), follows=9, output=output, sleep=Stuck()))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert output.end is None
    log = ScriptedLog([[ABC], [ABC]])
    assert lines_of(await captured(log, output=output)) == ["a", "b", "c"]
    assert log.asked[0] == (f"{S5}.000000002Z", True)


class Stuck(Sleeps):
    async def __call__(self, seconds: float) -> None:
        await asyncio.Event().wait()


# --- waiting -------------------------------------------------------------------------------------------


async def test_streams_that_end_at_once_are_resumed_ever_more_slowly() -> None:
    sleep = Sleeps()
    await captured(ScriptedLog([[]] * 9), follows=7, sleep=sleep)
    assert min(sleep.taken_s) >= 0.1
    assert sum(sleep.taken_s) == pytest.approx(0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 2.0)


async def test_a_container_that_waits_to_start_is_waited_for() -> None:
    assert lines_of(await captured(ScriptedLog([[WAITING], [WAITING], [ABC], [ABC]]), follows=3)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("error", "pause_s"),
    [
        (Unreachable("too many requests", status=429, retry_after_s=7.0), 7.0),
        (Unreachable("too many requests", status=429, retry_after_s=900.0), PATIENCE_S),
        (Denied('pods "x" is forbidden: cannot get resource "pods/log"', status=403), PATIENCE_S),
    ],
)
async def test_a_server_that_asks_for_patience_gets_it(error: KubernetesError, pause_s: float) -> None:
    sleep = Sleeps()
    await captured(ScriptedLog([[error], [ABC], [ABC]]), follows=2, sleep=sleep)
    assert sum(sleep.taken_s) == pytest.approx(pause_s)


async def test_a_long_pause_ends_soon_after_the_container_does() -> None:
    stopped_after = 2
    sleep = Sleeps()
    output = new_output()
    await capture(
        ScriptedLog([[Denied("forbidden", status=403)], [ABC]]),
        namespace="batch",
        pod="task-t-1-abcde",
        container="task",
        output=output,
        running=lambda: len(sleep.taken_s) < stopped_after,
        sleep=sleep,
    )
    assert len(sleep.taken_s) == stopped_after
    assert output.end == End("complete", "")
