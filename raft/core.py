"""The only file that touches pysyncobj's inside: its election timer, terms, votes, matching and commit, and no more.

Everything that the stock library does around them is replaced through ports: clock, randomness, journal, the way
out. ``participant`` repairs what goes in and comes out; nothing here knows threads, sockets or the table. The names
used are checked when this module is imported, and pysyncobj's version is pinned: an upgrade is a decision.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn
from zlib import crc32

import pysyncobj.syncobj as stock
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raftsman.raft.journal import CoreJournal

REGULAR, NO_OP = 0, 1
"""pysyncobj's first byte of a command. The others change members and versions by pickles, and are refused."""
_REGULAR = bytes([REGULAR])
BATCH_BYTES = 1 << 20
HEARTBEAT_S = 0.05
APPLIED_PER_TICK = 10_000
APPLIED_AT_A_TIME = 10
APPLYING_S = HEARTBEAT_S / 2
"""So that replaying a long log does not silence the heartbeats: so many, or for so long, looked at after each few."""

_METHODS = (
    "_getLeader",
    "_onTick",
    "doTick",
    "transferLeadership",
    "_SyncObj__applyLogEntries",
    "_SyncObj__connectedToAnyone",
    "_SyncObj__doApplyCommand",
    "_SyncObj__parseChangeClusterRequest",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
    "_SyncObj__tryLogCompaction",
)
_FIELDS = (
    "_SyncObj__connectedNodes",
    "_SyncObj__newAppendEntriesTime",
    "_SyncObj__raftCommitIndex",
    "_SyncObj__raftLastApplied",
    "_SyncObj__raftLeader",
    "_SyncObj__raftMatchIndex",
    "_SyncObj__raftNextIndex",
    "_SyncObj__raftState",
    "_SyncObj__transferInProgress",
)
_GLOBALS = ("monotonicTime", "random", "pickle", "createJournal", "createPoller", "Serializer")
_CALLBACKS = ("_onMessageReceived", "_onNodeConnected", "_onNodeDisconnected")


def missing_names() -> list[str]:
    """Return what this file uses and the installed pysyncobj does not have."""
    methods = [each for each in vars(SyncObj).values() if hasattr(each, "__code__")]
    fields = {name for method in methods for name in method.__code__.co_names}
    return [
        *(name for name in _METHODS if not hasattr(SyncObj, name)),
        *(name for name in _FIELDS if name not in fields),
        *(name for name in _GLOBALS if not hasattr(stock, name)),
        *(name for name in _CALLBACKS if not hasattr(Transport, name)),
    ]


_FOLLOWER, _CANDIDATE, _LEADER = (
    stock._RAFT_STATE.FOLLOWER,  # noqa: SLF001 — the core has no other.
    stock._RAFT_STATE.CANDIDATE,  # noqa: SLF001 — the core has no other.
    stock._RAFT_STATE.LEADER,  # noqa: SLF001 — the core has no other.
)

if missing_names():
    raise ImportError(f"this is not the pysyncobj that raftsman was made for: it lacks {', '.join(missing_names())}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorePorts:
    """What the core needs from outside, all of it called on the thread that ticks it."""

    clock: Callable[[], float]
    random: Callable[[], float]
    journal: CoreJournal
    send: Callable[[str, Mapping[str, Any]], None]
    may_stand: Callable[[], bool]
    """Asked when the election timer has run out, each tick until it agrees."""
    apply: Callable[[bytes, int], None]
    """A committed command and its index."""


_PORTS: ContextVar[CorePorts] = ContextVar("ports")
"""The ports of the core that works on this thread: pysyncobj's own are globals of its module."""


class _Random:
    """Stands in for the module ``random``."""

    @staticmethod
    def random() -> float:
        return _PORTS.get().random()


class _NoPickle:
    """Stands in for the module ``pickle``: whoever reaches it is a bug."""

    @staticmethod
    def loads(*_: object) -> NoReturn:
        raise AssertionError("pysyncobj tried to read a pickle")

    @staticmethod
    def dumps(*_: object) -> NoReturn:
        raise AssertionError("pysyncobj tried to write a pickle")


class _NoPoller:
    """Stands in for pysyncobj's poller: the caller of ``tick`` has its own loop."""

    def poll(self, _timeout_s: float) -> None:
        """Wait for nothing."""


class _NoSerializer:
    """Stands in for pysyncobj's dumps: snapshots are sent by ``participant``."""

    def __init__(self, *_: object) -> None: ...

    def cancelTransmisstion(self, _node: Node) -> None:  # noqa: N802 — the core's name.
        """Forget nothing; the name is pysyncobj's."""

    def getTransmissionData(self, _node: Node) -> NoReturn:  # noqa: N802 — the core's name.
        """Fail: a peer that needs a snapshot is muted before the core sends."""
        raise AssertionError("pysyncobj tried to send a dump")


def _take_over(module: Any) -> None:
    module.monotonicTime = lambda: _PORTS.get().clock()
    module.random = _Random
    module.pickle = _NoPickle
    module.createJournal = lambda _file: _PORTS.get().journal
    module.createPoller = lambda _kind: _NoPoller()
    module.Serializer = _NoSerializer


_take_over(stock)


class _Member(Node):
    """A node by its name; its hash does not change from process to process, so neither does the order of sending."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._hash = crc32(name.encode())

    def __hash__(self) -> int:
        return self._hash


class _Outlet(Transport):
    """What the core takes for its network."""

    def __init__(self, send: Callable[[str, Mapping[str, Any]], None]) -> None:
        super().__init__(None, None, [])
        self._hand_over = send

    def send(self, node: Node, message: Mapping[str, Any]) -> bool:
        self._hand_over(node.id, message)
        return True

    def destroy(self) -> None:
        """Close nothing."""


class Core(SyncObj):
    """pysyncobj, driven by ``tick``, fed by ``deliver``. Not thread-safe."""

    def __init__(
        self, name: str, others: Sequence[str], *, election_timeout_s: tuple[float, float], ports: CorePorts
    ) -> None:
        low_s, high_s = election_timeout_s
        conf = SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=True,
            appendEntriesPeriod=min(HEARTBEAT_S, low_s / 6),
            appendEntriesBatchSizeBytes=BATCH_BYTES,
            raftMinTimeout=low_s,
            raftMaxTimeout=high_s,
            leaderFallbackTimeout=high_s,  # Check-quorum: stock's 30 s let a cut-off leader believe in itself.
            commandsWaitLeader=False,
            commandsQueueSize=0,  # Ours is bounded.
            dynamicMembershipChange=False,
        )
        self._members = {each: _Member(each) for each in others}
        self._ports = ports
        self._outlet = _Outlet(ports.send)
        self._committed = 0  # While entries are applied: stock applies up to its commit index, so that is lowered.
        _PORTS.set(ports)
        super().__init__(_Member(name), list(self._members.values()), conf, transport=self._outlet)

    # --- driving it ---

    def tick(self) -> None:
        """Let time pass: stand, commit, apply, send."""
        _PORTS.set(self._ports)
        self.doTick(0)

    def deliver(self, peer: str, message: Mapping[str, Any]) -> None:
        """Hand the core a message of *peer*."""
        _PORTS.set(self._ports)
        self._outlet._onMessageReceived(self._members[peer], message)  # noqa: SLF001 — the core has no other.

    def connect(self, peer: str, *, connected: bool) -> None:
        """Say whether the core should send to *peer*."""
        tell = self._outlet._onNodeConnected if connected else self._outlet._onNodeDisconnected  # noqa: SLF001 — the core has no other.
        tell(self._members[peer])

    def append(self, commands: Sequence[bytes]) -> None:
        """Put commands behind the log, all of them. Only a leader may.

        The core's own queue is not used: it stops taking from it when a heartbeat's time has passed, so that a process
        that was stopped for a moment would leave the command there, and take the entry before for it.
        """
        assert self.leads
        journal = self._ports.journal
        for index, command in enumerate(commands, journal.journal.last_index + 1):
            journal.add(_REGULAR + command, index, self.term)

    def send_now(self) -> None:
        """Let the next tick send to every connected peer."""
        self._SyncObj__newAppendEntriesTime = 0.0

    def step_down(self, term: int) -> None:
        """Be a follower in *term* (or in the current one, if that is later)."""
        _PORTS.set(self._ports)
        if term > self.term:
            self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(_FOLLOWER)
        self._SyncObj__raftLeader = None

    def forget_transfer(self) -> None:
        """Let a leader's heartbeats count again: what asked this node to take over is history."""
        self._SyncObj__transferInProgress = False

    def vote_in(self, term: int, candidate: str | None) -> None:
        """Be in *term*, with the vote given to *candidate*."""
        self._SyncObj__setCurrentTerm(term, candidate)

    def skip_to(self, index: int) -> None:
        """Take everything up to *index* for committed and applied: a snapshot of it has been loaded."""
        self._SyncObj__raftLastApplied = index
        if self.commit_index < index:
            self._SyncObj__raftCommitIndex = index
            self._ports.journal.setRaftCommitIndex(index)

    # --- where it stands ---

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader."""
        return bool(self._SyncObj__raftState == _LEADER)

    @property
    def stands(self) -> bool:
        """Whether it is a candidate."""
        return bool(self._SyncObj__raftState == _CANDIDATE)

    @property
    def leader(self) -> str | None:
        """The last leader that it knows of, itself included."""
        leader = self._getLeader()
        return None if leader is None else str(leader.id)

    @property
    def term(self) -> int:
        """The current term."""
        return self.raftCurrentTerm

    @property
    def commit_index(self) -> int:
        """The highest index that it knows to be committed."""
        return max(self.raftCommitIndex, self._committed)

    @property
    def applied_index(self) -> int:
        """The highest index that it has applied."""
        return self.raftLastApplied

    def next_index(self, peer: str) -> int:
        """Return the index that *peer* gets next (a leader's)."""
        return int(self._SyncObj__raftNextIndex[self._members[peer]])

    def set_next_index(self, peer: str, index: int) -> None:
        """Change the index that *peer* gets next."""
        self._SyncObj__raftNextIndex[self._members[peer]] = index

    def match_index(self, peer: str) -> int:
        """Return up to where *peer* is known to have this log (a leader's)."""
        # A new leader says that it leads before it knows of anybody; others ask from their threads.
        return int(self._SyncObj__raftMatchIndex.get(self._members[peer], 0))

    def forget_match(self, peer: str) -> None:
        """Count nothing for *peer* until it says again what it has."""
        if self.leads:
            self._SyncObj__raftMatchIndex[self._members[peer]] = 0

    # --- what is replaced inside ---

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802 — the core's name.
        committed, applied = self.commit_index, self.applied_index
        if committed <= applied:
            return False
        last, ends_at = min(committed, applied + APPLIED_PER_TICK), self._ports.clock() + APPLYING_S
        self._committed = committed
        try:
            for index in range(applied, last, APPLIED_AT_A_TIME):
                self._SyncObj__raftCommitIndex = min(last, index + APPLIED_AT_A_TIME)
                super()._SyncObj__applyLogEntries()
                if self._ports.clock() >= ends_at:
                    break
        finally:
            self._SyncObj__raftCommitIndex, self._committed = committed, 0
        return False  # Stock sends at once where it does not batch.

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:  # noqa: N802 — the core's name.
        self._ports.apply(command, self.applied_index + 1)

    def _SyncObj__parseChangeClusterRequest(self, _command: bytes) -> None:  # noqa: N802 — the core's name.
        """Find no change of members in a command: stock unpickles them."""

    def _SyncObj__connectedToAnyone(self) -> bool:  # noqa: N802 — the core's name.
        """Decide whether an election may begin: it is the last thing that stock asks before one does."""
        return self._ports.may_stand()

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802 — the core's name.
        """Compact nothing here: ``participant`` says when."""
