"""The Kubernetes contexts of this node: which there are, whether they answer, and the API of each.

Implements the port ``Contexts``. What a context is named and may do comes from the settings; how it is connected,
probed and reloaded is ``executor.kubernetes.reachability``. Nothing here waits for a context: a node starts, and
answers, whatever state they are in.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from raftsman.executor.jobs import ContextHealth, Jobs
from raftsman.executor.kubernetes.connection import Connection, build_connection
from raftsman.executor.kubernetes.kubeconfig import (
    IN_CLUSTER,
    SERVICE_ACCOUNT,
    Access,
    Kubeconfigs,
    context_names,
    default_paths,
    is_there,
    resolve,
    resolve_in_cluster,
    split_paths,
)
from raftsman.executor.kubernetes.reachability import ContextLoop, HealthHook
from raftsman.executor.kubernetes.timing import Timing
from raftsman.executor.kubernetes.transport import RequestHook, ignore_request

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """How one context is reached; what its tasks may do is the business of ``manifest`` and the settings."""

    name: str  # What tasks call it (``clusterContext``).
    kubeconfig: str | None = (
        None  # A file, or several with colons; None is $KUBECONFIG, ~/.kube/config, the Pod's account.
    )
    context: str | None = None  # Its name inside the kubeconfig; None is the same name.
    qps: float = 20.0  # Calls a second in the long run (watches and logs not counted).
    burst: int = 40  # Calls at once.


def discover(environment: Mapping[str, str], home: Path) -> list[ContextSettings]:
    """Return every context of $KUBECONFIG or ~/.kube/config, or the Pod's own account, or nothing.

    Raises KubeconfigError when a file is there but cannot be read.
    """
    paths = default_paths(environment, home)
    if paths:
        kubeconfig = ":".join(str(path) for path in paths)
        names = context_names(paths, Kubeconfigs())
        return [ContextSettings(name=name, kubeconfig=kubeconfig, context=name) for name in names]
    if environment.get("KUBERNETES_SERVICE_HOST") and _has_account():
        return [ContextSettings(name=IN_CLUSTER)]
    return []


def _has_account() -> bool:
    token = SERVICE_ACCOUNT / "token"
    return is_there(token, str(token))


class KubernetesContexts:
    """The port ``Contexts``: one loop for each of *settings*, sharing nothing.

    *on_request* is told (context, verb, code) of every call, code "error" when there was no answer.
    """

    def __init__(
        self,
        settings: Sequence[ContextSettings],
        *,
        environment: Mapping[str, str] | None = None,
        home: Path | None = None,
        timing: Timing | None = None,
        on_request: RequestHook = ignore_request,
        build: Callable[[Access], Connection] = build_connection,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._home = home or Path.home()
        self._hooks: list[HealthHook] = []
        self._tasks: list[asyncio.Task[None]] = []
        kubeconfigs = Kubeconfigs()
        self._loops = {
            each.name: ContextLoop(
                each.name,
                partial(self._resolve, each, kubeconfigs),
                build,
                timing or Timing(),
                qps=each.qps,
                burst=each.burst,
                on_request=on_request,
                on_health=self._tell,
            )
            for each in settings
        }

    async def start(self) -> None:
        """Start connecting; returns at once."""
        for name, loop in self._loops.items():
            task = asyncio.create_task(loop.run(), name=f"context {name}")
            task.add_done_callback(_notice_end)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Stop probing and mirroring and close every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for loop in self._loops.values():
            await loop.stop()

    def on_health(self, callback: HealthHook) -> None:
        """Call *callback* with (name, health) in the event loop whenever a context's health changes."""
        self._hooks.append(callback)

    def names(self) -> list[str]:
        """Return the configured names, sorted."""
        return sorted(self._loops)

    def health(self, name: str) -> ContextHealth:
        """Return whether the context answers; a name that is not configured is not reachable and says so."""
        loop = self._loops.get(name)
        if loop is None:
            error = f'the context "{name}" is not configured on this node'
            return ContextHealth(reachable=False, error=error, since_ms=0)
        return loop.health

    def jobs(self, name: str) -> Jobs | None:
        """Return the context's API, or None while it has none (not configured, or its kubeconfig cannot be read)."""
        loop = self._loops.get(name)
        return loop.jobs if loop else None

    def server_fingerprint(self, name: str) -> str:
        """Return what tells clusters apart whatever they are called, "" while it is not known.

        A hash of the server's URL and its certificate authority: two nodes whose contexts of one name differ in it
        must not adopt each other's Jobs.
        """
        loop = self._loops.get(name)
        return loop.fingerprint if loop else ""

    def _tell(self, name: str, health: ContextHealth) -> None:
        for hook in self._hooks:
            hook(name, health)

    def _resolve(self, settings: ContextSettings, kubeconfigs: Kubeconfigs) -> Access:
        return access_of(settings, kubeconfigs, environment=self._environment, home=self._home)


def access_of(
    settings: ContextSettings, kubeconfigs: Kubeconfigs, *, environment: Mapping[str, str], home: Path
) -> Access:
    """Return how to reach a context. Reads files; raises KubeconfigError."""
    if settings.kubeconfig is not None:
        paths = split_paths(settings.kubeconfig, home)
    else:
        paths = default_paths(environment, home)
    if not paths:
        return resolve_in_cluster(environment)
    return resolve(paths, settings.context or settings.name, kubeconfigs)


def _notice_end(task: asyncio.Task[None]) -> None:
    """Say aloud that a loop broke: that is our fault, and the context's health grows old."""
    if not task.cancelled() and task.exception() is not None:
        logger.error("%s: its loop broke", task.get_name(), exc_info=task.exception())
