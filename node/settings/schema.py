"""Every key a user may set, in one table: its kind, its default and what it is for.

The documentation of the settings is made from ``SCHEMA``; a key that is not in it does not exist. How the value of a
kind is spelled is ``values``; where values come from is ``sources``.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from types import MappingProxyType

KeyPath = tuple[str, ...]
"""A key in parts, ("http", "bind"); names of contexts may hold dots."""

ANY = "*"
"""The part of a schema key that stands for the name of a context."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")  # https://toml.io/en/v1.0.0#keys

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


class Kind(StrEnum):
    """What may be written as a value."""

    NAME = "a name"
    TEXT = "a text"
    PATH = "a path"
    OPTIONAL_PATH = "a path, or nothing"
    ADDRESS = "host:port"
    ADVERTISED = "host:port, or nothing"
    URL = "a URL, or nothing"
    MEMBERS = "a list of name=host:port"
    SIZE = "a size"
    DURATION = "a duration"
    DURATION_RANGE = "a range of durations"
    WHOLE = "a whole number"
    NUMBER = "a number"
    SWITCH = "true or false"
    CHOICE = "one of several words"
    NAMESPACE = "a Kubernetes namespace"
    LABELS = "a table of labels"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. *default* is spelled as a user would; *minimum* has the unit of the parsed value."""

    key: str
    kind: Kind
    default: object
    help: str
    minimum: int = 0
    choices: tuple[str, ...] = ()

    @property
    def path(self) -> KeyPath:
        """The key in parts."""
        return tuple(self.key.split("."))


SCHEMA: tuple[Setting, ...] = (
    Setting("name", Kind.NAME, "", "name of this node, unique in the cluster; the host name when absent"),
    Setting("cluster", Kind.NAME, "raftsman", "name of the cluster, the same on every node"),
    Setting("data_dir", Kind.PATH, "/var/lib/raftsman", "folder of the log, the snapshots and the kept output"),
    Setting("http.bind", Kind.ADDRESS, "127.0.0.1:7117", "where the API listens; off loopback only with TLS"),
    Setting("http.advertise", Kind.URL, "", "where others find the API; http.bind when empty"),
    Setting("http.max_body", Kind.SIZE, "1Mi", "the largest request body; larger ones are answered 413"),
    Setting("raft.bind", Kind.ADDRESS, "127.0.0.1:7118", "where the log listens; this node's address in raft.members"),
    Setting("raft.advertise", Kind.ADVERTISED, "", "where other members find this node; raft.bind when empty"),
    Setting("raft.members", Kind.MEMBERS, (), "the founding members; empty: a cluster of this node alone"),
    Setting("raft.election_timeout", Kind.DURATION_RANGE, "300ms..600ms", "silence after which a follower stands"),
    Setting(
        "raft.compact_entries",
        Kind.WHOLE,
        50_000,
        "entries after which the log is compacted; as many as the table has rows, if that is more",
        minimum=100,
    ),
    Setting("tls.ca", Kind.OPTIONAL_PATH, "", "authorities that sign nodes and clients"),
    Setting("tls.cert", Kind.OPTIONAL_PATH, "", "certificate of this node"),
    Setting("tls.key", Kind.OPTIONAL_PATH, "", "private key of this node"),
    Setting("auth.admin_token_file", Kind.OPTIONAL_PATH, "", "file with the administrator's token; empty: none asked"),
    Setting("scheduler.default_timeout", Kind.DURATION, "10m", "timeout of a task that names none; 0s: none"),
    Setting("scheduler.max_queued", Kind.WHOLE, 100_000, "queued tasks; one more is answered 429", minimum=1),
    Setting("scheduler.keep_finished", Kind.DURATION, "7d", "after this a finished task is forgotten", minimum=1000),
    Setting("scheduler.keep_finished_count", Kind.WHOLE, 100_000, "finished tasks kept at most", minimum=1),
    Setting("executor.slots", Kind.WHOLE, 64, "shell attempts this node carries out at a time"),
    Setting("executor.allow_shell", Kind.SWITCH, False, "whether shell tasks may run on this host"),
    Setting("executor.job_ttl", Kind.DURATION, "1h", "how long a finished Job stays in Kubernetes"),
    Setting("executor.log_keep.head", Kind.SIZE, "256Ki", "output kept of an attempt, from its beginning"),
    Setting("executor.log_keep.tail", Kind.SIZE, "1Mi", "output kept of an attempt, from its end"),
    Setting("executor.log_keep.total", Kind.SIZE, "2Gi", "output kept of all attempts; the oldest goes first"),
    Setting("contexts.*.kubeconfig", Kind.OPTIONAL_PATH, "", "its kubeconfig; empty: where kubectl looks"),
    Setting("contexts.*.context", Kind.TEXT, "", "its name in the kubeconfig; the name of the table when empty"),
    Setting("contexts.*.namespace", Kind.NAMESPACE, "default", "namespace of tasks that name none"),
    Setting("contexts.*.labels", Kind.LABELS, _NO_LABELS, "labels of the context itself"),
    Setting("contexts.*.max_jobs", Kind.WHOLE, 1000, "Jobs of ours at a time, over all nodes; the lowest counts", 1),
    Setting(
        "contexts.*.pod_security",
        Kind.CHOICE,
        "baseline",
        "what is added to Pods of tasks that do not say",
        choices=("baseline", "restricted", "none"),
    ),
    Setting("contexts.*.allow_host", Kind.SWITCH, False, "allow hostPath, hostPID, hostNetwork and privileged"),
    Setting("contexts.*.qps", Kind.NUMBER, 20, "requests a second to its API server, sustained", minimum=1),
    Setting("contexts.*.burst", Kind.WHOLE, 40, "requests to its API server at once", minimum=1),
    Setting(
        "logging.level", Kind.CHOICE, "info", "the least that is said", choices=("debug", "info", "warning", "error")
    ),
    Setting(
        "logging.format",
        Kind.CHOICE,
        "auto",
        "auto: text on a terminal, JSON otherwise",
        choices=("auto", "text", "json"),
    ),
)

_BY_PATH: Mapping[KeyPath, Setting] = MappingProxyType({setting.path: setting for setting in SCHEMA})
_TABLES = frozenset(path[:length] for path in _BY_PATH for length in range(len(path)))


def find_setting(path: KeyPath) -> Setting | None:
    """Return the setting that *path* names, or None when there is none."""
    return _BY_PATH.get(_generic(path))


def is_table(path: KeyPath) -> bool:
    """Return whether *path* names a table of settings, such as ("http",) or the table of one context."""
    return _generic(path) in _TABLES


def concrete_paths(context_names: Iterable[str]) -> Iterator[tuple[KeyPath, Setting]]:
    """Yield every key of a node that has these contexts, in the order of the schema, context by context.

    The keys of a table stand together, as they must in TOML, where a table has one header.
    """
    names = sorted(context_names)
    for of_contexts, settings in groupby(_BY_PATH.items(), key=lambda item: ANY in item[0]):
        keys = list(settings)
        for name in names if of_contexts else ("",):
            yield from ((tuple(name if part == ANY else part for part in path), setting) for path, setting in keys)


def suggest(path: KeyPath, *, table: bool = False) -> str:
    """Return the dotted key (or table, when one was written) that the unknown *path* probably means, or ""."""
    if find_setting(by_file := (*path[:-1], f"{path[-1]}_file")):
        return dotted(by_file)  # Secrets are given by file.
    known = [each for each in _TABLES if each and each[-1] != ANY] if table else [*_BY_PATH]
    context = path[1] if len(path) > 2 and path[0] == "contexts" else "NAME"
    candidates = sorted(dotted(tuple(context if part == ANY else part for part in each)) for each in known)
    close = difflib.get_close_matches(dotted(path), candidates, n=1, cutoff=0.75)
    elsewhere = [each for each in candidates if each.rpartition(".")[2] == path[-1]]
    if len(elsewhere) == 1:  # The right word in the wrong section. Two (http.bind, raft.bind) would be half a guess.
        return elsewhere[0]
    return close[0] if close else ""


def dotted(path: KeyPath) -> str:
    """Return *path* as TOML writes it, in quotes where it is no bare key."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else _in_quotes(part) for part in path)


def _in_quotes(part: str) -> str:
    # What JSON escapes beyond \uffff are two surrogates, which TOML refuses.
    return json.dumps(part, ensure_ascii=not part.isprintable())


def _generic(path: KeyPath) -> KeyPath:
    return ("contexts", ANY, *path[2:]) if len(path) > 1 and path[0] == "contexts" else path
