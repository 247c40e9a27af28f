"""The task table: the state machine that every node runs over the same log.

``TaskTable.apply`` is deterministic and total: the same entries give the same table on every node, a
refusal leaves it as it was, and nothing in here looks at a clock. What is legal is said by the rules; here
their edits are stored, stamped, and turned into the changes that users see. Where entries come from is
``consensus``; what to propose next is ``scheduler``'s and ``executor``'s business.
"""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec

from raftsman.raft import limits
from raftsman.raft.codec import pack_row
from raftsman.raft.commands import Accepted, CommandResult, Entry, Refused, Verdict, result_of
from raftsman.raft.member_rules import MEMBER_RULES
from raftsman.raft.records import Change, Instant, KeyUse, Row, Task
from raftsman.raft.rows import Rows, Rules
from raftsman.raft.submission_rules import SUBMISSION_RULES
from raftsman.raft.task_rules import TASK_RULES

RULES: Rules = {**MEMBER_RULES, **SUBMISSION_RULES, **TASK_RULES}

_HASH_BYTES = 16
_HASH_MODULUS = 1 << (8 * _HASH_BYTES)


class TaskTable(Rows):
    """Rows that change by entries of the log, and by nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._hash = 0

    @property
    def state_hash(self) -> str:
        """A fingerprint of every row: equal on two nodes at the same index, or they have diverged."""
        return f"{self._hash:0{2 * _HASH_BYTES}x}"

    def copy(self) -> "TaskTable":
        """Return a table that later entries do not change. Rows are shared, for they are frozen."""
        twin = TaskTable()
        twin.cluster_uuid, twin.index, twin._hash = self.cluster_uuid, self.index, self._hash
        twin.members, twin.live, twin.ended = dict(self.members), dict(self.live), dict(self.ended)
        twin.keys, twin.results = dict(self.keys), dict(self.results)
        return twin

    @classmethod
    def restored(cls, rows: Rows, digests: int) -> "TaskTable":
        """Return the table of *rows*, which a snapshot held; *digests* is the sum of ``digest_of`` over them."""
        table = cls()
        table.cluster_uuid, table.index = rows.cluster_uuid, rows.index
        table.members, table.keys, table.live, table.ended = rows.members, rows.keys, rows.live, rows.ended
        table.results = rows.results
        table._hash = (digests + _digest_text(rows.cluster_uuid)) % _HASH_MODULUS
        return table

    def apply(self, entry: Entry, index: int) -> tuple[Verdict, tuple[Change, ...]]:
        """Carry out *entry*, the log's number *index*; return the verdict and the tasks' visible changes.

        An entry whose command was carried out before changes nothing, and is answered as that was.
        """
        self.index = index
        past = self.results.get(entry.command_id)
        if past is not None:
            return past.verdict, ()
        verdict, changes = self._carry_out(entry)
        if entry.command_id:
            self._keep_result(result_of(entry, index, verdict))
        return verdict, changes

    def first_index(self, entry: Entry) -> int:
        """Return where in the log the command of *entry*, which was applied just now, stood for the first time."""
        past = self.results.get(entry.command_id)
        return past.index if past is not None else self.index

    def _carry_out(self, entry: Entry) -> tuple[Verdict, tuple[Change, ...]]:
        answer = RULES[type(entry.command)](self, entry, entry.command)
        if isinstance(answer, Refused):
            return answer, ()
        if answer.cluster_uuid:
            self._rehash(None, None, answer.cluster_uuid)
            self.cluster_uuid = answer.cluster_uuid
        for member in answer.members:
            self._rehash(self.members.get(member.node), member)
            self.members[member.node] = member
        for task_id in answer.forget:
            self._rehash(self.ended.pop(task_id), None)
        self._keep_keys(answer.keys, answer.dropped_keys)
        changes = [self._put(task, entry.at, n) for n, task in enumerate(answer.tasks)]
        return Accepted(repeated=answer.repeated, found=answer.found), tuple(change for change in changes if change)

    def _keep_keys(self, used: tuple[KeyUse, ...], dropped: tuple[bytes, ...]) -> None:
        for key in (*dropped, *(use.key for use in used)):  # One that is used anew goes to the end.
            self._rehash(self.keys.pop(key, None), None)
        for use in used:
            self._rehash(None, use)
            self.keys[use.key] = use

    def _keep_result(self, result: CommandResult) -> None:
        for over in list(self._results_over(result.at)):
            self._rehash(self.results.pop(over), None)
        self._rehash(None, result)
        self.results[result.command_id] = result

    def _results_over(self, now: Instant) -> Iterator[str]:
        """Yield the results to drop before one more is kept: the oldest, when they are too old or too many."""
        kept = len(self.results) + 1
        for place, result in enumerate(islice(self.results.values(), limits.RESULTS_DROPPED_PER_COMMAND)):
            is_old = now - result.at >= limits.RESULT_MS and kept - place > limits.RESULTS_ALWAYS
            if not is_old and kept - place <= limits.RESULTS:
                return
            yield result.command_id

    def _put(self, task: Task, at: Instant, n: int) -> Change | None:
        """Store the row, stamped with this index and, when users can see a difference, with the change."""
        before = self.live.get(task.task_id)
        change = _difference(before, task, index=self.index, n=n, at=at)
        history = (*task.changes, change)[-limits.CHANGES_PER_TASK :] if change else task.changes
        after = msgspec.structs.replace(task, index=self.index, changes=history)
        self._rehash(before, after)
        if after.ended:
            self.live.pop(after.task_id, None)
            self.ended[after.task_id] = after
        else:
            self.live[after.task_id] = after
        return change

    def _rehash(self, before: Row | None, after: Row | None, text: str = "") -> None:
        # A sum over rows needs no order and no second pass; 128 bits make an accidental match impossible in practice.
        self._hash = (self._hash - _digest(before) + _digest(after) + _digest_text(text)) % _HASH_MODULUS


def _digest(row: Row | None) -> int:
    if row is None:
        return 0
    return digest_of(type(row), pack_row(row))


def digest_of(kind: type[Row], packed: bytes) -> int:
    """Return what a row of *kind* adds to the fingerprint, from its packed form (``codec.pack_row``)."""
    return int.from_bytes(blake2b(packed, digest_size=_HASH_BYTES, person=kind.__name__.encode()).digest())


def _digest_text(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=_HASH_BYTES).digest()) if text else 0


def _difference(before: Task | None, after: Task, *, index: int, n: int, at: Instant) -> Change | None:
    """Return the change as users see it, or None when only bookkeeping differs."""

    def visible(task: Task) -> tuple[Any, ...]:
        number = task.attempt.number if task.attempt else 0
        return number, task.state, task.conditions, task.cause, task.node, task.reason, task.job

    if before is not None and visible(before) == visible(after):
        return None
    number, state, conditions, cause, node, reason, job = visible(after)
    return Change(
        index=index,
        n=n,
        at=at,
        task_id=after.task_id,
        attempt=number,
        before=before.state if before else None,
        after=state,
        conditions=conditions,
        cause=cause,
        node=node or "",
        reason=reason,
        job=job,
    )
