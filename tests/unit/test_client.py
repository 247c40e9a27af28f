"""The client against an API in memory: what it sends, how it goes on when a node fails, and when it says so."""

import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.client import _RANK, Client, LogCut, LogEnd, LogLine, is_ended
from raftsman.endpoints import Endpoints
from raftsman.errors import (
    ApiProblem,
    Conflict,
    ConnectionFailed,
    InvalidSpec,
    NoLeader,
    NotAllowed,
    NotFound,
    OutcomeUnknown,
    OverLimit,
    Unavailable,
    UnexpectedAnswer,
    WaitTimedOut,
    problem_from,
)
from raftsman.follow import LogProgress, comparable_instant, log_record
from raftsman.raft.lifecycle import RANK
from raftsman.ulid import encode_ulid, new_task_id
from raftsman.wire.durations import format_duration_ms, parse_duration_ms
from raftsman.wire.faults import Fault
from tests.harness.fake_api import (
    CUT,
    END,
    HANG_UP,
    HANG_UP_AFTERWARDS,
    Answer,
    FakeApi,
    event,
    line,
    moving,
    problem,
    task,
)

SPEC = {"type": "k8s_job", "k8sJob": {"clusterContext": "dev-a", "image": "busybox"}}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def client(api: FakeApi) -> Client:
    return Client(api.url, timeout_s=2.0)


def free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_the_client_knows_the_states_and_their_order() -> None:
    assert {state.value: rank for state, rank in RANK.items()} == _RANK


def test_a_file_of_certificates_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(OSError, match="No such file"):
        Client("https://127.0.0.1:1", ca="/absent.pem")


# --- ids and durations ---------------------------------------------------------------------------


def test_a_new_task_id_is_a_lower_case_ulid() -> None:
    assert re.fullmatch("[0-7][0-9a-hjkmnp-tv-z]{25}", new_task_id())


def test_ids_made_later_sort_later() -> None:
    assert encode_ulid(1, b"\xff" * 10) < encode_ulid(2, b"\x00" * 10)


def test_a_ulid_is_crockfords_base_32() -> None:
    assert encode_ulid(1_469_922_850_259, b"\x00" * 10) == "01arz3ndek" + "0" * 16  # The specification's example.
    assert encode_ulid(2**48 - 1, b"\xff" * 10) == "7" + "z" * 25


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("0", 0),
        ("30s", 30_000),
        ("1h30m", 5_400_000),
        ("300ms", 300),
        ("7d", 604_800_000),
        ("1.5s", 1500),
        ("2m", 120_000),
    ],
)
def test_a_duration_is_read(text: str, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize("text", ["", "5", "-1s", "1s1m", "1 s", "s", "1S", "nan", "1e3s", "1m1m", "١s", "1ss"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_ms(text)


@given(st.integers(min_value=0, max_value=10**13))
def test_a_duration_that_is_written_reads_the_same(duration_ms: int) -> None:
    assert parse_duration_ms(format_duration_ms(duration_ms)) == duration_ms


# --- submitting ----------------------------------------------------------------------------------


def test_a_submission_without_an_id_gets_one_before_it_is_sent(api: FakeApi, client: Client) -> None:
    submitted = client.submit(SPEC)
    assert len(submitted["taskId"]) == 26
    assert api.seen[0].body["taskId"] == submitted["taskId"]


@pytest.mark.parametrize(
    "failure", [HANG_UP, HANG_UP_AFTERWARDS, problem(503, "outcome-unknown"), problem(503, "no-leader")]
)
def test_a_submission_that_nobody_answered_is_repeated_under_its_id(
    api: FakeApi, client: Client, failure: str | Answer
) -> None:
    api.failures = [failure]
    submitted = client.submit(SPEC)
    assert [seen.body["taskId"] for seen in api.seen] == [submitted["taskId"]] * 2
    assert list(api.tasks) == [submitted["taskId"]]


@pytest.mark.parametrize("failure", [HANG_UP_AFTERWARDS, problem(503, "outcome-unknown"), Answer(504, b"gateway")])
def test_a_submission_whose_outcome_stays_unknown_is_not_called_failed(api: FakeApi, failure: str | Answer) -> None:
    api.failures = [failure] * 100
    with pytest.raises(OutcomeUnknown) as caught:
        Client(api.url, timeout_s=0.4).submit({**SPEC, "taskId": "mine"})
    assert caught.value.task_id == "mine"


def test_an_answer_that_says_nothing_of_the_first_try_leaves_the_outcome_unknown(api: FakeApi, client: Client) -> None:
    api.failures = [HANG_UP_AFTERWARDS, problem(429, "rate-limited")]
    with pytest.raises(OutcomeUnknown):
        client.submit(SPEC)


def test_a_node_that_broke_over_a_submission_leaves_the_outcome_unknown(api: FakeApi, client: Client) -> None:
    api.failures = [problem(500, "internal")]
    with pytest.raises(OutcomeUnknown):
        client.submit(SPEC)


def test_a_reading_has_no_unknown_outcome(api: FakeApi, client: Client) -> None:
    api.failures = [HANG_UP, problem(401, "unauthorized")]
    with pytest.raises(NotAllowed):
        client.get("a")


def test_a_submission_that_never_reached_a_leader_is_known_to_have_done_nothing(api: FakeApi) -> None:
    api.failures = [problem(503, "no-leader")] * 100
    with pytest.raises(NoLeader):
        Client(api.url, timeout_s=0.4).submit(SPEC)


def test_another_spec_under_the_same_id_is_a_conflict(client: Client) -> None:
    client.submit({**SPEC, "taskId": "mine"})
    with pytest.raises(Conflict):
        client.submit({**SPEC, "taskId": "mine", "priority": 1})


def test_every_fault_of_a_submission_is_told(api: FakeApi, client: Client) -> None:
    errors = [{"pointer": "/a", "code": "x", "detail": "A"}, {"pointer": "/b", "code": "y", "detail": "B"}]
    api.failures = [problem(422, "invalid-spec", "2 faults", errors=errors, requestId="r1")]
    with pytest.raises(InvalidSpec) as caught:
        client.submit(SPEC)
    assert caught.value.errors == (Fault("x", "/a", "A"), Fault("y", "/b", "B"))
    assert (caught.value.code, caught.value.request_id) == ("invalid-spec", "r1")


# --- failover ------------------------------------------------------------------------------------


def test_an_address_where_nobody_listens_is_passed_over(api: FakeApi) -> None:
    api.put(task("a"))
    assert Client([free_address(), api.url]).get("a")["taskId"] == "a"


def test_the_address_that_answered_is_asked_first_from_then_on() -> None:
    with FakeApi() as first, FakeApi() as second:
        first.failures = [problem(503, "no-leader")]
        second.put(task("a"))
        client = Client([first.url, second.url])
        client.get("a")
        client.get("a")
        assert (len(first.seen), len(second.seen)) == (1, 2)


def test_a_node_that_is_lost_between_two_calls_is_replaced() -> None:
    with FakeApi() as second:
        second.put(task("a"))
        with FakeApi() as first:
            first.put(task("a"))
            client = Client([first.url, second.url])
            client.get("a")
        assert client.get("a")["taskId"] == "a"


def test_addresses_that_never_answered_are_given_up_early() -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionFailed, match="refused"):
        Client(free_address(), timeout_s=30.0).cluster()
    assert time.monotonic() - began < 3.0


def test_a_node_that_hangs_costs_no_more_than_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="no answer in time"):
            Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3).version()
        assert time.monotonic() - began < 2.0


def test_what_one_node_has_shown_another_one_must_not_take_back(api: FakeApi, client: Client) -> None:
    api.put(task("a"))
    api.move("a", "running")
    client.get("a")
    client.get("a")
    assert "Raftsman-Min-Index" not in api.seen[0].headers
    assert api.seen[1].headers["Raftsman-Min-Index"] == "2"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, InvalidSpec), (401, NotAllowed), (403, NotAllowed), (404, NotFound), (412, Conflict), (413, OverLimit),
     (429, OverLimit), (507, OverLimit), (500, ApiProblem), (405, ApiProblem)],
)  # fmt: skip
def test_a_definite_no_is_raised_at_once(api: FakeApi, client: Client, status: int, kind: type[ApiProblem]) -> None:
    api.failures = [problem(status, "some-code", "why")]
    with pytest.raises(kind, match="why") as caught:
        client.cluster()
    assert caught.value.status == status
    assert len(api.seen) == 1


def test_a_redirect_is_not_followed(api: FakeApi, client: Client) -> None:
    api.failures = [Answer(307, b"", {"Location": f"{api.url}/v1/version"})]
    with pytest.raises(ApiProblem):
        client.cluster()
    assert len(api.seen) == 1


def test_an_answer_that_is_not_of_this_api_is_called_that(api: FakeApi, client: Client) -> None:
    api.failures = [Answer(200, b"<html>")]
    with pytest.raises(UnexpectedAnswer):
        client.cluster()


def test_a_page_of_a_proxy_still_makes_a_problem() -> None:
    error = problem_from(503, b"<html>", title="Service Unavailable", retry_after="7")
    assert isinstance(error, Unavailable)
    assert (str(error), error.retry_after_s, error.code) == ("Service Unavailable", 7.0, "")


@pytest.mark.parametrize(
    "address",
    ["", "localhost:7117", "ftp://x", "http://", "http://u:p@x", "http://x y", "http://x:p", "http://x:1/foo"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)address|port|ipv6"):
        Endpoints([address])


def test_the_token_goes_with_every_request(api: FakeApi) -> None:
    Client(api.url, token="t0ken").cluster()
    assert api.seen[0].headers["Authorization"] == "Bearer t0ken"


def test_an_id_is_quoted_in_a_path(api: FakeApi, client: Client) -> None:
    with pytest.raises(NotFound):
        client.get("a/../b?c")
    assert api.paths() == ["/v1/tasks/a%2F..%2Fb%3Fc"]


# --- lists ---------------------------------------------------------------------------------------


def test_a_list_is_read_page_by_page(api: FakeApi, client: Client) -> None:
    api.put(*(task(f"t{n}") for n in range(5)))
    api.page_rows = 2
    assert [each["taskId"] for each in client.list()] == ["t0", "t1", "t2", "t3", "t4"]
    assert [each["taskId"] for each in client.list(limit=3)] == ["t0", "t1", "t2"]
    assert client.list_page(limit=2)["next"] == "2"


def test_filters_go_into_the_query(api: FakeApi, client: Client) -> None:
    list(client.list(state="queued,running", label="run=7", submitted_after="2026-01-31T12:00:00Z", limit=7))
    assert api.seen[0].query == {
        "state": "queued,running",
        "label": "run=7",
        "submittedAfter": "2026-01-31T12:00:00Z",
        "limit": "7",
    }


# --- waiting -------------------------------------------------------------------------------------


def test_waiting_ends_when_the_task_does(api: FakeApi, client: Client) -> None:
    api.put(task("a", "queued"))
    with moving(api, "a", ("assigned", {}), ("running", {}), ("completed", {})):
        (ended,) = client.wait("a")
    assert is_ended(ended)
    assert len(api.seen) <= 5


def test_tasks_come_back_in_the_order_they_were_named(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"), task("b", "completed"))
    with moving(api, "a", ("failed", {})):
        assert [each["state"] for each in client.wait(["a", "b"])] == ["failed", "completed"]


def test_a_task_that_is_past_the_state_has_reached_it(api: FakeApi, client: Client) -> None:
    api.put(task("a", "completed"))
    assert client.wait("a", for_="running")[0]["state"] == "completed"


def test_waiting_has_an_end(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"), task("b", "completed"))
    with pytest.raises(WaitTimedOut) as caught:
        client.wait(["a", "b"], timeout_s=0.2)
    assert caught.value.pending == ("a",)


def test_waiting_survives_a_node_that_hangs_up(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"))
    client.get("a")
    api.failures = [HANG_UP]
    with moving(api, "a", ("completed", {})):
        assert client.wait("a")[0]["state"] == "completed"


def test_watching_shows_every_state_until_the_end(api: FakeApi, client: Client) -> None:
    api.put(task("a", "queued"))
    with moving(api, "a", ("running", {}), ("failed", {})):
        assert [each["state"] for each in client.watch("a")] == ["queued", "running", "failed"]


def test_cancelling_returns_the_task(api: FakeApi, client: Client) -> None:
    api.put(task("a", "queued"), task("b", "running"), task("c", "completed"))
    assert client.cancel("a")["state"] == "cancelled"
    assert client.cancel("b")["conditions"] == ["stopping"]
    with pytest.raises(Conflict):
        client.cancel("c")


def test_a_cancellation_that_was_not_answered_is_repeated(api: FakeApi, client: Client) -> None:
    api.put(task("a", "queued"))
    api.failures = [HANG_UP_AFTERWARDS]
    assert client.cancel("a")["state"] == "cancelled"


# --- output --------------------------------------------------------------------------------------


def test_output_is_lines_cuts_and_an_end(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"))
    api.logs["a"] = [[line("one"), {"cut": 5}, {"later": "kind"}, line("two"), {"end": "truncated", "reason": "full"}]]
    assert list(client.logs("a", tail=2, attempt=1)) == [
        LogLine(1, "stdout", line("")["at"], "one"),
        LogCut(5),
        LogLine(1, "stdout", line("")["at"], "two"),
        LogEnd("truncated", "full"),
    ]
    assert api.seen[0].query == {"tail": "2", "attempt": "1"}
    assert api.seen[0].headers["Accept"] == "application/x-ndjson"


def test_followed_output_goes_on_at_another_node_without_repeating_a_line() -> None:
    with FakeApi() as second:
        second.put(task("a", "running"))
        at = [f"2026-01-31T12:00:0{n}Z" for n in range(4)]
        second.logs["a"] = [
            [line("0", at[0]), line("1", at[1]), line("2", at[1]), line("3", at[1]), line("4", at[2]), END]
        ]
        with FakeApi() as first:
            first.put(task("a", "running"))
            first.logs["a"] = [[line("0", at[0]), line("1", at[1]), line("2", at[1]), CUT]]
            records = Client([first.url, second.url]).logs("a", follow=True, tail=3)
            heard = [next(records) for _ in range(3)]
        heard += list(records)
        assert [each.line for each in heard if isinstance(each, LogLine)] == ["0", "1", "2", "3", "4"]
        assert second.seen[0].query == {"follow": "true", "since": at[1]}


def test_output_that_breaks_again_and_again_is_given_up(
    api: FakeApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftsman.follow.LONGEST_PAUSE_S", 0.01)
    api.put(task("a", "running"))
    api.logs["a"] = [[line("one"), CUT], [CUT]]
    with pytest.raises(ConnectionFailed, match="in a row"):
        list(client.logs("a", follow=True))


def test_what_is_read_in_full_may_end_without_saying_so(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"))
    api.logs["a"] = [[line("one")]]
    assert len(list(client.logs("a"))) == 1


def test_output_of_an_unknown_task_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        next(client.logs("a", follow=True))


def test_a_reader_that_stops_early_hangs_up(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"))
    records = client.logs("a", follow=True)
    next(records)
    records.close()


def test_instants_sort_as_text_whatever_their_precision() -> None:
    texts = ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.1Z", "2026-01-31T12:00:00.12Z", "2026-01-31T12:00:01Z"]
    assert sorted(texts, key=comparable_instant) == texts


def test_a_kind_of_record_of_a_later_version_is_passed_over() -> None:
    assert log_record(b'{"note": 1}') is None
    with pytest.raises(UnexpectedAnswer):
        log_record(b"[]")


@given(st.lists(st.integers(min_value=0, max_value=3), max_size=12), st.integers(min_value=0, max_value=12))
def test_no_line_is_lost_or_repeated_wherever_the_stream_is_cut(steps: list[int], cut_at: int) -> None:
    seconds = sorted(steps)
    lines = [LogLine(1, "stdout", f"2026-01-31T12:00:0{second}Z", str(n)) for n, second in enumerate(seconds)]
    progress = LogProgress()
    heard = [each for each in lines[:cut_at] if progress.is_new(each)]
    progress.begin_again()
    again = [each for each in lines if each.at >= progress.since]
    heard += [each for each in again if progress.is_new(each)]
    assert heard == lines


# --- events and the cluster ----------------------------------------------------------------------


def test_events_are_read_page_by_page(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"))
    api.events = [event(n, "a" if n % 2 else "b", "queued", "assigned") for n in range(1, 6)]
    api.page_rows = 2
    assert [each["index"] for each in client.events()] == [1, 2, 3, 4, 5]
    assert [each["index"] for each in client.events("a", after="1.0")] == [3, 5]


def test_followed_events_end_with_the_task(api: FakeApi, client: Client) -> None:
    api.put(task("a", "completed"))
    api.events = [event(1, "a", None, "queued"), event(2, "a", "queued", "completed")]
    assert [each["to"] for each in client.events("a", follow=True)] == ["queued", "completed"]


def test_followed_events_of_all_tasks_go_on_behind_the_last_one(api: FakeApi, client: Client) -> None:
    api.events = [event(1, "a", None, "queued")]
    events = client.events(follow=True)
    assert next(events)["id"] == "1.0"
    api.events.append(event(2, "a", "queued", "assigned"))
    assert next(events)["id"] == "2.0"
    assert api.seen[1].query == {"follow": "true", "after": "1.0"}


def test_cluster_contexts_and_version_are_given_as_they_come(api: FakeApi, client: Client) -> None:
    api.cluster = {"name": "raftsman", "later": 1}
    api.contexts = [{"name": "dev-a"}]
    assert client.cluster() == {"name": "raftsman", "later": 1}
    assert client.contexts()["items"][0]["name"] == "dev-a"
    assert client.version()["version"] == "9.9.9"


def test_threads_may_share_a_client(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"))
    threads = [threading.Thread(target=client.get, args=("a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(api.seen) == 8
