"""HTTP clients of one context, built by the official client: credentials, TLS, proxies.

Four clients, so that nobody waits for another's connections: with all of a pool held by watches, an ordinary call
waits until its deadline, and with all held by followed outputs nobody would read what a finished container has left.
The official client is imported here and nowhere else, inside the function that a thread runs. Calls are made by
``transport``; when to build anew is decided by ``reachability``.
"""

import copy
import importlib
import logging
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Protocol

from raftsman.executor.jobs import Json
from raftsman.executor.kubernetes.kubeconfig import Access, KubeconfigError
from raftsman.executor.kubernetes.plugins import run_with_plugins

logger = logging.getLogger(__name__)

CREDENTIALS_S = 30.0  # How long an exec plugin may take: some open a browser or ask a slow identity provider.
UNARY_CONNECTIONS = 16  # More at once than the rate limit lets start in a second.
WATCH_CONNECTIONS = 0  # No bound but the need: two for each namespace with live tasks. One without is never seen.
LOG_CONNECTIONS = (
    100  # Outputs followed at a time, see ``turns``: each is a connection of the API server's to a kubelet.
)
LAST_LOG_CONNECTIONS = 50  # Reads of what there is, which end by themselves.
_POOLS = (UNARY_CONNECTIONS, WATCH_CONNECTIONS, LOG_CONNECTIONS, LAST_LOG_CONNECTIONS)


class RawResponse(Protocol):
    """What the official client wraps an answer in; ``response`` is aiohttp's own."""

    @property
    def status(self) -> int:
        """The HTTP code."""

    @property
    def response(self) -> Any:
        """The ``aiohttp.ClientResponse``, of which nothing has been read."""


class RawClient(Protocol):
    """The part of the official ``ApiClient`` that is used: dictionaries in, bytes out, no models."""

    async def param_serialize(self, method: str, resource_path: str, **parts: Any) -> tuple[Any, ...]:
        """Return method, URL, headers, body and form of a request, credentials included."""

    async def call_api(self, *request: Any, _request_timeout: Any) -> RawResponse:
        """Send it; return when the headers are there, whatever the status."""

    async def close(self) -> None:
        """Close all connections."""


@dataclass(slots=True, kw_only=True)
class Connection:
    """The clients of one context with one set of credentials; replaced as a whole, closed when the last user leaves."""

    server: str
    fingerprint: str
    unary: RawClient
    watches: RawClient
    logs: RawClient
    last_logs: RawClient
    users: int = 0
    retired: bool = False

    async def leave(self) -> None:
        """Count one user less."""
        self.users -= 1
        await self._close_when_idle()

    async def retire(self) -> None:
        """Close it, now or when the calls under way have ended."""
        self.retired = True
        await self._close_when_idle()

    async def close(self) -> None:
        """Close it at once; calls under way fail."""
        for client in (self.unary, self.watches, self.logs, self.last_logs):
            await client.close()

    async def _close_when_idle(self) -> None:
        if self.retired and self.users == 0:
            await self.close()


def build_connection(access: Access) -> Connection:
    """Return the clients for *access*. Raises KubeconfigError.

    Blocks for imports, TLS and exec plugins: run it in a thread.
    """
    configuration_module = importlib.import_module("kubernetes.aio.client.configuration")
    errors = importlib.import_module("kubernetes.aio.config.config_exception")
    configuration = configuration_module.Configuration(host=access.server)
    try:
        if access.context:
            run_with_plugins(partial(_load, access, configuration), CREDENTIALS_S)
        else:
            importlib.import_module("kubernetes.aio.config.incluster_config").load_incluster_config(configuration)
        clients = [_client(configuration, size) for size in _POOLS]
    except TimeoutError as error:
        raise KubeconfigError(f"the credentials of {access.server} took longer than {CREDENTIALS_S:.0f} s") from error
    except (errors.ConfigException, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        # Its parser raises whatever the fault happens to lead to; only the kinds without file content are quoted.
        text = str(error) if isinstance(error, errors.ConfigException | OSError) else type(error).__name__
        raise KubeconfigError(f"the credentials of {access.server} cannot be used: {text}") from None
    if access.insecure:
        logger.warning("%s: the server's certificate is not checked (insecure-skip-tls-verify)", access.server)
    return Connection(
        server=access.server,
        fingerprint=access.fingerprint,
        unary=clients[0],
        watches=clients[1],
        logs=clients[2],
        last_logs=clients[3],
    )


async def _load(access: Access, configuration: Any) -> None:
    loader: ModuleType = importlib.import_module("kubernetes.aio.config.kube_config")
    await loader.load_kube_config_from_dict(
        config_dict=copy.deepcopy(access.document),  # It writes into what it is given.
        context=access.context,
        client_configuration=configuration,
    )
    user: Json = access.document["users"][0]["user"]
    if "exec" in user and "BearerToken" not in configuration.api_key and not configuration.cert_file:
        # The client logs the plugin's failure and goes on without credentials, which look like a 403 much later.
        command = user["exec"].get("command") if isinstance(user["exec"], dict) else user["exec"]
        message = f"the exec plugin {command} of the context {access.context} gave no credentials"
        raise OSError(message)


def _client(configuration: Any, connections: int) -> RawClient:
    sized = copy.deepcopy(configuration)
    sized.connection_pool_maxsize = connections
    client: Any = importlib.import_module("kubernetes.aio.client.api_client").ApiClient(sized)
    client.user_agent = "raftsman"
    made: RawClient = client
    return made
