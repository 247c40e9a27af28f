"""How a log ends, as far as can be known: complete, truncated or unavailable; and what a kubelet says in its place."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from raftsman.executor.jobs import Denied, KubernetesError, Unreachable
from raftsman.executor.output import End
from raftsman.executor.podlogs import FINAL_PAUSES_S
from tests.unit.scripted_logs import (
    ABC,
    NO_CONTAINER,
    NO_FILE,
    NO_RUNTIME,
    NO_WATCHER,
    NODE_NOT_FOUND,
    POD_NOT_FOUND,
    REFUSED,
    Read,
    ScriptedLog,
    Sleeps,
    captured,
    end_of,
    lines_of,
    new_output,
    stamped,
)


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


@pytest.mark.parametrize("complaint", [NO_CONTAINER, NO_FILE, NO_FILE.replace(b"/pods", b"/pods" + b"/long" * 50)])
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
