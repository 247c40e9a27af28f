"""Everything that may change the table, and what the table answers.

A command is a wish; ``table`` decides, on every node alike. Whatever may differ between nodes (time,
principal, ids) travels inside the ``Entry``. To add a command: its class here, in ``Command`` and in
``KINDS``, its rule in one of the files of rules, and a scenario in ``tests/scenarios``.
"""

from raftsman.raft.lifecycle import Cause, Signal, StopKind
from raftsman.raft.records import Instant, JobCounts, Member, NodeId, Row, TaskId

REPORT_SIGNALS = frozenset({Signal.OBSERVE, Signal.START, Signal.SUCCEED, Signal.FAIL, Signal.GIVE_UP, Signal.GONE})
"""What a node may report; the other signals are other commands."""


class FoundCluster(Row, frozen=True, kw_only=True):
    """Give a new cluster its UUID; proposed once by its first leader."""

    uuid: str


class MemberJoined(Row, frozen=True, kw_only=True):
    """A node has started: it adds or replaces its own row."""

    member: Member


class MemberUpdated(Row, frozen=True, kw_only=True):
    """A node's contexts, address or labels changed."""

    member: Member


class MemberLost(Row, frozen=True, kw_only=True):
    """A member has not answered the leader for a while; its attempts are unreachable until somebody takes them over."""

    node: NodeId


class MemberBack(Row, frozen=True, kw_only=True):
    """A lost member answers again."""

    node: NodeId


class Submit(Row, frozen=True, kw_only=True):
    """Admit a task. The same id with the same spec is the same task; with another spec it is refused.

    With *key*, the same key of the same principal with the same spec is the same task, too; with another it is refused.
    """

    task_id: TaskId
    spec: bytes  # A packed TaskSpec.
    submitter_node: str = ""
    key: str = ""  # The Idempotency-Key; "": none.
    id_made: bool = False  # A node made the id, so that a repetition under the same key comes with another one.


class Retry(Row, frozen=True, kw_only=True):
    """Admit a new task of the same spec as *retry_of*, which has ended. Repeated and keyed as ``Submit``."""

    task_id: TaskId
    retry_of: TaskId
    submitter_node: str = ""
    key: str = ""
    id_made: bool = False


class Assign(Row, frozen=True, kw_only=True):
    """Let *node* carry out attempt number *attempt* of a queued task; *namespace* is for a task that names none."""

    task_id: TaskId
    attempt: int
    node: NodeId
    namespace: str = ""


class Reassign(Row, frozen=True, kw_only=True):
    """Let *node* look after an attempt whose node *from_node* is lost or has no way to its context any more.

    It stays the same attempt, with the same Job.
    """

    task_id: TaskId
    attempt: int
    from_node: NodeId
    node: NodeId


class Report(Row, frozen=True, kw_only=True):
    """What the assigned node sees of an attempt. A field left at its default says nothing new."""

    task_id: TaskId
    attempt: int
    node: NodeId
    signal: Signal  # One of REPORT_SIGNALS.
    sequence: int = 0  # ``Task.sequence``: an id can be another task's by the time this arrives. 0: not told.
    job_name: str = ""
    job_uid: str = ""
    started_at: Instant | None = None
    ended_at: Instant | None = None
    exit_code: int | None = None
    killed_by: int | None = None  # The signal's number, when one ended the container.
    cause: Cause | None = None  # SUCCEED and GONE: none. OBSERVE: what a start timeout would be blamed on.
    error: str = ""
    message: str = ""
    reason: str = ""  # OBSERVE replaces the row's, also by "".
    unreachable: bool = False
    job: JobCounts | None = None
    output_tail: str = ""
    error_tail: str = ""


class Cancel(Row, frozen=True, kw_only=True):
    """A user wants the task to end: at once while it is queued, else by stopping its attempt."""

    task_id: TaskId
    if_index: tuple[int, ...] | None = None  # Only while one of these is the index of its last change; None: always.


class Expire(Row, frozen=True, kw_only=True):
    """A timeout of the attempt has passed."""

    task_id: TaskId
    attempt: int
    kind: StopKind  # TIMEOUT or START_TIMEOUT.


class Forget(Row, frozen=True, kw_only=True):
    """Drop finished tasks that are older than the cluster keeps them."""

    task_ids: tuple[TaskId, ...]


class Barrier(Row, frozen=True, kw_only=True):
    """Change nothing: once it is applied, everything committed before it is, too."""


class Checkpoint(Row, frozen=True, kw_only=True):
    """Change nothing: every node compares its table after entry *index* with the proposer's, by the fingerprint."""

    index: int
    state_hash: str


Command = (
    FoundCluster
    | MemberJoined
    | MemberUpdated
    | MemberLost
    | MemberBack
    | Submit
    | Retry
    | Assign
    | Reassign
    | Report
    | Cancel
    | Expire
    | Forget
    | Barrier
    | Checkpoint
)

KINDS: dict[str, type[Command]] = {
    "found-cluster": FoundCluster,
    "member-joined": MemberJoined,
    "member-updated": MemberUpdated,
    "member-lost": MemberLost,
    "member-back": MemberBack,
    "submit": Submit,
    "retry": Retry,
    "assign": Assign,
    "reassign": Reassign,
    "report": Report,
    "cancel": Cancel,
    "expire": Expire,
    "forget": Forget,
    "barrier": Barrier,
    "checkpoint": Checkpoint,
}
"""The names on disk and on the wire; a name once used is never given to anything else."""


class Entry(Row, frozen=True, kw_only=True):
    """A command as it enters the log, with what its proposer stamped on it."""

    command_id: str  # Chosen by its first proposer; a repetition carries the same. "": it is never repeated.
    command: Command
    at: Instant
    principal: str = ""


# --- verdicts -----------------------------------------------------------------------------------


class Accepted(Row, frozen=True, kw_only=True):
    """The command is in force. *repeated*: it already was, and no task or member changed."""

    repeated: bool = False
    found: str = ""  # The task that a repeated key led to, which may have another id than the command.


class Refused(Row, frozen=True, kw_only=True):
    """The table says no and is as it was. *code* is for programs, *detail* for people."""

    code: str
    detail: str


Verdict = Accepted | Refused


class CommandResult(Row, frozen=True, kw_only=True):
    """What became of a command, kept for a while: under the same id it happens once, and is answered alike."""

    command_id: str
    index: int  # Of the entry that carried it first.
    at: Instant
    repeated: bool = False
    found: str = ""
    code: str = ""  # "": accepted.
    detail: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the table answered."""
        if self.code:
            return Refused(code=self.code, detail=self.detail)
        return Accepted(repeated=self.repeated, found=self.found)


def result_of(entry: Entry, index: int, verdict: Verdict) -> CommandResult:
    """Return what is kept of *entry*, which the table answered with *verdict* as number *index* of the log."""
    if isinstance(verdict, Refused):
        return CommandResult(
            command_id=entry.command_id, index=index, at=entry.at, code=verdict.code, detail=verdict.detail
        )
    return CommandResult(
        command_id=entry.command_id, index=index, at=entry.at, repeated=verdict.repeated, found=verdict.found
    )
