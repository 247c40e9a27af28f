"""What must hold after every step, whatever happens. The first thing that does not is a ``Violation``.

Everything is checked against what any node has ever shown: an entry (index, term) is the same everywhere, a term has
one leader, and what was committed or answered stays so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from raftsman.raft import codec
from raftsman.raft.commands import Verdict
from raftsman.raft.core import Core
from raftsman.raft.journal import Journal
from raftsman.raft.lifecycle import RANK
from raftsman.raft.messages import Ack, AskVote, Message, Vote
from raftsman.raft.records import Change, Task
from raftsman.raft.table import TaskTable
from raftsman.raft.waiting import Answer

MAX_WAITING = 5_000
"""Commands and reads on one node: clients ask for a hundred a second at most, and a node gives up after ten."""
MAX_UNDER_WAY = 5_000
"""Frames from one node."""
MAX_OPEN_FILES = 12
"""The segment in use and the next, a snapshot that is written, one that comes, one for each peer that gets it."""


class Violation(BaseException):
    """A promise is broken. Not an Exception: nothing of ours may catch it."""


@dataclass(slots=True)
class _Life:
    """What a running process has shown."""

    leads_in: int = 0
    term: int = 0
    commit_index: int = 0
    applied_index: int = 0


@dataclass(slots=True, eq=False)
class Proposal:
    """One try to bring a command into the log, unmistakable by its bytes."""

    raw: bytes
    node: str
    answer: Answer | None = None
    index: int = 0


@dataclass(slots=True)
class Checks:
    """Everything that was ever seen."""

    entries: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)
    """(index, term) → the term of the entry before it, and the command."""
    leaders: dict[int, tuple[str, int]] = field(default_factory=dict)
    committed: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Index → its term, and the term in which it was committed."""
    applied: dict[int, bytes] = field(default_factory=dict)
    applied_raws: set[bytes] = field(default_factory=set)
    hashes: dict[int, str] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)
    acknowledged: dict[int, Proposal] = field(default_factory=dict)
    highest_acknowledged: int = 0
    reads: int = 0
    """Consistent reads that were answered."""
    tasks: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Task → attempt and rank of its state."""
    ended: dict[str, Task] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)
    """Task → the idempotency key that it was submitted with, if there was one."""
    keys_used: dict[str, str] = field(default_factory=dict)
    """Key → the task that was admitted for it."""
    votes: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By directory: the latest vote, its term and candidate."""
    promised: dict[str, int] = field(default_factory=dict)
    """By directory: up to where it has acknowledged the log, and has not been told otherwise since."""
    results: dict[str, tuple[Verdict, int]] = field(default_factory=dict)
    """By the command's id: what was answered, and the index of the first entry that carried it."""
    _lives: dict[tuple[str, int], _Life] = field(default_factory=dict)
    _changes_up_to: int = 0

    # --- the log ---

    def appended(self, node: str, journal: Journal, command: bytes, index: int, term: int) -> None:
        """*node* has put an entry behind its log."""
        before = journal.term_at(index - 1)
        seen = self.entries.get((index, term))
        if seen is None:
            self.entries[index, term] = (before if before is not None else 0, bytes(command))
        elif seen[1] != command or (seen[0] and before and seen[0] != before):
            _fail(f"log matching: {node} has another entry {index} of term {term} than was seen before")

    def log_read(self, node: str, journal: Journal) -> None:
        """*node* has started with this log; or it is looked at as a whole."""
        for command, index, term in journal.held:
            seen = self.entries.get((index, term))
            if seen is None or seen[1] != command:
                _fail(f"log matching: {node} holds an entry {index} of term {term} that nobody ever appended so")
        for index in range(journal.first_index, min(journal.last_index, journal.commit_index) + 1):
            if index in self.committed and self.committed[index][0] != journal.term_at(index):
                _fail(f"{node} starts with another entry {index} than was committed")

    def counted(self, node: str, *, waiting: int, open_files: int, under_way: int) -> None:
        """*node* has done a step: nothing may have piled up."""
        if waiting > MAX_WAITING:
            _fail(f"{waiting} wait on {node}")
        if open_files > MAX_OPEN_FILES:
            _fail(f"{node} has {open_files} files open")
        if under_way > MAX_UNDER_WAY:
            _fail(f"{node} has {under_way} frames under way")

    def ticked(self, node: str, life: int, core: Core, journal: Journal) -> None:
        """*node* has done a step after which it stands elsewhere."""
        seen = self._lives.setdefault((node, life), _Life())
        term, commit_index, applied_index = core.term, core.commit_index, core.applied_index
        if term < seen.term or commit_index < seen.commit_index or applied_index < seen.applied_index:
            _fail(f"{node} goes back: term {seen.term} → {term}, commit {seen.commit_index} → {commit_index}")
        if applied_index > commit_index or commit_index > journal.last_index:
            _fail(f"{node} has applied {applied_index}, committed {commit_index}, and holds {journal.last_index}")
        if core.leads and commit_index > journal.synced_index:
            _fail(f"{node} leads and counts itself for entry {commit_index}, its disk holds {journal.synced_index}")
        if core.leads and seen.leads_in != term:
            self._leads(node, life, term, journal)
            seen.leads_in = term
        if commit_index > seen.commit_index:
            self._commits(node, journal, term, range(seen.commit_index + 1, commit_index + 1))
        seen.term, seen.commit_index, seen.applied_index = term, commit_index, applied_index

    def _leads(self, node: str, life: int, term: int, journal: Journal) -> None:
        other = self.leaders.setdefault(term, (node, life))
        if other != (node, life):
            _fail(f"two leaders in term {term}: {other[0]} and {node}")
        for index, (of, during) in self.committed.items():
            if during < term and index >= journal.first_index and journal.term_at(index) != of:
                _fail(f"{node} leads in term {term} without entry {index} of term {of}, which was committed")

    def _commits(self, node: str, journal: Journal, during: int, indexes: range) -> None:
        for index in indexes:
            term = journal.term_at(index)
            if index < journal.first_index or term is None:
                continue
            known, _ = self.committed.setdefault(index, (term, during))
            if known != term:
                _fail(f"{node} takes entry {index} of term {term} for committed, it was that of term {known}")

    # --- promises ---

    def said(self, node: str, directory: str, receiver: str, message: Message) -> None:
        """*node* sends *message*: a vote or an acknowledgement binds its directory, whatever happens."""
        if isinstance(message, Vote) and message.granted:
            self._votes(node, directory, message.term, receiver)
        elif isinstance(message, AskVote):
            self._votes(node, directory, message.term, node)
        elif isinstance(message, Ack) and message.success:
            self.promised[directory] = max(self.promised.get(directory, 0), message.next_index - 1)

    def _votes(self, node: str, directory: str, in_term: int, for_whom: str) -> None:
        term, candidate = self.votes.get(directory, (0, ""))
        if in_term < term or (in_term == term and candidate != for_whom):
            _fail(f"{node} votes for {for_whom} in term {in_term}, for {candidate} in term {term} before")
        self.votes[directory] = in_term, for_whom

    def truncated(self, directory: str, index: int) -> None:
        """A leader has taken back what stood from *index* on."""
        self.promised[directory] = min(self.promised.get(directory, 0), index - 1)

    def started(self, node: str, directory: str, journal: Journal) -> None:
        """*node* has started on *directory*: everything that it promised must be there."""
        if journal.last_index < self.promised.get(directory, 0):
            _fail(f"{node} holds {journal.last_index} entries, it has acknowledged {self.promised[directory]}")
        term, candidate = self.votes.get(directory, (0, ""))
        if journal.term < term or (journal.term == term and candidate and journal.vote != candidate):
            _fail(f"{node} has forgotten its vote for {candidate} in term {term}")
        self.log_read(node, journal)

    # --- the table ---

    def executed(self, node: str, index: int, command: bytes, table: TaskTable) -> None:
        """*node* has applied a command."""
        raw = bytes(command)
        if self.applied.setdefault(index, raw) != raw:
            _fail(f"{node} applies another command as entry {index} than was applied before")
        self.applied_raws.add(raw)
        if raw in self.refused:
            _fail(f"{node} applies as entry {index} what was answered as certainly not in the log")
        state_hash = table.state_hash
        if self.hashes.setdefault(index, state_hash) != state_hash:
            _fail(f"{node} has another table at entry {index}")

    def restored(self, node: str, index: int, table: TaskTable) -> None:
        """*node* has taken a snapshot's table."""
        at = next((each for each in range(index, 0, -1) if each in self.hashes), None)
        if at is not None and self.hashes[at] != table.state_hash:
            _fail(f"{node} has another table from a snapshot of entry {index}")

    def changed(self, index: int, changes: Sequence[Change], table: TaskTable) -> None:
        """An entry changed tasks; the first node to apply it speaks for all, for their tables are equal."""
        if index <= self._changes_up_to:
            return
        self._changes_up_to = index
        for change in changes:
            self._changes(change, index)
            row = table.task(change.task_id)
            if row is not None and row.ended:
                self.ended[change.task_id] = row

    def _changes(self, change: Change, index: int) -> None:
        before = self.tasks.get(change.task_id)
        after = self.tasks[change.task_id] = (change.attempt, RANK[change.after])
        if change.before is None:
            self._admits(change.task_id, index)
        if before is None or change.task_id in self.forgotten:
            return
        if change.before is None:
            _fail(f"task {change.task_id} is admitted twice, the second time by entry {index}")
        if change.task_id in self.ended or after < before:
            _fail(f"task {change.task_id} goes back from {before} to {after} by entry {index}")

    def _admits(self, task_id: str, index: int) -> None:
        key = self.keys.get(task_id)
        if key is not None and self.keys_used.setdefault(key, task_id) != task_id:
            _fail(f"entry {index} admits task {task_id}, its key was used for task {self.keys_used[key]}")

    # --- answers ---

    def answered(self, proposal: Proposal, answer: Answer, result: object) -> None:
        """Somebody was told what became of a proposal."""
        if proposal.answer is not None:
            _fail(f"a proposal on {proposal.node} is answered twice: {proposal.answer} and {answer}")
        proposal.answer = answer
        if answer is Answer.APPLIED:
            if not isinstance(result, tuple):
                _fail(f"{proposal.node} answers for an entry that is no command")
            proposal.index = result[1]
            self._happened_once(proposal, result)
            self.acknowledged[proposal.index] = proposal
            self.highest_acknowledged = max(self.highest_acknowledged, proposal.index)
        elif answer in (Answer.NOT_LEADER, Answer.DISK_FULL):
            self.refused.add(proposal.raw)
            if proposal.raw in self.applied_raws:
                _fail(f"{proposal.node} answers {answer}, and the command is in the log")

    def _happened_once(self, proposal: Proposal, result: tuple[Verdict, int]) -> None:
        command_id = codec.decode(proposal.raw).command_id
        carried = self.applied.get(result[1])
        if carried != proposal.raw and (carried is None or codec.decode(carried).command_id != command_id):
            _fail(f"{proposal.node} answers for entry {result[1]}, which is another command")
        before = self.results.setdefault(command_id, result)
        if result != before:
            _fail(f"{proposal.node} answers {result} for a command that was answered {before} before")

    def read(self, node: str, floor: int, index: int, applied_index: int) -> None:
        """A consistent read that began when *floor* was acknowledged is answered."""
        self.reads += 1
        if index < floor or applied_index < index:
            _fail(
                f"a consistent read on {node} sees entry {min(index, applied_index)}, {floor} was acknowledged before"
            )

    # --- the end ---

    def holds_everything(self, node: str, table: TaskTable, acknowledged_tasks: Sequence[str]) -> None:
        """All is healed: *node* must have everything that was ever acknowledged."""
        lost = [each for each in acknowledged_tasks if each not in self.forgotten and table.task(each) is None]
        if lost:
            _fail(f"{node} has lost {len(lost)} acknowledged submissions, such as {lost[0]}")
        for task_id, row in self.ended.items():
            present = table.task(task_id)
            if present is not None and present != row and task_id not in self.forgotten:
                _fail(f"{node} has changed task {task_id} after it had ended")


def _fail(what: str) -> NoReturn:
    raise Violation(what)
