"""The client when nodes are silent, slow or without a leader: what it concludes, whom it asks next, what it tells."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from raftsman.client import Client
from raftsman.errors import ConnectionFailed, NoLeader, OutcomeUnknown, Unavailable, WaitTimedOut
from tests.harness.fake_api import HANG, HANG_UP, HANG_UP_AFTERWARDS, Answer, FakeApi, event, problem, task
from tests.unit.test_client import free_address

SPEC = {"type": "k8s_job", "taskId": "mine", "k8sJob": {"clusterContext": "dev-a", "image": "busybox"}}
VERSION = Answer(200, {"version": "1"})
NO_LEADER = problem(503, "no-leader", "nobody leads; nothing was changed")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        yield fake


def after(seconds: float, answer: Answer) -> Answer:
    return replace(answer, after_s=seconds)


# --- what is concluded ---------------------------------------------------------------------------


def test_a_change_is_not_sent_when_the_deadline_would_cut_it(api: FakeApi) -> None:
    api.failures = [after(0.3, NO_LEADER)] * 100
    with pytest.raises(NoLeader, match="nothing was changed"):
        Client(api.url, timeout_s=1.0).submit(SPEC)
    assert 2 <= len(api.seen) <= 3


def test_a_change_leaves_room_for_a_node_that_has_not_answered_before(api: FakeApi) -> None:
    api.failures = [NO_LEADER] * 100
    began = time.monotonic()
    with pytest.raises(NoLeader):
        Client(api.url, timeout_s=0.8).submit(SPEC)
    assert time.monotonic() - began < 0.7


def test_a_change_of_which_one_try_is_unknown_stays_unknown_whatever_others_say(api: FakeApi) -> None:
    api.failures = [HANG_UP_AFTERWARDS, *[NO_LEADER] * 100]
    with pytest.raises(OutcomeUnknown, match=r"without response|closed"):
        Client(api.url, timeout_s=0.4).submit(SPEC)


def test_what_says_that_nothing_was_changed_is_not_said_of_an_unknown_outcome(api: FakeApi) -> None:
    with FakeApi() as other:
        api.failures = [HANG_UP_AFTERWARDS, *[NO_LEADER] * 100]
        other.failures = [NO_LEADER] * 100
        with pytest.raises(OutcomeUnknown) as caught:
            Client([api.url, other.url], timeout_s=0.4).submit(SPEC)
        assert f"{other.url}: no-leader" in str(caught.value)
        assert "nothing was changed" not in str(caught.value)


def test_an_answer_is_worth_more_than_a_later_silence(api: FakeApi) -> None:
    api.failures = [NO_LEADER, *[HANG] * 100]
    with pytest.raises(NoLeader):
        Client(api.url, timeout_s=0.5).cluster()


def test_an_answer_of_one_node_is_worth_more_than_the_silence_of_the_others(api: FakeApi) -> None:
    api.failures = [NO_LEADER] * 100
    lost = free_address()
    with pytest.raises(NoLeader) as caught:
        Client([lost, api.url], timeout_s=0.4).submit(SPEC)
    assert caught.value.__notes__ == [f"{lost}: connection refused"]


def test_leadership_that_could_not_be_moved_says_why(api: FakeApi) -> None:
    api.failures = [NO_LEADER] * 100
    with pytest.raises(NoLeader):
        Client([api.url, free_address()], timeout_s=0.4).transfer_leadership()


def test_leadership_is_moved_once_when_nobody_is_named(api: FakeApi) -> None:
    with FakeApi() as other:
        api.failures = [VERSION, HANG_UP_AFTERWARDS]
        with pytest.raises(OutcomeUnknown) as caught:
            Client([api.url, other.url], timeout_s=1.0).transfer_leadership()
        assert caught.value.task_id == ""
        assert other.paths("POST") == []


def test_leadership_that_was_promised_to_a_node_is_asked_for_again(api: FakeApi) -> None:
    api.failures = [HANG_UP_AFTERWARDS]
    assert Client(api.url, timeout_s=1.0).transfer_leadership("gamma") == "gamma"


# --- whom it asks next ---------------------------------------------------------------------------


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setattr("raftsman.endpoints.READ_PATIENCE_S", 0.3)
    monkeypatch.setattr("raftsman.endpoints.WRITE_PATIENCE_S", 0.3)
    monkeypatch.setattr("raftsman.endpoints.STREAM_PATIENCE_S", 0.3)
    monkeypatch.setattr("raftsman.endpoints.SLOW_S", 0.2)
    with FakeApi() as fake:
        fake.failures = [HANG] * 100
        yield fake


def test_a_reading_goes_on_when_the_first_node_hangs(hanging: FakeApi, api: FakeApi) -> None:
    api.put(task("a"))
    began = time.monotonic()
    assert Client([hanging.url, api.url]).get("a")["taskId"] == "a"
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("stream", [
    lambda client: client.logs("a", follow=True), lambda client: client.events("a", follow=True)])  # fmt: skip
def test_a_stream_begins_elsewhere_when_the_first_node_hangs(
    hanging: FakeApi, api: FakeApi, stream: Callable[[Client], Iterator[object]]
) -> None:
    api.put(task("a", "completed"))
    api.events = [event(1, "a", "running", "completed")]
    began = time.monotonic()
    assert list(stream(Client([hanging.url, api.url])))
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("change", [
    lambda client: client.submit(SPEC), lambda client: client.cancel("a"), lambda client: client.retry("b"),
    lambda client: client.plan([SPEC]), lambda client: client.transfer_leadership("beta"),
    lambda client: client.transfer_leadership()])  # fmt: skip
def test_a_change_that_happens_once_goes_on_when_the_first_node_hangs(
    hanging: FakeApi, api: FakeApi, change: Callable[[Client], object]
) -> None:
    api.put(task("a", "running"), task("b", "failed"))
    began = time.monotonic()
    assert change(Client([hanging.url, api.url]))
    assert time.monotonic() - began < 2.0


def test_a_change_that_might_happen_twice_waits(hanging: FakeApi, api: FakeApi) -> None:
    hanging.failures = [VERSION, after(0.6, Answer(200, {"leader": "gamma"}))]
    assert Client([hanging.url, api.url]).transfer_leadership() == "gamma"
    assert api.seen == []


def test_a_node_that_is_only_slow_is_asked_again_with_more_patience_and_behind_the_others(
    hanging: FakeApi, api: FakeApi
) -> None:
    hanging.failures = [after(0.5, VERSION)] * 2
    api.failures = [problem(503, "not-ready")] * 2
    assert Client([hanging.url, api.url]).version()["version"] == "1"
    assert (len(hanging.seen), len(api.seen)) == (2, 2)


def test_the_only_node_may_take_its_time(hanging: FakeApi) -> None:
    hanging.failures = [after(0.6, VERSION)]
    assert Client(hanging.url).version()["version"] == "1"
    assert len(hanging.seen) == 1


def test_a_node_that_was_asked_to_hold_its_answer_back_may_do_so(hanging: FakeApi, api: FakeApi) -> None:
    hanging.failures = []
    hanging.put(task("a", "running"))
    with pytest.raises(WaitTimedOut):
        Client([hanging.url, api.url]).wait("a", timeout_s=0.6)
    assert api.seen == []


# --- events that nobody knows --------------------------------------------------------------------


@pytest.mark.parametrize("follow", [False, True])
def test_an_event_ahead_of_all_that_the_cluster_knows_is_refused_soon(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    monkeypatch.setattr("raftsman.client.AHEAD_S", 0.3)
    api.cluster = {"appliedIndex": 6}
    api.answers["/v1/events"] = problem(503, "not-ready", "this node has applied 6 entries, not yet 99999")
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"event 99999\.0 lies ahead .* \(index 6\): is it another cluster's"):
        next(Client(api.url, timeout_s=10.0).events(follow=follow, after="99999.0"))
    assert time.monotonic() - began < 3.0
    assert [seen.query for seen in api.seen if seen.path == "/v1/cluster"] == [{"consistent": "true"}]


def test_an_event_that_only_this_node_does_not_know_yet_is_waited_for(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftsman.client.AHEAD_S", 0.3)
    api.cluster = {"appliedIndex": 8}
    api.answers["/v1/events"] = problem(503, "not-ready", "this node has applied 6 entries, not yet 7")
    threading.Timer(1.0, api.answers.clear).start()
    api.events = [event(8, "a", "queued", "assigned")]
    assert [each["index"] for each in Client(api.url, timeout_s=10.0).events(after="7.0")] == [8]


def test_without_a_leader_an_event_that_a_node_does_not_know_yet_is_waited_for(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftsman.client.AHEAD_S", 0.2)
    api.answers["/v1/events"] = problem(503, "not-ready", "this node has applied 6 entries, not yet 7")
    api.answers["/v1/cluster"] = NO_LEADER
    with pytest.raises(Unavailable, match="not yet 7"):
        next(Client(api.url, timeout_s=0.8).events(after="7.0"))


# --- what is told --------------------------------------------------------------------------------


def test_whoever_waits_hears_once_what_for(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftsman.endpoints.TELL_AFTER_S", 0.1)
    told: list[str] = []
    api.failures = [after(0.1, NO_LEADER)] * 100
    with pytest.raises(NoLeader):
        Client(api.url, timeout_s=1.0, on_wait=told.append).submit(SPEC)
    assert told == ["no leader; trying again for up to 1 s"]


def test_whoever_is_answered_soon_hears_nothing(api: FakeApi) -> None:
    told: list[str] = []
    api.failures = [NO_LEADER, HANG_UP]
    Client(api.url, timeout_s=5.0, on_wait=told.append).submit(SPEC)
    assert told == []


# --- addresses -----------------------------------------------------------------------------------


def test_an_address_with_a_path_says_how_to_write_it() -> None:
    with pytest.raises(ValueError, match=r"it goes on behind host and port; write https://node:7117$"):
        Client("https://node:7117/v1/tasks")


def test_a_slash_behind_an_address_does_no_harm(api: FakeApi) -> None:
    assert Client(f"{api.url}/").version()["version"] == "9.9.9"


def test_https_where_a_node_speaks_http_is_called_that(api: FakeApi) -> None:
    with pytest.raises(ConnectionFailed, match="speaks http, not https"):
        Client(api.url.replace("http:", "https:"), timeout_s=5.0).version()
