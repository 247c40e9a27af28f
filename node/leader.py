"""The leader's loop: look at a copy of the table, ask ``scheduler`` what is due, propose it.

It runs on every node and does nothing where the node does not lead. Nothing here is true because this node
believes that it leads: every command is checked again when it is applied, so a deposed leader's are refused.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from raftsman.node.changes import ChangeFeed
from raftsman.node.settings import SchedulerSettings
from raftsman.node.story import Line, Story
from raftsman.raft.commands import Command, FoundCluster, Refused
from raftsman.raft.figures import Standing
from raftsman.raft.records import Instant
from raftsman.raft.replica import Applied, Replica
from raftsman.raft.table import TaskTable
from raftsman.scheduler.deadlines import forgettable, membership, overdue
from raftsman.scheduler.planner import plan

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""Deadlines and silent members are looked at so often, also when nothing changes."""
CHECKPOINT_EVERY_S = 10.0
"""So often the others are asked whether their tables are this node's, while there is something new to compare."""
SILENT_S = 2.0
"""Nodes that know no leader ask each other for votes, or say what they wait for, every second."""
PAUSE_S = 0.01
"""Between two looks, so that a burst of submissions is planned together."""


def decide(
    table: TaskTable,
    now: Instant,
    *,
    silent_for_s: Mapping[str, float],
    new_uuid: Callable[[], str],
    settings: SchedulerSettings,
) -> list[Command]:
    """Return what a leader should propose now, the urgent first."""
    if not table.cluster_uuid:
        return [FoundCluster(uuid=new_uuid())]
    planned = plan(table, now)
    forget = forgettable(table, now, keep_ms=settings.keep_finished_ms, keep_count=settings.keep_finished_count)
    return [
        *membership(table, silent_for_s),
        *overdue(table, now),
        *planned.reassignments,
        *planned.assignments,
        *([forget] if forget else []),
    ]


class LeaderLoop:
    """Runs ``decide`` while this node leads."""

    def __init__(
        self,
        *,
        node: str,
        replica: Replica,
        feed: ChangeFeed,
        settings: SchedulerSettings,
        now: Callable[[], Instant],
        monotonic: Callable[[], float],
        new_uuid: Callable[[], str],
        on_leader_change: Callable[[], None] = lambda: None,
        on_decided: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """*on_decided* is called with the seconds that each decision took."""
        self._replica = replica
        self._feed = feed
        self._settings = settings
        self._now = now
        self._monotonic = monotonic
        self._new_uuid = new_uuid
        self._on_leader_change = on_leader_change
        self._on_decided = on_decided
        self._story = Story(node)
        self._leader: str | None = None
        self._leader_known_at = monotonic()
        self._leads_since: float | None = None
        self._checked_at = monotonic()
        self._checked_index = 0
        self.errors = 0

    @property
    def leaderless_for_s(self) -> float:
        """How long this node has known of no leader, to about half a second."""
        return self._monotonic() - self._leader_known_at

    async def run(self) -> None:
        """Go on until cancelled."""
        with self._feed.wakeup() as wakeup:
            while True:
                try:
                    await self._look()
                except Exception:  # The outermost frame of the loop: one bad look must not end scheduling.
                    self.errors += 1
                    log.exception("the leader's loop met an error and goes on")
                await asyncio.sleep(PAUSE_S)
                await _either(wakeup, LOOK_EVERY_S)

    async def _look(self) -> None:
        standing = self._replica.standing()
        self._tell_standing(standing)
        if standing.leader is not None:
            self._leader_known_at = self._monotonic()
        if standing.leader not in (None, self._leader):
            self._leader = standing.leader
            self._on_leader_change()
        if not standing.leads:
            self._leads_since = None
            return
        now = self._monotonic()
        if self._leads_since is None:
            self._leads_since = now
        table = self._replica.copy()
        _log(self._story.members(member.node for member in table.members.values() if member.lost_at is not None))
        commands = decide(
            table,
            self._now(),
            silent_for_s=self._silent_for_s(now - self._leads_since),
            new_uuid=self._new_uuid,
            settings=self._settings,
        )
        self._on_decided(self._monotonic() - now)
        await self._propose([*commands, *self._checkpoint(now)])

    def _tell_standing(self, standing: Standing) -> None:
        silent = (node for node, silent_s in self._replica.silent_for_s().items() if silent_s > SILENT_S)
        waits_for = next(
            (why for code, why in self._replica.troubles() if code in ("no-member-yet", "no-majority")), ""
        )
        _log(self._story.standing(self._monotonic(), standing, waits_for=waits_for, silent=silent))

    def _checkpoint(self, now: float) -> list[Command]:
        newest = self._replica.checkpoint() if now - self._checked_at >= CHECKPOINT_EVERY_S else None
        if newest is None or newest.index == self._checked_index:
            return []
        self._checked_at, self._checked_index = now, newest.index
        return [newest]

    def _silent_for_s(self, led_for_s: float) -> dict[str, float]:
        # Followers do not talk to each other: what a new leader has not heard from before it led means nothing.
        return {node: min(silent_s, led_for_s) for node, silent_s in self._replica.silent_for_s().items()}

    async def _propose(self, commands: Iterable[Command]) -> None:
        outcomes = await asyncio.gather(*(self._replica.propose(command) for command in commands))
        for outcome in outcomes:
            if isinstance(outcome, Applied) and isinstance(outcome.verdict, Refused):
                log.debug("refused: %s", outcome.verdict.detail)


def _log(lines: Iterable[Line]) -> None:
    for level, words in lines:
        log.log(level, "%s", words)


async def _either(wakeup: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await wakeup.wait()
    except TimeoutError:
        pass
    wakeup.clear()
