"""What an operator reads in a node's log about the cluster: who leads, who is lost, and what this node waits for.

Pure: it is told how things stand, again and again, and returns the lines that are news. ``leader`` looks and logs.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from raftsman.raft.figures import Standing

Line = tuple[int, str]
"""A level of ``logging``, and the words."""

WORTH_TELLING_S = 2.0
"""A founding or an election that goes well takes less, and what it waits for meanwhile is no news."""


@dataclass(slots=True)
class Story:
    """What has been told of one node."""

    node: str
    _leader: tuple[str, int] | None = None  # And the term.
    _obstacle: str = ""
    _obstacle_since: float = 0.0
    _obstacle_told: str = ""
    _lost: frozenset[str] = field(default_factory=frozenset)

    def standing(self, now: float, standing: Standing, *, waits_for: str, silent: Iterable[str]) -> list[Line]:
        """Return what is new about the leader. *waits_for*: why this node cannot take its part, "" when it does.

        *silent*: the other nodes that have not been heard of. *now*: seconds of a clock that only goes on.
        """
        lines = self._hindered(now, standing, waits_for, sorted(silent))
        leader = None if standing.leader is None else (standing.leader, standing.term)
        if leader is not None and leader != self._leader:
            who = "this node" if standing.leads else standing.leader
            lines.append((logging.INFO, f"{who} leads, term {standing.term}"))
            self._leader = leader
        return lines

    def _hindered(self, now: float, standing: Standing, waits_for: str, silent: list[str]) -> list[Line]:
        obstacle = waits_for
        if not waits_for and standing.leader is None:
            obstacle = f"no leader is known: nothing can be accepted; silent: {', '.join(silent) or 'nobody'}"
        if obstacle != self._obstacle:
            self._obstacle, self._obstacle_since = obstacle, now
        if now - self._obstacle_since < WORTH_TELLING_S or obstacle == self._obstacle_told:
            return []
        self._obstacle_told = obstacle
        if not obstacle:
            return []
        self._leader = None  # Whoever leads afterwards is news, also when it is the same.
        return [(logging.WARNING, f"{self.node} waits: {waits_for}" if waits_for else obstacle)]

    def members(self, lost: Iterable[str]) -> list[Line]:
        """Return who has been lost, and who is back; told by the leader, of the table, but for itself."""
        before, self._lost = self._lost, frozenset(lost) - {self.node}
        gone = [(logging.WARNING, f"{node} is lost: it does not answer the leader") for node in self._lost - before]
        back = [(logging.INFO, f"{node} is back") for node in before - self._lost]
        return sorted(gone) + sorted(back)
