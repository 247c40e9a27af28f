"""Leadership given away: the leader asks a follower that holds everything to stand at once.

It does so on request, and when its own disk has no room and a follower's has. Proposals wait meanwhile; what the asked
node does is ``elections``'.
"""

from dataclasses import dataclass

from raftsman.raft.conversation import Conversation
from raftsman.raft.messages import TimeoutNow
from raftsman.raft.peers import Peer

REPEAT_S = 0.1
FOR_ROOM_WITHIN_S = 1.0
FOR_ROOM_REST_S = 5.0
"""After an attempt that came to nothing: proposals that wait for nothing are better refused at once."""


@dataclass(slots=True)
class Handover:
    """One node's wish, if it has one, that another should lead."""

    talk: Conversation
    is_open: bool = False
    _target: str | None = None  # None: whoever is best.
    _until: float = 0.0
    _asked_at: float = float("-inf")
    _rests_until: float = float("-inf")

    def begin(self, target: str | None, until: float) -> None:
        """Hand leadership to *target*, or to whoever is best, before *until*; no effect on a node that leads not.

        The best has room on its disk and, among those, most of the log.
        """
        if self.talk.core.leads and not self.is_open:
            self.is_open, self._target, self._until, self._asked_at = True, target, until, float("-inf")

    def begin_for_room(self, now: float) -> None:
        """Hand leadership to the follower that has most among those with room on their disks, if there is one."""
        able = [peer for peer in self._counted() if not peer.disk_full]
        if self.talk.core.leads and able and not self.is_open and now >= self._rests_until:
            self.begin(self._best(able), now + FOR_ROOM_WITHIN_S)
            self._rests_until = now + FOR_ROOM_REST_S

    def _counted(self) -> list[Peer]:
        return [peer for peer in self.talk.peers.values() if peer.counted and peer.linked]

    def _best(self, peers: list[Peer]) -> str | None:
        best = max(peers, key=lambda peer: (not peer.disk_full, self.talk.core.match_index(peer.name)), default=None)
        return best.name if best else None

    def advance(self, now: float, leader: str | None) -> None:
        """Ask when it is time. *leader*: who leads as far as this node knows."""
        if not self.is_open:
            return
        talk, core = self.talk, self.talk.core
        if now >= self._until or leader not in (talk.name, None):
            self.is_open = False
            return
        if not core.leads:
            return  # It has worked, and whoever leads now will be heard of: proposals wait for that.
        counted = self._counted()
        target = self._target or self._best(counted)
        if target is None or target not in {peer.name for peer in counted}:
            self.is_open = False  # It is away: proposals would wait for nothing.
            return
        if now - self._asked_at >= REPEAT_S and core.match_index(target) == talk.journal.last_index:
            self._asked_at = now
            talk.way.send(target, TimeoutNow(term=core.term))
