"""Where values come from: the text of the file, the environment and the flags, each read into the same shape.

What is given is matched with the schema here, so that an unknown key has its line and its suggestion; whether a value
is any good is for ``values``, and which source wins for ``loading``. Reading files is ``file``.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raftsman.node.settings.model import Origin, SettingFault, SettingsError
from raftsman.node.settings.schema import KeyPath, Kind, dotted, find_setting, is_table, suggest
from raftsman.node.settings.values import decode_text

PREFIX = "RAFTSMAN_"

CLIENT_VARIABLES = frozenset(
    f"{PREFIX}{name}" for name in ("ADDRESS", "TOKEN", "TOKEN_FILE", "CONFIG", "PROFILE", "TEST_KUBECONFIG")
)
"""Variables of ours that are no settings of a node."""

_SERVICE_VARIABLE = re.compile(
    rf"{PREFIX}(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes sets in every Pod beside a Service called raftsman; nobody asked for these, so nobody is warned."""

_SYNTAX_LINE = re.compile(r"\(at line (\d+), column \d+\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value as somebody wrote it, and where."""

    value: object
    origin: Origin
    line: int | None = None
    variable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one source says."""

    given: Mapping[KeyPath, Given]
    contexts: frozenset[str]  # Also those of which nothing but the name is given.
    faults: tuple[SettingFault, ...] = ()
    warnings: tuple[str, ...] = ()


def from_file(text: str) -> Source:
    """Read the text of the settings file. Raises SettingsError when it is not TOML: nothing more can be said then."""
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number of more digits than Python converts.
        line = _SYNTAX_LINE.search(str(error))
        fault = SettingFault(
            key="", reason=f"the file is not TOML: {error}", line=int(line[1]) if line else text.count("\n") + 1
        )
        raise SettingsError([fault]) from error
    lines = key_lines(text)
    given: dict[KeyPath, Given] = {}
    faults: list[SettingFault] = []
    for path, value in _leaves(document):
        if find_setting(path):
            given[path] = Given(value=value, origin="file", line=lines.get(path))
        else:
            faults.append(_unknown(path, value, line=lines.get(path)))
    tables = document.get("contexts")
    named = {name for name, table in tables.items() if isinstance(table, dict)} if isinstance(tables, dict) else set()
    return Source(given=given, contexts=frozenset(named), faults=tuple(faults))


def from_environment(environment: Mapping[str, str], contexts: Iterable[str]) -> Source:
    """Read ``RAFTSMAN_<SECTION>__<KEY>`` and ``RAFTSMAN_CONTEXTS__<NAME>__<KEY>``; *contexts* are those known so far.

    A <NAME> is a known context in upper case, with an underscore for what a variable cannot hold (``PROD_EU`` is
    prod-eu); any other is a new context in lower case, with hyphens for underscores.
    """
    known = sorted(contexts)
    given: dict[KeyPath, Given] = {}
    faults: list[SettingFault] = []
    warnings: list[str] = []
    for variable, text in sorted(environment.items()):
        if not _may_be_setting(variable):
            continue
        path, *others = _paths_meant(variable, known)
        if others:
            faults.append(_ambiguous(variable, [path, *others]))
            continue
        if not find_setting(path) and not is_table(path):
            warnings.append(_ignored(variable, path))
            continue
        for leaf, value in _spread(path, text):
            if not find_setting(leaf):
                faults.append(_unknown(leaf, value, variable=variable))
            elif leaf in given:
                faults.append(_twice(leaf, variable, given[leaf].variable))
            else:
                given[leaf] = Given(value=value, origin="environment", variable=variable)
    return Source(given=given, contexts=_contexts_of(given), faults=tuple(faults), warnings=tuple(warnings))


def from_flags(overrides: Mapping[str, object]) -> Source:
    """Read values by dotted key; None means that the flag was not given, a text is read as in a variable."""
    given: dict[KeyPath, Given] = {}
    faults: list[SettingFault] = []
    for key, said in overrides.items():
        if said is None:
            continue
        for path, value in _spread(_split_key(key), said):
            if find_setting(path):
                given[path] = Given(value=value, origin="flag")
            else:
                faults.append(_unknown(path, value))
    return Source(given=given, contexts=_contexts_of(given), faults=tuple(faults))


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, on which each key and table of a valid TOML *text* begins.

    ``tomllib`` knows lines only for syntax errors. A statement ends at the first line with which it can be parsed.
    """
    lines: dict[KeyPath, int] = {}
    header, statement, start = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        start = start if statement else number
        statement += f"{line}\n"
        opens_table = statement.lstrip().startswith("[")
        try:
            table = tomllib.loads(statement if opens_table else header + statement)
        except tomllib.TOMLDecodeError:
            continue  # A text or a list over several lines, not finished yet.
        for path in _all_paths(table):
            lines.setdefault(path, start)
        header, statement = statement if opens_table else header, ""
    return lines


def _all_paths(table: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _all_paths(value, (*above, key))


def _leaves(table: Mapping[str, object], above: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Yield the settings in *table*, and whatever stands where the schema has none."""
    for key, value in table.items():
        path = (*above, key)
        if is_table(path) and isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path, value


def _spread(path: KeyPath, said: object) -> Iterator[tuple[KeyPath, object]]:
    """Yield what a variable or a flag says: one setting, or a table of them as TOML or JSON writes it."""
    setting = find_setting(path)
    if setting:
        yield path, decode_text(setting.kind, said) if isinstance(said, str) else said
        return
    table = decode_text(Kind.LABELS, said) if isinstance(said, str) and said.lstrip().startswith("{") else said
    if is_table(path) and isinstance(table, Mapping):
        yield from _leaves(table, path)
    else:
        yield path, said


def _may_be_setting(variable: str) -> bool:
    ours = variable.startswith(PREFIX) and variable not in CLIENT_VARIABLES
    return ours and not _SERVICE_VARIABLE.fullmatch(variable)


def _paths_meant(variable: str, contexts: Iterable[str]) -> list[KeyPath]:
    """Return the one key that a variable can mean, or several when the names of contexts differ too little."""
    section, *rest = variable.removeprefix(PREFIX).split("__")
    if section.lower() != "contexts" or len(rest) < 2:
        return [(section.lower(), *(part.lower() for part in rest))]
    named = "__".join(rest[:-1])
    meant = [name for name in contexts if named == re.sub(r"[^A-Za-z0-9]", "_", name).upper()]
    names = [named] if named in contexts else meant or [named.lower().replace("_", "-")]
    return [("contexts", name, rest[-1].lower()) for name in names]


def _split_key(key: str) -> KeyPath:
    """Return the parts of a dotted key, in which the name of a context may stand in quotes."""
    try:
        document = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return (key,)
    return max(_all_paths(document), key=len)


def _contexts_of(given: Mapping[KeyPath, Given]) -> frozenset[str]:
    return frozenset(path[1] for path in given if path[0] == "contexts")


def _unknown(path: KeyPath, value: object, *, line: int | None = None, variable: str = "") -> SettingFault:
    key = dotted(path)
    if is_table(path):
        return SettingFault(key=key, reason=f"must be a table, written [{key}]", line=line, variable=variable)
    suggestion = suggest(path, table=isinstance(value, Mapping))
    secret = suggestion == f"{key}_file"
    reason = "is not a setting" if not secret else "is not a setting: a secret is given as the file that holds it"
    return SettingFault(key=key, reason=reason, line=line, variable=variable, suggestion=suggestion)


def _ignored(variable: str, path: KeyPath) -> str:
    meant = suggest(path).replace(".", "__").replace("-", "_").upper()
    return f"{variable} is not a setting and is ignored{f'; did you mean {PREFIX}{meant}?' if meant else ''}"


def _ambiguous(variable: str, paths: Iterable[KeyPath]) -> SettingFault:
    keys = [dotted(path) for path in paths]
    reason = f"may mean {' or '.join(keys)}; rename one of the contexts, or set it in the file"
    return SettingFault(key=keys[0], reason=reason, variable=variable)


def _twice(path: KeyPath, variable: str, other: str) -> SettingFault:
    return SettingFault(key=dotted(path), reason=f"is set by {other} too; which one counts?", variable=variable)
