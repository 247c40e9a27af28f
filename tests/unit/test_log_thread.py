"""The log's thread at its end: it says why, at once, and nobody waits for it or takes it for a leader."""

import asyncio
import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from raftsman.raft.consensus import Consensus, ConsensusError
from raftsman.raft.disk import DiskFailed
from raftsman.raft.transport import Transport
from tests.harness.nodes import eventually, free_port

WITHIN_S = 10.0


@contextmanager
def leading(folder: Path, ends: list[str]) -> Iterator[Consensus]:
    """A node alone that leads; *ends* gets why it ended."""
    log = Consensus(
        name="alpha",
        members={"alpha": f"127.0.0.1:{free_port()}"},
        journal=folder / "raft" / "journal",
        election_timeout_s=(0.05, 0.1),
        apply=lambda *_: None,
        monotonic=time.monotonic,
        ended=ends.append,
    )
    log.start()
    try:
        eventually(lambda: log.standing().leads, within_s=WITHIN_S, what="it leads")
        yield log
    finally:
        log.stop()


def fail(log: Consensus) -> None:
    """Let the disk of *log* fail."""
    thread = log._running()
    thread.call(lambda: setattr(thread._journal._writer, "failure", DiskFailed("Input/output error")))


def test_when_no_thread_can_be_started_the_log_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "raft-disk":
            raise RuntimeError("can't start new thread")
        start(thread)

    with leading(tmp_path, ends) as log:
        thread = log._running()
        writer = thread._journal._writer
        eventually(writer._idle.is_set, within_s=WITHIN_S, what="the background rests")
        monkeypatch.setattr(threading.Thread, "start", refuse)
        thread.call(lambda: setattr(writer, "_spare", None))  # As when a segment has just been begun.
        eventually(lambda: ends, within_s=WITHIN_S, what="it says why it ended")
        assert ends == ["can't start new thread"]


def test_a_log_that_has_ended_leads_no_more_and_hands_nothing_over(tmp_path: Path) -> None:
    ends: list[str] = []
    with leading(tmp_path, ends) as log:
        fail(log)
        eventually(lambda: ends, within_s=WITHIN_S, what="it says why it ended")
        assert (log.standing().leads, log.standing().leader) == (False, None)
        worked_s = time.process_time()
        assert not log.transfer_leadership()
        assert time.process_time() - worked_s < 0.5


def test_an_error_in_what_another_thread_wants_ends_the_log(tmp_path: Path) -> None:
    ends: list[str] = []

    def bug() -> None:
        raise ZeroDivisionError("a bug of ours")

    with leading(tmp_path, ends) as log:
        log._running().call(bug)
        eventually(lambda: ends, within_s=WITHIN_S, what="it says why it ended")
        assert ends == ["a bug of ours"]


def test_a_transport_that_cannot_start_for_any_reason_is_waited_for_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(_transport: Transport, _listener: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(Transport, "start", bug)
    with pytest.raises(ZeroDivisionError), leading(tmp_path, []):
        pass


def test_an_event_loop_that_cannot_be_made_is_waited_for_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", refuse)
    monkeypatch.setattr(asyncio.events, "new_event_loop", refuse)
    with pytest.raises(ConsensusError, match=r"cannot listen on .*: .*Too many open files"), leading(tmp_path, []):
        pass


def test_a_disk_that_fails_is_told_in_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ends: list[str] = []
    with leading(tmp_path, ends) as log:
        fail(log)
        eventually(lambda: ends, within_s=WITHIN_S, what="it says why it ended")
    (told,) = [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert (told.getMessage(), told.exc_info) == (f"the log has ended: {ends[0]}", None)
