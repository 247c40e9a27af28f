"""What goes to the terminal: data on stdout, words on stderr, colour only where a person looks.

Text that comes from a cluster (reasons, messages, names) is shown with its control characters replaced, so that it
cannot steer the terminal; only a task's own output is passed on as it is.
"""

import os
import re
import shutil
import sys
import unicodedata
from datetime import UTC, datetime
from typing import TextIO

import click

from raftsman.cli.exits import Code

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
_COLOURS = {
    "queued": "yellow",
    "assigned": "yellow",
    "running": "blue",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}


def out(text: str | bytes = "") -> None:
    """Write a line of data to stdout; end the command quietly when nobody reads it any more."""
    try:
        click.echo(text)
    except BrokenPipeError:
        # What is still buffered would raise again when the interpreter flushes at its exit.
        _discard_the_rest(sys.stdout)
        raise click.exceptions.Exit(Code.PIPE_CLOSED) from None


def out_unchanged(text: str) -> None:
    """Write a line of a task's own output: to a program, the very bytes that the API gave."""
    out(text if is_terminal(sys.stdout) else text.encode(errors="replace"))


def say(text: str) -> None:
    """Write a line of words to stderr."""
    try:
        click.echo(text, err=True)
    except BrokenPipeError:
        _discard_the_rest(sys.stderr)


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person looks at *stream*."""
    return not stream.closed and stream.isatty()


def terminal_width() -> int:
    """Return the columns of the terminal on stdout; 0 when there is none, and nothing need be cut."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else 0


def paint(text: str, colour: str | None, stream: TextIO) -> str:
    """Return *text* in *colour* when a person looks at *stream* and has not asked for none (https://no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return click.style(text, fg=colour) if colour and wanted and is_terminal(stream) else text


def paint_state(state: str, stream: TextIO, text: str | None = None) -> str:
    """Return *text* (the state itself when None) in the colour of a state."""
    return paint(state if text is None else text, _COLOURS.get(state), stream)


def plain(text: object) -> str:
    """Return *text* on one line, without anything that steers a terminal; "" for None."""
    return "" if text is None else _CONTROL.sub(" ", str(text))


def width_of(text: str) -> int:
    """Return the columns that *text* takes: two for East Asian wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def clip(text: str, columns: int) -> str:
    """Return *text* cut to *columns*, ending in an ellipsis when something was cut."""
    if width_of(text) <= columns:
        return text
    while text and width_of(text) > columns - 1:
        text = text[:-1]
    return f"{text}…"


def table(header: list[str], rows: list[list[str]], *, columns: int = 0) -> list[str]:
    """Return aligned lines, the header first (kubectl's habit); the last column is cut so that a line has *columns*."""
    widths = [max(map(width_of, column)) for column in zip(header, *rows, strict=True)]
    return [aligned(row, widths, columns=columns) for row in [header, *rows]]


def aligned(row: list[str], widths: list[int], *, columns: int = 0) -> str:
    """Return one line of a table."""
    *firsts, last = [(cell, width) for cell, width in zip(row, widths, strict=True)]
    line = "".join(cell + " " * max(width - width_of(cell) + 3, 1) for cell, width in firsts)
    room = columns - width_of(line)
    return (line + (clip(last[0], max(room, 8)) if columns else last[0])).rstrip()


def instant(text: str | None) -> datetime | None:
    """Return an instant of the API, None when there is none."""
    return None if text is None else datetime.fromisoformat(text)


def seconds_since(text: str | None, until: str | None = None) -> float | None:
    """Return the seconds from one instant to another (None: now), None when there is no beginning."""
    begin, end = instant(text), instant(until)
    return None if begin is None else max(((end or datetime.now(UTC)) - begin).total_seconds(), 0.0)


def span(seconds: float | None) -> str:
    """Return a duration at the precision that a person reads (kubectl's habit): 95s, 12m, 3h5m, 4d."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 48:
        return f"{hours}h{minutes % 60}m" if minutes % 60 and hours < 8 else f"{hours}h"
    return f"{days}d"


def _discard_the_rest(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
