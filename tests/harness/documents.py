"""The commands, examples and sections of the pages that people read, taken from the pages themselves.

A command is what a reader would type: a line of a block of commands, or a mention in the text, in a table, or in the
comment of an example. What becomes of it when it is typed is for ``tests/documents`` to find out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raftsman.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")))

_TYPED = re.compile(r"(raftsman|kubectl|make|python|export|eval) \S")
"""How a line begins that is typed into a shell."""
_COMMENT = re.compile(r"\s+# .*$")
_MENTION = re.compile(r"`((?:raftsman|kubectl|make|python|export|eval) [^`]+)`")
_CELL = re.compile(rf"(?:^|[;:] )((?:raftsman (?:{'|'.join(COMMANDS)})|kubectl)\b[^;`]*)$")
"""A command at the end of a table's cell or of a comment: alone, or behind some words about it."""
_FENCE = re.compile(r"\s*```(\w*)")


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences of a page."""

    page: str
    section: str
    line: int  # Of its first line, from 1.
    language: str  # Empty when the fence names none.
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole of it."""
        return "\n".join(self.lines) + "\n"


@dataclass(frozen=True, slots=True)
class Command:
    """What a reader of a page would type, without prompt and comment."""

    page: str
    section: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.text}"


@dataclass(frozen=True, slots=True)
class _Prose:
    """A line between blocks; a wrapped mention is found because all lines of a section are looked at together."""

    section: str
    line: int
    text: str


def blocks_of(page: str, section: str | None = None) -> list[Block]:
    """Return the blocks of a page, or of one of its sections (by its heading)."""
    found = [part for part in _parts(page) if isinstance(part, Block)]
    return [block for block in found if section in (None, block.section)]


def typed_in(page: str, section: str | None = None) -> list[Command]:
    """Return the commands of a page's blocks, in order.

    In a block of commands every line is one. Raises AssertionError for a line that looks like none: it would be
    tried by nobody.
    """
    return [command for block in blocks_of(page, section) for command in _typed(block)]


def mentioned_in(page: str) -> list[Command]:
    """Return the commands in the text of a page, its tables, and the comments of its examples, in order."""
    prose = [part for part in _parts(page) if isinstance(part, _Prose)]
    found = [*_in_prose(page, prose), *_in_tables(page, prose)]
    found += [command for block in blocks_of(page) for command in _in_comments(block)]
    return sorted(found, key=lambda command: command.line)


def _parts(page: str) -> Iterator[Block | _Prose]:
    section, opened = "", 0
    language: str | None = None
    inside: list[str] = []
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and language is None:
            language, opened, inside = fence[1], number + 1, []
        elif fence and language is not None:
            yield Block(page, section, opened, language, tuple(inside))
            language = None
        elif language is not None:
            inside.append(line)
        else:
            section = line.lstrip("#").strip() if line.startswith("#") else section
            yield _Prose(section, number, line)


def _typed(block: Block) -> Iterator[Command]:
    prompts = block.language == "console"
    if not prompts and (block.language or not _TYPED.match(block.lines[0])):
        return
    for number, line in enumerate(block.lines, block.line):
        if prompts and not line.startswith("$ "):
            continue
        text = _COMMENT.sub("", line.removeprefix("$ ")).strip()
        assert not text or _TYPED.match(text), f"{block.page}:{number} is not known to be a command: {text}"
        if text:
            yield Command(block.page, block.section, number, text)


def _in_prose(page: str, prose: list[_Prose]) -> Iterator[Command]:
    whole = "\n".join(part.text for part in prose)
    for match in _MENTION.finditer(whole):
        part = prose[whole.count("\n", 0, match.start())]
        yield Command(page, part.section, part.line, " ".join(match[1].split()))


def _in_tables(page: str, prose: list[_Prose]) -> Iterator[Command]:
    for part in prose:
        cells = part.text.strip("|").split(" | ") if part.text.startswith("|") else []
        for match in filter(None, (_CELL.search(cell.strip()) for cell in cells)):
            yield Command(page, part.section, part.line, match[1])


def _in_comments(block: Block) -> Iterator[Command]:
    for number, line in enumerate(block.lines, block.line):
        match = _CELL.search(line.partition("# ")[2])
        if match and block.language:
            yield Command(block.page, block.section, number, match[1])
