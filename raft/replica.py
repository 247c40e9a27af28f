"""What the rest of raftsman uses of the log: propose a command, read the table, wait until it is up to date.

Every node has one ``Replica``: the consensus below it, the table above it. Proposals may be made on any
node; followers hand them to the leader over the log's own connections. ``consensus`` says how entries
travel, ``table`` what they do.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from raftsman.raft import codec
from raftsman.raft.commands import Accepted, Checkpoint, Command, Entry, Refused, Verdict
from raftsman.raft.consensus import Answer, Consensus, Standing
from raftsman.raft.figures import Figures
from raftsman.raft.marks import MARK_EVERY, Marks
from raftsman.raft.records import Change, Instant
from raftsman.raft.table import TaskTable
from raftsman.raft.tablecodec import pack_table, unpack_table

log = logging.getLogger(__name__)

T = TypeVar("T")

PROPOSAL_DEADLINE_S = 5.0
"""Eight election timeouts: whoever has not heard by then is told that the outcome is unknown."""
REPEAT_EVERY_S = 0.05
"""Between two proposals of the same command: an election takes several of these."""
MAX_PROPOSALS = 20_000
"""Proposals waiting at a time: a bound for memory when the log stands still."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The command is committed, and this node has applied it; entry *index* was the first that carried it."""

    verdict: Verdict
    index: int


@dataclass(frozen=True, slots=True)
class NotLeader:
    """The command is certainly not in the log: no leader is known, or the one asked did not lead. *hint*: who may."""

    hint: str | None


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The command is certainly not in the log: the disk of the node that was to accept it is full."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The command may be in the log, or come into it: repeat it under the same id (its own, or the task's)."""


Outcome = Applied | NotLeader | NoRoom | Unknown
_Answered = tuple[Answer, tuple[Verdict, int] | None]


def _settle(waiter: "asyncio.Future[T]", answered: T) -> None:
    if not waiter.done():  # Its deadline may have passed meanwhile.
        waiter.set_result(answered)


class Replica:
    """The table of this node, and the way to change it.

    *on_applied* is called after every entry, with its index and the visible changes, on the log's thread; *on_restored*
    there with the last index that a snapshot took the place of; *on_committed* with the seconds from each proposal made
    here to its application.
    """

    def __init__(
        self,
        *,
        now: Callable[[], Instant],
        new_id: Callable[[], str],
        on_applied: Callable[[int, tuple[Change, ...]], None],
        on_restored: Callable[[int], None] = lambda _index: None,
        on_committed: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._now = now
        self._new_id = new_id
        self._on_applied = on_applied
        self._on_restored = on_restored
        self._on_committed = on_committed
        self._table = TaskTable()
        self._lock = threading.Lock()
        self._consensus: Consensus | None = None
        self._marks = Marks()
        self._waiting = 0
        self.apply_errors = 0
        """Entries that this program could not apply: always a bug, never retried."""
        self.broken = ""
        """Why this node must not go on, "" while all is well: the log holds what this program does not know, or its
        table is not the leader's."""

    async def start(self, consensus: Consensus) -> None:
        """Start *consensus*, which was given ``apply``; returns when the node listens. Raises ConsensusError."""
        self._consensus = consensus
        await asyncio.to_thread(consensus.start)

    async def stop(self) -> None:
        """Leave the cluster's conversation; the disk keeps what it has."""
        if self._consensus is not None:
            await asyncio.to_thread(self._consensus.stop)

    def apply(self, raw: bytes, index: int) -> tuple[Verdict, int]:
        """Apply one committed entry. Called by the consensus, on its thread."""
        with self._lock:
            verdict, first, changes = self._apply_guarded(raw, index)
        self._on_applied(index, changes)
        return verdict, first

    def _apply_guarded(self, raw: bytes, index: int) -> tuple[Verdict, int, tuple[Change, ...]]:
        """Apply the entry, or refuse it: nothing that an entry holds may stop the log's thread."""
        if self.broken:  # What follows an entry that was not understood would make another table of ours.
            return Refused(code="broken", detail=self.broken), index, ()
        try:
            entry = codec.decode(raw)
            codec.require_known(entry)
            verdict, changes = self._table.apply(entry, index)
            self._compare(entry)
            return verdict, self._table.first_index(entry), changes
        except codec.UnknownFormat as error:
            self.broken = f"entry {index} of the log: {error}; start a newer raftsman on this node"
            log.critical("%s", self.broken)
            return Refused(code="unknown-format", detail=str(error)), index, ()
        except Exception:  # A bug of ours would meet the same entry again for ever; rules change nothing themselves.
            self.apply_errors += 1
            log.exception("entry %d of the log could not be applied", index)
            return Refused(code="internal", detail="the command could not be applied; see the node's log"), index, ()

    def _compare(self, entry: Entry) -> None:
        if self._table.index % MARK_EVERY == 0:
            self._marks.applied(self._table.index, self._table.state_hash)
        if not isinstance(entry.command, Checkpoint):
            return
        difference = self._marks.difference(entry.command)
        if difference:
            advice = "keep its data directory for a report, and start the node again on an empty one"
            self.broken = f"{difference}: memory was damaged, or this is a bug of raftsman; {advice}"
            log.critical("%s", self.broken)

    def checkpoint(self) -> Checkpoint | None:
        """Return the command that lets every node compare its table with this one; None when there is nothing yet."""
        with self._lock:
            return self._marks.checkpoint()

    # --- changes ---

    async def propose(
        self,
        command: Command,
        *,
        principal: str = "",
        command_id: str = "",
        deadline_s: float = PROPOSAL_DEADLINE_S,
    ) -> Outcome:
        """Propose *command*, stamped with this node's clock, and wait until it is applied here.

        What became of it may stay open, as when the leader dies: then it is proposed again under the same id, which
        the table carries out once. *command_id* is for whoever repeats it at several nodes; "": a new one.
        """
        if self._waiting >= MAX_PROPOSALS:
            return NotLeader(self.standing().leader)
        command_id = command_id or self.new_command_id()
        raw = codec.encode(Entry(command_id=command_id, command=command, at=self._now(), principal=principal))
        self._waiting += 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(deadline_s):
                answer, result = await self._until_known(raw)
        except TimeoutError:
            return Unknown()
        finally:
            self._waiting -= 1
        if self.broken:  # Whatever this table said to the command, the others may have said something else.
            return Unknown()
        if answer is Answer.APPLIED:
            self._on_committed(loop.time() - began)
        return self._outcome(answer, result)

    def new_command_id(self) -> str:
        """Return an id that no command has."""
        return self._new_id()

    async def _until_known(self, raw: bytes) -> _Answered:
        in_doubt = False
        while True:
            answer, result = await self._proposed(raw)
            in_doubt = in_doubt or answer is Answer.UNKNOWN
            if answer is Answer.APPLIED or not in_doubt:  # In doubt, "not this time" says nothing of the time before.
                return answer, result
            await asyncio.sleep(REPEAT_EVERY_S)

    async def _proposed(self, raw: bytes) -> _Answered:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[_Answered] = loop.create_future()

        def answered(answer: Answer, result: tuple[Verdict, int] | None) -> None:
            with suppress(RuntimeError):  # The event loop may be closed already.
                loop.call_soon_threadsafe(_settle, waiter, (answer, result))

        self._running().propose(raw, answered)
        return await waiter

    def _outcome(self, answer: Answer, result: tuple[Verdict, int] | None) -> Outcome:
        match answer:
            case Answer.APPLIED:
                assert result is not None
                return Applied(*result)
            case Answer.NOT_LEADER:
                return NotLeader(self.standing().leader)
            case Answer.DISK_FULL:
                return NoRoom()
            case Answer.UNKNOWN:
                return Unknown()

    async def barrier(self, deadline_s: float = PROPOSAL_DEADLINE_S, *, leader_wait_s: float = 0.0) -> Outcome:
        """Wait until this node has applied everything that was committed before the call: a consistent read follows.

        It adds nothing to the log: the leader asks a majority whether it still leads. While nobody leads, one is waited
        for *leader_wait_s*.
        """
        if self._waiting >= MAX_PROPOSALS:
            return NotLeader(self.standing().leader)
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline_s):
                answer, index = await self._asked_until_led(leader_wait_s)
        except TimeoutError:
            return Unknown()
        finally:
            self._waiting -= 1
        if self.broken:  # This table stands still, whatever index the log has come to.
            return Unknown()
        return self._outcome(answer, None if index is None else (Accepted(), index))

    async def _asked_until_led(self, wait_s: float) -> tuple[Answer, int | None]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            answer, index = await self._asked()
            if answer is not Answer.NOT_LEADER or loop.time() >= until:
                return answer, index
            await asyncio.sleep(REPEAT_EVERY_S)

    async def _asked(self) -> tuple[Answer, int | None]:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[tuple[Answer, int | None]] = loop.create_future()

        def answered(answer: Answer, index: int | None) -> None:
            with suppress(RuntimeError):  # The event loop may be closed already.
                loop.call_soon_threadsafe(_settle, waiter, (answer, index))

        self._running().read(answered)
        return await waiter

    async def transfer_leadership(self, target: str | None = None) -> bool:
        """Hand leadership over if this node leads, to *target* or to whoever has most; return whether it did."""
        return await asyncio.to_thread(self._running().transfer_leadership, target)

    # --- snapshots, on the log's thread ---

    def size(self) -> int:
        """Return how many rows the table has."""
        return self.read(lambda table: len(table.live) + len(table.ended) + len(table.members))

    def freeze(self) -> Iterable[bytes]:
        """Return the table of this moment in chunks, packed while they are read."""
        return pack_table(self.copy())

    def restore(self, chunks: Iterable[bytes], index: int) -> None:
        """Put the table that ``freeze`` gave after entry *index* in the place of this one."""
        table = unpack_table(chunks)
        with self._lock:
            self._table = table
            self._marks = Marks()
        self._on_restored(index)

    # --- reads ---

    def read(self, look: Callable[[TaskTable], T]) -> T:
        """Return ``look(table)``. It must be quick and keep nothing but rows: the log waits meanwhile."""
        with self._lock:
            return look(self._table)

    def copy(self) -> TaskTable:
        """Return a copy of the table, for work that takes longer than a look."""
        return self.read(TaskTable.copy)

    def standing(self) -> Standing:
        """Return who leads, the term and the indexes."""
        return self._running().standing()

    def behind(self) -> dict[str, int]:
        """Return how many entries every other node is not known to have; empty when this node does not lead."""
        return self._running().behind()

    def figures(self) -> Figures:
        """Return what the log can be measured by at this moment."""
        return self._running().figures()

    def troubles(self) -> list[tuple[str, str]]:
        """Return what keeps this node from taking its full part in the log: codes and sentences."""
        return self._running().troubles()

    def silent_for_s(self) -> dict[str, float]:
        """Return how many seconds each other node has been silent."""
        return self._running().silent_for_s()

    def _running(self) -> Consensus:
        assert self._consensus is not None, "the replica has not been started"
        return self._consensus
