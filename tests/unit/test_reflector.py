"""A live copy of a collection: lists, watches, and all that goes wrong between them."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor.jobs import Denied, Expired, Json, KubernetesError, Unauthorized, Unreachable
from raftsman.executor.kubernetes.lines import Lines
from raftsman.executor.kubernetes.prune import prune_job, prune_pod
from raftsman.executor.kubernetes.reflector import BETWEEN_WATCHES_S, MOST_PAUSE_S, RELIST_S, Gone, Reflector
from raftsman.executor.kubernetes.timing import Timing


class Clock:
    """Time that passes only by sleeping, or when a test says so; chance is always the middle."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.timing = Timing(monotonic=lambda: self.now, wall=lambda: self.now, random=lambda: 0.5, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class ScriptedSource:
    """Lists and watches from a script; when that is used up, the last call hangs and ``idle`` is set."""

    resource = "jobs"
    namespace = "batch"

    def __init__(self, lists: list[Any], watches: list[Any]) -> None:
        self.lists = lists
        self.watches = watches
        self.asked: list[tuple[str, ...]] = []
        self.idle = asyncio.Event()

    async def list_page(self, limit: int, token: str) -> Json:
        self.asked.append(("list", str(limit), token))
        page: Json = await self._next(self.lists)
        return page

    async def watch(self, version: str, timeout_s: int) -> AsyncGenerator[bytes, None]:
        assert 240 <= timeout_s <= 300
        self.asked.append(("watch", version))
        script = await self._next(self.watches)
        yield b""
        for chunk in script:
            if chunk is SILENCE:
                await self._hang()
            if isinstance(chunk, Exception):
                raise chunk
            if callable(chunk):
                chunk()
                continue
            yield chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode() + b"\n"

    async def _next(self, script: list[Any]) -> Any:
        if not script:
            await self._hang()
        step = script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def _hang(self) -> None:
        self.idle.set()
        await asyncio.Event().wait()


SILENCE = object()


def job(name: str, version: int = 1, *, uid: str = "", **metadata: Any) -> Json:
    return {
        "metadata": {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version), **metadata},
        "spec": {"suspend": False, "parallelism": 1},
        "status": {"active": version},
    }


def pod(name: str, of: str = "J", version: int = 1, *, phase: str = "Running", **metadata: Any) -> Json:
    labels = {"batch.kubernetes.io/controller-uid": of}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "labels": labels, **metadata},
        "spec": {"nodeName": "n1", "containers": [{"name": "task", "image": "x"}], "volumes": []},
        "status": {"phase": phase},
    }


def page(*items: Any, version: str = "10", token: str = "") -> Json:
    metadata = {"resourceVersion": version, "continue": token}
    return {"kind": "JobList", "metadata": metadata, "items": list(items)}


def event(kind: str, found: Any) -> Json:
    return {"type": kind, "object": found}


def bookmark(version: str) -> Json:
    return event("BOOKMARK", {"kind": "Job", "metadata": {"resourceVersion": version}})


class Followed:
    """A reflector with its clock and what it said."""

    def __init__(self, lists: list[Any], watches: list[Any], prune: Callable[[Json], Json] = prune_job) -> None:
        self.clock = Clock()
        self.source = ScriptedSource(lists, watches)
        self.gone: list[tuple[str, Gone]] = []
        self.changes = 0
        self.reflector = Reflector(
            self.source,
            prune,
            self.clock.timing,
            on_change=self._change,
            on_seen=lambda _found: None,
            on_gone=lambda known, last, how: self.gone.append((last["metadata"]["name"], how)),
        )

    def _change(self) -> None:
        self.changes += 1

    async def until_idle(self) -> Reflector:
        """Run until the script is used up; the last call hangs on in the reflector's sight, then ends."""
        task = asyncio.create_task(self.reflector.run())
        waiter = asyncio.create_task(self.source.idle.wait())
        await asyncio.wait({task, waiter}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert self.source.idle.is_set(), task
        self.live_at_idle, self.error_at_idle = self.reflector.live, self.reflector.error
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return self.reflector

    def names(self) -> list[str]:
        return sorted(found["metadata"]["name"] for found in self.reflector.objects.values())


async def test_a_copy_is_live_once_it_is_listed_and_watched() -> None:
    followed = Followed([page(job("a"), job("b"))], [[SILENCE]])
    assert not followed.reflector.live
    assert followed.reflector.error == "jobs of namespace batch are not listed yet"
    await followed.until_idle()
    assert followed.names() == ["a", "b"]
    assert followed.live_at_idle
    assert followed.error_at_idle == ""


async def test_a_listed_copy_is_not_live_before_its_watch_was_accepted() -> None:
    followed = Followed([page(job("a"))], [])
    await followed.until_idle()
    assert followed.names() == ["a"]
    assert not followed.live_at_idle
    assert "jobs" in followed.error_at_idle


async def test_a_copy_stays_live_for_two_seconds_without_a_watch() -> None:
    followed = Followed([page(job("a"))], [[SILENCE]])
    reflector = await followed.until_idle()
    ended_at = followed.clock.now
    seen = []
    for later_s in (0.0, BETWEEN_WATCHES_S - 0.1, BETWEEN_WATCHES_S + 0.1):
        followed.clock.now = ended_at + later_s
        seen.append(reflector.live)
    assert seen == [True, True, False]
    assert reflector.error == "there is no watch on jobs of namespace batch"


async def test_a_list_is_read_page_by_page_and_watched_from_its_version() -> None:
    followed = Followed([page(job("a"), token="T"), page(job("b"), version="12")], [[SILENCE]])
    await followed.until_idle()
    assert followed.source.asked == [("list", "500", ""), ("list", "500", "T"), ("watch", "12")]
    assert followed.names() == ["a", "b"]


async def test_events_change_the_copy() -> None:
    gone = job("a", 13, deletionTimestamp="2026-01-01T00:00:00Z")
    events = [event("ADDED", job("b", 11)), event("MODIFIED", job("b", 12)), event("DELETED", gone), SILENCE]
    followed = Followed([page(job("a"))], [events])
    reflector = await followed.until_idle()
    assert followed.names() == ["b"]
    assert reflector.objects["uid-b"]["status"] == {"active": 12}
    assert followed.gone == [("a", Gone.DELETED)]


async def test_a_deletion_without_a_timestamp_means_that_the_object_left_the_selector() -> None:
    followed = Followed([page(job("a"))], [[event("DELETED", job("a", 11)), SILENCE]])
    await followed.until_idle()
    assert followed.gone == [("a", Gone.LEFT)]


async def test_the_next_watch_starts_where_the_last_event_or_bookmark_was() -> None:
    followed = Followed([page()], [[event("ADDED", job("a", 11))], [bookmark("20")], [SILENCE]])
    await followed.until_idle()
    assert [asked for asked in followed.source.asked if asked[0] == "watch"] == [
        ("watch", "10"),
        ("watch", "11"),
        ("watch", "20"),
    ]


EXPIRED_EVENT = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})


@pytest.mark.parametrize(
    "end",
    [Expired("too old", status=410), EXPIRED_EVENT, event("ERROR", {"kind": "Status", "code": 500})],
    ids=["as HTTP 410", "as an event", "as an event without a reason"],
)
async def test_after_an_expired_watch_a_list_finds_what_is_missing(end: Any) -> None:
    followed = Followed([page(job("a"), job("b")), page(job("b"), job("c"), version="90")], [[end], [SILENCE]])
    await followed.until_idle()
    assert followed.names() == ["b", "c"]
    assert followed.gone == [("a", Gone.MISSED)]
    assert followed.source.asked[-1] == ("watch", "90")


async def test_a_page_that_came_too_late_makes_the_next_list_unpaged() -> None:
    lists = [page(job("a"), token="T"), Expired("the continue token is too old", status=410), page(job("b"))]
    followed = Followed(lists, [[SILENCE]])
    await followed.until_idle()
    assert followed.source.asked[1:3] == [("list", "500", "T"), ("list", "0", "")]
    assert followed.names() == ["b"]


async def test_a_copy_is_listed_again_after_eight_minutes() -> None:
    followed = Followed([page(job("a")), page(version="50")], [])
    old = RELIST_S + 1.0

    def grow_old() -> None:
        followed.clock.now += old

    followed.source.watches += [[bookmark("11"), grow_old], [SILENCE]]
    await followed.until_idle()
    assert [asked[0] for asked in followed.source.asked] == ["list", "watch", "list", "watch"]
    assert followed.gone == [("a", Gone.MISSED)]


async def test_watches_that_end_without_a_word_are_opened_ever_more_slowly() -> None:
    followed = Followed([page()], [[]] * 12)
    await followed.until_idle()
    assert min(followed.clock.pauses) >= 0.25
    assert followed.clock.pauses == sorted(followed.clock.pauses)
    assert followed.clock.pauses[-1] == pytest.approx(MOST_PAUSE_S * 0.75)


async def test_a_watch_after_a_healthy_one_comes_soon_but_never_at_once() -> None:
    followed = Followed([page()], [[bookmark(str(11 + turn))] for turn in range(5)])
    await followed.until_idle()
    assert all(0.05 <= pause <= 0.2 for pause in followed.clock.pauses)


async def test_the_pause_a_server_asks_for_is_kept() -> None:
    followed = Followed([Unreachable("too many requests", status=429, retry_after_s=7), page()], [[SILENCE]])
    await followed.until_idle()
    assert followed.clock.pauses == [7.0]


async def test_after_a_cut_the_watch_resumes_without_a_list() -> None:
    followed = Followed([page()], [[event("ADDED", job("a", 11)), Unreachable("cut")], [SILENCE]])
    await followed.until_idle()
    assert [asked[0] for asked in followed.source.asked] == ["list", "watch", "watch"]
    assert followed.names() == ["a"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            Denied("jobs.batch is forbidden", status=403),
            "this account may not list jobs in namespace batch: jobs.batch is forbidden",
        ),
        (
            Unauthorized("no", status=401),
            "the credentials are not accepted for list jobs in namespace batch: no",
        ),
        (Unreachable("refused"), "cannot list jobs in namespace batch: refused"),
    ],
)
async def test_what_keeps_a_copy_from_its_list_is_said_in_a_sentence(error: KubernetesError, sentence: str) -> None:
    followed = Followed([error], [])
    reflector = await followed.until_idle()
    assert reflector.error == sentence
    assert followed.changes == 1


@pytest.mark.parametrize(
    "odd",
    [
        b"not json\n",
        b"[1, 2]\n",
        b'{"type": "ADDED"}\n',
        b'{"type": "ADDED", "object": null}\n',
        b'{"type": "ADDED", "object": {"metadata": null}}\n',
        b'{"type": "ADDED", "object": {"metadata": {"uid": 7}}}\n',
        b'{"type": "DELETED", "object": {}}\n',
        b'{"type": "INVENTED", "object": {"metadata": {}}}\n',
        b"\n\n",
    ],
)
async def test_a_malformed_event_does_not_touch_the_others(odd: bytes) -> None:
    followed = Followed([page()], [[event("ADDED", job("a", 11)), odd, event("ADDED", job("b", 12)), SILENCE]])
    await followed.until_idle()
    assert followed.names() == ["a", "b"]


async def test_a_malformed_object_does_not_spoil_a_list() -> None:
    followed = Followed([page(job("a"), None, {"metadata": "?"}, {}, job("b"))], [[SILENCE]])
    reflector = await followed.until_idle()
    assert followed.names() == ["a", "b"]
    assert reflector.malformed == 3


@pytest.mark.parametrize("field", ["metadata", "spec", "status"])
@pytest.mark.parametrize("value", [None, [], "x", 7])
def test_pruning_survives_any_shape(field: str, value: Any) -> None:
    assert set(prune_job({**job("a"), field: value})) == {"metadata", "spec", "status"}
    assert set(prune_pod({**pod("a"), field: value})) == {"metadata", "spec", "status"}


async def test_an_older_state_does_not_replace_a_newer_one() -> None:
    followed = Followed([page()], [[event("ADDED", job("a", 15)), event("MODIFIED", job("a", 12)), SILENCE]])
    reflector = await followed.until_idle()
    assert reflector.objects["uid-a"]["metadata"]["resourceVersion"] == "15"


class Stumbling:
    """Pruning that fails at the object of one name, so many times."""

    def __init__(self, name: str, times: int = 1) -> None:
        self.name, self.left = name, times

    def __call__(self, found: Json) -> Json:
        if found["metadata"]["name"] == self.name and self.left:
            self.left -= 1
            raise ZeroDivisionError
        return prune_job(found)


@pytest.mark.parametrize("where", ["list", "added", "deleted"])
async def test_an_error_of_ours_is_logged_and_the_copy_is_made_anew(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd = job("odd", 11)
    lists = {
        "list": [page(odd), page(odd)],
        "added": [page(), page(odd)],
        "deleted": [page(job("a"), odd), page(job("a"))],
    }[where]
    events = [event("DELETED" if where == "deleted" else "ADDED", {**odd}), SILENCE]
    watches = [[SILENCE]] if where == "list" else [events, [SILENCE]]
    stumbling = Stumbling("odd")
    if where == "deleted":
        stumbling.left = 0
        watches[0].insert(0, lambda: setattr(stumbling, "left", 1))
    followed = Followed(lists, watches, stumbling)
    reflector = await followed.until_idle()
    assert [each["metadata"]["name"] for each in reflector.objects.values()] == (
        ["a"] if where == "deleted" else ["odd"]
    )
    assert (followed.live_at_idle, followed.error_at_idle) == (True, "")
    assert followed.gone == ([("odd", Gone.MISSED)] if where == "deleted" else [])
    assert [each.exc_info is not None for each in caplog.records] == [True]
    assert followed.clock.pauses[0] > 0


async def test_what_an_interrupted_list_did_not_hold_is_gone_after_the_next_one() -> None:
    lists = [page(job("a")), page(job("odd")), page(job("odd"))]
    followed = Followed(lists, [[EXPIRED_EVENT], [SILENCE]], Stumbling("odd"))
    await followed.until_idle()
    assert followed.names() == ["odd"]
    assert followed.gone == [("a", Gone.MISSED)]


async def test_an_error_that_comes_again_and_again_makes_no_storm_and_says_so() -> None:
    followed = Followed([page(job("odd"))] * 8, [], Stumbling("odd", 1_000))
    reflector = await followed.until_idle()
    assert followed.error_at_idle == "raftsman failed at the jobs of namespace batch, and lists them again"
    assert not reflector.live
    assert followed.clock.pauses[-1] > 10


async def test_events_are_understood_however_they_are_cut() -> None:
    raw = json.dumps(event("ADDED", job("a", 11, annotations={"who": "Zoë ☂"})), ensure_ascii=False).encode() + b"\n"
    one_by_one = [raw[index : index + 1] for index in range(len(raw))]
    followed = Followed([page()], [[*one_by_one, raw + raw[:9], raw[9:], SILENCE]])
    reflector = await followed.until_idle()
    assert reflector.objects["uid-a"]["metadata"]["annotations"] == {"who": "Zoë ☂"}
    assert reflector.malformed == 0


async def test_an_event_of_five_mebibytes_is_understood() -> None:
    raw = json.dumps(event("ADDED", job("a", 11, annotations={"big": "x" * (5 << 20)}))).encode() + b"\n"
    chunks = [raw[start : start + 65536] for start in range(0, len(raw), 65536)]
    followed = Followed([page()], [[*chunks, SILENCE]])
    await followed.until_idle()
    assert followed.names() == ["a"]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_lines_do_not_depend_on_where_the_chunks_were_cut(raw: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    lines = Lines()
    found = [line for start, end in itertools.pairwise(edges) for line in lines.feed(raw[start:end])]
    assert found == [line for line in raw.split(b"\n")[:-1] if line.strip()]


def test_a_line_that_never_ends_is_given_up() -> None:
    lines = Lines(limit=100)
    lines.feed(b"x" * 99)
    with pytest.raises(Unreachable, match="nothing Kubernetes sends"):
        lines.feed(b"xx")


async def test_a_pause_after_failures_ends_when_the_context_answers_again() -> None:
    pauses: list[float] = []
    long_one = asyncio.Event()

    async def sleep_for_ever_at_last(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            long_one.set()
            await asyncio.Event().wait()

    away = [Unreachable("refused") for _ in range(6)]
    source = ScriptedSource([*away, page(job("a"))], [[SILENCE]])
    timing = Timing(random=lambda: 0.5, sleep=sleep_for_ever_at_last)
    reflector = Reflector(
        source, prune_job, timing, on_change=lambda: None, on_seen=lambda _found: None, on_gone=lambda *_gone: None
    )
    task = asyncio.create_task(reflector.run())
    await asyncio.wait_for(long_one.wait(), 5)
    assert not reflector.listed
    reflector.hope()
    await asyncio.wait_for(source.idle.wait(), 5)
    assert reflector.live
    assert pauses[5] == pauses[0] < pauses[4]
    task.cancel()
