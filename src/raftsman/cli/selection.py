"""The selected profile of the client's configuration, lent to one ``raftsman dev`` while it runs.

Everything that is needed to put the file back stands in the file itself, as comments, so that a ``dev`` that was
killed leaves nothing that the next one could not undo. A second one does not get the profile while the first runs:
the commands of other terminals would go to another cluster all at once. Reading the file is ``profile``.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raftsman.cli.playing import is_held
from raftsman.cli.profile import InvalidConfig, config_path

_OURS = "  # raftsman dev"
_HIDDEN = "#raftsman dev# "


class ProfileTaken(Exception):
    """The configuration is lent to another ``dev``, which runs; the text says where."""


def selecting(text: str, name: str, table: Sequence[str]) -> str:
    """Return the configuration *text* with the profile *name*, whose lines are *table*, added and selected.

    Lines that contradict it are kept as comments. Raises ValueError when the text is written in a way that hides them.
    """
    lines = deselected(text).splitlines()
    kept = [
        f"{_HIDDEN}{line}" if hides else line for line, hides in zip(lines, _contradicting(lines, name), strict=True)
    ]
    ours = [f'profile = "{name}"{_OURS}', *kept, *(f"{line}{_OURS}" for line in table)]
    made = _text(ours)
    _check(made, before=deselected(text), name=name)
    return made


def deselected(text: str) -> str:
    """Return what ``selecting`` was given; a text that it did not make comes back as it is.

    What somebody has written meanwhile goes before what was hidden when the two contradict each other.
    """
    lines = [line for line in text.splitlines() if not line.endswith(_OURS)]
    back = [line.removeprefix(_HIDDEN) for line in lines]
    unselected = [shown for shown, line in zip(back, lines, strict=True) if shown == line or not _selects(shown)]
    made = [_text(each) for each in (back, unselected, lines)]
    return next((each for each in made if _is_toml(each)), made[0])


def holder(text: str, name: str) -> Path | None:
    """Return the folder of the ``dev`` to which *text* is lent as the profile *name*; None: to none."""
    ours = _text([line for line in text.splitlines() if line.endswith(_OURS)])
    try:
        return Path(tomllib.loads(ours)["profiles"][name]["token_file"]).parent
    except (ValueError, LookupError, TypeError):
        return None


@contextmanager
def selected_profile(environment: Mapping[str, str], name: str, table: Sequence[str]) -> Iterator[Path]:
    """Lend the client's configuration to a profile; yield the file.

    The caller holds the folder of its token file, by which others see that it runs. Raises ProfileTaken, and
    InvalidConfig when the file cannot be changed without breaking it.
    """
    path, _ = config_path(environment)
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    try:
        before = _read(path) or ""
        if (other := holder(before, name)) is not None and is_held(other):
            raise ProfileTaken(f"{path}: the profile {name} is that of the raftsman dev in {other} until it ends")
        text = selecting(before, name, table)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)
    except (ValueError, OSError) as error:
        raise InvalidConfig(f"{path}: the profile {name} cannot be added: {error}") from error
    try:
        yield path
    finally:
        _restore(path, name, holder(text, name), made)


def _restore(path: Path, name: str, own: Path | None, made: Sequence[Path]) -> None:
    now = _read(path)
    if now is None or holder(now, name) not in (own, None):
        return  # Somebody has removed it, or another dev has it now.
    text = deselected(now)
    if text == now:
        return  # Somebody has taken out all that was ours.
    if text:
        _write(path, text)
        return
    path.unlink()
    for folder in made:
        if any(folder.iterdir()):
            return
        folder.rmdir()


def _contradicting(lines: Sequence[str], name: str) -> Iterator[bool]:
    """Yield for each line whether it selects another profile, or belongs to another profile of that name."""
    table = ""
    for line in lines:
        bare = line.strip()
        if bare.startswith("["):
            table = bare.partition("#")[0].strip()
        of_that_name = table in (f"[profiles.{name}]", f'[profiles."{name}"]')
        yield of_that_name or (not table and _selects(line))


def _selects(line: str) -> bool:
    return line.partition("=")[0].strip() in ("profile", '"profile"')


def _check(text: str, *, before: str, name: str) -> None:
    """Raise ValueError unless *text* says what *before* said, but for the profile."""
    old, new = tomllib.loads(before), tomllib.loads(text)
    if new.get("profile") != name or _others(old, name) != _others(new, name):
        raise ValueError("it is written in an unusual way")


def _others(config: Mapping[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    profiles = config.get("profiles", {})
    rest = {key: value for key, value in config.items() if key not in ("profile", "profiles")}
    return rest, {key: value for key, value in profiles.items() if key != name}


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    target = path.resolve()  # A link stays one.
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    if target.exists():
        unfinished.chmod(target.stat().st_mode & 0o777)
    unfinished.replace(target)
