"""A node whose disk is full, as its users see it; and one whose disk fails."""

import asyncio
import errno
import time
from pathlib import Path

import pytest

from raftsman.raft.commands import Barrier
from raftsman.raft.consensus import Answer, Consensus
from raftsman.raft.disk import RealFile
from raftsman.raft.replica import NoRoom, Unknown
from tests.harness.nodes import free_port
from tests.unit.one_node import one_node
from tests.unit.replicas import until


def no_room(_file: RealFile, _offset: int, _content: bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_answered_507_and_told_by_readyz_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_node(tmp_path) as node:

        async def cancel() -> tuple[int, str]:
            async with node.session.post(f"{node.url}/v1/tasks/one/cancel") as answer:
                return answer.status, (await answer.json())["code"]

        assert await cancel() == (404, "task-not-found")
        with monkeypatch.context() as full:
            full.setattr(RealFile, "write_at", no_room)
            outcome = await node.site.replica.propose(Barrier(), deadline_s=0.2)
            assert outcome in (Unknown(), NoRoom()), "it may have been on its way when the room ended"
            assert await cancel() == (507, "disk-full")
            assert node.site.replica.figures().disk_full
            async with node.session.get(f"{node.url}/readyz") as answer:
                reasons = {each["code"]: each["message"] for each in (await answer.json())["reasons"]}
                assert reasons["disk-full"].startswith(f"the disk of {tmp_path}")
        await until(lambda: not node.site.replica.troubles(), "there is room")
        assert not node.site.replica.figures().disk_full
        await until(lambda: node.site.replica.standing().leads, "it leads again")
        assert await cancel() == (404, "task-not-found")


async def test_a_disk_that_fails_ends_the_log_and_nothing_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    log = Consensus(
        name="alpha",
        members={"alpha": f"127.0.0.1:{free_port()}"},
        journal=tmp_path / "journal",
        election_timeout_s=(0.05, 0.1),
        apply=lambda *_: None,
        monotonic=time.monotonic,
        ended=ends.append,
    )
    log.start()
    answers: list[Answer] = []
    try:
        await until(lambda: log.standing().leads, "it leads")

        def fails(_file: RealFile) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(RealFile, "sync", fails)
        log.propose(b"one", lambda answer, _result: answers.append(answer))
        await until(lambda: ends, "the log ends")
        await asyncio.sleep(0.05)
        assert answers == []
        assert "Input/output error" in ends[0]
    finally:
        log.stop()
