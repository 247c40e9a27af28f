"""Events that a node does not know: nobody is handed a list with a hole in it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from raftsman.raft import codec
from raftsman.raft.commands import Command, Entry
from raftsman.raft.records import Instant
from tests.harness.tables import submit
from tests.unit.one_node import OneNode, one_node
from tests.unit.replicas import META_LEFT_OPEN, until

pytestmark = META_LEFT_OPEN

SNAPSHOT_INDEX = 50


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OneNode]:
    async with one_node(tmp_path) as started:
        yield started


def apply(node: OneNode, command: Command, index: int) -> None:
    entry = Entry(command_id=f"x-{index}", command=command, at=Instant(1), principal="")
    node.site.replica.apply(codec.encode(entry), index)


async def install_a_snapshot(node: OneNode) -> None:
    """Let the table be that of entry SNAPSHOT_INDEX, as when a node that was away gets a snapshot."""
    replica = node.site.replica
    replica.restore(list(replica.freeze()), SNAPSHOT_INDEX)
    apply(node, submit("behind"), SNAPSHOT_INDEX + 1)
    await until(lambda: node.site.feed.index == SNAPSHOT_INDEX + 1, "it is known")


async def test_who_asks_for_events_before_a_snapshot_is_told_that_they_are_not_kept(node: OneNode) -> None:
    apply(node, submit("before"), 10)
    await install_a_snapshot(node)
    async with node.session.get(f"{node.url}/v1/events?after=9") as answer:
        document = await answer.json()
        assert (answer.status, document["code"], document["oldestIndex"]) == (410, "events-compacted", 51)
    async with node.session.get(f"{node.url}/v1/events?after=50") as answer:
        assert [each["taskId"] for each in (await answer.json())["items"]] == ["behind"]
    async with node.session.get(f"{node.url}/v1/events") as answer:
        assert [each["taskId"] for each in (await answer.json())["items"]] == ["behind"]


@pytest.mark.parametrize("after", ["", "&after=10"])
async def test_a_stream_is_cut_where_a_snapshot_takes_the_place_of_events(node: OneNode, after: str) -> None:
    apply(node, submit("before"), 10)
    await until(lambda: node.site.feed.index >= 10, "it is known")
    headers = {"Accept": "application/x-ndjson"}
    async with node.session.get(f"{node.url}/v1/events?follow=true{after}", headers=headers) as answer:
        if not after:
            assert b"before" in await answer.content.readline()
        await install_a_snapshot(node)
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(answer.content.read(), 5)
