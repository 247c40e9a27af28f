"""The settings as a node understands them, key by key, with who has set each: what ``config show`` prints.

Secrets are not among the settings, only the files that hold them. Reading values is ``values``, who wins ``loading``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from raftsman.node.settings.model import Settings, Shown
from raftsman.node.settings.schema import KeyPath, Kind, concrete_paths, dotted
from raftsman.node.settings.sources import Given
from raftsman.wire.durations import format_duration_ms

_COLUMN = 60
"""Comments begin here at the latest, when the value leaves room."""
_UNITS = (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))


def show(settings: Settings, values: Mapping[KeyPath, object], given: Mapping[KeyPath, Given]) -> tuple[Shown, ...]:
    """Return every key of a node in the order of the schema: parsed *values*, or what *settings* makes of silence."""
    derived = dict(_derived(settings))
    return tuple(
        Shown(
            path=path,
            value=spell(setting.kind, derived.get(path, values[path])),
            origin=given[path].origin if path in given else "default",
            line=given[path].line if path in given else None,
            variable=given[path].variable if path in given else "",
            derived=path in derived and path not in given,
        )
        for path, setting in concrete_paths(context.name for context in settings.contexts)
    )


def _derived(settings: Settings) -> Iterator[tuple[KeyPath, object]]:
    """Yield the keys whose default depends on other keys."""
    yield ("http", "advertise"), settings.http.advertise
    yield ("raft", "bind"), settings.raft.bind
    yield ("raft", "advertise"), settings.raft.advertise
    yield ("raft", "members"), settings.raft.members
    for context in settings.contexts:
        yield ("contexts", context.name, "context"), context.context


def toml_lines(shown: Iterable[Shown], *, comments: Mapping[KeyPath, str]) -> Iterator[str]:
    """Yield the lines of a settings file that says *shown*, each with its comment, if it has one."""
    table: KeyPath = ()
    rows = list(shown)
    width = max((len(f"{each.path[-1]} = {each.value}") for each in rows), default=0)
    for each in rows:
        if each.path[:-1] != table:
            table = each.path[:-1]
            yield ""
            yield f"[{dotted(table)}]"
        line = f"{each.path[-1]} = {each.value}"
        comment = comments.get(each.path)
        yield f"{line:<{min(width, _COLUMN)}}  # {comment}" if comment else line


def spell(kind: Kind, value: object) -> str:
    """Return a parsed value as TOML writes it, so that it would be parsed to the same."""
    match kind, value:
        case (Kind.SIZE, int()):
            return _quoted(_size(value))
        case (Kind.DURATION, int()):
            return _quoted(format_duration_ms(value))
        case (Kind.DURATION_RANGE, (int(low), int(high))):
            return _quoted(f"{format_duration_ms(low)}..{format_duration_ms(high)}")
        case (Kind.MEMBERS, tuple()):
            return f"[{', '.join(_quoted(f'{name}={address}') for name, address in value)}]"
        case (Kind.LABELS, tuple()):
            return f"{{{', '.join(f'{_quoted(key)} = {_quoted(text)}' for key, text in value)}}}"
        case _:
            return _plain(value)


def _plain(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(int(value) if value == int(value) else value)
        case None:
            return '""'  # How "nothing" is written where a path may be.
        case _:
            return _quoted(str(value))


def _size(size_bytes: int) -> str:
    for unit, unit_bytes in _UNITS:
        if size_bytes and size_bytes % unit_bytes == 0:
            return f"{size_bytes // unit_bytes}{unit}"
    return str(size_bytes)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # A JSON string is a TOML string.
