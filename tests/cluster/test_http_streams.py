"""Server-sent events: what browsers and proxies understand, resumed where the reader was."""

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.asking import Answer, Json, ask, check_problem, get, open_stream, submit
from tests.harness.nodes import NodeGroup, NodeProcess, node_group

pytestmark = pytest.mark.cluster

SSE = "text/event-stream"


@pytest.fixture
def task_id() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True)
class Message:
    """One event of a stream."""

    event_id: str | None
    name: str
    value: Json


def messages(body: bytes) -> list[Message]:
    """Read a whole stream as the specification says: fields of a line each, comments skipped."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line and not line.startswith(":")]
        fields = {name: value for name, _, value in lines}
        if "data" in fields:
            found.append(Message(fields.get("id"), fields.get("event", "message"), json.loads(fields["data"])))
    return found


def story(node: NodeProcess, task_id: str) -> list[Json]:
    """Let a task have two changes; return them as events."""
    submit(node, task_id)
    ask(node, "POST", f"/v1/tasks/{task_id}/cancel")
    events: list[Json] = get(node, f"/v1/tasks/{task_id}/events").json["items"]
    assert len(events) == 2
    return events


def follow(node: NodeProcess, path: str) -> Iterator[Message]:
    """Yield the messages of a stream as they come."""
    with open_stream(node, path, media_type=SSE) as connection, connection.makefile("rb") as answer:
        lines: list[bytes] = []
        for line in answer:
            lines.append(line)
            if line == b"\n":
                yield from messages(b"".join(lines))
                lines = []


# --- events -----------------------------------------------------------------------------------------------


def test_a_tasks_events_are_messages_with_ids_until_it_has_ended(node: NodeProcess, task_id: str) -> None:
    events = story(node, task_id)
    answer = get(node, f"/v1/tasks/{task_id}/events", Accept=SSE)
    assert answer.headers["content-type"].startswith(SSE)
    assert answer.headers["cache-control"] == "no-store"
    assert messages(answer.body) == [Message(event["id"], "message", event) for event in events]


def test_a_reader_goes_on_behind_the_last_event_that_it_has_seen(group: NodeGroup, task_id: str) -> None:
    first, second = story(group.leader(), task_id)
    group.state_hashes()
    for node in group.running():  # At any node: they number alike.
        path = f"/v1/tasks/{task_id}/events?after=0.0"
        answer = get(node, path, Accept=SSE, Last_Event_ID=first["id"])
        assert [message.value for message in messages(answer.body)] == [second]
        over = get(node, path, Accept=SSE, Last_Event_ID=second["id"])
        assert (over.status, over.body) == (204, b"")


def test_an_event_stream_goes_on_by_itself(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    canceller = threading.Timer(0.3, ask, (node, "POST", f"/v1/tasks/{task_id}/cancel"))
    canceller.start()
    answer = get(node, f"/v1/tasks/{task_id}/events", Accept=SSE)
    canceller.join()
    assert [message.value["to"] for message in messages(answer.body)] == ["queued", "cancelled"]


def test_the_events_of_all_tasks_stream_without_end_unless_asked_to_end(node: NodeProcess, task_id: str) -> None:
    index = get(node, "/v1/events?limit=1").json["index"]
    stream = follow(node, f"/v1/events?after={index}")
    submitter = threading.Timer(0.2, submit, (node, task_id))
    submitter.start()
    message = next(each for each in stream if each.value["taskId"] == task_id)
    submitter.join()
    assert message.event_id == message.value["id"]
    whole = get(node, f"/v1/events?after={index}&follow=false", Accept=SSE)
    assert message in messages(whole.body)


def test_an_event_ahead_of_the_log_is_not_to_be_had(node: NodeProcess) -> None:
    check_problem(get(node, "/v1/events", Accept=SSE, Last_Event_ID="999999999.0"), 503, "not-ready")


# --- output -----------------------------------------------------------------------------------------------


def ended_output(node: NodeProcess, task_id: str, **headers: str) -> Answer:
    return get(node, f"/v1/tasks/{task_id}/logs", Accept=SSE, **headers)


def test_output_ends_with_an_event_that_says_so_and_is_not_asked_for_again(node: NodeProcess, task_id: str) -> None:
    story(node, task_id)
    (end,) = messages(ended_output(node, task_id).body)
    assert (end.event_id, end.name) == ("end", "end")
    assert end.value == {"end": "unavailable", "reason": "it was never started, so that there is no output"}
    over = ended_output(node, task_id, Last_Event_ID="end")
    assert (over.status, over.body) == (204, b"")


@pytest.mark.parametrize("seen", ["0//1", "1", "x/y/z", "1/2026-13-01T00:00:00Z/1", "1//" + "9" * 20])
def test_a_place_that_is_none_is_refused(node: NodeProcess, task_id: str, seen: str) -> None:
    story(node, task_id)
    document = check_problem(ended_output(node, task_id, Last_Event_ID=seen), 400, "invalid-parameter")
    assert document["detail"].startswith("Last-Event-ID: ")


def test_a_head_request_of_an_event_stream_ends(node: NodeProcess, task_id: str) -> None:
    submit(node, task_id)
    for path in (f"/v1/tasks/{task_id}/logs", f"/v1/tasks/{task_id}/events", "/v1/events"):
        answer = ask(node, "HEAD", path, headers={"Accept": SSE})
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-type"].startswith(SSE)


@pytest.fixture(scope="module")
def shells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeGroup]:
    """Three nodes that run commands."""
    with node_group(tmp_path_factory.mktemp("shells"), more_toml="[executor]\nallow_shell = true\n") as nodes:
        nodes.wait_ready()
        yield nodes


def test_output_can_be_read_on_at_any_node_without_losing_or_repeating_a_line(shells: NodeGroup, task_id: str) -> None:
    command = "for n in 1 2 3 4 5 6; do echo line $n; done; sleep 0.2; echo over"
    document = {"taskId": task_id, "type": "shell", "shell": {"command": command}}
    assert ask(shells.leader(), "POST", "/v1/tasks", document).status == 201
    shells.client(shells.leader().name).wait(task_id, timeout_s=20)
    shells.state_hashes()
    said = [*(f"line {number}" for number in range(1, 7)), "over"]
    for node in shells.running():
        whole = messages(ended_output(node, task_id).body)
        assert [each.value.get("line") for each in whole] == [*said, None]
        assert (whole[-1].name, whole[-1].value["end"]) == ("end", "complete")
        for place, seen in enumerate(whole[:-1], 1):
            rest = messages(ended_output(node, task_id, Last_Event_ID=str(seen.event_id)).body)
            assert rest == whole[place:]
        assert ended_output(node, task_id, Last_Event_ID="end").status == 204
