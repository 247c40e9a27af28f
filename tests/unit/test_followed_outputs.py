"""More outputs than there are connections to follow them: each is read, in turn, and none is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest
from aiohttp import web

from raftsman.executor.jobs import KubernetesError
from raftsman.executor.kubernetes.client import KubernetesJobs
from raftsman.executor.kubernetes.connection import build_connection
from raftsman.executor.kubernetes.kubeconfig import Kubeconfigs, resolve
from raftsman.executor.kubernetes.timing import Timing, TokenBucket
from raftsman.executor.kubernetes.transport import Transport
from raftsman.executor.output import KeepLimits, Output, OutputStore
from raftsman.executor.podlogs import capture
from tests.harness.fake_kubernetes import FakeKubernetes, write_kubeconfig
from tests.unit.replicas import until

CONNECTIONS = 2
TURN_S = 0.1
LINE = b"2026-01-01T00:00:%02dZ line %d\n"


class Writing(FakeKubernetes):
    """Containers that write a line now and then, and go on with the second that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = 0
        self.most_streams = 0
        self.opened = 0

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        follow = request.query.get("follow") == "true"
        answer = web.StreamResponse()
        await answer.prepare(request)
        self.streams += follow
        self.opened += follow
        self.most_streams = max(self.streams, self.most_streams)
        try:
            for number in range(int(request.query.get("sinceTime", "00Z")[-3:-1]), 60):
                await answer.write(LINE % (number, number))
                if follow:
                    await asyncio.sleep(TURN_S / 2)
            await asyncio.Event().wait() if follow else await answer.write_eof()
        finally:
            self.streams -= follow
        return answer


class Followers:
    """Captures of many containers over few connections."""

    def __init__(self, server: Writing, transport: Transport, store: OutputStore) -> None:
        self.server = server
        self.doubts: list[KubernetesError] = []
        self.jobs = KubernetesJobs(transport, Timing(), log_connections=CONNECTIONS, turn_s=TURN_S)
        self.running: set[str] = set()
        self._store = store
        self._tasks: list[asyncio.Task[None]] = []

    def follow(self, pod: str) -> tuple[Output, "asyncio.Task[None]"]:
        output = self._store.open(pod, 1, 1)
        self.running.add(pod)
        work = capture(
            self.jobs, namespace="n", pod=pod, container="task", output=output, running=lambda: pod in self.running
        )
        self._tasks.append(asyncio.create_task(work))
        return output, self._tasks[-1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def followers(tmp_path: Path) -> AsyncIterator[Followers]:
    async with Writing() as server:
        access = resolve([write_kubeconfig(tmp_path / "config", server.url)], "one", Kubeconfigs())
        connection = await asyncio.to_thread(build_connection, access)
        doubts: list[KubernetesError] = []
        bucket = TokenBucket(Timing(), qps=1000, burst=1000)
        transport = Transport("one", connection, bucket, on_error=doubts.append)
        store = OutputStore(
            tmp_path / "output", KeepLimits(head_bytes=1 << 20, tail_bytes=1 << 20, total_bytes=1 << 24)
        )
        async with Followers(server, transport, store) as made:
            made.doubts = doubts
            yield made
        await transport.close()


async def test_every_output_is_read_and_no_more_of_them_at_a_time_than_there_are_connections(
    followers: Followers,
) -> None:
    outputs = [followers.follow(f"p{number}")[0] for number in range(4 * CONNECTIONS)]
    await until(lambda: all(output.tail_text().count("line") > 2 for output in outputs), "every output is read")
    assert followers.server.most_streams == CONNECTIONS
    assert all(output.end is None for output in outputs)
    assert followers.doubts == [], "giving way is no fault of the context's"


async def test_what_a_container_has_left_is_read_at_once_and_each_line_once(followers: Followers) -> None:
    pods = [f"p{number}" for number in range(4 * CONNECTIONS)]
    started = {pod: followers.follow(pod) for pod in pods}
    output, capturing = started[pods[-1]]
    followers.running.remove(pods[-1])
    async with asyncio.timeout(2):
        await capturing
    assert output.end is not None
    assert output.end.end == "complete"
    lines = [each.line async for each in output.read() if hasattr(each, "line")]
    assert lines == [f"line {number}" for number in range(60)]


async def test_a_follower_is_not_in_the_way_while_nobody_waits(followers: Followers) -> None:
    for number in range(CONNECTIONS):
        followers.follow(f"p{number}")
    await asyncio.sleep(5 * TURN_S)
    assert followers.server.streams == followers.server.opened == CONNECTIONS
