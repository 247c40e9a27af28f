"""Where in a task file things stand: line and column of everything a JSON pointer can name.

JSON is read as YAML here, which contains it but for its tabs.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from raftsman.wire.faults import pointer

Place = tuple[int, int]
"""Line and column, from 1."""
START: Place = (1, 1)

_LEVELS = 64  # As deep as a task may be; an alias can contain itself.


class Places:
    """The places of one document."""

    def __init__(self, root: Node | None) -> None:
        self._places = dict(_walk(root, (), 0)) if root is not None else {}
        if root is not None:
            self._places[""] = _place(root)

    def find(self, where: str) -> Place:
        """Return the place of a pointer, or, for what is not there, of the nearest thing around it."""
        while where not in self._places:
            if not where:
                return START
            where = where.rpartition("/")[0]
        return self._places[where]


@lru_cache(maxsize=1)  # The faults of a file are looked up one after the other.
def places_in(text: str) -> list[Places]:
    """Return the places of every document that is not empty; of none when the text cannot be read."""
    yaml = YAML(typ="safe", pure=True)
    try:
        roots: list[Any] = list(yaml.compose_all(text.replace("\t", " ")))
    except (YAMLError, ValueError, RecursionError):
        return []
    return [Places(root) for root in roots if not _is_empty(root)]


def _walk(node: Node, path: tuple[str | int, ...], level: int) -> Iterator[tuple[str, Place]]:
    if level > _LEVELS:
        return
    if isinstance(node, MappingNode):
        for key, value in node.value:
            inside = (*path, str(key.value))
            yield pointer(*inside), _place(key)
            yield from _walk(value, inside, level + 1)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            yield pointer(*path, index), _place(value)
            yield from _walk(value, (*path, index), level + 1)


def _place(node: Node) -> Place:
    mark = node.start_mark
    return mark.line + 1, mark.column + 1


def _is_empty(root: Node) -> bool:
    return isinstance(root, ScalarNode) and root.tag == "tag:yaml.org,2002:null"
