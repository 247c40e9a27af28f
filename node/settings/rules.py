"""What settings must be together, and what this version cannot do yet.

Each rule looks at finished values only and answers with (key, rest of a sentence about it). One value alone is checked
by ``values``; ``loading`` runs the rules whose keys are sound.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from urllib.parse import urlsplit

from raftsman.node.settings.model import Settings
from raftsman.node.settings.schema import dotted
from raftsman.node.settings.values import is_loopback, parse_address
from raftsman.raft.limits import CONTEXTS_PER_MEMBER, MEMBERS
from raftsman.wire import grammar
from raftsman.wire.durations import format_duration_ms

SHORTEST_ELECTION_TIMEOUT_S = 0.1
"""Two heartbeats (0.05 s each): below that a healthy leader is deposed by a single late one."""

Finding = tuple[str, str]
Check = Callable[[Settings, Set[str]], Iterator[Finding]]
"""Takes the settings and the keys that somebody set."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A check, and the keys without whose sound values it would mislead."""

    check: Check
    needs: tuple[str, ...]


def _http_on_loopback(settings: Settings, given: Set[str]) -> Iterator[Finding]:
    if not is_loopback(settings.http.bind.host):
        yield "http.bind", _needs_tls(str(settings.http.bind))
    advertised = urlsplit(settings.http.advertise).hostname or ""
    if "http.advertise" in given and not is_loopback(advertised):
        yield "http.advertise", _needs_tls(settings.http.advertise)


def _http_without_tls(settings: Settings, _given: Set[str]) -> Iterator[Finding]:
    if settings.http.advertise.startswith("https:"):
        yield "http.advertise", "must begin with http://, because TLS is not built in yet"


def _raft_on_loopback(settings: Settings, given: Set[str]) -> Iterator[Finding]:
    if "raft.bind" in given and not is_loopback(settings.raft.bind.host):
        yield "raft.bind", _needs_tls(str(settings.raft.bind))
    outside = [address for _, address in settings.raft.members if not is_loopback(parse_address(address).host)]
    if "raft.members" in given and outside:
        yield "raft.members", _needs_tls(", ".join(outside))


def _no_tls_files(settings: Settings, _given: Set[str]) -> Iterator[Finding]:
    for key, path in (("tls.ca", settings.tls.ca), ("tls.cert", settings.tls.cert), ("tls.key", settings.tls.key)):
        if path:
            yield key, "must be empty: TLS is not built in yet, and the connections would be plain in spite of it"


def _token_off_loopback(settings: Settings, _given: Set[str]) -> Iterator[Finding]:
    if not settings.auth.admin_token_file and not is_loopback(settings.http.bind.host):
        yield (
            "auth.admin_token_file",
            f"must name a file: without a token whoever reaches {settings.http.bind} commands this cluster",
        )


def _members_distinct(settings: Settings, _given: Set[str]) -> Iterator[Finding]:
    for what, seen in (("a name", (name for name, _ in settings.raft.members)), ("an address", _addresses(settings))):
        repeated = [each for each, count in Counter(seen).items() if count > 1]
        if repeated:
            yield (
                "raft.members",
                f"must give every member {what} of its own; {', '.join(repeated)} stands there twice",
            )
    if len(settings.raft.members) > MEMBERS:
        yield "raft.members", f"must name at most {MEMBERS} members, not {len(settings.raft.members)}"


def _this_node_is_member(settings: Settings, given: Set[str]) -> Iterator[Finding]:
    if settings.name not in dict(settings.raft.members):
        whose = "" if "name" in given else " (the host name, because name is not set)"
        others = ", ".join(name for name, _ in settings.raft.members)
        yield "raft.members", f"must contain this node, {settings.name}{whose}, beside {others}"


def _raft_address_is_the_members(settings: Settings, given: Set[str]) -> Iterator[Finding]:
    address = dict(settings.raft.members).get(settings.name, "")
    if not address:
        return
    where = "in raft.members" if "raft.members" in given else "of raft.bind"
    for key, own in (("raft.bind", str(settings.raft.bind)), ("raft.advertise", settings.raft.advertise)):
        if own != address:
            yield key, f"must be {address}, the address {where}, or be left out; it is {own}"


def _ports_distinct(settings: Settings, _given: Set[str]) -> Iterator[Finding]:
    if settings.http.bind == settings.raft.bind:
        yield "http.bind", f"must differ from raft.bind, which is {settings.raft.bind} too"


def _election_timeout(settings: Settings, _given: Set[str]) -> Iterator[Finding]:
    low, high = settings.raft.election_timeout_s
    if low < SHORTEST_ELECTION_TIMEOUT_S:
        least = format_duration_ms(round(SHORTEST_ELECTION_TIMEOUT_S * 1000))
        yield "raft.election_timeout", f"must begin with at least {least}, so that one late heartbeat deposes nobody"
    if low >= high:
        yield "raft.election_timeout", "must be a shorter and a longer duration, in this order, such as 300ms..600ms"


def _log_keep(settings: Settings, _given: Set[str]) -> Iterator[Finding]:
    keep = settings.executor.log_keep
    if keep.total_bytes < keep.head_bytes + keep.tail_bytes:
        yield "executor.log_keep.total", "must be at least head and tail together: the room of a single attempt"


def _contexts(settings: Settings, _given: Set[str]) -> Iterator[Finding]:
    for entry in settings.contexts:
        if complaint := grammar.context_name(entry.name):
            yield dotted(("contexts", entry.name)), complaint
    if len(settings.contexts) > CONTEXTS_PER_MEMBER:
        yield "contexts", f"must be at most {CONTEXTS_PER_MEMBER} tables, not {len(settings.contexts)}"


RULES: tuple[Rule, ...] = (
    Rule(_http_on_loopback, ("http.bind", "http.advertise")),
    Rule(_http_without_tls, ("http.advertise",)),
    Rule(_raft_on_loopback, ("raft.bind", "raft.members")),
    Rule(_no_tls_files, ("tls.ca", "tls.cert", "tls.key")),
    Rule(_token_off_loopback, ("auth.admin_token_file", "http.bind")),
    Rule(_members_distinct, ("raft.members",)),
    Rule(_this_node_is_member, ("name", "raft.members")),
    Rule(_raft_address_is_the_members, ("name", "raft.members", "raft.bind", "raft.advertise")),
    Rule(_ports_distinct, ("http.bind", "raft.bind")),
    Rule(_election_timeout, ("raft.election_timeout",)),
    Rule(_log_keep, ("executor.log_keep.head", "executor.log_keep.tail", "executor.log_keep.total")),
    Rule(_contexts, ()),
)


def _addresses(settings: Settings) -> Iterator[str]:
    return (address for _, address in settings.raft.members)


def _needs_tls(where: str) -> str:
    return (
        f"must stay on loopback (127.0.0.1, ::1 or localhost), not {where}:"
        " TLS is not built in yet, and without it the network could listen and join in"
    )
