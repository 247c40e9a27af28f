"""The other form of a request's body: ``kubectl create job`` and ``create namespace`` send protobuf and nothing else.

Only what those two commands send is understood, from a table of field numbers (``k8s.io/api/**/generated.proto``);
a field outside of it makes the body unreadable, so that nothing is lost in silence. Answers are always JSON. Pure.
"""

from collections.abc import Iterator
from typing import Any

from raftsman.executor.sandbox.answers import Json

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"

_Field = tuple[str, str]
_MESSAGES: dict[str, dict[int, _Field]] = {
    "Unknown": {1: ("typeMeta", "TypeMeta"), 2: ("raw", "bytes"), 3: ("", "bytes"), 4: ("", "bytes")},
    "TypeMeta": {1: ("apiVersion", "string"), 2: ("kind", "string")},
    "ObjectMeta": {
        1: ("name", "string"),
        2: ("generateName", "string"),
        3: ("namespace", "string"),
        4: ("", "string"),
        5: ("", "string"),
        6: ("", "string"),
        7: ("", "int"),
        8: ("", "bytes"),
        11: ("labels", "map"),
        12: ("annotations", "map"),
    },
    "Entry": {1: ("key", "string"), 2: ("value", "string")},
    "Namespace": {1: ("metadata", "ObjectMeta"), 2: ("", "bytes"), 3: ("", "bytes")},
    "Job": {1: ("metadata", "ObjectMeta"), 2: ("spec", "JobSpec"), 3: ("", "bytes")},
    "JobSpec": {
        1: ("parallelism", "int"),
        2: ("completions", "int"),
        3: ("activeDeadlineSeconds", "int"),
        6: ("template", "PodTemplateSpec"),
        7: ("backoffLimit", "int"),
        8: ("ttlSecondsAfterFinished", "int"),
        10: ("suspend", "bool"),
    },
    "PodTemplateSpec": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec")},
    "PodSpec": {
        2: ("containers", "[]Container"),
        3: ("restartPolicy", "string"),
        4: ("terminationGracePeriodSeconds", "int"),
        6: ("dnsPolicy", "string"),
        7: ("nodeSelector", "map"),
        8: ("serviceAccountName", "string"),
        9: ("serviceAccount", "string"),
        10: ("nodeName", "string"),
        11: ("hostNetwork", "bool"),
        12: ("hostPID", "bool"),
        13: ("hostIPC", "bool"),
        14: ("securityContext", "Empty"),
        16: ("hostname", "string"),
        17: ("subdomain", "string"),
        19: ("schedulerName", "string"),
        20: ("initContainers", "[]Container"),
        24: ("priorityClassName", "string"),
    },
    "Container": {
        1: ("name", "string"),
        2: ("image", "string"),
        3: ("command", "[]string"),
        4: ("args", "[]string"),
        5: ("workingDir", "string"),
        8: ("resources", "Empty"),
        13: ("terminationMessagePath", "string"),
        14: ("imagePullPolicy", "string"),
        16: ("stdin", "bool"),
        17: ("stdinOnce", "bool"),
        18: ("tty", "bool"),
        20: ("terminationMessagePolicy", "string"),
    },
    "Empty": {},
}


def decode(body: bytes, kind: str) -> Json:
    """Return the object of this kind in *body*. Raises ValueError."""
    if not body.startswith(_MAGIC):
        raise ValueError("no protobuf of Kubernetes")
    envelope = _message(body[len(_MAGIC) :], "Unknown")
    if envelope.get("typeMeta", {}).get("kind") != kind:
        raise ValueError("another kind")
    return {**envelope["typeMeta"], **_message(envelope.get("raw", b""), kind)}


def _message(content: bytes, name: str) -> Json:
    found: Json = {}
    for number, value in _fields(content):
        if number not in _MESSAGES[name]:
            raise ValueError(f"field {number} of {name}")
        field, type_ = _MESSAGES[name][number]
        if field:
            _add(found, field, type_, value)
    return found


def _add(found: Json, field: str, type_: str, value: Any) -> None:
    """Put a value where it belongs; what is empty was not given."""
    if type_ == "map":
        entry = _message(value, "Entry")
        found.setdefault(field, {})[entry.get("key", "")] = entry.get("value", "")
    elif type_.startswith("[]"):
        found.setdefault(field, []).append(_value(type_[2:], value))
    elif type_ == "int" or value:
        found[field] = _value(type_, value)


def _value(type_: str, value: Any) -> Any:
    is_number = isinstance(value, int)
    match type_:
        case "string" if not is_number:
            return value.decode()
        case "bytes" if not is_number:
            return value
        case "bool" if is_number:
            return bool(value)
        case "int" if is_number:
            return value - 2**64 if value >= 2**63 else value
    if is_number:
        raise ValueError("a number for a message")
    return _message(value, type_)


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and raw value of every field: an integer, or bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        value, at = _varint(content, at)
        match tag & 7:
            case 0:
                yield tag >> 3, value
            case 2:
                if at + value > len(content):
                    raise ValueError("cut")
                yield tag >> 3, content[at : at + value]
                at += value
            case _:
                raise ValueError("a wire type that is not used")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("cut")
