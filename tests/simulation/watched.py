"""The product's journal and state machine, with somebody who looks on."""

from collections.abc import Iterable

from raftsman.raft.journal import Journal
from raftsman.raft.replica import Replica
from tests.simulation.checks import Checks

ENTRIES_OF_A_SNAPSHOT = 2
ROWS_TOLD = 8
"""Compaction waits for as many entries as there are rows; a short run cannot."""


def watched_journal(kind: type[Journal], node: str, directory: str, checks: Checks) -> type[Journal]:
    """Return *kind*, which tells *checks* of every entry that comes and goes."""

    class Watched(kind):  # type: ignore[misc,valid-type]
        _replaced: dict[int, int] | None = None
        """The terms of the entries in whose place a snapshot is coming, until its last two entries are there."""

        def append(self, command: bytes, index: int, term: int) -> None:
            super().append(command, index, term)
            checks.appended(node, self, command, index, term)
            if self._replaced is not None and len(self.held) == ENTRIES_OF_A_SNAPSHOT:
                if self._replaced.get(index) != term:  # It contradicts what was held: a later leader takes that back.
                    checks.truncated(directory, index + 1)
                self._replaced = None

        def reset(self, base_index: int, base_term: int) -> None:
            self._replaced = {index: term for _, index, term in self.held}
            super().reset(base_index, base_term)

        def truncate(self, index: int) -> None:
            super().truncate(index)
            checks.truncated(directory, index)

    return Watched


class Machine:
    """What a participant applies to: the product's replica and its table."""

    def __init__(self, node: str, replica: Replica, checks: Checks) -> None:
        self._node = node
        self._replica = replica
        self._checks = checks

    def apply(self, command: bytes, index: int) -> object:
        """Apply one entry."""
        result = self._replica.apply(command, index)
        self._replica.read(lambda table: self._checks.executed(self._node, index, command, table))
        return result

    def size(self) -> int:
        """Return fewer rows than there are."""
        return self._replica.size() // ROWS_TOLD

    def freeze(self) -> Iterable[bytes]:
        """Return the table in chunks."""
        return self._replica.freeze()

    def restore(self, chunks: Iterable[bytes], index: int) -> None:
        """Take another table."""
        self._replica.restore(chunks, index)
        self._replica.read(lambda table: self._checks.restored(self._node, index, table))
