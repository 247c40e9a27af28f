"""The edge of the settings: the file on disk, the environment, the host name and the file with the token.

What they mean is ``loading``, which knows none of the four.
"""

import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from raftsman.node.settings import NO_OVERRIDES, Loaded, SettingFault, Settings, SettingsError, load

_TOKEN_BYTES = 4096  # Half of what aiohttp takes in one header field (max_field_size, 8,190).


def read_settings(path: Path | None, *, overrides: Mapping[str, object] = NO_OVERRIDES) -> Loaded:
    """Return the settings of this process; without *path* there is no file.

    Raises SettingsError, which names the file, also when it cannot be read.
    """
    text = _read_file(path) if path else ""
    try:
        loaded = load(text, environment=os.environ, overrides=overrides, host_name=socket.gethostname())
    except SettingsError as error:
        raise SettingsError(error.faults, file=str(path or "")) from error
    return replace(loaded, warnings=(*loaded.warnings, *_token_warnings(loaded.settings)))


def token(settings: Settings) -> str | None:
    """Return the administrator's token, or None when none is asked for.

    Raises SettingsError when its file cannot be read, or holds anything but one line of visible ASCII characters.
    """
    path = settings.auth.admin_token_file
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            text = file.read(_TOKEN_BYTES + 1).decode("ascii").strip()
    except OSError as error:
        raise _token_error(f"names {path}, which cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _token_error(f"names {path}, which holds more than ASCII characters") from error
    if not text:
        raise _token_error(f"names {path}, which is empty")
    if len(text) > _TOKEN_BYTES or not all("!" <= each <= "~" for each in text):
        raise _token_error(f"names {path}, which must hold one line of at most {_TOKEN_BYTES} visible characters")
    return text


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError([_about_file(f"the file cannot be read: {error.strerror}")], file=str(path)) from error
    except UnicodeDecodeError as error:
        reason = f"the file is not UTF-8 (byte {error.start})"
        raise SettingsError([_about_file(reason)], file=str(path)) from error


def _token_warnings(settings: Settings) -> tuple[str, ...]:
    path = settings.auth.admin_token_file
    try:
        mode = path.stat().st_mode if path else 0
    except OSError:
        return ()  # `token` says it, and refuses.
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return (f"auth.admin_token_file: others can read {path}; chmod 600 {path}",)
    return ()


def _about_file(reason: str) -> SettingFault:
    return SettingFault(key="", reason=reason)


def _token_error(reason: str) -> SettingsError:
    return SettingsError([SettingFault(key="auth.admin_token_file", reason=reason)])
