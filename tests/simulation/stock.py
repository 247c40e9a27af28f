"""raftsman without single repairs: each behaves as the stock library does, and the simulation must find that out.

The subclasses exist for the tests only. Rules about single messages are taken out as in the tests of those rules.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from raftsman.raft import messages as m
from raftsman.raft.disk import DiskFile
from raftsman.raft.founding import MEMBER, NEW, Identity
from raftsman.raft.journal import Journal
from raftsman.raft.participant import Participant
from raftsman.raft.peers import LogView, Peer, Repaired, Rules
from raftsman.raft.replica import Replica
from raftsman.raft.waiting import Waiting
from tests.harness.simulated_disk import SimulatedDisk, SimulatedFile
from tests.simulation.parts import Parts


class _NeverSynced(SimulatedFile):
    def sync(self) -> None:
        """Return at once."""


class ForgetfulDisk(SimulatedDisk):
    """Nothing is ever synced."""

    def create(self, name: str) -> SimulatedFile:
        return _unsynced(super().create(name))

    def open(self, name: str, *, writable: bool = False) -> SimulatedFile:
        return _unsynced(super().open(name, writable=writable))


def _unsynced(file: SimulatedFile) -> SimulatedFile:
    file.__class__ = _NeverSynced
    return file


class ClearsItself(Journal):
    """A journal that is emptied at the start, unless it begins as the snapshot ends."""

    @classmethod
    def open(cls, *arguments: Any, snapshot_index: int = 0, **options: Any) -> Journal:
        journal = super().open(*arguments, snapshot_index=snapshot_index, **options)
        if snapshot_index and journal.first_index != snapshot_index - 1:
            journal.reset(snapshot_index - 2, 0)
        return journal


class TruncatesAlways(Rules):
    """Whatever lies behind ``prev_index`` goes, whether it conflicts or not."""

    def repair(self, _log: LogView, append: m.Append, _commit: int) -> Repaired:
        whole = [(command, append.prev_index + 1 + n, term) for n, (term, command) in enumerate(append.entries)]
        verified = append.prev_index + len(whole)
        return Repaired(
            prev_index=append.prev_index,
            prev_term=append.prev_term,
            commit=min(append.commit, verified),
            entries=whole,
            verified=verified,
        )


class TruncatesAndRepeats(TruncatesAlways):
    """Whatever lies behind an append that fits goes; whatever is under way is sent again."""

    def repair(self, log: LogView, append: m.Append, commit: int) -> Repaired:
        if log.term_at(append.prev_index) != append.prev_term or append.prev_index < log.first_index:
            return Rules.repair(self, log, append, commit)
        return super().repair(log, append, commit)

    def next_after_success(self, before: int, asked: int) -> int:
        return asked


class BelievesAnyCommit(Rules):
    """The leader's commit index counts, if only the log is long enough."""

    def commit_cap(self, leaders: int, verified: int, last_index: int) -> int:
        return min(leaders, last_index)


class CountsOldAcks(Rules):
    """An acknowledgement carries no term."""

    def is_of_term(self, answered: int, term: int) -> bool:
        return True


class ConfirmsItself(Rules):
    """A leader answers reads because it believes in itself."""

    def confirmed(self, peers: Iterable[Peer], seq: int, members: int) -> bool:
        return True


class RaisesInApply(Replica):
    """An exception in a command is nobody's business."""

    def apply(self, raw: bytes, index: int) -> Any:
        if b"forget" in raw:
            raise ValueError("a bug in a rule")
        return super().apply(raw, index)


class AnswersAnybody(Waiting):
    """Whoever waits at an index is told of what was applied there."""

    def applied(self, index: int, term: int | None, result: object) -> None:
        for each in self._commands.get(index, ()):
            each.term = term or 0
        super().applied(index, term, result)


class PromisesFirst(Participant):
    """Acknowledgements and votes leave before the sync."""

    def tick(self) -> None:
        sync = self._journal.sync

        def late(**options: Any) -> bool:
            self._send_held()
            return sync(**options)

        self._journal.sync = late  # type: ignore[method-assign]
        try:
            super().tick()
        finally:
            del self._journal.sync


class TrustsMemory(Journal):
    """What a start finds counts as durable."""

    @classmethod
    def open(cls, disk: Any, **options: Any) -> Journal:
        return super().open(_Lazy(disk), **options)


class _Lazy:
    """A disk on which a start secures nothing."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._is_new = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def open(self, name: str, *, writable: bool = False) -> DiskFile:
        file = self._disk.open(name, writable=writable)
        if writable and self._is_new:
            self._is_new = False
            sync = file.sync
            synced: list[bool] = []
            file.sync = lambda: sync() if synced else synced.append(True)  # type: ignore[method-assign]
        return file


def counts_when_empty() -> type[Participant]:
    """Return a participant for which an empty directory is as good as a full one, once there is a cluster."""
    known: list[Identity] = []

    class CountsWhenEmpty(Participant):
        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            identity = self.identity
            if identity.stage == NEW and known:
                founded = replace(known[0], node=identity.node, incarnation=identity.incarnation)
                self._joining._become(founded)

        def tick(self) -> None:
            super().tick()
            if self.identity.stage == MEMBER:
                known[:] = [self.identity]

    return CountsWhenEmpty


WITHOUT: dict[str, Callable[[], Parts]] = {
    "sync": lambda: Parts(disk=ForgetfulDisk),
    "what-a-start-secures": lambda: Parts(journal=TrustsMemory),
    "durable-before-visible": lambda: Parts(participant=PromisesFirst),
    "journal-kept-at-start": lambda: Parts(journal=ClearsItself),
    "overlap": lambda: Parts(rules=TruncatesAndRepeats),
    "commit-cap": lambda: Parts(rules=BelievesAnyCommit),
    "terms-of-acks": lambda: Parts(rules=CountsOldAcks),
    "errors-of-apply": lambda: Parts(replica=RaisesInApply),
    "answers-by-term": lambda: Parts(waiting=AnswersAnybody),
    "empty-nodes": lambda: Parts(participant=counts_when_empty()),
    "confirmed-reads": lambda: Parts(rules=ConfirmsItself),
}
"""Parts that lack one repair, by its name. A new value for each run: some remember."""
