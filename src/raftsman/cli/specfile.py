"""Task files: YAML 1.2 or JSON in, the objects that HTTP takes out, every fault with its file, line and column.

What a task may contain is the node's to say; here only the writing is judged. Duplicate keys are refused, because
whichever of the two wins, the other one was meant by somebody.
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raftsman.cli.exits import Code, CommandFailed

FILE_BYTES = 64 * 1024 * 1024
"""A thousand tasks of the largest size fit twice; more than this is not a task file."""
_DEPTH = 64
"""No task is nested so deeply, and a YAML alias can contain itself."""

Json = dict[str, Any]


class InvalidFile(CommandFailed):
    """A task file cannot be read; *line* and *column* count from 1, and are 0 where no single place is at fault."""

    def __init__(self, name: str, detail: str, *, line: int = 0, column: int = 0) -> None:
        super().__init__(f"{name}:{line}:{column}: {detail}" if line else f"{name}: {detail}", Code.INVALID)
        self.name = name
        self.detail = detail
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class FileTask:
    """A task that a file holds; *number* counts the file's tasks from 1, *of* is how many there are."""

    spec: Json
    file: str
    text: str
    number: int
    of: int

    @property
    def name(self) -> str:
        """What to call the task as long as it has no id."""
        return f"{self.file} (task {self.number})" if self.of > 1 else self.file

    def where(self, pointer: str) -> str:
        """Return the place of what *pointer* names: ``FILE:LINE:COLUMN``, or words when the line cannot be told."""
        from raftsman.cli.places import places_in  # Only a fault needs it.

        places = places_in(self.text)
        if len(places) != self.of:
            return f"{self.name}: {pointer}" if pointer else self.name
        line, column = places[self.number - 1].find(pointer)
        return f"{self.file}:{line}:{column}"


def read_tasks(file: str) -> list[FileTask]:
    """Return the tasks of a file, or of stdin when *file* is ``-``. Raises InvalidFile."""
    name, text = read_text(file)
    documents = documents_in(name, text, is_json=is_json(file, text))
    specs = [_checked(name, document) for document in documents]
    return [FileTask(spec, name, text, number, len(specs)) for number, spec in enumerate(specs, 1)]


def read_text(file: str) -> tuple[str, str]:
    """Return what to call a file, and its text; ``-`` is stdin. Raises InvalidFile."""
    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            content = sys.stdin.buffer.read(FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(FILE_BYTES + 1)
        if len(content) > FILE_BYTES:
            raise InvalidFile(name, f"larger than {FILE_BYTES} bytes")
        return name, content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidFile(name, str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise InvalidFile(name, f"not UTF-8 (byte {error.start})") from error


def is_json(file: str, text: str) -> bool:
    """Return whether the file is to be read as JSON."""
    return file.endswith(".json") or (file == "-" and text.lstrip().startswith("{"))


def documents_in(name: str, text: str, *, is_json: bool) -> list[object]:
    """Return the documents of a text, the empty ones left out. Raises InvalidFile when it cannot be read."""
    documents = [_from_json(name, text)] if is_json else [each for each in _from_yaml(name, text) if each is not None]
    if not documents:
        raise InvalidFile(name, "there is no task in it")
    return documents


def _from_json(name: str, text: str) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> Json:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise _DuplicateKey
        return members

    try:
        return json.loads(text, object_pairs_hook=unique)
    except _DuplicateKey:
        # JSON's reader does not know where it is; YAML, which contains JSON, does.
        list(_from_yaml(name, text))
        raise InvalidFile(name, "a key stands twice in the same object") from None
    except RecursionError:
        raise InvalidFile(name, "nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidFile(name, error.msg, line=error.lineno, column=error.colno) from error


class _DuplicateKey(Exception):
    pass


def _from_yaml(name: str, text: str) -> Iterator[object]:
    from ruamel.yaml import YAML  # Only files need it.
    from ruamel.yaml.constructor import SafeConstructor
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    class Constructor(SafeConstructor):
        """Dates stay the text that was written: JSON has none."""

    Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = Constructor
    try:
        yield from yaml.load_all(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise InvalidFile(name, _first_line(error.problem or error.context), line=line, column=column) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise InvalidFile(name, _first_line(str(error) or "nested too deeply")) from error


def _first_line(text: object) -> str:
    return str(text).strip().splitlines()[0] if str(text).strip() else "this is not YAML"


def _checked(name: str, document: object) -> Json:
    if not isinstance(document, dict):
        raise InvalidFile(name, f"a task is a mapping, not {_kind(document)}")
    _check_json(name, document, "", 0)
    return document


def _check_json(name: str, value: object, pointer: str, depth: int) -> None:
    """Raise InvalidFile for what YAML can say and JSON cannot."""
    if depth > _DEPTH:
        raise InvalidFile(name, f"{pointer[:80]}…: nested too deeply")
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str):
                raise InvalidFile(name, f"{pointer or '/'}: the key {key!r} must be a string: put it in quotes")
            _check_json(name, member, f"{pointer}/{key}", depth + 1)
    elif isinstance(value, list):
        for place, member in enumerate(value):
            _check_json(name, member, f"{pointer}/{place}", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidFile(name, f"{pointer}: {value} is not a number in JSON")
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise InvalidFile(name, f"{pointer}: {_kind(value)} has no place in a task")


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
    return names.get(type(value), f"a {type(value).__name__}")
