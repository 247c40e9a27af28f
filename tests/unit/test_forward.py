"""Handing a request on: to whom, how long it is waited for, and what silence means."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from raftsman.node.forward import (
    FORWARDED_BY,
    GRACE_S,
    HANDED_ON_AT_ONCE,
    LEADER_WAIT_S,
    RELAY_SILENCE_S,
    RELAYS,
    TURN_WAIT_S,
    Crowded,
    Forwarded,
    Forwarder,
    HungUp,
    NobodyThere,
)
from raftsman.node.http.streams import HEARTBEAT_S
from tests.harness.nodes import free_port

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def node(route: Route) -> AsyncIterator[str]:
    """A node that answers everything with *route*; gives its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", route)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def forwarder(
    url_of_leader: Callable[[], str | None],
    *,
    leads: Callable[[], bool] = lambda: False,
    silence_s: float = RELAY_SILENCE_S,
) -> AsyncIterator[Forwarder]:
    made = Forwarder(node="beta", url_of_leader=url_of_leader, leads=leads, silence_s=silence_s)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def _created(request: web.Request) -> web.Response:
    body = await request.read()
    by, token = request.headers[FORWARDED_BY], request.headers["Authorization"]
    return web.Response(status=201, headers={"etag": '"7"'}, body=f"{request.path_qs} {by} {token} {body!r}".encode())


async def _no_leader(_request: web.Request) -> web.Response:
    return web.json_response({"code": "no-leader"}, status=503)


async def _redirect(_request: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": "http://example.org/"})


async def _silent(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def test_the_leader_gets_the_request_and_its_answer_comes_back() -> None:
    async with node(_created) as url, forwarder(lambda: url) as forward:
        answer = await forward.to_leader("POST", "/v1/tasks?x=1", {"Authorization": "Bearer t"}, b"{}")
    assert answer.status == 201
    assert answer.headers["ETag"] == '"7"'
    assert answer.body == b"/v1/tasks?x=1 beta Bearer t b'{}'"


@pytest.mark.parametrize("path", ["/v1/tasks/%2e%2e/cancel", "/v1/tasks/a%2Fb/cancel?x=%20", "/v1/tasks/a%23b/cancel"])
async def test_a_path_is_handed_on_as_it_came(path: str) -> None:
    async def told(request: web.Request) -> web.Response:
        return web.Response(text=request.raw_path)

    async with node(told) as url, forwarder(lambda: url) as forward, forward.relay(url, path, {}) as relayed:
        assert (await forward.to_leader("POST", path, {}, b"{}")).body.decode() == path
        assert await relayed.text() == path


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with node(_redirect) as url, forwarder(lambda: url) as forward:
        assert (await forward.to_leader("POST", "/v1/tasks", {}, b"{}")).status == 307


async def test_a_leader_that_appears_meanwhile_is_found() -> None:
    async with node(_no_leader) as deposed, node(_created) as url:
        leaders = [None, f"http://127.0.0.1:{free_port()}", deposed]

        def url_of_leader() -> str | None:
            return leaders[0] if leaders else url

        async def move_on() -> None:
            while leaders:
                await asyncio.sleep(0.1)
                leaders.pop(0)

        async with forwarder(url_of_leader) as forward, asyncio.TaskGroup() as tasks:
            tasks.create_task(move_on())
            answer = await forward.to_leader("POST", "/v1/tasks", {"Authorization": "t"}, b"{}")
    assert answer.status == 201


async def test_without_a_leader_nobody_is_there_in_the_end() -> None:
    async with forwarder(lambda: None) as forward, asyncio.timeout(LEADER_WAIT_S + 2):
        with pytest.raises(NobodyThere):
            await forward.to_leader("POST", "/v1/tasks", {}, b"{}")


async def test_a_node_that_comes_to_lead_itself_looks_no_further() -> None:
    async with forwarder(lambda: None, leads=lambda: True) as forward, asyncio.timeout(LEADER_WAIT_S / 2):
        with pytest.raises(NobodyThere):
            await forward.to_leader("POST", "/v1/tasks", {}, b"{}")


async def test_a_silent_leader_is_left_alone_once_it_leads_no_more() -> None:
    async with node(_silent) as url:
        leaders = [url]
        async with forwarder(lambda: leaders[0]) as forward, asyncio.timeout(GRACE_S + 2):
            asking = asyncio.ensure_future(forward.to_leader("POST", "/v1/tasks", {}, b"{}"))
            await asyncio.sleep(0.1)
            assert not asking.done()
            leaders[0] = "http://127.0.0.1:1"
            with pytest.raises(HungUp):
                await asking


@pytest.mark.parametrize("leads", [False, True], ids=["another node", "this node"])
async def test_what_may_be_repeated_waits_for_a_deposed_leader_only_until_another_one_leads(
    leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftsman.node.forward.GRACE_S", 600)

    async def outcome(asking: Awaitable[Forwarded]) -> int | type[HungUp]:
        try:
            return (await asking).status
        except HungUp:
            return HungUp

    async with node(_silent) as frozen, node(_created) as url:
        leaders: list[str | None] = [frozen]
        made = forwarder(lambda: leaders[0], leads=lambda: leads and leaders[0] is None)
        async with made as forward, asyncio.timeout(LEADER_WAIT_S + 20):
            write = forward.to_leader("POST", "/v1/tasks", {"Authorization": "t"}, b"{}", repeatable=True)
            asking = asyncio.ensure_future(write)
            await asyncio.sleep(0.1)
            leaders[0] = None if leads else url
            assert await outcome(asking) == (HungUp if leads else 201)


@pytest.mark.parametrize("repeatable", [False, True])
async def test_a_leader_that_answers_just_after_it_was_deposed_is_heard(repeatable: bool) -> None:
    deposed = asyncio.Event()

    async def answer_late(request: web.Request) -> web.Response:
        await deposed.wait()
        await asyncio.sleep(GRACE_S / 4)
        return await _created(request)

    async with node(answer_late) as url, forwarder(lambda: None if deposed.is_set() else url) as forward:
        asking = asyncio.ensure_future(
            forward.to_leader("POST", "/v1/tasks", {"Authorization": "t"}, b"{}", repeatable=repeatable)
        )
        await asyncio.sleep(0.1)
        deposed.set()
        assert (await asking).status == 201


async def _hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("repeatable", [False, True])
async def test_a_leader_that_hangs_up_may_have_done_it(repeatable: bool) -> None:
    async with node(_hang_up) as url, forwarder(lambda: url) as forward, asyncio.timeout(LEADER_WAIT_S + 2):
        with pytest.raises(HungUp):
            await forward.to_leader("POST", "/v1/tasks", {}, b"{}", repeatable=repeatable)


async def test_when_a_leader_hangs_up_the_next_one_is_asked_the_same() -> None:
    heard: list[str] = []

    async def dies(request: web.Request) -> web.Response:
        heard.append(request.headers["Raftsman-Command-Id"])
        leaders.pop(0)
        return await _hang_up(request)

    async def does(request: web.Request) -> web.Response:
        heard.append(request.headers["Raftsman-Command-Id"])
        return web.Response(status=201)

    async with node(dies) as dead, node(_no_leader) as candidate, node(does) as url:
        leaders: list[str | None] = [dead, None, candidate]

        def url_of_leader() -> str | None:
            if len(heard) == 1 and leaders:
                return leaders.pop(0)
            return leaders[0] if leaders else url

        async with forwarder(url_of_leader) as forward:
            headers = {"Raftsman-Command-Id": "c"}
            answer = await forward.to_leader("POST", "/v1/tasks", headers, b"{}", repeatable=True)
    assert (answer.status, heard) == (201, ["c", "c"])


async def test_what_must_not_happen_twice_is_handed_on_once() -> None:
    asked: list[str] = []

    async def dies(request: web.Request) -> web.Response:
        asked.append(request.path)
        return await _hang_up(request)

    async with node(dies) as url, forwarder(lambda: url) as forward:
        with pytest.raises(HungUp):
            await forward.to_leader("POST", "/v1/cluster:transfer", {}, b"{}")
    assert len(asked) == 1


async def test_a_full_disk_of_the_next_leader_says_nothing_of_what_the_first_one_did() -> None:
    async def full(_request: web.Request) -> web.Response:
        return web.json_response({"code": "disk-full"}, status=507)

    async with node(_hang_up) as dead, node(full) as url:
        leaders = [dead]

        def url_of_leader() -> str:
            return leaders.pop() if leaders else url

        async with forwarder(url_of_leader) as forward:
            with pytest.raises(HungUp):
                await forward.to_leader("POST", "/v1/tasks", {}, b"{}", repeatable=True)
            assert (await forward.to_leader("POST", "/v1/tasks", {}, b"{}", repeatable=True)).status == 507


async def test_in_doubt_a_node_that_comes_to_lead_itself_is_told_of_the_doubt() -> None:
    leads: list[bool] = []

    async def dies(request: web.Request) -> web.Response:
        leads.append(True)
        return await _hang_up(request)

    async with node(dies) as url, forwarder(lambda: url, leads=lambda: bool(leads)) as forward:
        with pytest.raises(HungUp):
            await forward.to_leader("POST", "/v1/tasks", {}, b"{}", repeatable=True)


# --- as many as there may be ------------------------------------------------------------------------------


@asynccontextmanager
async def streams(forward: Forwarder, url: str, count: int) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(forward.relay(url, "/v1/tasks/t/logs", {}))
        yield


async def _endless(request: web.Request) -> web.StreamResponse:
    if request.method == "POST":
        return web.Response(status=201)
    answer = web.StreamResponse()
    await answer.prepare(request)
    await asyncio.Event().wait()
    raise AssertionError


async def test_streams_of_another_node_are_not_in_the_way_of_what_is_handed_on() -> None:
    async with node(_endless) as url, forwarder(lambda: url) as forward, streams(forward, url, RELAYS):
        async with asyncio.timeout(2):
            assert (await forward.to_leader("POST", "/v1/tasks", {}, b"{}")).status == 201


async def test_one_stream_more_than_there_may_be_is_told_so_at_once() -> None:
    async with node(_endless) as url, forwarder(lambda: url) as forward:
        async with streams(forward, url, RELAYS), asyncio.timeout(2):
            with pytest.raises(Crowded):
                await streams(forward, url, 1).__aenter__()
        async with streams(forward, url, 1):
            pass  # There is room again.


async def test_a_request_waits_for_its_turn_and_is_told_when_that_does_not_come() -> None:
    async with node(_silent) as url, forwarder(lambda: url) as forward, asyncio.timeout(TURN_WAIT_S + 4):
        hanging = [
            asyncio.ensure_future(forward.to_leader("POST", "/v1/tasks", {}, b"{}")) for _ in range(HANDED_ON_AT_ONCE)
        ]
        await asyncio.sleep(0.5)
        with pytest.raises(Crowded):
            await forward.to_leader("POST", "/v1/tasks", {}, b"{}", repeatable=True)
        for each in hanging:
            each.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


# --- streams of another node ------------------------------------------------------------------------------


def test_a_stream_may_be_as_silent_as_heartbeats_let_it() -> None:
    assert RELAY_SILENCE_S > 2 * HEARTBEAT_S


async def test_a_stream_that_falls_silent_is_given_up() -> None:
    async with (
        node(_endless) as url,
        forwarder(lambda: url, silence_s=0.2) as forward,
        forward.relay(url, "/v1/tasks/t/logs", {}) as answer,
        asyncio.timeout(2),
    ):
        with pytest.raises(TimeoutError):
            await answer.content.readany()
