"""A replicated log of byte strings on a thread of its own, so that neither HTTP nor Kubernetes delays a heartbeat.

``Consensus`` opens the folder, puts the parts together and is called from any thread; ``log_thread`` runs them.
Commands are bytes (``codec``); what they mean is ``table``'s business, who waits for them is ``replica``'s.
"""

import errno
import fcntl
import ipaddress
import os
import random
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from raftsman.raft.disk import Damaged, DiskFailed, DiskFull, RealDisk
from raftsman.raft.figures import Figures, Standing, Timings
from raftsman.raft.founding import Identity
from raftsman.raft.identity import WrongDirectory, require_journal, require_members, save_identity, take_identity
from raftsman.raft.journal import Journal
from raftsman.raft.log_thread import LogThread
from raftsman.raft.participant import Participant, Ports
from raftsman.raft.peers import Broken
from raftsman.raft.shipping import COMPACT_ENTRIES
from raftsman.raft.snapshots import SnapshotStore
from raftsman.raft.transport import Self, Transport
from raftsman.raft.waiting import Answer, Answered

__all__ = ["Answer", "Answered", "Consensus", "ConsensusError", "Rows", "Standing"]

TRANSFER_WITHIN_S = 2.0


class ConsensusError(Exception):
    """The log cannot start as it is configured; the text says what to change."""


class Rows(Protocol):
    """What can be put into a snapshot."""

    def size(self) -> int:
        """Return how many rows there are."""

    def freeze(self) -> Iterable[bytes]:
        """Return the state of this moment in chunks, which are read later and on another thread."""

    def restore(self, chunks: Iterable[bytes], index: int) -> None:
        """Become what ``freeze`` gave after entry *index*."""


class Consensus:
    """One node's share of the replicated log.

    *members* maps node names to ``host:port``; the log's files lie in the folder of *journal*; *apply* is called
    with (bytes, index) for each committed command, in order, on the log's thread, and after a restart again for what
    no snapshot of *rows* holds. *compact_entries*: after so many a snapshot is due, or as many as there are rows.
    *ended* is called there with a sentence when the node must not go on.
    """

    def __init__(
        self,
        *,
        name: str,
        members: Mapping[str, str],
        journal: Path,
        election_timeout_s: tuple[float, float],
        apply: Callable[[bytes, int], object],
        monotonic: Callable[[], float],
        cluster: str = "raftsman",
        rows: Rows | None = None,
        compact_entries: int = COMPACT_ENTRIES,
        ended: Callable[[str], None] = lambda _why: None,
        timings: Timings | None = None,
    ) -> None:
        if name not in members:
            raise ConsensusError(
                f"raft.members does not list this node, {name!r}; it lists {', '.join(sorted(members))}"
            )
        for member, address in members.items():
            _require_loopback(member, address)
        self._name = name
        self._members = dict(members)
        self._folder = journal.parent
        self._election_timeout_s = election_timeout_s
        self._machine = _Machine(apply, rows)
        self._compact_entries = compact_entries
        self._monotonic = monotonic
        self._cluster = cluster
        self._ended = ended
        self._timings = timings or Timings()
        self._thread: LogThread | None = None
        self._held = ExitStack()

    # --- its life ---

    def start(self) -> None:
        """Open the log, listen, and start the thread. Blocks meanwhile; raises ConsensusError."""
        self._lock_folder()
        try:
            self._thread = self._open()
            self._thread.start()
        except DiskFull as error:
            self._held.close()
            raise ConsensusError(f"{error}; make room on the disk of {self._folder}") from error
        except (Damaged, WrongDirectory, DiskFailed, Broken) as error:
            self._held.close()
            raise ConsensusError(str(error)) from error
        except ValueError as error:  # What ``rows`` says of a snapshot that only a newer program can read.
            self._held.close()
            raise ConsensusError(f"the snapshot in {self._folder} cannot be used: {error}") from error
        except OSError as error:
            self._held.close()
            why = "is another node running there?" if error.errno == errno.EADDRINUSE else str(error)
            raise ConsensusError(f"cannot listen on raft.bind {self._members[self._name]}: {why}") from error

    def _lock_folder(self) -> None:
        """Keep other processes off the log: two that write one journal destroy it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            advice = "data_dir must name a folder in which this node's user may write"
            raise ConsensusError(f"the log cannot be kept in {self._folder}: {error.strerror}; {advice}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Ends with the process, however that ends.
        except OSError as error:
            os.close(lock)
            raise ConsensusError(f"another process uses {self._folder}: is this node running already?") from error
        self._held.callback(os.close, lock)

    def _open(self) -> LogThread:
        disk = RealDisk(self._folder)
        identity = take_identity(disk, cluster=self._cluster, node=self._name, new_incarnation=secrets.token_hex(8))
        require_members(disk, identity, self._members)
        snapshots = SnapshotStore(disk)
        journal = Journal.open(disk, snapshot_index=snapshots.newest.index if snapshots.newest else 0)
        transport = Transport(members=self._members, me=lambda: _introduce(participant.identity))
        try:
            require_journal(disk, identity, fresh=journal.fresh)
            participant = Participant(
                name=self._name,
                members=self._members,
                election_timeout_s=self._election_timeout_s,
                compact_entries=self._compact_entries,
                ports=Ports(
                    clock=self._monotonic,
                    random=random.SystemRandom().random,
                    journal=journal,
                    snapshots=snapshots,
                    machine=self._machine,
                    way=transport,
                    identity=identity,
                    save_identity=lambda changed: save_identity(disk, changed),
                    timings=self._timings,
                ),
            )
        except BaseException:
            journal.abandon()
            raise
        return LogThread(participant, transport, journal, ended=self._ended)

    def stop(self) -> None:
        """Close the log's links and its files, and end its thread. Safe to call twice."""
        if self._thread is not None:
            self._thread.stop()
        self._held.close()

    # --- commands and reads, from any thread ---

    def propose(self, command: bytes, answered: Answered) -> None:
        """Hand a command to the leader, whoever it is; *answered* gets what ``apply`` returned, on the log's thread.

        Without a leader it is answered at once. The answer may take long: whoever waits has a deadline of its own.
        """
        thread = self._running()
        thread.call(lambda: thread.participant.propose(command, answered))

    def read(self, answered: Answered) -> None:
        """Call *answered* with an index once everything that was committed before is applied here; adds no entry."""
        thread = self._running()
        thread.call(lambda: thread.participant.read(answered))

    def transfer_leadership(self, target: str | None = None) -> bool:
        """Let *target*, or whoever has most of the log, take over; return whether this node stopped leading in time."""
        thread = self._running()
        if not self.standing().leads or len(self._members) == 1:
            return False
        until = self._monotonic() + TRANSFER_WITHIN_S
        thread.call(lambda: thread.participant.transfer(target, until))
        while self.standing().leads and self._monotonic() < until and not thread.over.is_set():
            thread.over.wait(0.005)
        return not self.standing().leads

    # --- where it stands, from any thread ---

    def standing(self) -> Standing:
        """Return where this node stands."""
        thread = self._running()
        standing = thread.participant.standing()
        return replace(standing, leads=False, leader=None) if thread.over.is_set() else standing

    def silent_for_s(self) -> dict[str, float]:
        """Return, for every other node, the seconds since its last message (infinite when there was none)."""
        now = self._monotonic()
        return {peer.name: now - peer.heard_at for peer in self._running().participant.peers.values()}

    def behind(self) -> dict[str, int]:
        """Return how many entries every other node is not known to have; empty when this node does not lead."""
        return self._running().participant.behind()

    def figures(self) -> Figures:
        """Return what the log can be measured by at this moment."""
        return self._running().figures()

    def troubles(self) -> list[tuple[str, str]]:
        """Return what keeps this node from taking its full part: codes and sentences."""
        thread = self._running()
        found = []
        if thread.participant.has_no_room:
            found.append(
                ("disk-full", f"the disk of {self._folder} is full; nothing new is accepted until there is room")
            )
        waits_for = thread.participant.waits_for()
        if waits_for:
            found.append(("no-majority" if thread.participant.identity.counts else "no-member-yet", waits_for))
        return [*found, *(("no-link", why) for _, why in sorted(thread.refused.items()))]

    def _running(self) -> LogThread:
        assert self._thread is not None, "the log has not been started"
        return self._thread


class _Machine:
    """What the participant applies to."""

    def __init__(self, apply: Callable[[bytes, int], object], rows: Rows | None) -> None:
        self.apply = apply
        self._rows = rows

    def size(self) -> int | None:
        return None if self._rows is None else self._rows.size()

    def freeze(self) -> Iterable[bytes]:
        assert self._rows is not None
        return self._rows.freeze()

    def restore(self, chunks: Iterable[bytes], index: int) -> None:
        assert self._rows is not None, "there is a snapshot, and nothing to load it into"
        self._rows.restore(chunks, index)


def _introduce(identity: Identity) -> Self:
    return Self(identity.cluster, identity.known_cluster_id, identity.node, identity.incarnation)


def _require_loopback(member: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConsensusError(f"raft.members: {member}={address} is not host:port")
    try:
        loopback = host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConsensusError(
            f"raft.members: {member}={address} is not a loopback address; this version's log is neither "
            "encrypted nor authenticated and works on 127.0.0.0/8 only"
        )
