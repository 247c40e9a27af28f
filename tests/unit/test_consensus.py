"""What the log adds to pysyncobj, and what it keeps pysyncobj from doing."""

import asyncio
import itertools
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from raftsman.raft.consensus import Answer, Consensus, ConsensusError
from raftsman.raft.messages import encode
from raftsman.raft.transport import Self
from tests.harness.nodes import eventually, free_port
from tests.unit.replicas import META_LEFT_OPEN, group_of, until

STOCK_KEEPS_ENTRIES = 5_000
"""pysyncobj's logCompactionMinEntries."""

pytestmark = META_LEFT_OPEN


def consensus(
    directory: Path, address: str, *, name: str = "alpha", applied: list[tuple[bytes, int]] | None = None
) -> Consensus:
    """Return the log of a node that is alone in its cluster."""
    entries = [] if applied is None else applied

    def apply(raw: bytes, index: int) -> int:
        entries.append((raw, index))
        return index

    return Consensus(
        name=name,
        members={"alpha": address},
        journal=directory / "journal",
        election_timeout_s=(0.05, 0.1),
        apply=apply,
        monotonic=time.monotonic,
    )


async def leads(log: Consensus) -> None:
    await until(lambda: log.standing().leads, "it leads")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.0.0.1:7118", "10.0.0.1:7118 is not a loopback address"),
        ("example.org:7118", "is not a loopback address"),
        ("127.0.0.1", "is not host:port"),
        ("127.0.0.1:0", "is not host:port"),
        ("127.0.0.1:65536", "is not host:port"),
        ("127.0.0.1:\N{SUPERSCRIPT TWO}", "is not host:port"),
        ("127.0.0.1:x", "is not host:port"),
        ("127.0.0.1:-1", "is not host:port"),
        (":7118", ":7118 is not a loopback address"),
    ],
)
def test_a_member_that_cannot_be_trusted_or_reached_is_refused(tmp_path: Path, address: str, words: str) -> None:
    with pytest.raises(ConsensusError, match=words):
        consensus(tmp_path, address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "127.255.0.9:65535", "localhost:7118", "LocalHost:7118", "[::1]:7118"]
)
def test_whatever_stands_for_this_machine_alone_is_an_address(tmp_path: Path, address: str) -> None:
    assert consensus(tmp_path, address)._members == {"alpha": address}


def test_a_node_that_is_no_member_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConsensusError, match=r"does not list this node, 'delta'; it lists alpha"):
        consensus(tmp_path, "127.0.0.1:7118", name="delta")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_node_alone_leads_and_applies(tmp_path: Path, host: str) -> None:
    applied: list[tuple[bytes, int]] = []
    log = consensus(tmp_path, f"{host}:{free_port()}", applied=applied)
    log.start()
    try:
        await leads(log)
        answers: list[tuple[Answer, int]] = []
        log.propose(b"one", lambda answer, result: answers.append((answer, result)))
        await until(lambda: answers, "an answer")
        assert applied == [(b"one", answers[0][1])]
        assert answers[0][0] is Answer.APPLIED
        assert log.standing().leader == "alpha"
    finally:
        log.stop()


async def test_the_log_listens_on_its_own_address_only(tmp_path: Path) -> None:
    port = free_port()
    log = consensus(tmp_path, f"127.0.0.1:{port}")
    log.start()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=2)
    finally:
        log.stop()


async def test_nothing_is_dropped_from_the_journal_however_long_it_grows(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    before: list[tuple[bytes, int]] = []
    log = consensus(tmp_path, address, applied=before)
    log.start()
    await leads(log)
    for number in range(STOCK_KEEPS_ENTRIES + 100):
        log.propose(b"%d" % number, lambda *_: None)
    await until(lambda: len(before) == STOCK_KEEPS_ENTRIES + 100, "all are applied")
    await asyncio.sleep(0.1)  # Several ticks, in which stock compacts.
    log.stop()

    after: list[tuple[bytes, int]] = []
    again = consensus(tmp_path, address, applied=after)
    again.start()
    try:
        await until(lambda: len(after) >= len(before), "the replay")
        assert after == before
    finally:
        again.stop()


def test_two_nodes_never_open_one_journal(tmp_path: Path) -> None:
    log = consensus(tmp_path, f"127.0.0.1:{free_port()}")
    log.start()
    other = consensus(tmp_path, f"127.0.0.1:{free_port()}")
    with pytest.raises(ConsensusError, match=f"another process uses {tmp_path}"):
        other.start()
    log.stop()
    other.start()
    other.stop()


def test_a_folder_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = f"cannot be kept in {tmp_path}/file/raft: Not a directory; data_dir must name a folder"
    with pytest.raises(ConsensusError, match=words):
        consensus(tmp_path / "file" / "raft", f"127.0.0.1:{free_port()}").start()


def lose(directory: Path, pattern: str) -> None:
    for lost in directory.glob(pattern):
        lost.unlink()


def test_a_torn_end_is_cut_and_told_by_the_figures_until_the_next_start(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"

    def torn_ends_cut() -> int:
        log = consensus(tmp_path, address)
        log.start()
        eventually(lambda: log.standing().leads, within_s=10, what="it leads")
        figures = log.figures()
        log.stop()
        return figures.torn_ends_cut

    assert torn_ends_cut() == 0
    (segment,) = tmp_path.glob("journal-*1")
    content = segment.read_bytes()
    end = len(content.rstrip(b"\0"))
    segment.write_bytes(content[:end] + b"\xf5RMf" + content[end + 4 :])
    assert torn_ends_cut() == 1
    assert torn_ends_cut() == 0


@pytest.mark.parametrize(
    ("file", "fault"),
    [("identity", "the file is missing, but there is a log beside it"), ("journal-*", "there is no journal beside it")],
)
def test_a_node_whose_identity_or_journal_is_lost_does_not_start_and_says_what_to_do(
    tmp_path: Path, file: str, fault: str
) -> None:
    address = f"127.0.0.1:{free_port()}"
    log = consensus(tmp_path, address)
    log.start()
    eventually(lambda: log.standing().leads, within_s=10, what="it leads")
    log.stop()
    lose(tmp_path, file)
    with pytest.raises(ConsensusError, match=rf"^{tmp_path}/identity: offset 0: .*{fault}; .*with an empty one"):
        consensus(tmp_path, address).start()


async def test_leadership_goes_to_a_follower_when_it_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftsman.raft.consensus.TRANSFER_WITHIN_S", 40.0)  # The end of it ends the wait, not the time.
    async with group_of(tmp_path) as group:
        await group.start()
        leader = await group.leader()
        await asyncio.sleep(0.05)  # Its followers have the first entry.
        async with asyncio.timeout(20):
            assert await leader.replica.transfer_leadership()
        assert await group.leader() is not leader
        assert not await leader.replica.transfer_leadership()


async def test_a_node_alone_hands_leadership_to_nobody_and_does_not_wait_for_it(tmp_path: Path) -> None:
    log = consensus(tmp_path, f"127.0.0.1:{free_port()}")
    log.start()
    try:
        await leads(log)
        began = time.monotonic()
        assert not log.transfer_leadership()
        assert time.monotonic() - began < 0.5
    finally:
        log.stop()


async def test_junk_on_the_logs_port_gets_nowhere_and_no_election_follows(tmp_path: Path) -> None:
    giant, bomb = (1 << 31).to_bytes(4) + bytes(1 << 20), b"cos\nsystem\n(S'touch /tmp/bomb'\ntR."
    stranger = Self("other", "", "alpha", "a1").hello("beta")
    # All of it is one process here, strangers included: patience that one busy thread does not use up.
    async with group_of(tmp_path, election_timeout_s=(1.0, 2.0)) as group:
        await group.start()
        term = (await group.leader()).replica.standing().term
        ports = [int(address.rpartition(":")[2]) for address in group.members.values()]
        ends_at = time.monotonic() + 1
        silent = [await asyncio.open_connection("127.0.0.1", port) for port in ports * 20]
        while time.monotonic() < ends_at:
            for port, junk in itertools.product(ports, (giant, bomb, encode(stranger))):
                await send_junk(port, junk)
        for _, writer in silent:
            await hang_up(writer)
        assert {node.replica.standing().term for node in group.nodes.values()} == {term}


async def send_junk(port: int, junk: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        writer.write(junk)
        await asyncio.wait_for(reader.read(), 2)
    await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_the_leader_hears_all_followers_and_followers_hear_the_leader(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader, followers = await group.leader(), await group.followers()
        await until(lambda: max(leader.replica.silent_for_s().values()) < 1, "the leader hears both")
        assert set(leader.replica.silent_for_s()) == {follower.name for follower in followers}
        assert all(follower.replica.silent_for_s()[leader.name] < 1 for follower in followers)
        await group.stop(followers[0].name)
        await until(lambda: leader.replica.silent_for_s()[followers[0].name] > 0.5, "one falls silent")
        assert leader.replica.silent_for_s()[followers[1].name] < 0.5
