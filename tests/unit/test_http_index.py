"""An answer says of which entry of the log it is; an entry that is applied meanwhile changes nothing about that."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from raftsman.raft import codec
from raftsman.raft.commands import Cancel, Command, Entry
from raftsman.raft.records import Instant, TaskId
from raftsman.raft.table import TaskTable
from tests.harness.tables import submit
from tests.unit.one_node import OneNode, one_node
from tests.unit.replicas import META_LEFT_OPEN

pytestmark = META_LEFT_OPEN

T = TypeVar("T")

LOOKS = 6
"""More than any of these requests looks at the table."""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OneNode]:
    async with one_node(tmp_path) as started:
        yield started


def apply(node: OneNode, command: Command) -> int:
    """Apply *command* as the next entry; return its index."""
    replica = node.site.replica
    index = replica.read(lambda table: table.index) + 1
    replica.apply(codec.encode(Entry(command_id="", command=command, at=Instant(1), principal="")), index)
    return index


def apply_after_look(
    monkeypatch: pytest.MonkeyPatch, node: OneNode, number: int, command: Command
) -> Callable[[], int | None]:
    """Apply *command* right after look *number* at the table; return who says at which index, None when it is not."""
    replica, indexes = node.site.replica, list[int]()
    read = replica.read
    looks = 0

    def read_and_apply(look: Callable[[TaskTable], T]) -> T:
        nonlocal looks
        looks += 1
        seen = read(look)
        if looks == number:
            indexes.append(apply(node, command))
        return seen

    monkeypatch.setattr(replica, "read", read_and_apply)
    return lambda: indexes[0] if indexes else None


async def ask(node: OneNode, path: str) -> tuple[int, Any]:
    """Return the index that the answer names, and its body."""
    async with node.session.get(node.url + path) as answer:
        return int(answer.headers["Raftsman-Index"]), await answer.json()


@pytest.mark.parametrize("number", range(1, LOOKS + 1))
@pytest.mark.parametrize("path", ["/v1/tasks/one", "/v1/tasks"])
async def test_a_task_is_shown_as_it_was_at_the_entry_that_the_answer_names(
    node: OneNode, monkeypatch: pytest.MonkeyPatch, path: str, number: int
) -> None:
    apply(node, submit("one"))
    cancelled_at = apply_after_look(monkeypatch, node, number, Cancel(task_id=TaskId("one")))
    index, document = await ask(node, path)
    monkeypatch.undo()
    task = document["items"][0] if "items" in document else document
    shown = "cancelled" if task.get("state") == "cancelled" else "queued"
    at = cancelled_at()
    assert shown == ("queued" if at is None or index < at else "cancelled")


@pytest.mark.parametrize("number", range(1, LOOKS + 1))
async def test_a_task_that_is_not_there_was_not_there_at_the_entry_that_the_answer_names(
    node: OneNode, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    created_at = apply_after_look(monkeypatch, node, number, submit("one"))
    index, document = await ask(node, "/v1/tasks/one")
    monkeypatch.undo()
    at = created_at()
    assert ("taskId" in document and "code" not in document) == (at is not None and index >= at)


@pytest.mark.parametrize("number", range(1, LOOKS + 1))
async def test_the_cluster_is_shown_at_the_entry_that_the_answer_names(
    node: OneNode, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    apply_after_look(monkeypatch, node, number, submit("one"))
    index, document = await ask(node, "/v1/cluster")
    assert document["appliedIndex"] == index
