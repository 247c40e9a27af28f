"""What a container's process is given: its words and its environment.

Pure. Variables come from literals and from the Pod's own fields; there are no Secrets and no ConfigMaps here, so a
reference to one is a ``MissingReference``, as it is in a namespace without it. ``podrun`` starts the process.
"""

import re
from collections.abc import Mapping

from raftsman.executor.sandbox.answers import Json

FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.labels",
    "metadata.annotations",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
NOTHING = ("true",)
"""What a container without a command does: there is no image to ask for one."""

_SUBSCRIPT = re.compile(r"(?P<path>[a-zA-Z.]+)\['(?P<key>[^']*)'\]", re.ASCII)
_REFERENCE = re.compile(r"\$(\$|\((?P<name>[^()]*)\))")
_SOURCES = {"secretKeyRef": "secret", "configMapKeyRef": "configmap"}
_ALL_OF = {"secretRef": "secret", "configMapRef": "configmap"}


class MissingReference(Exception):
    """The container cannot be configured; the message is that of the kubelet."""


def words(container: Json, environment: Mapping[str, str]) -> list[str]:
    """Return command and arguments with ``$(NAME)`` replaced."""
    given = [*(container.get("command") or []), *(container.get("args") or [])]
    return [expand(word, environment) for word in given] or list(NOTHING)


def variables(pod: Json, container: Json) -> dict[str, str]:
    """Return the variables the container asks for. Raises MissingReference."""
    for source in container.get("envFrom") or []:
        for field, what in _ALL_OF.items():
            _refuse(source.get(field), what)
    found: dict[str, str] = {}
    for variable in container.get("env") or []:
        value = _value(pod, variable, found)
        if value is not None:
            found[variable["name"]] = value
    return found


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return *text* with ``$(NAME)`` replaced where the name is known, and ``$$`` by ``$``."""

    def replace(found: re.Match[str]) -> str:
        name = found["name"]
        return "$" if name is None else environment.get(name, found.group())

    return _REFERENCE.sub(replace, text)


def _value(pod: Json, variable: Json, known: Mapping[str, str]) -> str | None:
    """Return the value, or None when what it comes from is missing and optional."""
    source = variable.get("valueFrom")
    if source is None:
        return expand(variable.get("value", ""), known)
    for field, what in _SOURCES.items():
        if source.get(field) is not None:
            _refuse(source[field], what)
            return None
    return _field(pod, source["fieldRef"]["fieldPath"])


def _refuse(reference: Json | None, what: str) -> None:
    if reference is not None and not reference.get("optional"):
        raise MissingReference(f'{what} "{reference.get("name", "")}" not found')


def _field(pod: Json, path: str) -> str:
    found = _SUBSCRIPT.fullmatch(path)
    value: object = pod
    for part in (found["path"] if found else path).split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        if found:
            return str(value.get(found["key"], ""))
        return "\n".join(f'{key}="{each}"' for key, each in sorted(value.items()))
    if isinstance(value, list):
        return ",".join(str(each.get("ip", "")) for each in value)
    return "" if value is None else str(value)
