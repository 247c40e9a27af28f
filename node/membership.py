"""This node's own row in the table: it joins when the process starts, and says when its contexts change."""

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from raftsman.executor.jobs import ContextHealth
from raftsman.raft.commands import MemberJoined, MemberUpdated
from raftsman.raft.records import ContextName, Instant, Member, MemberContext, NodeId
from raftsman.raft.replica import Applied, Replica

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
TEXTS_EVERY_S = 5.0
"""A context's error may read differently with every try; the log hears of mere words so often."""


class Membership:
    """Keeps the member row of this node true."""

    def __init__(
        self,
        *,
        member: Member,
        replica: Replica,
        health: Callable[[str], ContextHealth],
        fingerprint: Callable[[str], str],
        monotonic: Callable[[], float],
    ) -> None:
        self._member = member
        self._replica = replica
        self._health = health
        self._fingerprint = fingerprint
        self._monotonic = monotonic
        self.joined = False
        """Whether this process has joined: the table here knows all that earlier ones of this node did."""
        self._told_at = float("-inf")
        self.errors = 0

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            try:
                await self._look()
            except Exception:  # The outermost frame of the loop.
                self.errors += 1
                log.exception("telling the cluster about this node failed; trying again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        wanted = self.row()
        present = self._replica.read(lambda table: table.member(self._member.node))
        if self.joined and present is not None:
            if not self._must_tell(present, wanted):
                return
            outcome = await self._replica.propose(MemberUpdated(member=wanted))
        else:
            outcome = await self._replica.propose(MemberJoined(member=wanted))
        if isinstance(outcome, Applied):
            self.joined = True
            self._told_at = self._monotonic()

    def _must_tell(self, present: Member, wanted: Member) -> bool:
        if _facts(present) != _facts(wanted):
            return True
        return present.contexts != wanted.contexts and self._monotonic() - self._told_at >= TEXTS_EVERY_S

    def row(self) -> Member:
        """Return this node's row as it should be now."""
        contexts = tuple(self._context(each) for each in self._member.contexts)
        return msgspec.structs.replace(self._member, contexts=contexts)

    def _context(self, context: MemberContext) -> MemberContext:
        health = self._health(context.name)
        return msgspec.structs.replace(
            context,
            reachable=health.reachable,
            error=health.error,
            since=Instant(health.since_ms),
            server=self._fingerprint(context.name),
        )


def _facts(member: Member) -> tuple[object, ...]:
    """Return what others act on: all but the words and what the table itself keeps in the row."""
    contexts = tuple(msgspec.structs.replace(each, error="", since=Instant(0)) for each in member.contexts)
    return member.url, member.version, member.slots, member.labels, contexts


def member_of(*, node: str, url: str, version: str, slots: int, contexts: Mapping[str, MemberContext]) -> Member:
    """Return the row of a node that has not looked at its contexts yet."""
    ordered = tuple(contexts[name] for name in sorted(contexts))
    return Member(node=NodeId(node), url=url, version=version, slots=slots, contexts=ordered)


def context_of(name: str, **settings: object) -> MemberContext:
    """Return a context's part of the row before anybody has asked it."""
    blank = MemberContext(name=ContextName(name), error="not tried yet")
    return msgspec.structs.replace(blank, **settings)
