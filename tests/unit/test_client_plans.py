"""What the client asks beside the life of a task: retries, explanations, plans, limits."""

from collections.abc import Iterator

import pytest

from raftsman.client import Client
from raftsman.errors import Conflict, NotFound, OutcomeUnknown
from tests.harness.fake_api import HANG_UP_AFTERWARDS, UNPLACEABLE, FakeApi, problem, task

SPEC = {"type": "k8s_job", "k8sJob": {"clusterContext": "dev-a", "image": "busybox"}}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def client(api: FakeApi) -> Client:
    return Client(api.url, timeout_s=2.0)


def test_a_retry_gets_its_id_before_it_is_sent_and_keeps_it(api: FakeApi, client: Client) -> None:
    api.put(task("a", "failed"))
    api.failures = [HANG_UP_AFTERWARDS]
    new = client.retry("a")
    assert [seen.body for seen in api.seen] == [{"taskId": new["taskId"]}] * 2
    assert (len(new["taskId"]), new["retryOf"]) == (26, "a")
    assert sorted(api.tasks) == sorted(["a", new["taskId"]])


def test_a_retry_that_nobody_could_confirm_names_the_new_id(api: FakeApi) -> None:
    api.put(task("a", "failed"))
    api.failures = [problem(503, "outcome-unknown")] * 100
    with pytest.raises(OutcomeUnknown) as caught:
        Client(api.url, timeout_s=0.4).retry("a", new_id="b")
    assert caught.value.task_id == "b"


def test_a_retry_is_refused_as_it_is_answered(api: FakeApi, client: Client) -> None:
    api.put(task("a", "running"))
    with pytest.raises(Conflict):
        client.retry("a")
    with pytest.raises(NotFound):
        client.retry("b")


def test_an_explanation_is_given_as_it_comes(api: FakeApi, client: Client) -> None:
    api.put(task("a"))
    api.explanation = UNPLACEABLE
    assert client.explain("a") == {**UNPLACEABLE, "taskId": "a"}
    with pytest.raises(NotFound):
        client.explain("b")


def test_one_task_or_several_are_planned(api: FakeApi, client: Client) -> None:
    (one,) = client.plan(SPEC)
    assert one["placeable"]
    assert len(client.plan([SPEC, SPEC])) == 2
    assert [seen.body for seen in api.seen] == [{"tasks": [SPEC]}, {"tasks": [SPEC, SPEC]}]


def test_limits_are_given_as_they_come(client: Client) -> None:
    assert client.limits()["submission"]["specBytes"] == 7
