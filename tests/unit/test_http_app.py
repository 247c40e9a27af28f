"""What the API does when a route of its own goes wrong, and the answers that need no cluster."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from raftsman.node.http import tasks
from raftsman.node.http.problems import CODES, Problem
from raftsman.node.http.streams import NDJSON, stream
from raftsman.raft.commands import MemberJoined
from raftsman.raft.records import Member, NodeId, Task
from raftsman.raft.replica import Applied
from tests.harness.tables import submit
from tests.unit.one_node import OneNode, one_node
from tests.unit.replicas import META_LEFT_OPEN, until

pytestmark = META_LEFT_OPEN


async def _raise(_request: web.Request) -> web.Response:
    raise ZeroDivisionError("a bug of ours, with a secret in it")


async def _refuse(request: web.Request) -> web.Response:
    raise Problem(request.query["code"], "because")


async def _begin_and_raise(request: web.Request) -> web.StreamResponse:
    async def lines() -> AsyncIterator[bytes]:
        yield b"one\n"
        raise ZeroDivisionError("a bug of ours")

    return await stream(request, lines(), content_type=NDJSON)


async def _silent(request: web.Request) -> web.StreamResponse:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b"never"

    return await stream(request, nothing(), content_type=NDJSON)


ROUTES = [
    web.get("/test/raise", _raise),
    web.get("/test/refuse", _refuse),
    web.get("/test/begin", _begin_and_raise),
    web.get("/test/silent", _silent),
]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OneNode]:
    async with one_node(tmp_path, routes=ROUTES) as started:
        yield started


async def test_a_bug_in_a_route_is_internal_and_tells_nothing_of_itself(
    node: OneNode, caplog: pytest.LogCaptureFixture
) -> None:
    async with node.session.get(f"{node.url}/test/raise", headers={"X-Request-Id": "trace-7"}) as answer:
        assert (answer.status, answer.content_type) == (500, "application/problem+json")
        document = await answer.json(content_type=None)
    assert (document["code"], document["requestId"], document["instance"]) == ("internal", "trace-7", "/test/raise")
    assert "secret" not in json.dumps(document)
    assert "a bug of ours" in caplog.text
    async with node.session.get(f"{node.url}/livez") as answer:
        assert answer.status == 200


async def test_a_list_that_takes_long_keeps_no_entry_waiting(node: OneNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at the labels of 100,000 tasks takes longer than an election."""
    assert isinstance(await node.site.replica.propose(submit("one")), Applied)
    held = []

    def look(task: Task) -> Mapping[str, str]:
        held.append(node.site.replica._lock.locked())
        return {"team": "a", "id": task.task_id}

    monkeypatch.setattr(tasks, "labels_of", look)
    async with node.session.get(f"{node.url}/v1/tasks?label=team=a") as answer:
        assert [item["taskId"] for item in (await answer.json())["items"]] == ["one"]
    assert held == [False]


async def test_every_code_has_its_status_and_title(node: OneNode) -> None:
    for code, (status, title) in CODES.items():
        async with node.session.get(f"{node.url}/test/refuse", params={"code": code}) as answer:
            document = await answer.json(content_type=None)
            assert answer.status == document["status"] == status
            assert (document["code"], document["title"], document["detail"]) == (code, title, "because")
            assert document["type"] == f"https://raftsman.dev/problems/{code}"
            assert ("Retry-After" in answer.headers) == (status in (429, 503))
            assert "errors" not in document


async def test_a_stream_that_fails_in_the_middle_is_cut_not_ended(
    node: OneNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiohttp")
    async with node.session.get(f"{node.url}/test/begin") as answer:
        assert answer.status == 200
        assert await answer.content.readline() == b"one\n"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()
    assert "problem" not in caplog.text


async def test_a_stream_is_over_when_its_client_hangs_up(node: OneNode) -> None:
    answer = await node.session.get(f"{node.url}/test/silent")
    assert node.site.metrics.watchers == 1
    answer.close()
    await until(lambda: node.site.metrics.watchers == 0, "nobody watches")


async def test_a_head_request_of_a_silent_stream_is_answered(node: OneNode) -> None:
    async with asyncio.timeout(3), node.session.head(f"{node.url}/test/silent") as answer:
        assert answer.status == 200
        assert answer.content_type == NDJSON
    assert node.site.metrics.watchers == 0


async def test_a_process_is_ready_once_it_has_joined_whatever_an_earlier_one_left_in_the_table(tmp_path: Path) -> None:
    has_joined = False
    async with one_node(tmp_path, joined=lambda: has_joined) as node:
        row = Member(node=NodeId("alpha"), url="http://127.0.0.1:1")
        assert isinstance(await node.site.replica.propose(MemberJoined(member=row)), Applied)
        async with node.session.get(f"{node.url}/readyz") as answer:
            assert (answer.status, [each["code"] for each in (await answer.json())["reasons"]]) == (503, ["joining"])
        has_joined = True
        async with node.session.get(f"{node.url}/readyz") as answer:
            assert (answer.status, await answer.json()) == (200, {"reasons": []})


async def test_a_log_index_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    twice = [("Raftsman-Min-Index", "1"), ("Raftsman-Min-Index", "99999999")]
    async with one_node(tmp_path) as node, node.session.get(f"{node.url}/v1/cluster", headers=twice) as answer:
        assert (answer.status, (await answer.json())["detail"]) == (
            400,
            "Raftsman-Min-Index: '1,99999999' is not a log index",
        )


async def test_a_leader_that_nobody_can_follow_says_so(tmp_path: Path) -> None:
    async with one_node(tmp_path) as node, node.session.post(f"{node.url}/v1/cluster:transfer") as answer:
        problem = await answer.json()
        assert (answer.status, problem["code"]) == (503, "not-ready")
        assert problem["detail"] == "no other node could take over in time; alpha still leads"
