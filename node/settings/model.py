"""The settings of a node as frozen values, and the faults that a refused configuration is told.

Nothing here parses or checks: ``schema`` lists the keys, ``loading`` builds these values from texts and
``rules`` looks at them together. Sizes are bytes; the units of durations stand in the names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Origin = Literal["default", "file", "environment", "flag"]
"""Who set a key, the weakest first."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host (a name, an IPv4 or an IPv6 address, without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP API of this node."""

    bind: Address
    advertise: str  # The URL under which clients and other nodes find it; never empty.
    max_body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSettings:
    """The log's own connections."""

    bind: Address
    advertise: str  # The host:port under which other members find it; never empty.
    members: tuple[tuple[str, str], ...]  # (name, "host:port") of each founding member; this node is one of them.
    election_timeout_s: tuple[float, float]  # The shortest and the longest silence before a follower stands.
    compact_entries: int  # A snapshot follows so many entries, or as many as the table has rows.


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The files of TLS, between nodes and towards clients."""

    ca: Path | None
    cert: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """Who may ask; the secret itself is read by ``file.token``."""

    admin_token_file: Path | None  # None: nobody is asked for a token.


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """What the table holds, and for how long."""

    default_timeout_ms: int  # 0: none.
    max_queued: int
    keep_finished_ms: int
    keep_finished_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKeepSettings:
    """How much output is kept on the disk of this node."""

    head_bytes: int  # Of each attempt, from its beginning.
    tail_bytes: int  # Of each attempt, from its end.
    total_bytes: int  # Of all attempts.


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSettings:
    """What this node carries out."""

    slots: int
    allow_shell: bool
    job_ttl_s: int
    log_keep: LogKeepSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEntry:
    """A Kubernetes cluster that this node is told to use."""

    name: str
    kubeconfig: Path | None  # None: wherever the official client looks.
    context: str  # Its name inside the kubeconfig.
    namespace: str
    labels: tuple[tuple[str, str], ...]  # Sorted by key.
    max_jobs: int
    pod_security: str
    allow_host: bool
    qps: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """How the node speaks on stderr."""

    level: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a node is told; complete, checked, and the same for the node's whole life."""

    name: str
    cluster: str
    data_dir: Path
    http: HttpSettings
    raft: RaftSettings
    tls: TlsSettings
    auth: AuthSettings
    scheduler: SchedulerSettings
    executor: ExecutorSettings
    contexts: tuple[ContextEntry, ...]  # Sorted by name. Empty: every context that the official client finds.
    logging: LoggingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One key: its value as TOML writes it, and where that comes from."""

    path: tuple[str, ...]
    value: str
    origin: Origin
    line: int | None = None  # Of the file.
    variable: str = ""
    derived: bool = False  # Nobody has set it: it follows from other keys.


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, who set each key, and what deserves a second look without being wrong."""

    settings: Settings
    origins: Mapping[str, Origin]
    shown: tuple[Shown, ...]  # Every key, in the order of the schema.
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFault:
    """One thing wrong. *reason* is the rest of a sentence whose subject is *key*; it never repeats a secret."""

    key: str  # Dotted, as in the file; "" when the file as a whole is meant.
    reason: str
    line: int | None = None  # In the file, from 1.
    variable: str = ""  # The environment variable that said it.
    suggestion: str = ""  # The key that was probably meant.

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else f"{self.variable}: " if self.variable else ""
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{where}{self.key} {self.reason}{hint}" if self.key else f"{where}{self.reason}{hint}"


class SettingsError(Exception):
    """The node refuses to start: *faults* is everything that is wrong, in the order of the file."""

    def __init__(self, faults: Iterable[SettingFault], *, file: str = "") -> None:
        self.faults = tuple(faults)
        self.file = file
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        head = f"the settings{f' in {file}' if file else ''} have {count}:"
        super().__init__("\n".join([head, *(f"  {fault}" for fault in self.faults)]))
