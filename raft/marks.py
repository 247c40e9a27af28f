"""Whether this node's table is still the leader's: fingerprints at some indexes, compared by way of the log.

The same entries make the same table on every node, so a difference is damaged memory or a bug of ours. It is found
within seconds, named, and stops the node: whoever went on would decide by a table that no other node has.
"""

from collections import OrderedDict

from raftsman.raft.commands import Checkpoint

MARK_EVERY = 64
"""A fingerprint is kept of every so manieth entry: the sender and the receiver must have one of the same."""
MARKS = 1024
"""65,536 entries: a checkpoint is applied long before so many others are."""


class Marks:
    """The newest fingerprints of one table."""

    def __init__(self) -> None:
        self._hashes: OrderedDict[int, str] = OrderedDict()

    def applied(self, index: int, state_hash: str) -> None:
        """Take note of the table after entry *index*, a multiple of ``MARK_EVERY``."""
        self._hashes[index] = state_hash
        if len(self._hashes) > MARKS:
            self._hashes.popitem(last=False)

    def checkpoint(self) -> Checkpoint | None:
        """Return the newest mark, for the others to compare with; None when there is none."""
        if not self._hashes:
            return None
        index = next(reversed(self._hashes))
        return Checkpoint(index=index, state_hash=self._hashes[index])

    def difference(self, checkpoint: Checkpoint) -> str:
        """Return how the table differs from the one that *checkpoint* tells of; "": not, or not so that it shows."""
        mine = self._hashes.get(checkpoint.index)
        if mine is None or mine == checkpoint.state_hash:
            return ""
        return (
            f"after entry {checkpoint.index} of the log this node's table has the hash {mine}, "
            f"the leader's had {checkpoint.state_hash}"
        )
