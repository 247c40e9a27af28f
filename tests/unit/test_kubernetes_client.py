"""What goes over the wire, and what the answers mean, through the official client and a server on loopback."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from raftsman.executor.jobs import (
    AlreadyExists,
    Conflict,
    Denied,
    Expired,
    KubernetesError,
    NotFound,
    Unauthorized,
    Unreachable,
)
from raftsman.executor.kubernetes.answers import FOREIGN_BYTES, error_of_answer, error_of_failure
from raftsman.executor.kubernetes.client import KubernetesJobs
from raftsman.executor.kubernetes.connection import Connection, build_connection
from raftsman.executor.kubernetes.kubeconfig import Kubeconfigs, resolve
from raftsman.executor.kubernetes.timing import LONGEST_PAUSE_S, Backoff, Timing, TokenBucket, Urgency
from raftsman.executor.kubernetes.transport import Call, Transport
from tests.harness.fake_kubernetes import (
    Answer,
    Cut,
    FakeKubernetes,
    Hang,
    Stream,
    status_object,
    write_kubeconfig,
)

TOKEN = "s3cret-token"
JOBS = "/apis/batch/v1/namespaces/batch/jobs"
JOB = f"{JOBS}/j"
LOG = "/api/v1/namespaces/batch/pods/p/log"


class Bucket(TokenBucket):
    """Notes how urgent each call was."""

    def __init__(self, timing: Timing, *, qps: float, burst: int) -> None:
        super().__init__(timing, qps=qps, burst=burst)
        self.taken: list[Urgency] = []

    async def take(self, urgency: Urgency = Urgency.FIRST) -> None:
        self.taken.append(urgency)
        await super().take(urgency)


class Bench:
    """A context of one fake API server, ready to be called."""

    def __init__(self, server: FakeKubernetes, connection: Connection) -> None:
        self.server = server
        self.requests: list[tuple[str, str, str]] = []
        self.errors: list[KubernetesError] = []
        self.pauses: list[float] = []
        timing = Timing(sleep=self._sleep)
        self.bucket = Bucket(timing, qps=1000, burst=1000)
        self.transport = Transport(
            "one",
            connection,
            self.bucket,
            on_request=lambda *request: self.requests.append(request),
            on_error=self.errors.append,
        )
        self.jobs = KubernetesJobs(self.transport, timing, log_idle_s=0.1)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with FakeKubernetes() as server:
        path = write_kubeconfig(tmp_path / "config", server.url, token=TOKEN)
        access = resolve([path], "one", Kubeconfigs())
        connection = await asyncio.to_thread(build_connection, access)
        made = Bench(server, connection)
        yield made
        await made.jobs.stop()
        await made.transport.close()


MANIFEST: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {}}


async def test_a_job_is_created_strictly_and_as_it_was_written(bench: Bench) -> None:
    odd = {**MANIFEST, "spec": {"fieldOfTheFuture": [1, None, {"a": "☂"}]}}
    bench.server.script("POST", JOBS, Answer(201, {"kind": "Job", "metadata": {"uid": "u"}, "unknown": {"kept": True}}))
    made = await bench.jobs.create_job("batch", odd)
    assert made == {"kind": "Job", "metadata": {"uid": "u"}, "unknown": {"kept": True}}
    [request] = bench.server.received("POST", JOBS)
    assert request.body == odd
    assert request.query["fieldValidation"] == "Strict"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["User-Agent"] == "raftsman"
    assert bench.requests == [("one", "create", "201")]


async def test_a_create_whose_answer_is_lost_is_unreachable_and_is_not_sent_again(bench: Bench) -> None:
    bench.server.script("POST", JOBS, Cut())
    with pytest.raises(Unreachable, match="cut the connection"):
        await bench.jobs.create_job("batch", MANIFEST)
    assert len(bench.server.received("POST", JOBS)) == 1
    assert bench.requests == [("one", "create", "error")]
    assert [error.status for error in bench.errors] == [0]


async def test_a_call_without_an_answer_ends_at_its_deadline(bench: Bench) -> None:
    bench.server.script("GET", JOB, Hang())
    timeout = aiohttp.ClientTimeout(total=0.1)
    with pytest.raises(Unreachable, match=r"did not answer within 0\.1 s"):
        await bench.transport.send(Call(verb="get", method="GET", path=JOB, timeout=timeout))


async def test_an_answer_cut_in_its_middle_is_unreachable(bench: Bench) -> None:
    bench.server.script("GET", JOB, Stream([b'{"kind": "Job", '], then="cut"))
    with pytest.raises(Unreachable):
        await bench.jobs.get_job("batch", "j")


async def test_a_page_of_a_proxy_is_not_taken_for_an_answer(bench: Bench) -> None:
    bench.server.script("GET", JOB, Answer(200, "<html>Please log in</html>"), Answer(404, "<html>nginx</html>"))
    with pytest.raises(Unreachable, match="not Kubernetes: <html>Please log in"):
        await bench.jobs.get_job("batch", "j")
    with pytest.raises(Unreachable, match="HTTP 404: <html>nginx"):
        await bench.jobs.get_job("batch", "j")


async def test_a_job_that_is_not_there_is_none(bench: Bench) -> None:
    missing = Answer(404, status_object(404, "NotFound", 'jobs.batch "j" not found'))
    for method in ("GET", "DELETE", "PATCH"):
        bench.server.script(method, JOB, missing)
    assert await bench.jobs.get_job("batch", "j") is None
    assert await bench.jobs.delete_job("batch", "j", "u") is None
    await bench.jobs.set_ttl("batch", "j", "u", 60)


async def test_a_job_is_deleted_in_the_foreground_and_by_its_uid(bench: Bench) -> None:
    found = {"kind": "Job", "metadata": {"uid": "u"}, "status": {"conditions": [{"type": "Complete"}]}}
    bench.server.script("DELETE", JOB, Answer(200, found), Answer(200, {"kind": "Status", "status": "Success"}))
    assert await bench.jobs.delete_job("batch", "j", "u") == found
    assert await bench.jobs.delete_job("batch", "j", "u") is None
    body = bench.server.received("DELETE", JOB)[0].body
    assert body["propagationPolicy"] == "Foreground"
    assert body["preconditions"] == {"uid": "u"}


async def test_a_pod_is_deleted_with_its_own_grace_by_its_uid_and_no_other(bench: Bench) -> None:
    pod = "/api/v1/namespaces/batch/pods/p"
    missing = Answer(404, status_object(404, "NotFound", 'pods "p" not found'))
    another = Answer(409, status_object(409, "Conflict", "the UID does not match"))
    bench.server.script("DELETE", pod, Answer(200, {"kind": "Pod"}), missing, another)
    for _ in range(3):
        await bench.jobs.delete_pod("batch", "p", "u")
    body = bench.server.received("DELETE", pod)[0].body
    assert (body["preconditions"], body.get("gracePeriodSeconds")) == ({"uid": "u"}, None)


async def test_a_job_of_another_uid_is_not_deleted(bench: Bench) -> None:
    bench.server.script("DELETE", JOB, Answer(409, status_object(409, "Conflict", "the UID does not match")))
    with pytest.raises(Conflict):
        await bench.jobs.delete_job("batch", "j", "u")


async def test_the_ttl_is_a_merge_patch_guarded_by_the_uid(bench: Bench) -> None:
    bench.server.script("PATCH", JOB, Answer(200, {"kind": "Job"}))
    await bench.jobs.set_ttl("batch", "j", "u", 60)
    [request] = bench.server.received("PATCH", JOB)
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert request.body == {"metadata": {"uid": "u"}, "spec": {"ttlSecondsAfterFinished": 60}}


async def test_releases_and_deletions_go_before_creations_and_those_before_times_to_live(bench: Bench) -> None:
    done = Answer(200, {"kind": "Job"})
    bench.server.script("POST", JOBS, done)
    bench.server.script("PATCH", JOB, done, done)
    bench.server.script("DELETE", JOB, done)
    await bench.jobs.create_job("batch", {"kind": "Job"})
    await bench.jobs.release_job("batch", "j", "u")
    await bench.jobs.delete_job("batch", "j", "u")
    await bench.jobs.set_ttl("batch", "j", "u", 60)
    assert bench.bucket.taken == [Urgency.NEW, Urgency.FIRST, Urgency.FIRST, Urgency.SPARE]


async def test_a_release_is_a_merge_patch_guarded_by_the_uid_that_leaves_a_mark(bench: Bench) -> None:
    bench.server.script("PATCH", JOB, Answer(200, {"kind": "Job", "spec": {"suspend": False}}))
    assert await bench.jobs.release_job("batch", "j", "u") == {"kind": "Job", "spec": {"suspend": False}}
    [request] = bench.server.received("PATCH", JOB)
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    metadata = {"uid": "u", "annotations": {"raftsman.dev/released": "true"}}
    assert request.body == {"metadata": metadata, "spec": {"suspend": False}}


async def test_a_job_that_is_gone_or_another_one_is_not_released_and_a_refusal_is_told(bench: Bench) -> None:
    gone = Answer(404, status_object(404, "NotFound", 'jobs.batch "j" not found'))
    other = Answer(422, status_object(422, "Invalid", 'Job.batch "j" is invalid: metadata.uid: Invalid value: "u"'))
    refused = Answer(403, status_object(403, "Forbidden", 'jobs.batch "j" is forbidden: cannot patch'))
    bench.server.script("PATCH", JOB, gone, other, refused)
    assert await bench.jobs.release_job("batch", "j", "u") is None
    assert await bench.jobs.release_job("batch", "j", "u") is None
    with pytest.raises(Denied, match="cannot patch"):
        await bench.jobs.release_job("batch", "j", "u")


async def test_a_policy_that_speaks_of_another_uid_is_a_refusal_of_the_release(bench: Bench) -> None:
    policy = Answer(422, status_object(422, "Invalid", "ValidatingAdmissionPolicy 'roots' denied request: UID 0"))
    bench.server.script("PATCH", JOB, policy)
    with pytest.raises(Denied, match="UID 0"):
        await bench.jobs.release_job("batch", "j", "u")


async def test_the_ttl_of_another_job_is_left_alone_but_a_fault_of_ours_is_not_hidden(bench: Bench) -> None:
    other = Answer(422, status_object(422, "Invalid", "metadata.uid: Invalid value: field is immutable"))
    ours = Answer(422, status_object(422, "Invalid", "spec.ttlSecondsAfterFinished: must be non-negative"))
    bench.server.script("PATCH", JOB, other, Answer(409, status_object(409, "Conflict", "changed")), ours)
    await bench.jobs.set_ttl("batch", "j", "u", 60)
    await bench.jobs.set_ttl("batch", "j", "u", 60)
    with pytest.raises(Denied, match="non-negative"):
        await bench.jobs.set_ttl("batch", "j", "u", -1)


async def test_the_pods_of_a_job_are_listed_from_page_to_page(bench: Bench) -> None:
    pods = "/api/v1/namespaces/batch/pods"
    first = {"metadata": {"continue": "T"}, "items": [{"metadata": {"name": "p1"}}]}
    bench.server.script("GET", pods, Answer(200, first), Answer(200, {"items": [{"metadata": {"name": "p2"}}]}))
    found = await bench.jobs.list_pods("batch", "u")
    assert [pod["metadata"]["name"] for pod in found] == ["p1", "p2"]
    one, two = bench.server.received("GET", pods)
    assert one.query["labelSelector"] == "batch.kubernetes.io/controller-uid=u"
    assert "resourceVersion" not in one.query
    assert two.query["continue"] == "T"


async def test_events_come_with_the_newest_last(bench: Bench) -> None:
    old = {"reason": "A", "lastTimestamp": "2026-01-01T00:00:01Z"}
    new = {"reason": "B", "lastTimestamp": None, "eventTime": "2026-01-01T00:00:02.5Z", "series": None}
    path = "/api/v1/namespaces/batch/events"
    bench.server.script("GET", path, Answer(200, {"items": [new, old, "junk"]}))
    assert [event["reason"] for event in await bench.jobs.list_events("batch", "u")] == ["A", "B"]
    assert bench.server.received("GET", path)[0].query["fieldSelector"] == "involvedObject.uid=u"
    assert bench.bucket.taken == [Urgency.SPARE], "nothing waits behind them"


async def read(bench: Bench, **how: Any) -> bytes:
    return b"".join([chunk async for chunk in bench.jobs.read_log("batch", "p", "task", **how)])


async def test_an_output_is_handed_on_byte_by_byte(bench: Bench) -> None:
    raw = b"2026-01-01T00:00:00Z \xff\x00 not text\r\n{}"
    bench.server.script("GET", LOG, Stream([raw[:9], raw[9:]]))
    assert await read(bench, since="2026-01-01T00:00:00.5+01:00") == raw
    [request] = bench.server.received("GET", LOG)
    assert request.query == {"container": "task", "timestamps": "true", "sinceTime": "2026-01-01T00:00:00.5+01:00"}


async def test_a_followed_output_that_falls_silent_has_not_come_to_its_end(bench: Bench) -> None:
    bench.server.script("GET", LOG, Stream([b"one\n"], then="silence"))
    chunks = bench.jobs.read_log("batch", "p", "task", follow=True)
    assert [await anext(chunks), await anext(chunks)] == [b"", b"one\n"]
    with pytest.raises(Unreachable) as caught:
        await anext(chunks)
    assert caught.value.reason == "Timeout"
    assert bench.server.received("GET", LOG)[0].query["follow"] == "true"


async def test_an_output_that_is_cut_or_never_begins_is_unreachable(bench: Bench) -> None:
    bench.server.script("GET", LOG, Stream([b"one\n"], then="cut"), Hang())
    with pytest.raises(Unreachable):
        await read(bench)
    with pytest.raises(Unreachable):
        await read(bench, follow=True)


async def test_a_container_that_has_not_started_is_denied_and_a_lost_pod_not_found(bench: Bench) -> None:
    waiting = 'container "task" in pod "p" is waiting to start: ContainerCreating'
    missing = Answer(404, status_object(404, "NotFound", 'pods "p" not found'))
    bench.server.script("GET", LOG, Answer(400, status_object(400, "BadRequest", waiting)), missing)
    with pytest.raises(Denied, match="waiting to start") as caught:
        await read(bench)
    assert caught.value.status == 400
    with pytest.raises(NotFound):
        await read(bench)


async def test_a_mirror_over_http_lists_watches_and_stops(bench: Bench) -> None:
    item = {"metadata": {"name": "j", "uid": "u", "resourceVersion": "7"}}
    for path, items in ((JOBS, [item]), ("/api/v1/namespaces/batch/pods", [])):
        listed = Answer(200, {"metadata": {"resourceVersion": "9"}, "items": items})
        bench.server.script("GET", path, listed, Stream([b""], then="silence"))
    changed = asyncio.Event()
    mirror = bench.jobs.mirror("batch", "ours=yes", changed.set)
    assert bench.jobs.mirror("batch", "ours=yes", changed.set) is mirror
    async with asyncio.timeout(5):
        while not mirror.synced:
            await changed.wait()
            changed.clear()
            await asyncio.sleep(0.01)
    assert list(mirror.jobs) == ["j"]
    _, watch = bench.server.received("GET", JOBS)
    assert watch.query["resourceVersion"] == "9"
    assert watch.query["allowWatchBookmarks"] == "true"
    assert watch.query["labelSelector"] == "ours=yes"
    await bench.jobs.drop_mirror("batch")
    assert mirror.error == "the mirror is stopped"
    assert bench.transport.connection.users == 0


async def test_a_429_holds_the_next_call_for_as_long_as_it_says(bench: Bench) -> None:
    throttled = Answer(429, "too many requests", {"Retry-After": "3"})
    bench.server.script("GET", JOB, throttled, Answer(200, {"kind": "Job"}))
    with pytest.raises(Unreachable) as caught:
        await bench.jobs.get_job("batch", "j")
    assert caught.value.retry_after_s == 3.0
    assert await bench.jobs.get_job("batch", "j") == {"kind": "Job"}
    assert bench.pauses == [pytest.approx(3.0, abs=0.5)]


async def test_no_error_shows_the_credentials(bench: Bench) -> None:
    bench.server.script("GET", JOB, Answer(403, status_object(403, "Forbidden", "no")), Cut(), Answer(200, "page"))
    for _ in range(3):
        with pytest.raises(KubernetesError) as caught:
            await bench.jobs.get_job("batch", "j")
        assert TOKEN not in str(caught.getrepr(style="long", showlocals=False))
        assert TOKEN not in repr(caught.value.__cause__)


async def test_new_credentials_do_not_disturb_calls_on_the_old_ones(bench: Bench, tmp_path: Path) -> None:
    bench.server.script("GET", LOG, Stream([b"one\n"], then="silence"))
    stream = bench.transport.log(Call(verb="log", method="GET", path=LOG), follow=True)
    assert await anext(stream) == b"one\n"
    old = bench.transport.connection
    path = write_kubeconfig(tmp_path / "config", bench.server.url, token="another")
    access = resolve([path], "one", Kubeconfigs())
    await bench.transport.use(await asyncio.to_thread(build_connection, access))
    assert old.users == 1
    bench.server.script("GET", JOB, Answer(200, {"kind": "Job"}))
    await bench.jobs.get_job("batch", "j")
    assert bench.server.received("GET", JOB)[0].headers["Authorization"] == "Bearer another"
    await stream.aclose()
    assert old.users == 0


# What an answer means, without a server.


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected"),
    [
        (400, "BadRequest", "strict decoding error", Denied),
        (401, "Unauthorized", "Unauthorized", Unauthorized),
        (403, "Forbidden", 'User "x" cannot list resource "jobs"', Denied),
        (403, "Forbidden", 'User "system:anonymous" cannot list', Unauthorized),
        (403, "Forbidden", "exceeded quota: q", Denied),
        (404, "NotFound", 'namespaces "x" not found', NotFound),
        (409, "AlreadyExists", 'jobs.batch "j" already exists', AlreadyExists),
        (409, "Conflict", "the UID does not match", Conflict),
        (410, "Expired", "too old resource version", Expired),
        (413, "RequestEntityTooLarge", "limit is 3145728", Denied),
        (422, "Invalid", "spec: field is immutable", Denied),
        (429, "TooManyRequests", "wait", Unreachable),
        (500, "", "connection refused", Unreachable),
        (503, "ServiceUnavailable", "starting", Unreachable),
        (504, "Timeout", "Too large resource version", Unreachable),
    ],
)
def test_every_status_has_its_class(status: int, reason: str, message: str, expected: type[KubernetesError]) -> None:
    body = json.dumps(status_object(status, reason, message)).encode()
    error = error_of_answer(status, {}, body)
    assert type(error) is expected
    assert (error.status, error.reason, error.message) == (status, reason, message)


def test_two_creates_that_raced_for_a_quota_may_try_again() -> None:
    raced = status_object(409, "Conflict", "cannot be fulfilled", details={"name": "q", "kind": "resourcequotas"})
    assert type(error_of_answer(409, {}, json.dumps(raced).encode())) is Unreachable


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, Unauthorized),
        (403, Unreachable),
        (404, Unreachable),
        (410, Expired),
        (413, Denied),
        (429, Unreachable),
        (502, Unreachable),
    ],
)
def test_a_body_that_is_no_status_says_little_and_is_cut_short(status: int, expected: type[KubernetesError]) -> None:
    for body in (b"", b"x" * 10_000, b"\xff\xfe", b'{"kind": "Else"}', b"null", b"[" * 100_000):
        error = error_of_answer(status, {}, body)
        assert type(error) is expected
        assert len(error.message.encode()) <= FOREIGN_BYTES + 20


@pytest.mark.parametrize(
    ("headers", "details", "expected"),
    [
        ({"Retry-After": "2"}, {}, 2.0),
        ({}, {"retryAfterSeconds": 5}, 5.0),
        ({"Retry-After": "soon"}, {"retryAfterSeconds": None}, 1.0),
        ({}, None, 1.0),
    ],
)
def test_a_429_says_when_to_come_back(headers: dict[str, str], details: Any, expected: float) -> None:
    body = json.dumps(status_object(429, "TooManyRequests", "wait", details=details)).encode()
    error = error_of_answer(429, headers, body)
    assert isinstance(error, Unreachable)
    assert error.retry_after_s == expected


KEY: Any = type("Key", (), {"ssl": True, "host": "k", "port": 6443, "is_ssl": True})()


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "refused")), "https://k refused the connection"),
        (aiohttp.ClientConnectorError(KEY, OSError(113, "No route to host")), "no connection to https://k: No route"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")), "cannot be resolved: Name"),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError(1, "self-signed certificate")),
            "no trusted connection to https://k: self-signed",
        ),
        (aiohttp.ServerDisconnectedError(), "https://k cut the connection"),
        (ConnectionResetError(104, "reset"), "https://k cut the connection"),
        (aiohttp.ServerTimeoutError("x"), "https://k did not answer within 10 s"),
        (TimeoutError(), "https://k did not answer within 10 s"),
        (ValueError(f"bad header Bearer {TOKEN}"), "the call to https://k cannot be sent"),
    ],
)
def test_every_failure_has_a_sentence(failure: Exception, sentence: str) -> None:
    error = error_of_failure(failure, "https://k", "10 s")
    assert sentence in error.message
    assert TOKEN not in error.message
    assert error.status == 0


# The rate limit and the pauses.


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timing = Timing(monotonic=lambda: self.now, sleep=self._sleep, random=lambda: 0.0)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_a_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(clock.timing, qps=10, burst=5)
    for _ in range(5):
        await bucket.take()
    assert clock.now == 0.0
    for _ in range(20):
        await bucket.take()
    assert clock.now == pytest.approx(2.0)


async def test_a_call_whose_turn_is_far_away_is_refused_without_being_counted() -> None:
    clock = Clock()
    bucket = TokenBucket(clock.timing, qps=1, burst=1)
    bucket.hold(1e9)
    with pytest.raises(Unreachable, match="no call for another") as caught:
        await bucket.take()
    assert caught.value.retry_after_s == LONGEST_PAUSE_S
    clock.now += LONGEST_PAUSE_S
    await bucket.take()


def test_pauses_double_up_to_their_limit_and_are_never_zero() -> None:
    backoff = Backoff(Clock().timing, first_s=1.0, most_s=5.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 2.5, 2.5]
    backoff.reset()
    assert backoff.next_s() == 0.5
