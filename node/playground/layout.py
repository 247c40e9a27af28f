"""Where the files of a playground are, and what they say: settings, the token, the profile of its clients.

A folder that was used before keeps its ports and its token, so that the data in it go on. Processes are started
elsewhere, from what is written here.
"""

import errno
import json
import os
import secrets
import socket
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from raftsman.node.settings.values import BadValue, parse_address

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota")
"""The nodes' names; more nodes on one machine teach nothing."""
DEV_CONTEXTS = ("dev-a", "dev-b")
"""The contexts of the development Kubernetes."""
HOST = "127.0.0.1"
PROFILE = "dev"

_ELECTION_TIMEOUT = "300ms..600ms"  # The default, written down so that it can be played with.
_READ_BACK = (("http", "bind"), ("raft", "bind"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace:
    """One node: its name, where it listens, and its files."""

    name: str
    http: str  # host:port
    raft: str
    config: Path
    log: Path

    @property
    def url(self) -> str:
        """Where its API answers."""
        return f"http://{self.http}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPlace:
    """A context that every node reaches: its name, and the kubeconfig (or several, with colons) that leads to it."""

    name: str
    kubeconfig: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of one playground."""

    directory: Path
    nodes: tuple[NodePlace, ...]
    token: str

    @property
    def token_file(self) -> Path:
        """The administrator's token, for nodes and clients."""
        return self.directory / "token"

    @property
    def client_file(self) -> Path:
        """A client configuration: what RAFTSMAN_CONFIG can name."""
        return self.directory / "client.toml"

    @property
    def notes_file(self) -> Path:
        """What runs now, for programs."""
        return self.directory / "dev.json"

    @property
    def kubernetes_directory(self) -> Path:
        """The development Kubernetes' own files."""
        return self.directory / "kubernetes"

    @property
    def kubernetes_log(self) -> Path:
        """What the development Kubernetes says."""
        return self.directory / "kubernetes.log"

    @property
    def temporary_directory(self) -> Path:
        """Where the processes put their temporary files."""
        return self.directory / "tmp"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URLs of all nodes."""
        return tuple(node.url for node in self.nodes)


def lay_out(directory: Path, count: int) -> Layout:
    """Return the layout of *count* nodes below *directory*, as an earlier one there had it. Nothing is written yet.

    Raises OSError, and ValueError when the folder's files are not such as ``write_files`` writes for so many nodes.
    """
    directory = directory.absolute()
    earlier = tuple(name for name in NAMES if (directory / f"{name}.toml").exists())
    if earlier not in ((), NAMES[:count]):
        raise ValueError(f"{directory} is of a playground of {len(earlier)} nodes, not {count}: take another folder")
    free = iter(_free_addresses(2 * count))
    places = [_place(directory, name, free) for name in NAMES[:count]]
    token_file = directory / "token"
    token = token_file.read_text(encoding="ascii").strip() if token_file.exists() else secrets.token_urlsafe(24)
    return Layout(directory=directory, nodes=tuple(places), token=token)


def write_files(layout: Layout, contexts: Sequence[ContextPlace]) -> None:
    """Write the settings of every node, the token and the clients' configuration."""
    layout.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.temporary_directory.mkdir(exist_ok=True)
    write_private(layout.token_file, f"{layout.token}\n")
    for node in layout.nodes:
        write_private(node.config, settings_text(layout, node, contexts))
    write_private(layout.client_file, client_text(layout))


def addresses_in_use(node: NodePlace) -> list[str]:
    """Return those of the node's addresses on which something listens already."""
    return [address for address in (node.http, node.raft) if _is_in_use(address)]


def settings_text(layout: Layout, node: NodePlace, contexts: Sequence[ContextPlace]) -> str:
    """Return a node's settings file."""
    members = ", ".join(_quoted(f"{each.name}={each.raft}") for each in layout.nodes)
    sections = [
        f"name = {_quoted(node.name)}",
        'cluster = "dev"',
        f"data_dir = {_quoted(layout.directory / node.name)}",
        "",
        "[http]",
        f"bind = {_quoted(node.http)}",
        "",
        "[raft]",
        f"bind = {_quoted(node.raft)}",
        f"members = [{members}]",
        f"election_timeout = {_quoted(_ELECTION_TIMEOUT)}",
        "",
        "[auth]",
        f"admin_token_file = {_quoted(layout.token_file)}",
        "",
        "[executor]",
        "allow_shell = true",
    ]
    for context in contexts:
        sections += ["", f"[contexts.{_quoted(context.name)}]", f"kubeconfig = {_quoted(context.kubeconfig)}"]
    return "\n".join(sections) + "\n"


def client_text(layout: Layout) -> str:
    """Return a client configuration whose selected profile is this playground."""
    return "\n".join([f"profile = {_quoted(PROFILE)}", "", *profile_lines(layout)]) + "\n"


def profile_lines(layout: Layout) -> list[str]:
    """Return the lines of the playground's profile in a client configuration."""
    addresses = ", ".join(map(_quoted, layout.addresses))
    return [
        f"[profiles.{PROFILE}]",
        f"addresses = [{addresses}]",
        f"token_file = {_quoted(layout.token_file)}",
    ]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


def _place(directory: Path, name: str, free: Iterator[str]) -> NodePlace:
    config = directory / f"{name}.toml"
    http, raft = _addresses_in(config) if config.exists() else (next(free), next(free))
    return NodePlace(name=name, http=http, raft=raft, config=config, log=directory / f"{name}.log")


def _addresses_in(config: Path) -> tuple[str, str]:
    document = tomllib.loads(config.read_text(encoding="utf-8"))
    try:
        http, raft = (str(document[section][key]) for section, key in _READ_BACK)
    except (KeyError, TypeError):
        raise ValueError(
            f"{config} is not a playground's: it names no {' or '.join(map('.'.join, _READ_BACK))}"
        ) from None
    return http, raft


def _free_addresses(count: int) -> list[str]:
    """Return addresses that nobody listens on at the moment, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [f"{HOST}:{each.getsockname()[1]}" for each in sockets]


def _is_in_use(text: str) -> bool:
    try:
        address = parse_address(text)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        socket.create_server((address.host, address.port), family=family).close()
    except BadValue:
        return False  # Somebody has written into the file; the node says what is wrong with it.
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _quoted(text: object) -> str:
    return json.dumps(str(text), ensure_ascii=False)  # A JSON string is a TOML string.
