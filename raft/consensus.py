"""The only file that touches pysyncobj: a replicated log of byte strings, driven by a thread of its own.

What stands behind it is stock: pysyncobj's TCP transport and its journal. Both exchange and trust pickles
and neither authenticates anybody, so nothing here listens or connects off loopback. Commands are bytes
(``codec``); what they mean is ``table``'s business, who waits for them is ``replica``'s.

The journal is never compacted: a node that starts replays all of it. Stock's compaction would keep a dump of
pysyncobj's own attributes, of which the table is none, and drop the entries.
"""

import fcntl
import ipaddress
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, SyncObjException

log = logging.getLogger(__name__)

TICK_S = 0.005
"""The longest pause between two looks at sockets and proposals: half of the period in which entries leave."""
APPEND_PERIOD_S = 0.01
CONNECTION_RETRY_S = 0.2
"""Stock waits 5 s, which is how long a cluster then needs to start."""
FALLBACK_S = 1.5
"""A leader that hears no majority for so long steps down (stock lets it believe in itself for 30 s), and a leader that
is silent for so long is none: stock goes on naming it for as long as nobody else can stand."""
BIND_RETRIES = 5
_REGULAR = 0  # pysyncobj's type byte of an ordinary command; everything else is its own.
_TRANSFER_WAIT_S = 2.0


class ConsensusError(Exception):
    """The log cannot start as it is configured; the text says what to change."""


class Answer(Enum):
    """How a proposal ended, as far as this node can know."""

    APPLIED = "applied"
    NOT_LEADER = "not-leader"  # Certainly not in the log.
    UNKNOWN = "unknown"  # Perhaps in the log, perhaps later.


_ANSWERS: dict[int, Answer] = {
    FAIL_REASON.SUCCESS: Answer.APPLIED,
    FAIL_REASON.QUEUE_FULL: Answer.NOT_LEADER,
    FAIL_REASON.MISSING_LEADER: Answer.NOT_LEADER,
    FAIL_REASON.NOT_LEADER: Answer.NOT_LEADER,
    FAIL_REASON.REQUEST_DENIED: Answer.NOT_LEADER,
    FAIL_REASON.DISCARDED: Answer.UNKNOWN,
    FAIL_REASON.LEADER_CHANGED: Answer.UNKNOWN,
    FAIL_REASON.UNKNOWN_OUTCOME: Answer.UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where this node stands in the cluster, at one moment."""

    leads: bool
    leader: str | None  # Node name.
    term: int
    commit_index: int
    applied_index: int


class Consensus:
    """One node's share of the replicated log.

    *members* maps node names to ``host:port``; *apply* is called with (bytes, index) for each committed
    command, in order, on the log's thread, and again for the whole journal after a restart.
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
    ) -> None:
        if name not in members:
            raise ConsensusError(
                f"raft.members does not list this node, {name!r}; it lists {', '.join(sorted(members))}"
            )
        for member, address in members.items():
            _require_loopback(member, address)
        self._members = {member: _bare(address) for member, address in members.items()}
        self._names = {address: member for member, address in self._members.items()}
        self._name = name
        self._journal = journal
        self._election_timeout_s = election_timeout_s
        self._apply = apply
        self._fallback_s = max(FALLBACK_S, election_timeout_s[1])
        self._monotonic = monotonic
        self._core: _Core | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._held = ExitStack()

    def start(self) -> None:
        """Open the journal, bind, and start the thread. Blocks for a moment; raises ConsensusError."""
        self._lock_journal()
        try:
            self._core = self._open()
        except SyncObjException as error:
            self._held.close()
            address = self._members[self._name]
            raise ConsensusError(f"cannot listen on raft.bind {address}: is another node running there?") from error
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)
        self._thread.start()

    def _lock_journal(self) -> None:
        """Keep other processes off the journal: two that write one file destroy it."""
        folder = self._journal.parent
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Ends with the process, however that ends.
        except OSError as error:
            os.close(lock)
            raise ConsensusError(f"another process uses {folder}: is this node running already?") from error
        self._held.callback(os.close, lock)

    def _open(self) -> "_Core":
        low_s, high_s = self._election_timeout_s
        address = self._members[self._name]
        conf = SyncObjConf(
            autoTick=False,
            bindAddress=address,  # Without it, stock listens on every address of the machine.
            journalFile=str(self._journal),
            fullDumpFile=None,  # No dump: stock clears the journal when it does not match the dump.
            appendEntriesUseBatch=True,  # Without it, stock sends entries twice.
            appendEntriesPeriod=APPEND_PERIOD_S,
            appendEntriesBatchSizeBytes=1 << 20,
            raftMinTimeout=low_s,
            raftMaxTimeout=high_s,
            leaderFallbackTimeout=self._fallback_s,
            connectionRetryTime=CONNECTION_RETRY_S,
            commandsWaitLeader=False,
            dynamicMembershipChange=False,
            maxBindRetries=BIND_RETRIES,
            bindRetryTime=0.2,
        )
        others = [address for member, address in self._members.items() if member != self._name]
        return _Core(address, others, conf, self._apply, self._monotonic)

    def _run(self) -> None:
        core = self._core
        assert core is not None
        while not self._stopping.is_set():
            try:
                core.doTick(TICK_S)
            except Exception:
                log.exception("the log's thread met an error and goes on")
                self._stopping.wait(TICK_S)
        core.destroy()

    def stop(self) -> None:
        """Close the log's connections and end its thread. Safe to call twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._held.close()

    def propose(self, command: bytes, answered: Callable[[Answer, Any], None]) -> None:
        """Hand a command to the leader, whoever it is; *answered* gets what ``apply`` returned, on the log's thread.

        Without a leader it is answered at once. It may never be called: stock loses about 1.6 % of the answers that a
        dying leader owed.
        """
        assert self._core is not None
        if self.standing().leader is None:
            answered(Answer.NOT_LEADER, None)
            return
        self._core._applyCommand(command, lambda result, reason: answered(_ANSWERS[reason], result), _REGULAR)  # noqa: SLF001

    def standing(self) -> Standing:
        """Return where this node stands. May be asked from any thread."""
        core = self._core
        assert core is not None
        return Standing(
            leads=core._isLeader(),  # noqa: SLF001
            leader=self._leader(core),
            term=core.raftCurrentTerm,
            commit_index=core.raftCommitIndex,
            applied_index=core.raftLastApplied,
        )

    def _leader(self, core: "_Core") -> str | None:
        if core._isLeader():  # noqa: SLF001
            return self._name
        leader = core._getLeader()  # noqa: SLF001
        if leader is None:
            return None
        silent_s = self._monotonic() - core.heard_at.get(leader.id, float("-inf"))
        return self._names.get(leader.id) if silent_s <= self._fallback_s else None

    def silent_for_s(self) -> dict[str, float]:
        """Return, for every other node, the seconds since its last message (infinite when there was none)."""
        assert self._core is not None
        now = self._monotonic()
        heard = self._core.heard_at
        return {
            member: now - heard[address] if address in heard else float("inf")
            for address, member in self._names.items()
            if member != self._name
        }

    def transfer_leadership(self) -> bool:
        """Ask the most caught-up follower to take over; return whether this node led and stopped leading in time."""
        core = self._core
        assert core is not None
        if not core._isLeader():  # noqa: SLF001
            return False
        deadline = self._monotonic() + _TRANSFER_WAIT_S
        while core._isLeader() and self._monotonic() < deadline:  # noqa: SLF001
            core.wants_transfer = True
            self._stopping.wait(0.05)
        return not core._isLeader()  # noqa: SLF001


class _Core(SyncObj):
    """pysyncobj with its pickled method calls taken out: a command is bytes, applied by a function."""

    def __init__(
        self,
        address: str,
        others: list[str],
        conf: SyncObjConf,
        apply: Callable[[bytes, int], object],
        monotonic: Callable[[], float],
    ) -> None:
        self._our_apply = apply
        self._our_monotonic = monotonic
        self.heard_at: dict[str, float] = {}
        self.wants_transfer = False
        super().__init__(address, others, conf)

    def doTick(self, timeToWait: float = 0.0) -> None:  # noqa: N802, N803
        if self.wants_transfer:  # On this thread, because pysyncobj's state belongs to it.
            self.wants_transfer = False
            self.transferLeadership()
        super().doTick(timeToWait)

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802
        """Keep every entry; see the module's docstring. Stock would begin after 300 s, or after 5,000 entries."""

    def _SyncObj__doApplyCommand(self, command: bytes) -> object:  # noqa: N802
        if command[0] != _REGULAR:
            return None
        return self._our_apply(bytes(command[1:]), self.raftLastApplied + 1)

    def _SyncObj__onMessageReceived(self, node: Any, message: dict[str, Any]) -> None:  # noqa: N802
        self.heard_at[node.id] = self._our_monotonic()
        super()._SyncObj__onMessageReceived(node, message)


def _bare(address: str) -> str:
    """Return *address* as pysyncobj splits it: an IPv6 host without its brackets."""
    return address.replace("[", "").replace("]", "")


def _require_loopback(member: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConsensusError(f"raft.members: {member}={address} is not host:port")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConsensusError(
            f"raft.members: {member}={address} is not a loopback address; this version's log is neither "
            "encrypted nor authenticated and works on 127.0.0.0/8 only"
        )
