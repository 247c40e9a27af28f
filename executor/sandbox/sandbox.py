"""Several contexts in one process, and the kubeconfig that leads to them.

``Sandbox`` can be used inside a test; ``main`` makes a process of it. Listens on 127.0.0.1 only.
"""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from aiohttp import web

from raftsman.executor.sandbox.certificate import KeyPair, self_signed
from raftsman.executor.sandbox.cluster import Cluster
from raftsman.executor.sandbox.guard import Guard
from raftsman.executor.sandbox.server import ApiServer
from raftsman.executor.sandbox.store import HISTORY

HOST = "127.0.0.1"
KUBECONFIG = "kubeconfig"
PODS = "pods"
CLOSE_S = 1.0
"""How long an answer under way may take when the sandbox stops."""


class Sandbox:
    """A development Kubernetes for each of the contexts, their files below *directory*."""

    def __init__(
        self,
        directory: Path,
        contexts: Sequence[str] = ("dev-a", "dev-b"),
        *,
        port: int = 0,
        history: int = HISTORY,
    ) -> None:
        """*port* is that of the first context, the others follow; 0 takes free ones."""
        self.kubeconfig = directory / KUBECONFIG
        self.servers: dict[str, str] = {}
        self.clusters: dict[str, Cluster] = {}
        self._directory = directory
        self._contexts = tuple(contexts)
        self._port = port
        self._history = history
        self._guard = Guard()
        self._token = secrets.token_urlsafe(32)
        self._apis: list[ApiServer] = []
        self._runners: list[web.AppRunner] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, and write the kubeconfig when all contexts answer."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(self._directory / PODS, ignore_errors=True)  # Of a sandbox that was killed here.
        (self._directory / PODS).mkdir(mode=0o700)  # Output and working folders are nobody else's business.
        self._guard.start()
        keys = self_signed(HOST)
        context = _tls(keys)
        try:
            for at, name in enumerate(self._contexts):
                await self._open(name, self._port + at if self._port else 0, context)
        except BaseException:
            await self.stop()
            raise
        write_private(self.kubeconfig, json.dumps(self._kubeconfig(keys), indent=1) + "\n")

    async def stop(self) -> None:
        """Stop listening and end all Pods; neither they nor the kubeconfig are left."""
        self.kubeconfig.unlink(missing_ok=True)
        for api in self._apis:
            api.stop()
        for cluster in self.clusters.values():
            await cluster.stop()
        for runner in self._runners:
            await runner.cleanup()
        await self._guard.stop()
        await asyncio.to_thread(shutil.rmtree, self._directory / PODS, ignore_errors=True)
        self._apis, self._runners = [], []

    async def _open(self, name: str, port: int, context: ssl.SSLContext) -> None:
        cluster = self.clusters[name] = Cluster(self._guard, self._directory / PODS / name, history=self._history)
        await cluster.start()
        listening = socket.create_server((HOST, port), backlog=512)
        address = f"{HOST}:{listening.getsockname()[1]}"
        api = ApiServer(cluster, self._token)
        self._apis.append(api)
        runner = web.AppRunner(
            api.application(address), access_log=None, handler_cancellation=True, shutdown_timeout=CLOSE_S
        )
        self._runners.append(runner)
        await runner.setup()
        await web.SockSite(runner, listening, ssl_context=context).start()
        self.servers[name] = f"https://{address}"

    def _kubeconfig(self, keys: KeyPair) -> dict[str, object]:
        authority = base64.b64encode(keys.certificate.encode()).decode()
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self._contexts[0],
            "clusters": [
                {"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}
                for name, server in self.servers.items()
            ],
            "users": [{"name": name, "user": {"token": self._token}} for name in self.servers],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in self.servers],
        }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _tls(keys: KeyPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL reads keys from files only.
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "certificate"), Path(folder, "key")
        write_private(certificate, keys.certificate)
        write_private(key, keys.key)
        context.load_cert_chain(certificate, key)
    return context
