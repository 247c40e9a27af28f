"""``raftsman log``: what a stopped node's folder holds, and whether all of it is what was written."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from raftsman.cli.main import main
from raftsman.raft.codec import encode
from raftsman.raft.commands import Barrier, Entry
from raftsman.raft.disk import RealDisk
from raftsman.raft.founding import JOINING, MEMBER, Identity
from raftsman.raft.frames import HEADER_BYTES
from raftsman.raft.identity import save_identity
from raftsman.raft.journal import Journal
from raftsman.raft.records import Instant
from raftsman.raft.snapshots import SnapshotHead, SnapshotStore
from raftsman.raft.tablecodec import pack_table
from tests.harness.tables import joined, submit, table_of
from tests.unit.journals import at_once

COMMAND = b"\0" + encode(Entry(command_id="c", command=Barrier(), at=Instant(1)))
NO_OP = b"\1"
IDENTITY = Identity(
    cluster="test", node="alpha", incarnation="a1", stage=MEMBER, cluster_id="c1", founding={"alpha": "a1"}
)
FIRST = "journal-0000000000000001"
SNAPSHOT = "snapshot-0000000000000004-0000000000000002"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data directory of a node that was stopped cleanly: six entries, and a snapshot of the first four."""
    disk = RealDisk(tmp_path / "data" / "raft")
    save_identity(disk, IDENTITY)
    journal = Journal.open(disk, segment_bytes=4096, background=at_once, new_salt=lambda: 7)
    journal.set_vote(2, "beta")
    for index in range(1, 7):
        journal.append(NO_OP if index == 1 else COMMAND, index, 1 if index < 3 else 2)
        journal.set_commit(index - 1)
        journal.sync()
    head = SnapshotHead((COMMAND, 3, 2), (COMMAND, 4, 2))
    SnapshotStore(disk).write(head, pack_table(table_of(joined("alpha"), submit("t1"))))
    journal.close()
    return tmp_path / "data"


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def tear(path: Path) -> None:
    """Leave the beginning of a frame behind the journal's end."""
    content = path.read_bytes()
    end = len(content.rstrip(b"\0"))
    path.write_bytes(content[:end] + b"\xf5RMf" + content[end + 4 :])


def test_verify_says_that_a_whole_log_is_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "verify", str(folder)]) == 0
    assert main(["log", "verify", str(folder / "raft")]) == 0
    assert capsys.readouterr().out == "whole: node alpha, 1 segment, 1 snapshot, entries 1 to 6\n" * 2


def test_verify_names_a_torn_end_and_does_not_mind_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tear(folder / "raft" / FIRST)
    assert main(["log", "verify", str(folder)]) == 0
    torn, whole = capsys.readouterr().out.splitlines()
    assert torn.startswith(f"{folder / 'raft' / FIRST}: offset ")
    assert "a torn end" in torn
    assert whole.startswith("whole: ")


@pytest.mark.parametrize(("file", "offset"), [(FIRST, HEADER_BYTES + 40), (FIRST, 3), (SNAPSHOT, 50), ("identity", 40)])
def test_verify_tells_file_offset_and_advice_of_damage(
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, offset: int
) -> None:
    flip(folder / "raft" / file, offset)
    assert main(["log", "verify", str(folder)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    named, _, rest = line.partition(": offset ")
    assert named == str(folder / "raft" / file)
    assert int(rest.partition(":")[0]) <= offset
    assert "start the node with an empty one under the same name" in line


def test_verify_tells_all_the_damage_there_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(folder / "raft" / FIRST, HEADER_BYTES + 1)
    flip(folder / "raft" / SNAPSHOT, 1)
    assert main(["log", "verify", str(folder)]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2


def damage_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that tells of damage."""
    assert main(["log", "verify", str(folder)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    return line


def test_every_flipped_byte_of_an_identity_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "raft" / "identity"
    for offset in range(path.stat().st_size):
        flip(path, offset)
        assert damage_of(folder, capsys).startswith(f"{path}: offset ")
        flip(path, offset)
    path.write_bytes(path.read_bytes()[:-1])
    assert damage_of(folder, capsys).startswith(f"{path}: offset ")


def test_verify_misses_an_identity_beside_a_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "raft" / "identity"
    path.unlink()
    line = damage_of(folder, capsys)
    assert line.startswith(f"{path}: offset 0: the file is missing, but there is a log beside it; ")
    assert "start the node with an empty one under the same name" in line


def test_verify_misses_the_journal_beside_a_members_identity(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "raft" / FIRST).unlink()
    (folder / "raft" / SNAPSHOT).unlink()
    line = damage_of(folder, capsys)
    assert line.startswith(f"{folder / 'raft' / 'identity'}: offset 0: it is a member's, and there is no journal")
    assert "start the node with an empty one under the same name" in line


def test_a_node_that_has_only_just_come_is_whole_without_a_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_identity(RealDisk(tmp_path), replace(IDENTITY, stage=JOINING))
    assert main(["log", "verify", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "whole: node alpha, 0 segments, 0 snapshots\n"


def test_verify_misses_entries_that_are_neither_in_the_journal_nor_in_a_snapshot(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = RealDisk(folder / "raft")
    journal = Journal.open(disk, segment_bytes=4096, background=at_once)
    journal.reset(8, 2)
    journal.close()
    assert main(["log", "verify", str(folder)]) == 1
    assert "begins at entry 9, but the newest snapshot ends at entry 4" in capsys.readouterr().out


def test_verify_finds_a_snapshot_that_holds_no_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SnapshotStore(RealDisk(folder / "raft")).write(SnapshotHead((b"", 4, 2), (b"", 5, 2)), [b"no table"])
    assert main(["log", "verify", str(folder)]) == 1
    assert "its table cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["verify", "inspect"])
def test_a_folder_without_a_log_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert main(["log", verb, str(tmp_path)]) == 5
    assert "holds no log" in capsys.readouterr().err
    assert main(["log", verb, str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize("call", ["names", "open"])
def test_a_log_that_cannot_be_read_is_not_called_damaged(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(disk: RealDisk, *_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", disk.path(""))

    monkeypatch.setattr(RealDisk, call, refuse)  # Root may read everything.
    assert main(["log", "verify", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{folder} cannot be read: " in said.err
    assert "Permission denied" in said.err


def test_inspect_shows_what_there_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "inspect", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[1:7] == [
        "node:      alpha of cluster test, member",
        "entries:   1 to 6, the last of term 2",
        "committed: 5",
        "term:      2, vote for beta",
        "kinds:     5 barrier, 1 no-op",
        "terms:     2 of term 1, 4 of term 2",
    ]
    assert f"{FIRST}   1-6       6" in shown
    assert SNAPSHOT in shown


def test_inspect_as_json_has_the_names_of_the_api(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "inspect", str(folder), "-o", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["journal"] == {
        "firstIndex": 1,
        "lastIndex": 6,
        "lastTerm": 2,
        "term": 2,
        "vote": "beta",
        "commitIndex": 5,
        "kinds": {"barrier": 5, "no-op": 1},
        "terms": {"1": 2, "2": 4},
    }
    (segment,) = report["segments"]
    assert (segment["firstIndex"], segment["lastIndex"], segment["sealed"]) == (1, 6, True)
    (snapshot,) = report["snapshots"]
    assert (snapshot["index"], snapshot["term"], snapshot["tasks"]) == (4, 2, 1)
    assert report["identity"] == {"node": "alpha", "cluster": "test", "clusterId": "c1", "stage": "member"}
    assert (report["torn"], report["damage"]) == ("", [])


def test_inspect_of_a_damaged_log_shows_the_rest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(folder / "raft" / FIRST, HEADER_BYTES + 1)
    assert main(["log", "inspect", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert SNAPSHOT in shown
    assert f"{FIRST}: offset " in shown


def test_looking_changes_nothing(folder: Path) -> None:
    tear(folder / "raft" / FIRST)
    before = {path: path.read_bytes() for path in (folder / "raft").iterdir()}
    main(["log", "verify", str(folder)])
    main(["log", "inspect", str(folder)])
    assert {path: path.read_bytes() for path in (folder / "raft").iterdir()} == before
