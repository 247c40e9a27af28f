"""The product's parts that a simulated node is made of, so that a test can put one without a repair in its place."""

from dataclasses import dataclass
from random import Random

from raftsman.raft.elections import Elections
from raftsman.raft.journal import Journal
from raftsman.raft.participant import Participant
from raftsman.raft.peers import Rules
from raftsman.raft.replica import Replica
from raftsman.raft.snapshots import SnapshotStore
from raftsman.raft.waiting import Waiting
from tests.harness.simulated_disk import SimulatedDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which class plays which part; the defaults are the product."""

    rules: type[Rules] = Rules
    elections: type[Elections] = Elections
    participant: type[Participant] = Participant
    waiting: type[Waiting] = Waiting
    journal: type[Journal] = Journal
    snapshots: type[SnapshotStore] = SnapshotStore
    replica: type[Replica] = Replica
    disk: type[SimulatedDisk] = SimulatedDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is made small, so that a short run meets it often."""

    segment_bytes: int
    keep_behind: int
    compact_entries: int
    transfer_bytes: int
    beat_s: float
    tick_s: float
    """How soon a tick follows what calls for it: what comes in meanwhile is taken together."""
    sync_s: float

    @classmethod
    def drawn(cls, random: Random) -> "Sizes":
        """Return sizes by chance."""
        return cls(
            segment_bytes=random.choice((4 << 10, 4 << 10, 16 << 10, 64 << 10)),
            keep_behind=random.choice((2, 10, 50)),
            compact_entries=random.choice((15, 40, 100)),
            transfer_bytes=random.choice((700, 4 << 10, 64 << 10)),
            beat_s=random.choice((0.02, 0.03, 0.04)),
            tick_s=random.choice((0.0002, 0.002, 0.006)),
            sync_s=random.choice((0.0001, 0.001, 0.004)),
        )
