"""How a node becomes a member that counts: it founds the cluster with the others, or joins them with an empty disk.

What is decided is ``founding``'s; here it is told to the others, carried out on the core, and made durable.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from raftsman.raft.conversation import Conversation
from raftsman.raft.founding import ACCEPTED, JOINING, MEMBER, Identity, advance, waits_for
from raftsman.raft.messages import Noted, Status
from raftsman.raft.peers import Peer

log = logging.getLogger(__name__)

_NEWS = {
    ACCEPTED: "founds a cluster with the other members: all have come",
    JOINING: "joins a cluster that there is already, with an empty directory: it counts when it has caught up",
    MEMBER: "counts as a member now",
}


@dataclass(slots=True)
class Joining:
    """This node's identity, and what the others say of theirs."""

    talk: Conversation
    identity: Identity
    save: Callable[[Identity], None]
    _statuses: dict[str, Status] = field(default_factory=dict)
    _noted: dict[str, int] = field(default_factory=dict)
    _disk_full: bool = False

    def waits_for(self) -> str:
        """Return what this node waits for before it can take its part, "" when it takes it. For any thread."""
        return waits_for(self.identity, self.talk.peers, dict(self._statuses), dict(self._noted))

    def status(self) -> Status:
        """Return what the others are told."""
        return self.identity.status(disk_full=self._disk_full)

    def tell_disk(self, *, full: bool) -> None:
        """Tell the others when this node's disk has become full, or has room again."""
        if full != self._disk_full:
            self._disk_full = full
            self._tell()

    # --- what the others say ---

    def on_status(self, peer: Peer, status: Status) -> None:
        """Note whether *peer* counts; if not, forget all that an earlier directory of it may have said."""
        if status.incarnation != peer.incarnation:
            self.talk.way.close(peer.name, "it speaks for another directory than its hello named")
            return
        self._statuses[peer.name] = status
        peer.counted, peer.disk_full = status.stage == MEMBER, status.disk_full
        if peer.counted:
            return
        core = self.talk.core
        core.forget_match(peer.name)
        if core.stands and self.talk.elections.has_voted(peer.name, core.term):
            core.step_down(core.term)
        self.talk.elections.forget_willing(peer.name)
        self.talk.held.append((peer.name, Noted(incarnation=status.incarnation, term=core.term)))

    def on_noted(self, peer: Peer, noted: Noted) -> None:
        """*peer* has forgotten what an earlier directory of this node said, at the latest in that term."""
        if noted.incarnation != self.identity.incarnation or self.identity.counts:
            return
        self._noted[peer.name] = max(noted.term, self._noted.get(peer.name, 0))
        self.talk.verified = None  # A leader may have counted the lost directory until now.
        if self.identity.stage == JOINING and self._is_noted_by_all() and self.talk.core.term < self._first_term():
            self.talk.core.step_down(self._first_term())

    def forget(self, peer: Peer) -> None:
        """The link to *peer* is gone; a new one begins with its status."""
        self._statuses.pop(peer.name, None)

    def repeat(self) -> None:
        """Tell everybody again, while this node waits for answers."""
        if not self.identity.counts:
            self._tell()

    # --- what follows ---

    def advance(self) -> None:
        """Go on with the founding as far as it goes. Raises DiskFull, DiskFailed."""
        if self.identity.counts:
            return
        while (after := advance(self.identity, self.talk.peers, self._statuses)) != self.identity:
            self._become(after)

    def join(self) -> None:
        """Count from now on, if this empty node has caught up; its log has just been synced. Raises as ``advance``."""
        seen = self.talk.verified
        if self.identity.stage != JOINING or seen is None or not self._is_noted_by_all():
            return
        leader, term, commit = seen
        core, status = self.talk.core, self._statuses.get(leader)
        if status is None or term != core.term or term < self._first_term():
            return
        if self.talk.journal.term_at(commit) != term:
            return  # The leader has committed nothing of its own term yet: what came before may still be open.
        core.vote_in(term, leader)  # The lost directory may have voted in this term.
        self._become(replace(self.identity, stage=MEMBER, cluster_id=status.cluster_id, founding=dict(status.founding)))

    def _is_noted_by_all(self) -> bool:
        return self._noted.keys() == self.talk.peers.keys()

    def _first_term(self) -> int:
        """Return the first term in which nothing that a lost directory of this node said can count."""
        return max(self._noted.values())

    def _become(self, identity: Identity) -> None:
        self.talk.journal.sync()  # A member whose journal is missing has lost it.
        self.save(identity)
        log.info("%s %s; its directory is %s", identity.node, _NEWS[identity.stage], identity.incarnation)
        self.identity = identity
        self.talk.counts = identity.counts
        self._tell()

    def _tell(self) -> None:
        for peer in self.talk.peers:
            self.talk.way.send(peer, self.status())
