"""Whatever a context does to a log stream: every line is kept once, and the end says what is missing."""

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftsman.executor.jobs import Denied, Json, KubernetesError, Mirror, NotFound, Unreachable
from raftsman.executor.lines import LINE_BYTES, KeptLines, nanoseconds
from raftsman.executor.output import Cut, End, LogLine, Output
from raftsman.executor.outputfiles import OutputFiles
from raftsman.executor.podlogs import FINAL_PAUSES_S, PATIENCE_S, capture

S5 = "2026-01-02T03:04:05"
REFUSED = Unreachable("dial tcp 10.0.0.1:10250: connect: connection refused", status=500)
NODE_NOT_FOUND = NotFound('nodes "kube-3" not found', status=404)
POD_NOT_FOUND = NotFound('pods "task-t-1-abcde" not found', status=404)
NO_CONTAINER = b"unable to retrieve container logs for containerd://0deae4d2951810af"
NO_FILE = b'failed to try resolving symlinks in path "/pods/0.log": lstat /pods/0.log: no such file or directory'
NO_WATCHER = b"failed to create fsnotify watcher: too many open files"
NO_RUNTIME = b'rpc error: code = Unavailable desc = connection error: desc = "transport: error while dialing"'
WAITING = Denied('container "task" is waiting to start: ContainerCreating', status=400)

Step = bytes | KubernetesError
Read = Sequence[Step]


@dataclass
class ScriptedLog:
    """A context of which only the logs answer: one read after another plays its steps and ends."""

    reads: list[Read]
    asked: list[tuple[str, bool]] = field(default_factory=list)  # (since, follow)

    async def read_log(
        self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        assert (namespace, pod, container) == ("batch", "task-t-1-abcde", "task")
        self.asked.append((since, follow))
        for step in self.play(since):
            await asyncio.sleep(0)
            if isinstance(step, KubernetesError):
                raise step
            yield step

    def play(self, since: str) -> Read:
        return self.reads.pop(0) if self.reads else []

    async def create_job(self, namespace: str, manifest: Json) -> Json:
        raise NotImplementedError

    async def release_job(self, namespace: str, name: str, uid: str) -> Json | None:
        raise NotImplementedError

    async def get_job(self, namespace: str, name: str) -> Json | None:
        raise NotImplementedError

    async def delete_job(self, namespace: str, name: str, uid: str) -> Json | None:
        raise NotImplementedError

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        raise NotImplementedError

    async def set_ttl(self, namespace: str, name: str, uid: str, seconds: int) -> None:
        raise NotImplementedError

    async def list_pods(self, namespace: str, job_uid: str) -> list[Json]:
        raise NotImplementedError

    async def list_events(self, namespace: str, uid: str) -> list[Json]:
        raise NotImplementedError

    def mirror(self, namespace: str, selector: str, on_change: Callable[[], None]) -> Mirror:
        raise NotImplementedError

    async def drop_mirror(self, namespace: str) -> None:
        raise NotImplementedError


@dataclass
class Sleeps:
    """Sleeping without waiting."""

    taken_s: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.taken_s.append(seconds)
        await asyncio.sleep(0)


def new_output(folder: Path = Path("/nonexistent")) -> Output:
    return Output(1, OutputFiles(folder), kept=KeptLines(1 << 20, 1 << 20))


async def captured(
    log: ScriptedLog,
    *,
    follows: int = 1,
    output: Output | None = None,
    sleep: Sleeps | None = None,
    idle_s: float = 60.0,
) -> list[LogLine | Cut | End]:
    """Return the output after the container has stopped behind so many followed reads."""
    output = output or new_output()
    await capture(
        log,
        namespace="batch",
        pod="task-t-1-abcde",
        container="task",
        output=output,
        running=lambda: sum(follow for _, follow in log.asked) < follows,
        sleep=sleep or Sleeps(),
        idle_s=idle_s,
    )
    return [each async for each in output.read()]


def lines_of(seen: list[LogLine | Cut | End]) -> list[str]:
    return [each.line for each in seen if isinstance(each, LogLine)]


def end_of(seen: list[LogLine | Cut | End]) -> End:
    assert isinstance(seen[-1], End)
    return seen[-1]


def stamped(*lines: str) -> bytes:
    """Return the lines as Kubernetes sends them, a nanosecond after one another."""
    return b"".join(f"{S5}.{n:09}Z {line}\n".encode() for n, line in enumerate(lines, start=1))


ABC = stamped("a", "b", "c")


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


# --- the end -------------------------------------------------------------------------------------------


async def test_no_output_at_all_is_complete_without_waiting() -> None:
    sleep = Sleeps()
    log = ScriptedLog([])
    assert await captured(log, sleep=sleep) == [End("complete", "")]
    assert sleep.taken_s == []
    assert len(log.asked) == 2


async def test_a_container_that_had_stopped_before_is_read_without_following() -> None:
    log = ScriptedLog([[ABC]])
    assert lines_of(await captured(log, follows=0)) == ["a", "b", "c"]
    assert log.asked == [("", False)]


@pytest.mark.parametrize("error", [REFUSED, NODE_NOT_FOUND])
async def test_the_last_read_is_tried_again_after_what_passes(error: KubernetesError) -> None:
    sleep = Sleeps()
    seen = await captured(ScriptedLog([[stamped("a")], *[[error]] * 3, [ABC]]), sleep=sleep)
    assert lines_of(seen) == ["a", "b", "c"]
    assert end_of(seen) == End("complete", "")
    assert sleep.taken_s == list(FINAL_PAUSES_S[:3])


async def test_an_empty_last_read_behind_known_lines_is_tried_again() -> None:
    seen = await captured(ScriptedLog([[stamped("a")], [], [stamped("a", "b")]]))
    assert lines_of(seen) == ["a", "b"]
    assert end_of(seen).end == "complete"


async def test_lines_whose_end_cannot_be_read_are_truncated() -> None:
    log = ScriptedLog([[ABC], *[[REFUSED]] * 99])
    seen = await captured(log)
    assert lines_of(seen) == ["a", "b", "c"]
    assert end_of(seen) == End("truncated", f"the end could not be read: {REFUSED.message}")
    assert len(log.asked) == 1 + 1 + len(FINAL_PAUSES_S)


async def test_lines_behind_which_nothing_comes_again_are_truncated() -> None:
    assert end_of(await captured(ScriptedLog([[ABC]]))).end == "truncated"


async def test_a_log_that_never_answered_is_unavailable() -> None:
    seen = await captured(ScriptedLog([[REFUSED]] * 99))
    assert seen == [End("unavailable", f"it could not be read: {REFUSED.message}")]


async def test_a_last_read_that_is_denied_is_not_repeated() -> None:
    log = ScriptedLog([[Denied("forbidden", status=403)]] * 99)
    assert end_of(await captured(log)).end == "unavailable"
    assert len(log.asked) == 2


@pytest.mark.parametrize("came", [[ABC], []], ids=["lines", "nothing"])
@pytest.mark.parametrize("follows", [99, 1], ids=["it should run", "it has stopped"])
async def test_a_stream_that_ended_just_before_its_pod_was_gone_was_the_whole(came: Read, follows: int) -> None:
    log = ScriptedLog([came, [POD_NOT_FOUND]])
    assert end_of(await captured(log, follows=follows)) == End("complete", "")
    assert len(log.asked) == 2


async def test_between_the_end_of_a_container_and_that_of_its_pod_its_log_is_gone_already() -> None:
    removed = Denied('container "task" in pod "task-t-1-abcde" is terminated', status=400)
    assert end_of(await captured(ScriptedLog([[ABC], [removed], [POD_NOT_FOUND]]), follows=99)) == End("complete", "")
    assert end_of(await captured(ScriptedLog([[ABC], [removed]]), follows=1)) == End("complete", "")


@pytest.mark.parametrize("complaint", [NO_CONTAINER, NO_FILE])
@pytest.mark.parametrize(("came", "lines"), [([ABC], ["a", "b", "c"]), ([], [])], ids=["lines", "nothing"])
async def test_a_kubelet_that_has_removed_the_log_says_so_and_that_is_no_line(
    came: Read, lines: list[str], complaint: bytes
) -> None:
    """Seen in a cancelled task's output: the container is gone a moment before its Pod is."""
    log = ScriptedLog([came, [complaint]])
    seen = await captured(log)
    assert (lines_of(seen), end_of(seen)) == (lines, End("complete", ""))
    assert len(log.asked) == 2
    while_it_should_run = ScriptedLog([came, [complaint], [complaint], [POD_NOT_FOUND]])
    seen = await captured(while_it_should_run, follows=99)
    assert (lines_of(seen), end_of(seen)) == (lines, End("complete", ""))


@pytest.mark.parametrize("complaint", [NO_CONTAINER, NO_FILE, NO_WATCHER, NO_RUNTIME])
async def test_what_a_kubelet_says_in_place_of_a_log_is_the_reason_why_there_is_none(complaint: bytes) -> None:
    log = ScriptedLog([[complaint[:9], complaint[9:]]] * 99)
    seen = await captured(log)
    assert seen == [End("unavailable", f"it could not be read: the kubelet says: {complaint.decode()}")]
    assert len(log.asked) == 2 + len(FINAL_PAUSES_S), "containerd may be about to start again"


@pytest.mark.parametrize("complaint", [NO_WATCHER, NO_RUNTIME, b"something new"])
async def test_what_a_kubelet_says_behind_the_lines_of_a_log_is_none_of_them(complaint: bytes) -> None:
    seen = await captured(ScriptedLog([[ABC + complaint]] * 99))
    assert lines_of(seen) == ["a", "b", "c"]
    assert end_of(seen) == End("truncated", f"the end could not be read: the kubelet says: {complaint.decode()}")
    recovered = await captured(ScriptedLog([[ABC + complaint], [ABC]]))
    assert (lines_of(recovered), end_of(recovered)) == (["a", "b", "c"], End("complete", ""))


async def test_a_kubelet_that_complains_again_and_again_is_asked_ever_more_slowly() -> None:
    sleep = Sleeps()
    await captured(ScriptedLog([*[[ABC + NO_WATCHER]] * 6, [ABC]]), follows=6, sleep=sleep)
    assert sum(sleep.taken_s) == pytest.approx(0.1 + 0.2 + 0.4 + 0.8 + 1.6)


@pytest.mark.parametrize("last", [b"no line end", b"failed to open the door"])
async def test_a_last_line_of_a_log_without_any_timestamps_is_no_complaint(last: bytes) -> None:
    seen = await captured(ScriptedLog([[b"a\n" + last]] * 2))
    assert (lines_of(seen), end_of(seen)) == (["a", last.decode()], End("complete", ""))


@pytest.mark.parametrize(
    ("reads", "end"),
    [
        ([[ABC], [Denied("forbidden", status=403)]], "truncated"),
        ([[ABC, REFUSED]], "truncated"),
        ([[REFUSED]], "unavailable"),
        ([[ABC[:-1]]], "truncated"),
        ([[ABC], [REFUSED]], "truncated"),
        ([], "unavailable"),
    ],
    ids=[
        "not any more",
        "cut in the middle",
        "it never began",
        "a line without its end",
        "and then a failure",
        "it is gone at once",
    ],
)
async def test_a_stream_that_was_cut_before_its_pod_was_gone_may_lack_its_end(reads: list[Read], end: str) -> None:
    seen = await captured(ScriptedLog([*reads, [POD_NOT_FOUND]]), follows=99)
    assert end_of(seen).end == end
    assert "not found" in end_of(seen).reason


async def test_a_stream_that_fell_silent_before_its_pod_was_gone_may_lack_its_end() -> None:
    class Silent(ScriptedLog):
        def play(self, since: str) -> Read:
            return [ABC] if len(self.asked) == 1 else [POD_NOT_FOUND]

        async def read_log(
            self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
        ) -> AsyncGenerator[bytes, None]:
            async for step in super().read_log(namespace, pod, container, since=since, follow=follow):
                yield step
            await asyncio.Event().wait()

    assert end_of(await captured(Silent([]), follows=99, idle_s=0.01)).end == "truncated"


async def test_a_stream_that_the_client_gave_up_for_its_silence_may_lack_its_end() -> None:
    silent = Unreachable("no answer within 60 s", reason="Timeout")
    seen = await captured(ScriptedLog([[ABC, silent], [POD_NOT_FOUND]]), follows=99)
    assert end_of(seen).end == "truncated"
    resumed = ScriptedLog([[ABC, silent], [ABC], [POD_NOT_FOUND]])
    assert end_of(await captured(resumed, follows=99)).end == "complete"


async def test_an_output_that_was_abandoned_is_not_followed_any_longer() -> None:
    output = new_output()
    output.abandon("its task was forgotten")
    log = ScriptedLog([[ABC]])
    assert end_of(await captured(log, follows=99, output=output)).reason == "its task was forgotten"
    assert [follow for _, follow in log.asked] == [False]


async def test_a_last_read_that_falls_silent_is_given_up() -> None:
    class Hanging(ScriptedLog):
        async def read_log(
            self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
        ) -> AsyncGenerator[bytes, None]:
            self.asked.append((since, follow))
            await asyncio.Event().wait()
            yield b""

    assert end_of(await captured(Hanging([]), follows=0, idle_s=0.001)).end == "unavailable"
