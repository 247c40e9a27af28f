"""A node's HTTP API in this process: one real replica that leads itself, no Kubernetes, routes of the test's own."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, web

from raftsman.executor.contexts import KubernetesContexts
from raftsman.executor.output import KeepLimits, OutputStore
from raftsman.node.changes import ChangeFeed
from raftsman.node.descriptors import CONNECTIONS
from raftsman.node.forward import Forwarder
from raftsman.node.http.app import build_app
from raftsman.node.http.listener import listen
from raftsman.node.http.site import Site
from raftsman.node.metrics import Metrics
from raftsman.node.settings import load
from tests.harness.nodes import free_port
from tests.unit.replicas import make_node, until


@dataclass(frozen=True)
class OneNode:
    """Where it answers, and a session to ask it with."""

    url: str
    port: int
    site: Site
    session: ClientSession


@asynccontextmanager
async def one_node(
    directory: Path,
    *,
    routes: Iterable[web.RouteDef] = (),
    arrival_s: float = 5.0,
    token: str | None = None,
    joined: Callable[[], bool] = lambda: True,
    connections: int = CONNECTIONS,
) -> AsyncIterator[OneNode]:
    """Start the API, with *routes* beside its own."""
    feed = ChangeFeed()
    node = make_node(
        "alpha",
        {"alpha": f"127.0.0.1:{free_port()}"},
        directory,
        on_applied=feed.publish,
        on_restored=feed.begin_behind,
    )
    async with AsyncExitStack() as stack:
        await node.replica.start(node.consensus)
        stack.push_async_callback(node.replica.stop)
        site = Site(
            settings=load("", environment={}, overrides={}, host_name="alpha").settings,
            replica=node.replica,
            feed=feed,
            forwarder=Forwarder(node="alpha", url_of_leader=lambda: None, leads=lambda: node.leads),
            contexts=KubernetesContexts([], on_request=lambda *_: None),
            output=OutputStore(directory / "output", KeepLimits(head_bytes=1024, tail_bytes=1024, total_bytes=4096)),
            metrics=Metrics(version="test"),
            token=token,
            new_task_id=lambda: "new-task",
            joined=joined,
            version="test",
        )
        app = build_app(site)
        app.add_routes(routes)
        port = await listen(app, "127.0.0.1", 0, stack=stack, arrival_s=arrival_s, connections=connections)
        session = await stack.enter_async_context(ClientSession())
        await until(lambda: node.leads, "it leads")
        yield OneNode(f"http://127.0.0.1:{port}", port, site, session)
