"""What the routes work with, and the small things that several of them need."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from raftsman.executor.jobs import Contexts
from raftsman.executor.output import OutputStore
from raftsman.node.changes import ChangeFeed
from raftsman.node.forward import Forwarder
from raftsman.node.http.problems import invalid_parameter
from raftsman.node.metrics import Metrics
from raftsman.node.settings import Settings
from raftsman.raft.records import Instant
from raftsman.raft.replica import Replica
from raftsman.wire.durations import parse_duration_ms

LONGEST_WAIT_MS = 60_000
"""Long-polls end so soon: proxies cut silent requests after about a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The node, as far as its HTTP API is concerned."""

    settings: Settings
    replica: Replica
    feed: ChangeFeed
    forwarder: Forwarder
    contexts: Contexts
    output: OutputStore
    metrics: Metrics
    token: str | None
    new_task_id: Callable[[], str]
    joined: Callable[[], bool]
    """Whether this process has joined: a row in the table may be that of an earlier one."""
    leaderless_for_s: Callable[[], float]
    """How long this node has known of no leader."""
    version: str

    @property
    def node(self) -> str:
        """This node's name."""
        return self.settings.name


SITE: web.AppKey[Site] = web.AppKey("site", Site)


def site_of(request: web.Request) -> Site:
    """Return the site that the request came to."""
    return request.app[SITE]


def rfc3339(instant: Instant | None) -> str | None:
    """Return the instant as the API writes it: RFC 3339, UTC, milliseconds."""
    if instant is None:
        return None
    moment = datetime.fromtimestamp(instant / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant % 1000:03d}Z"


def instant_of(name: str, text: str) -> Instant:
    """Return the instant that a query parameter gives. Raises a Problem."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid_parameter(name, f"{text!r} is not an RFC 3339 instant such as 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise invalid_parameter(name, f"{text!r} lacks its offset from UTC, such as Z")
    return Instant(int(moment.timestamp() * 1000))


def known_parameters(request: web.Request, *names: str, repeatable: Collection[str] = ()) -> None:
    """Refuse query parameters that this route does not have, and repeated ones of which only one would be heeded.

    A filter that is not understood must not be ignored.
    """
    for name in request.query:
        if name not in (*names, *repeatable, "consistent"):
            taken = ", ".join(sorted((*names, *repeatable)))
            raise invalid_parameter(name, f"this address takes {taken or 'no parameters'}")
        if name not in repeatable and len(request.query.getall(name)) > 1:
            raise invalid_parameter(name, "it is given more than once")


def int_parameter(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    """Return a whole number from the query, within bounds. Raises a Problem."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise invalid_parameter(name, f"{text!r} is not a whole number from {low} to {high}")
    return int(text)


def bool_parameter(request: web.Request, name: str, *, default: bool = False) -> bool:
    """Return a truth value from the query, *default* when it is absent. Raises a Problem."""
    text = request.query.get(name, str(default).lower())
    if text not in ("true", "false"):
        raise invalid_parameter(name, f"{text!r} is neither true nor false")
    return text == "true"


def wait_parameter(request: web.Request) -> float:
    """Return the seconds that ``wait=30s`` asks for, 0 when it is absent. Raises a Problem."""
    text = request.query.get("wait", "0s")
    try:
        wait_ms = parse_duration_ms(text)
    except ValueError as error:
        raise invalid_parameter("wait", str(error)) from None
    if wait_ms > LONGEST_WAIT_MS:
        raise invalid_parameter("wait", f"{text!r} is more than 60s")
    return wait_ms / 1000
