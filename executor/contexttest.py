"""One context tried out from this machine: whether it answers, who is there, what our account may do.

For operators (``raftsman context test``). A running node finds out about its contexts by itself (``contexts``).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raftsman.executor.contexts import ContextSettings, access_of
from raftsman.executor.jobs import KubernetesError
from raftsman.executor.kubernetes.connection import build_connection
from raftsman.executor.kubernetes.kubeconfig import Access, KubeconfigError, Kubeconfigs
from raftsman.executor.kubernetes.permissions import Rights, ask_rights, namespace_exists
from raftsman.executor.kubernetes.timing import Timing, TokenBucket
from raftsman.executor.kubernetes.transport import Transport

_CALLS = 50
"""A test asks some twenty questions; they need not wait for one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextReport:
    """What was found out about a context."""

    name: str
    namespace: str
    server: str = ""
    version: str = ""
    namespace_exists: bool | None = None  # None: the account may not know.
    missing: tuple[str, ...] = ()
    certain: bool = True  # Whether every right was asked about; otherwise only lists were tried.
    error: str = ""  # Why nothing more is known.

    @property
    def is_fine(self) -> bool:
        """Whether tasks can be expected to run there."""
        return not self.error and not self.missing and self.namespace_exists is not False


async def examine(
    settings: ContextSettings, namespace: str, *, environment: Mapping[str, str], home: Path
) -> ContextReport:
    """Return what there is to say about a context. Raises nothing that a context can cause."""
    name = settings.name
    try:
        access = await asyncio.to_thread(access_of, settings, Kubeconfigs(), environment=environment, home=home)
        return await _ask(name, namespace, access)
    except KubeconfigError as error:
        return ContextReport(name=name, namespace=namespace, error=str(error))


async def _ask(name: str, namespace: str, access: Access) -> ContextReport:
    connection = await asyncio.to_thread(build_connection, access)
    transport = Transport(name, connection, TokenBucket(Timing(), qps=_CALLS, burst=_CALLS))
    version = ""
    try:
        version = str((await transport.probe("/version")).get("gitVersion", ""))
        exists = await namespace_exists(transport, namespace)
        rights: Rights = await ask_rights(transport, namespace)
    except KubernetesError as error:
        return ContextReport(name=name, namespace=namespace, server=access.server, version=version, error=error.message)
    finally:
        await transport.close()
    return ContextReport(
        name=name,
        namespace=namespace,
        server=access.server,
        version=version,
        namespace_exists=exists,
        missing=rights.missing,
        certain=rights.certain,
    )
