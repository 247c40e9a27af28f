"""Where this node's accounts come from: kubeconfig files, read and checked before anything uses them.

The official client says ``TypeError`` where a context names no user, and ``Expected key contexts`` where the file
does not exist; here every fault has a sentence that names the file and the part of it. ``resolve`` reduces the
files to one context with absolute paths, so that a hundred contexts of one file parse it once. Credentials are
obtained, and connections made, by ``connection``.
"""

import base64
import binascii
import hashlib
import io
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from raftsman.executor.jobs import Json

IN_CLUSTER = "in-cluster"
"""The name of the context that is the Pod's own account."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a kubelet mounts the account's ``token`` and ``ca.crt``."""

_FILE_KEYS = {"cluster": ("certificate-authority",), "user": ("client-certificate", "client-key", "tokenFile")}


class KubeconfigError(Exception):
    """A kubeconfig cannot be used; the text says which file and what is wrong with it, and quotes no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach one context: a checked kubeconfig of that context alone."""

    context: str  # Its name inside the kubeconfig; "" is the Pod's own account.
    server: str
    fingerprint: str  # Tells clusters apart whatever they are called: a hash of the server's URL and its CA.
    files: tuple[Path, ...]  # Everything it was read from: when one of them changes, it is read again.
    document: Json = field(repr=False)  # Holds the credentials.
    insecure: bool  # Whether the server's certificate goes unchecked.


class Kubeconfigs:
    """Parsed kubeconfig files, each parsed again only when it changed. Safe to use from several threads."""

    def __init__(self) -> None:
        self._locks: dict[Path, threading.Lock] = {}  # One each: a file that hangs holds up who reads that one.
        self._parsed: dict[Path, tuple[tuple[int, int], Json]] = {}

    def read(self, path: Path) -> Json:
        """Return the file's content. Raises KubeconfigError."""
        with self._locks.setdefault(path, threading.Lock()):
            stamp = stamp_of(path)
            known = self._parsed.get(path)
            if known is None or known[0] != stamp:
                known = self._parsed[path] = (stamp, _parse(path))
            return known[1]


def stamp_of(path: Path) -> tuple[int, int]:
    """Return what changes when the file does; (0, 0) when there is none."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def default_paths(environment: Mapping[str, str], home: Path) -> list[Path]:
    """Return the files kubectl would read: those of $KUBECONFIG, or ~/.kube/config; none when there are none.

    Raises KubeconfigError when this user may not even see whether one is there.
    """
    named = [part for part in environment.get("KUBECONFIG", "").split(":") if part]
    paths = [_expand(part, home) for part in named] or [home / ".kube" / "config"]
    return [path for path in paths if is_there(path, str(path))]


def is_there(file: Path, what: str) -> bool:
    """Return whether *file* exists. Raises KubeconfigError when that cannot be seen: ``is_file`` lets most pass."""
    try:
        return file.is_file()
    except OSError as error:  # A directory that this user may not enter, a name that is too long.
        raise KubeconfigError(f"{what} cannot be looked at: {error.strerror}") from error


def split_paths(kubeconfig: str, home: Path) -> list[Path]:
    """Return the files of a colon-separated list, in kubectl's order: the first to define a name wins."""
    return [_expand(part, home) for part in kubeconfig.split(":") if part]


def context_names(paths: Sequence[Path], kubeconfigs: Kubeconfigs) -> list[str]:
    """Return the names of all contexts in the files, sorted. Raises KubeconfigError."""
    return sorted({name for path in paths for name, _ in _entries(path, kubeconfigs.read(path), "contexts")})


def resolve(paths: Sequence[Path], context: str, kubeconfigs: Kubeconfigs) -> Access:
    """Return how to reach *context* as the files describe it. Raises KubeconfigError."""
    where = ":".join(str(path) for path in paths)
    found = _find(paths, "contexts", context, kubeconfigs)
    if found is None:
        known = ", ".join(context_names(paths, kubeconfigs)) or "none"
        raise KubeconfigError(f'{where}: there is no context "{context}" (there are: {known})')
    parts = {}
    for kind in ("cluster", "user"):
        wanted = found[1].get(kind)
        if not isinstance(wanted, str) or not wanted:
            raise KubeconfigError(f'{found[0]}: the context "{context}" names no {kind}')
        part = _find(paths, f"{kind}s", wanted, kubeconfigs)
        if part is None:
            raise KubeconfigError(f'{where}: the context "{context}" names the {kind} "{wanted}", which is not there')
        parts[kind] = _with_absolute_paths(part[0], kind, part[1])
    return _access(context, parts["cluster"], parts["user"], [*paths])


def resolve_in_cluster(environment: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> Access:
    """Return how to reach the cluster this process runs in. Raises KubeconfigError."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise KubeconfigError("there is no kubeconfig, and this is no Pod: KUBERNETES_SERVICE_HOST is not set")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    files = (directory / "token", directory / "ca.crt")
    authority = _content(files[1], "the cluster's certificate")
    _content(files[0], "the Pod's account")
    mark = fingerprint(server, authority)
    return Access(context="", server=server, fingerprint=mark, files=files, document={}, insecure=False)


def fingerprint(server: str, authority: bytes) -> str:
    """Return 16 hex digits that two nodes compute alike when they mean the same cluster."""
    return hashlib.sha256(server.rstrip("/").encode() + b"\n" + authority.strip()).hexdigest()[:16]


def _access(context: str, cluster: Json, user: Json, files: list[Path]) -> Access:
    server = cluster.get("server")
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise KubeconfigError(f'{files[0]}: the cluster of the context "{context}" has no server with a URL')
    files += [
        Path(part[key])
        for kind, part in (("cluster", cluster), ("user", user))
        for key in _FILE_KEYS[kind]
        if key in part
    ]
    if "tokenFile" in user:
        # Read here: the official client keeps the line end, and then no call can be sent.
        token = _content(Path(user.pop("tokenFile")), f'the token of the context "{context}"').decode(
            "ascii", "replace"
        )
        user["token"] = token.strip()
    return Access(
        context=context,
        server=server.rstrip("/"),
        fingerprint=fingerprint(server, _authority(context, cluster)),
        files=tuple(files),
        document={
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
            "clusters": [{"name": context, "cluster": cluster}],
            "users": [{"name": context, "user": user}],
        },
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )


def _authority(context: str, cluster: Json) -> bytes:
    encoded = cluster.get("certificate-authority-data")
    if encoded:
        try:
            return base64.b64decode("".join(str(encoded).split()), validate=True)
        except (binascii.Error, ValueError) as error:
            message = f'the certificate-authority-data of the context "{context}" is not base64'
            raise KubeconfigError(message) from error
    path = cluster.get("certificate-authority")
    return _content(Path(path), f'the certificate authority of the context "{context}"') if path else b""


def _with_absolute_paths(path: Path, kind: str, part: Json) -> Json:
    """Return a copy in which the files, named relative to the kubeconfig, are absolute and exist."""
    made = dict(part)
    for key in _FILE_KEYS[kind]:
        if not made.get(key) or made.get(f"{key}-data"):
            made.pop(key, None)
            continue
        file = path.parent.absolute() / str(made[key])
        if not is_there(file, f"{path}: {key} is {file}, which"):
            raise KubeconfigError(f"{path}: {key} is {file}, which does not exist")
        made[key] = str(file)
    command = made.get("exec")
    if isinstance(command, dict) and "/" in str(command.get("command", "")):
        made["exec"] = {**command, "command": str(path.parent.absolute() / command["command"])}
    return made


def _find(paths: Sequence[Path], kind: str, name: str, kubeconfigs: Kubeconfigs) -> tuple[Path, Json] | None:
    for path in paths:
        for found, body in _entries(path, kubeconfigs.read(path), kind):
            if found == name:
                return path, body
    return None


def _entries(path: Path, document: Json, kind: str) -> list[tuple[str, Json]]:
    """Return (name, body) of the entries of a list such as ``contexts``."""
    listed = document.get(kind) or []
    if not isinstance(listed, list):
        raise KubeconfigError(f"{path}: {kind} is not a list")
    pairs = []
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise KubeconfigError(f"{path}: an entry of {kind} has no name")
        body = entry.get(kind.removesuffix("s")) or {}
        if not isinstance(body, dict):
            raise KubeconfigError(f'{path}: the entry "{entry["name"]}" of {kind} is not a mapping')
        pairs.append((entry["name"], body))
    return pairs


def _parse(path: Path) -> Json:
    text = _content(path, "the kubeconfig").decode("utf-8", "replace")
    try:
        document: Any = json.loads(text) if text.lstrip().startswith("{") else YAML(typ="safe").load(io.StringIO(text))
    except MarkedYAMLError as error:
        # Only the place: the parser's own text quotes the line, which may be a token.
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise KubeconfigError(f"{path}: line {line} is not YAML ({error.problem})") from None
    except (YAMLError, ValueError):
        raise KubeconfigError(f"{path}: this is not YAML") from None
    if not isinstance(document, dict):
        raise KubeconfigError(f"{path}: this is not a kubeconfig")
    return document


def _content(path: Path, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{path}: {what} cannot be read: {error.strerror}") from error
    if not content.strip():
        raise KubeconfigError(f"{path}: {what} is empty")
    return content


def _expand(part: str, home: Path) -> Path:
    return home / part[2:] if part.startswith("~/") else Path(part)
