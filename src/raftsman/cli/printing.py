"""The formats of ``-o``: how what the API returned is printed. Tables are made in ``raftsman.cli.rows``."""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from raftsman.cli.words import out
from raftsman.wire.views import ListView, TaskView

FORMATS = ("table", "wide", "json", "yaml", "jsonl", "name")

F = TypeVar("F", bound=Callable[..., Any])


def output_option(*formats: str) -> Callable[[F], F]:
    """Add ``-o`` with some of the formats, the first of them the default."""
    return click.option(
        "-o",
        "--output",
        "output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to print it.",
    )


def print_value(value: object, output: str) -> None:
    """Print one JSON value in the API's own shape, as json, jsonl or yaml."""
    if output == "yaml":
        out(_yaml(value).rstrip("\n"))
    else:
        out(json.dumps(value, ensure_ascii=False, indent=2 if output == "json" else None))


def as_list(tasks: list[TaskView]) -> ListView[TaskView]:
    """Return several tasks as one document, in the shape of the API's lists."""
    return {"items": tasks, "next": None, "index": max((task["index"] for task in tasks), default=0)}


def print_lines(values: Iterable[Mapping[str, Any]]) -> None:
    """Print each value as one line of JSON, as soon as it comes."""
    for value in values:
        out(json.dumps(value, ensure_ascii=False))


def _yaml(value: object) -> str:
    from ruamel.yaml import YAML  # Costs more than the request; only this format needs it.

    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096  # Sentences stay on their line.
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue()
