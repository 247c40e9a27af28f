"""What keeps a log from starting: each is said in a sentence, and leaves nothing open or locked behind it."""

import errno
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from raftsman.raft.consensus import Answer, Consensus, ConsensusError
from raftsman.raft.disk import RealFile
from raftsman.raft.figures import Timings
from raftsman.raft.founding import JOINING, MEMBER
from raftsman.raft.messages import Status
from raftsman.raft.peers import Broken
from tests.harness.nodes import eventually, free_port

WITHIN_S = 10.0


@dataclass(slots=True)
class Counted:
    """A table that holds nothing; *error* is raised when it is to become what a snapshot says."""

    error: Exception | None = None
    rows: int = 0
    restored: tuple[list[bytes], int] | None = None

    def size(self) -> int:
        return self.rows

    def freeze(self) -> Iterable[bytes]:
        return [b"frozen"]

    def restore(self, chunks: Iterable[bytes], index: int) -> None:
        self.restored = list(chunks), index
        if self.error is not None:
            raise self.error


def new(folder: Path, *others: str, **options: Any) -> Consensus:
    """Return a log that has not been started; of alpha, and of *others* that are never there."""
    address = options.pop("address", None) or f"127.0.0.1:{free_port()}"
    return Consensus(
        name="alpha",
        members={"alpha": address} | dict.fromkeys(others, "127.0.0.1:1"),
        journal=folder / "journal",
        election_timeout_s=(0.05, 0.1),
        apply=lambda _command, index: index,
        monotonic=time.monotonic,
        **options,
    )


@contextmanager
def leading(folder: Path, **options: Any) -> Iterator[Consensus]:
    """Start a log that is alone, and give it when it leads."""
    log = new(folder, **options)
    log.start()
    try:
        eventually(lambda: log.standing().leads, within_s=WITHIN_S, what="it leads")
        yield log
    finally:
        log.stop()


def open_below(folder: Path) -> list[str]:
    """Return the files below *folder* that this process holds open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # The listing's own.
            found.append(str(descriptor.readlink()))
    return [name for name in found if name.startswith(f"{folder}/")]


def append(log: Consensus, count: int) -> None:
    """Commit so many commands."""
    answers: list[Answer] = []
    for number in range(count):
        log.propose(b"%d" % number, lambda answer, _result: answers.append(answer))
    eventually(lambda: len(answers) == count, within_s=WITHIN_S, what="all are answered", every_s=0.001)
    assert set(answers) == {Answer.APPLIED}


def with_a_snapshot(folder: Path) -> None:
    """Leave a log there whose beginning is in a snapshot."""
    with leading(folder, rows=Counted(), compact_entries=5) as log:
        append(log, 20)
        eventually(lambda: log.figures().snapshot_index, within_s=WITHIN_S, what="a snapshot")


# --- what keeps it from starting --------------------------------------------------------------


def refused(folder: Path, log: Consensus, words: str) -> None:
    """Let *log* start in vain, for *words*; nothing stays open, and another may start where it could not."""
    with pytest.raises(ConsensusError, match=words):
        log.start()
    eventually(lambda: not open_below(folder), within_s=WITHIN_S, what="no file is open")
    log.stop()


@pytest.mark.parametrize(
    ("operation", "number", "words"),
    [
        ("write_at", errno.ENOSPC, r"No space left on device.*; make room on the disk of {folder}$"),
        ("write_at", errno.EIO, r"Input/output error[^;]*$"),
        ("sync", errno.EIO, r"Input/output error[^;]*$"),
    ],
)
def test_a_disk_without_room_is_told_from_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, number: int, words: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(RealFile, operation, fails)
        refused(tmp_path, new(tmp_path), words.format(folder=tmp_path))
    with leading(tmp_path):
        pass


def test_the_directory_of_another_cluster_or_of_other_members_is_refused(tmp_path: Path) -> None:
    with leading(tmp_path, cluster="ours"):
        pass
    refused(tmp_path, new(tmp_path, cluster="theirs"), "is the log of a node of cluster 'ours'")
    refused(tmp_path, new(tmp_path, "beta", cluster="ours"), "cluster of alpha, and raft.members names alpha, beta")
    with leading(tmp_path, cluster="ours"):
        pass


def test_an_address_that_is_taken_is_named_with_the_likely_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        words = f"cannot listen on raft.bind {address}: is another node running there"
        refused(tmp_path, new(tmp_path, address=address), words)
    with leading(tmp_path, address=address):
        pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Broken("the rows are not in order"), "^the rows are not in order$"),
        (ValueError("a row of version 9"), "the snapshot in {folder} cannot be used: a row of version 9"),
    ],
)
def test_a_snapshot_that_cannot_be_used_keeps_the_log_from_starting(
    tmp_path: Path, error: Exception, words: str
) -> None:
    with_a_snapshot(tmp_path)
    refused(tmp_path, new(tmp_path, rows=Counted(error)), words.format(folder=tmp_path))
    rows = Counted()
    with leading(tmp_path, rows=rows):
        pass
    assert rows.restored is not None
    assert rows.restored[0] == [b"frozen"]


def test_a_bug_while_it_starts_is_no_sentence_for_users_and_leaves_no_file_open_when_it_is_stopped(
    tmp_path: Path,
) -> None:
    with_a_snapshot(tmp_path)
    log = new(tmp_path, rows=Counted(ZeroDivisionError("a bug of ours")))
    with pytest.raises(ZeroDivisionError):
        log.start()
    log.stop()
    assert open_below(tmp_path) == []


def test_a_folder_that_another_node_has_is_left_to_it_and_no_file_stays_open(tmp_path: Path) -> None:
    with leading(tmp_path):
        before = sorted(open_below(tmp_path))
        with pytest.raises(ConsensusError, match="is this node running already"):
            new(tmp_path).start()
        assert sorted(open_below(tmp_path)).count(f"{tmp_path}/lock") == before.count(f"{tmp_path}/lock") == 1


def test_folders_that_are_not_there_are_made_and_one_that_is_there_is_used(tmp_path: Path) -> None:
    for _ in range(2):
        with leading(tmp_path / "one" / "two"):
            pass


# --- its life ---------------------------------------------------------------------------------


def test_a_log_that_was_never_started_can_be_stopped_and_one_that_was_twice(tmp_path: Path) -> None:
    log = new(tmp_path)
    log.stop()
    log.start()
    log.stop()
    log.stop()
    assert open_below(tmp_path) == []


def test_what_it_is_given_is_used_the_cluster_the_figures_and_the_bound_of_entries(tmp_path: Path) -> None:
    synced: list[float] = []
    rows = Counted(rows=10)
    with leading(tmp_path, rows=rows, compact_entries=1, timings=Timings(synced=synced.append)) as log:
        append(log, 5)
        assert synced
        assert log.figures().snapshot_index == 0, "there are more rows than entries"
        rows.rows = 0
        append(log, 5)
        eventually(lambda: log.figures().snapshot_index, within_s=WITHIN_S, what="a snapshot")


def test_a_node_whose_others_have_not_come_says_for_whom_it_waits(tmp_path: Path) -> None:
    log = new(tmp_path, "beta")
    log.start()
    try:
        ((code, sentence),) = log.troubles()
        assert code == "no-member-yet"
        assert sentence.endswith("missing: beta")
        log._running()._transport.refused |= {"gamma": "gamma refuses: no", "beta": "beta refuses: no"}
        assert log.troubles()[1:] == [("no-link", "beta refuses: no"), ("no-link", "gamma refuses: no")]
        assert log.silent_for_s() == {"beta": float("inf")}
        assert log.behind() == {}
    finally:
        log.stop()


def test_a_member_whose_others_lost_their_directories_says_that_there_is_no_majority(tmp_path: Path) -> None:
    log = new(tmp_path, "beta", "gamma")
    log.start()
    try:
        joining = log._running().participant._joining
        empty = Status(stage=JOINING, cluster_id="", incarnation="", founding={})
        joining._statuses |= {"beta": empty, "gamma": empty}
        joining.identity = replace(joining.identity, stage=MEMBER)
        ((code, sentence),) = log.troubles()
        assert code == "no-majority"
        assert sentence.startswith("the directories of beta and gamma are empty")
        joining._statuses.clear()
        assert log.troubles() == []
    finally:
        log.stop()


def test_a_read_is_answered_when_all_that_was_committed_before_is_applied_and_adds_no_entry(tmp_path: Path) -> None:
    with leading(tmp_path) as log:
        append(log, 3)
        before = log.figures().entries
        answers: list[tuple[Answer, int]] = []
        log.read(lambda answer, index: answers.append((answer, index)))
        eventually(lambda: answers, within_s=WITHIN_S, what="an answer")
        assert answers == [(Answer.APPLIED, log.standing().commit_index)]
        assert log.figures().entries == before


def test_a_log_that_was_stopped_leads_no_more_and_still_says_how_far_it_came(tmp_path: Path) -> None:
    with leading(tmp_path) as log:
        append(log, 3)
        before = log.standing()
        assert (before.leads, before.leader) == (True, "alpha")
    assert log.standing() == replace(before, leads=False, leader=None)


def test_leadership_that_nobody_takes_stays_and_the_wait_for_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leads is asked to hand over to a node that is not there."""
    monkeypatch.setattr("raftsman.raft.consensus.TRANSFER_WITHIN_S", 0.05)
    with leading(tmp_path) as log:
        log._members["beta"] = "127.0.0.1:1"  # As if another had founded the cluster with it.
        began = log._monotonic()
        assert not log.transfer_leadership("beta")
        assert log._monotonic() >= began + 0.05
        assert log.standing().leads
