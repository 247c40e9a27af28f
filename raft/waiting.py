"""Who waits for what on this node: commands until they are applied, reads until they may be answered.

Pure bookkeeping: instants are given, and whoever is to be called is collected in ``due`` until the tick has made
everything durable. ``participant`` says what has happened.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

DEADLINE_S = 10.0
"""Twice what a proposer waits: nobody is waiting any more, only memory is given back."""


class Answer(Enum):
    """How a proposal ended, as far as this node can know."""

    APPLIED = "applied"
    NOT_LEADER = "not-leader"  # Certainly not in the log.
    UNKNOWN = "unknown"  # Perhaps in the log, perhaps later.
    DISK_FULL = "disk-full"  # Certainly not in the log: this node has no room to write it down.


Answered = Callable[[Answer, Any], None]


@dataclass(slots=True)
class _Command:
    term: int
    answered: Answered
    expires_at: float


@dataclass(slots=True)
class _Handed:
    leader: str
    answered: Answered
    expires_at: float


@dataclass(slots=True)
class Reading:
    """A read on its way: *origin* is the node that asked and its number, None for this node."""

    answered: Answered
    expires_at: float
    seq: int = 0
    index: int = 0
    origin: tuple[str, int] | None = None


@dataclass(slots=True)
class Waiting:
    """Everybody who waits."""

    number: int = 0
    """What was last asked of a leader. It begins anywhere: a leader may yet answer an earlier process of this node."""
    due: deque[tuple[Answered, Answer, Any]] = field(default_factory=deque)
    """Who is to be called after the sync, with what."""
    _commands: dict[int, list[_Command]] = field(default_factory=dict)  # By index.
    _placed: int = 0  # How many those are: asked at every proposal, there may be thousands.
    _handed: dict[int, _Handed] = field(default_factory=dict)  # By number: at the leader, place not known yet.
    _unconfirmed: deque[Reading] = field(default_factory=deque)
    _asked: dict[int, tuple[str, Reading]] = field(default_factory=dict)  # By number: the leader was asked.
    _unapplied: list[Reading] = field(default_factory=list)
    _leader: str = ""  # The last that was known.

    # --- commands ---

    def appended(self, index: int, term: int, answered: Answered, now: float) -> None:
        """Somebody waits for the entry (*index*, *term*)."""
        self._commands.setdefault(index, []).append(_Command(term, answered, now + DEADLINE_S))
        self._placed += 1

    def applied(self, index: int, term: int | None, result: object) -> None:
        """Entry (*index*, *term*) was applied with *result*; another term's at this index will never be."""
        for each in self._taken(index):
            mine = each.term == term
            self.due.append((each.answered, Answer.APPLIED if mine else Answer.NOT_LEADER, result if mine else None))

    def skipped_to(self, index: int) -> None:
        """A snapshot took the place of everything up to *index*; what became of the commands in it is not known."""
        for passed in [each for each in self._commands if each <= index]:
            self.due.extend((each.answered, Answer.UNKNOWN, None) for each in self._taken(passed))

    def _taken(self, index: int) -> list[_Command]:
        commands = self._commands.pop(index, [])
        self._placed -= len(commands)
        return commands

    def handed(self, leader: str, answered: Answered, now: float) -> int:
        """Somebody's command goes to *leader*; return the number to send with it."""
        self.number += 1
        self._handed[self.number] = _Handed(leader, answered, now + DEADLINE_S)
        return self.number

    def placed(self, number: int, index: int, term: int, *, applied_index: int, now: float) -> None:
        """The leader said where command *number* stands (0: nowhere, it does not lead)."""
        handed = self._handed.pop(number, None)
        if handed is None:
            return
        if index == 0:
            self.due.append((handed.answered, Answer.NOT_LEADER, None))
        elif index <= applied_index:  # Only by a snapshot: the place travels before the commit.
            self.due.append((handed.answered, Answer.UNKNOWN, None))
        else:
            self.appended(index, term, handed.answered, now)

    # --- reads ---

    def asked(self, leader: str, reading: Reading) -> int:
        """*reading* goes to *leader*; return the number to send with it."""
        self.number += 1
        self._asked[self.number] = (leader, reading)
        return self.number

    def told(self, number: int, index: int) -> None:
        """The leader said which index read *number* needs (0: it does not lead)."""
        _, reading = self._asked.pop(number, ("", None))
        if reading is None:
            return
        if index == 0:
            self.due.append((reading.answered, Answer.NOT_LEADER, None))
        else:
            reading.index = index
            self._unapplied.append(reading)

    def unconfirmed(self, reading: Reading) -> None:
        """*reading* is answered when its sequence number is confirmed."""
        self._unconfirmed.append(reading)

    @property
    def newest_unconfirmed_seq(self) -> int | None:
        """The highest sequence number that a read waits for."""
        return self._unconfirmed[-1].seq if self._unconfirmed else None

    @property
    def oldest_unconfirmed_seq(self) -> int | None:
        """The sequence number that the next read waits for."""
        return self._unconfirmed[0].seq if self._unconfirmed else None

    def confirmed(self) -> Reading:
        """Take out the oldest read, which was confirmed; its own node's waits until its index is applied."""
        reading = self._unconfirmed.popleft()
        if reading.origin is None:
            self._unapplied.append(reading)
        return reading

    def deposed(self) -> list[Reading]:
        """This node does not lead any more: own reads are answered so; return those of other nodes."""
        readings, self._unconfirmed = self._unconfirmed, deque()
        self.due.extend((each.answered, Answer.NOT_LEADER, None) for each in readings if each.origin is None)
        return [each for each in readings if each.origin is not None]

    def applied_up_to(self, index: int) -> None:
        """Answer the reads that need no more than *index*."""
        if not self._unapplied:
            return
        self.due.extend((each.answered, Answer.APPLIED, each.index) for each in self._unapplied if each.index <= index)
        self._unapplied = [each for each in self._unapplied if each.index > index]

    # --- the rest ---

    def lost(self, peer: str) -> None:
        """The link to *peer* is down: what was handed to it may have arrived, or not."""
        self._give_up_on(lambda leader: leader == peer)

    def led_by(self, leader: str | None) -> None:
        """*leader* leads, if anybody does: who led before may be frozen or cut off, and mute on a link that stays."""
        if leader is not None and leader != self._leader:
            self._leader = leader
            self._give_up_on(lambda other: other != leader)

    def _give_up_on(self, whom: Callable[[str], bool]) -> None:
        for number in [number for number, each in self._handed.items() if whom(each.leader)]:
            self.due.append((self._handed.pop(number).answered, Answer.UNKNOWN, None))
        for number in [number for number, (leader, _) in self._asked.items() if whom(leader)]:
            self.due.append((self._asked.pop(number)[1].answered, Answer.NOT_LEADER, None))

    def sweep(self, now: float) -> None:
        """Give up what nobody waits for any more. Once a second is enough."""
        for index in [index for index, each in self._commands.items() if any(one.expires_at <= now for one in each)]:
            commands = self._taken(index)
            self.due.extend((each.answered, Answer.UNKNOWN, None) for each in commands if each.expires_at <= now)
            kept = [each for each in commands if each.expires_at > now]
            if kept:
                self._commands[index] = kept
                self._placed += len(kept)
        for number in [number for number, each in self._handed.items() if each.expires_at <= now]:
            self.due.append((self._handed.pop(number).answered, Answer.UNKNOWN, None))
        for number in [number for number, (_, each) in self._asked.items() if each.expires_at <= now]:
            self.due.append((self._asked.pop(number)[1].answered, Answer.UNKNOWN, None))
        late = [each for each in (*self._unconfirmed, *self._unapplied) if each.expires_at <= now]
        self.due.extend((each.answered, Answer.UNKNOWN, None) for each in late if each.origin is None)
        self._unconfirmed = deque(each for each in self._unconfirmed if each.expires_at > now)
        self._unapplied = [each for each in self._unapplied if each.expires_at > now]

    def __len__(self) -> int:
        return self._placed + len(self._handed) + len(self._asked) + len(self._unconfirmed) + len(self._unapplied)
