"""How the value of each kind of setting is spelled.

``parse_value`` reads what TOML, a flag or the schema's default holds; ``decode_text`` first makes such a value of the
text in an environment variable. One value at a time: what values must be together is ``rules``.
"""

import ipaddress
import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from raftsman.node.settings.model import Address
from raftsman.node.settings.schema import Kind, Setting
from raftsman.wire import grammar
from raftsman.wire.durations import format_duration_ms, parse_duration_ms
from raftsman.wire.faults import clipped
from raftsman.wire.quantities import parse_memory

MOST = 10**9
"""The largest number: more than any count or rate here can mean, and safe in JSON, msgpack and Kubernetes."""

LONGEST_MS = 10 * 365 * 86_400_000
"""The longest duration, ten years: instants computed from it stay far inside 64 bits."""

Number = TypeVar("Number", int, float)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # 63: as long as one label of a host name (RFC 1035).
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\.?")
_PORT = re.compile(r"[0-9]{1,5}")
_URL = re.compile(r"(?P<scheme>https?://)?(?P<address>[^/?#]+)/?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


class BadValue(ValueError):
    """A value is not spelled as its kind asks; the rest of a sentence whose subject is the key: "must be …"."""


def parse_value(setting: Setting, raw: object) -> object:
    """Return the value of *setting* that *raw* spells. Raises BadValue."""
    value = _PARSERS[setting.kind](raw)
    if setting.choices and value not in setting.choices:
        raise BadValue(f"must be one of {', '.join(setting.choices)}, not {_shown(raw)}")
    if isinstance(value, int | float) and value < setting.minimum:
        least = format_duration_ms(setting.minimum) if setting.kind == Kind.DURATION else setting.minimum
        raise BadValue(f"must be at least {least}, not {_shown(raw)}")
    return value


def decode_text(kind: Kind, text: str) -> object:
    """Return what *text*, in an environment variable or a flag, would be in TOML; what does not fit stays a text.

    Lists and tables are comma-separated, or written as in TOML or JSON.
    """
    match kind:
        case Kind.WHOLE | Kind.NUMBER:
            return _number(text.strip())
        case Kind.SWITCH:
            return {"true": True, "false": False}.get(text.strip().lower(), text)
        case Kind.MEMBERS:
            return _bracketed(text) if text.lstrip().startswith("[") else _comma_separated(text)
        case Kind.LABELS:
            return _bracketed(text) if text.lstrip().startswith("{") else _pairs(text)
        case _:
            return text


def parse_address(text: str) -> Address:
    """Return the address that "host:port" means; IPv6 stands in brackets. Raises BadValue."""
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise BadValue(f"must be host:port with a port from 1 to 65535, such as 127.0.0.1:7117, not {clipped(text)}")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_host(bare) or (":" in bare) != (bare != host):
        raise BadValue(
            f"must begin with a host name, an IPv4 address or an IPv6 address in brackets, not {clipped(host)}"
        )
    return Address(bare, int(port))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach *host*; of names this is certain for localhost alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name(raw: object) -> str:
    text = _text(raw)
    if not _NAME.fullmatch(text):
        raise BadValue(
            f"must be 1 to 63 of the characters A-Z a-z 0-9 . _ - and begin with a letter or digit, not {clipped(text)}"
        )
    return text


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise BadValue(f"must be a text in quotes, not {_shown(raw)}")
    if not raw.isprintable():
        raise BadValue(f"must not hold control characters: {clipped(raw)}")
    return raw


def _path(raw: object) -> Path:
    text = _text(str(raw) if isinstance(raw, Path) else raw)
    if not text:
        raise BadValue("must name a path")
    if text.startswith("~"):
        raise BadValue(f"must be a whole path: a leading ~ is for shells, and is not expanded in {clipped(text)}")
    return Path(text)


def _optional_path(raw: object) -> Path | None:
    return None if raw == "" else _path(raw)


def _address(raw: object) -> Address:
    return parse_address(_text(raw))


def _advertised(raw: object) -> str:
    return str(_address(raw)) if raw else ""


def _url(raw: object) -> str:
    """A URL without a path, or the host:port of one."""
    text = _text(raw)
    if not text:
        return ""
    url = _URL.fullmatch(text)
    if url is None:
        raise BadValue(f"must be a URL such as http://127.0.0.1:7117, without a path, not {clipped(text)}")
    return f"{url['scheme'] or 'http://'}{parse_address(url['address'])}"


def _members(raw: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, list | tuple):
        raise BadValue(f'must be a list of texts such as "alpha=10.0.0.1:7118", not {_shown(raw)}')
    return tuple(_member(entry) for entry in raw)


def _member(raw: object) -> tuple[str, str]:
    name, equals, address = _text(raw).partition("=")
    if not equals:
        raise BadValue(f"must hold entries of the form name=host:port, not {_shown(raw)}")
    try:
        return _name(name.strip()), str(parse_address(address.strip()))
    except BadValue as error:
        raise BadValue(f"holds the entry {_shown(raw)}, which {error}") from error


def _size(raw: object) -> int:
    size = parse_memory(raw)
    if isinstance(size, str):
        raise BadValue(size)
    return size


def _duration(raw: object) -> int:
    if not isinstance(raw, str):  # A bare number would leave its unit to be guessed.
        raise BadValue(f'must be a duration in quotes such as "30s", "10m" or "1h30m", not {_shown(raw)}')
    try:
        duration_ms = parse_duration_ms(raw)
    except ValueError as error:
        raise BadValue(f"must be a duration such as 30s, 10m or 1h30m, not {_shown(raw)}") from error
    if duration_ms > LONGEST_MS:
        raise BadValue(f"must be at most {format_duration_ms(LONGEST_MS)}, not {_shown(raw)}")
    return duration_ms


def _duration_range(raw: object) -> tuple[int, int]:
    low, dots, high = _text(raw).partition("..")
    if not dots:
        raise BadValue(f"must be two durations such as 300ms..600ms, not {_shown(raw)}")
    return _duration(low), _duration(high)


def _whole(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise BadValue(f"must be a whole number, not {_shown(raw)}")
    return _bounded(raw)


def _decimal(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or math.isnan(raw):
        raise BadValue(f"must be a number, not {_shown(raw)}")
    return float(_bounded(raw))


def _bounded(number: Number) -> Number:
    if abs(number) > MOST:
        raise BadValue(f"must be at most {MOST}")
    return number


def _switch(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise BadValue(f"must be true or false, not {_shown(raw)}")
    return raw


def _namespace(raw: object) -> str:
    text = _text(raw)
    if complaint := grammar.dns_label(text):
        raise BadValue(complaint)
    return text


def _labels(raw: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, Mapping):
        raise BadValue(f'must be a table such as {{region = "eu"}}, not {_shown(raw)}')
    return tuple(sorted(_label(key, value) for key, value in raw.items()))


def _label(key: str, value: object) -> tuple[str, str]:
    if complaint := grammar.label_key(key):
        raise BadValue(f"holds the key {clipped(key)}, which {complaint}")
    try:
        text = _text(value)
    except BadValue as error:
        raise BadValue(f"holds a value of {clipped(key)} that {error}") from error
    if complaint := grammar.label_value(text):
        raise BadValue(f"holds the value {clipped(text)} of {clipped(key)}, which {complaint}")
    return key, text


_PARSERS: Mapping[Kind, Callable[[object], object]] = MappingProxyType(
    {
        Kind.NAME: _name,
        Kind.TEXT: _text,
        Kind.PATH: _path,
        Kind.OPTIONAL_PATH: _optional_path,
        Kind.ADDRESS: _address,
        Kind.ADVERTISED: _advertised,
        Kind.URL: _url,
        Kind.MEMBERS: _members,
        Kind.SIZE: _size,
        Kind.DURATION: _duration,
        Kind.DURATION_RANGE: _duration_range,
        Kind.WHOLE: _whole,
        Kind.NUMBER: _decimal,
        Kind.SWITCH: _switch,
        Kind.CHOICE: _text,
        Kind.NAMESPACE: _namespace,
        Kind.LABELS: _labels,
    }
)


def _is_host(text: str) -> bool:
    if re.fullmatch(r"[0-9.]+|.*:.*", text):  # Only digits and dots, or a colon: meant as an IP address.
        try:
            return bool(ipaddress.ip_address(text))
        except ValueError:
            return False
    return _HOST.fullmatch(text) is not None


def _number(text: str) -> object:
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pairs(text: str) -> object:
    pairs = [part.partition("=") for part in _comma_separated(text)]
    return {key.strip(): value.strip() for key, _, value in pairs} if all(equals for _, equals, _ in pairs) else text


def _bracketed(text: str) -> Any:
    """Return the list or table that *text* writes in JSON or in TOML, or *text* itself when it is neither."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _shown(raw: object) -> str:
    """Return *raw* for a sentence, on one line and not too long; texts in quotes, the rest as TOML has it."""
    if isinstance(raw, str):
        return clipped(raw)
    return str(raw).lower() if isinstance(raw, bool) else clipped(str(raw))[1:-1]
