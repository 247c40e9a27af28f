"""Which cluster a command talks to: flag, then environment, then configuration file, then the default.

The file is ``~/.config/raftsman/config.toml``, or what RAFTSMAN_CONFIG names::

    profile = "prod"
    [profiles.prod]
    addresses = ["https://10.0.0.1:7117", "https://10.0.0.2:7117"]
    token_file = "~/.config/raftsman/prod.token"
    ca = "~/.config/raftsman/prod-ca.pem"
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raftsman.cli.exits import Code, CommandFailed
from raftsman.client import DEFAULT_ADDRESS
from raftsman.exchange import checked_address

_KEYS = frozenset({"addresses", "token_file", "ca"})


class InvalidConfig(CommandFailed):
    """The client's own configuration cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.INVALID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What it takes to reach a cluster."""

    addresses: tuple[str, ...] = (DEFAULT_ADDRESS,)
    token: str | None = None
    ca: str | None = None


def resolve(environment: Mapping[str, str], *, profile: str | None = None, address: str | None = None) -> Connection:
    """Return the connection that flags (*profile*, *address*), environment and file together name.

    Raises InvalidConfig.
    """
    chosen = _profile(config_path(environment), profile)
    given = address or environment.get("RAFTSMAN_ADDRESS")
    addresses = _split(given) if given else tuple(chosen.get("addresses", ()))
    ca = chosen.get("ca")
    return Connection(
        addresses=addresses or (DEFAULT_ADDRESS,),
        token=_token(environment, chosen),
        ca=None if ca is None else str(Path(str(ca)).expanduser()),
    )


def config_path(environment: Mapping[str, str]) -> tuple[Path, bool]:
    """Return where the file is, and whether it must exist."""
    if named := environment.get("RAFTSMAN_CONFIG"):
        return Path(named).expanduser(), True
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "raftsman" / "config.toml", False


def _profile(place: tuple[Path, bool], name: str | None) -> Mapping[str, Any]:
    path, must_exist = place
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist or name is not None:
            raise InvalidConfig(f"{path}: no such file") from None
        return {}
    except (OSError, ValueError) as error:  # TOML's errors name line and column.
        raise InvalidConfig(f"{path}: {error}") from error
    wanted = name or config.get("profile")
    profiles = config.get("profiles", {})
    if wanted is None:
        return {}
    if not isinstance(profiles, dict) or not isinstance(profiles.get(wanted), dict):
        known = ", ".join(sorted(profiles)) if isinstance(profiles, dict) and profiles else "none"
        raise InvalidConfig(f"{path}: there is no profile {wanted!r} (there is: {known})")
    chosen: dict[str, Any] = profiles[wanted]
    if unknown := sorted(chosen.keys() - _KEYS):
        raise InvalidConfig(f"{path}: [profiles.{wanted}] has unknown keys: {', '.join(unknown)}")
    try:
        _check_addresses(chosen.get("addresses", []))
    except ValueError as error:
        raise InvalidConfig(f"{path}: [profiles.{wanted}] addresses: {error}") from error
    return chosen


def _token(environment: Mapping[str, str], chosen: Mapping[str, Any]) -> str | None:
    if token := environment.get("RAFTSMAN_TOKEN", "").strip():
        return _checked_token(token, "RAFTSMAN_TOKEN")
    file = environment.get("RAFTSMAN_TOKEN_FILE") or chosen.get("token_file")
    if not file:
        return None
    path = Path(str(file)).expanduser()
    try:
        return _checked_token(path.read_text(encoding="utf-8").strip(), str(path))
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"the token file {path} cannot be read: {error}") from error


def _checked_token(token: str, where: str) -> str:
    # The token itself is never shown, not even a wrong one.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidConfig(f"{where}: this is not a token (one word of ASCII)")
    return token


def _split(addresses: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in addresses.split(",") if each.strip())


def _check_addresses(value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("this must be a list of strings")
    for address in value:
        checked_address(address)
