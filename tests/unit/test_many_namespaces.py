"""Live tasks in many namespaces of a context: each has its two watches, and an ordinary call does not wait for them."""

import asyncio
from pathlib import Path

from aiohttp import web

from raftsman.executor.kubernetes.client import KubernetesJobs
from raftsman.executor.kubernetes.connection import build_connection
from raftsman.executor.kubernetes.kubeconfig import Kubeconfigs, resolve
from raftsman.executor.kubernetes.timing import Timing, TokenBucket
from raftsman.executor.kubernetes.transport import Transport
from tests.harness.fake_kubernetes import FakeKubernetes, write_kubeconfig
from tests.unit.replicas import until

NAMESPACES = 140


class Quiet(FakeKubernetes):
    """Nothing anywhere, and nothing happens."""

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        answer = web.StreamResponse()
        await answer.prepare(request)
        await asyncio.Event().wait()
        return answer


async def test_every_namespace_is_watched(tmp_path: Path) -> None:
    async with Quiet() as server:
        access = resolve([write_kubeconfig(tmp_path / "config", server.url)], "one", Kubeconfigs())
        connection = await asyncio.to_thread(build_connection, access)
        transport = Transport("one", connection, TokenBucket(Timing(), qps=10_000, burst=10_000))
        jobs = KubernetesJobs(transport, Timing())
        mirrors = [jobs.mirror(f"n{number}", "ours=yes", lambda: None) for number in range(NAMESPACES)]
        await until(lambda: all(mirror.synced for mirror in mirrors), "all are synced")
        async with asyncio.timeout(5):
            assert await jobs.list_events("n0", "u") == []
        await jobs.stop()
        await transport.close()
