"""How a task enters the table: by a submission, or as another try at one that has ended; each once, however often said.

Two things tell a repetition: the task's id, and the ``Idempotency-Key``. Keys are rows (``KeyUse``), so that they
outlive leaders and restarts; their age is counted by the instants of the log. What becomes of a task is ``task_rules``.
"""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice

import msgspec

from raftsman.raft import limits
from raftsman.raft.codec import MalformedEntry, unpack_spec
from raftsman.raft.commands import Entry, Refused, Retry, Submit
from raftsman.raft.records import Instant, KeyUse, Task, TaskId, TaskSpec
from raftsman.raft.rows import NOTHING, Edits, Rows, Rule, Rules

_FINGERPRINT_BYTES = 16


def new_task(spec: TaskSpec, packed: bytes, *, task_id: TaskId, sequence: int, at: Instant) -> Task:
    """Return the row of a task that enters the table now, but for who submitted it."""
    return Task(
        task_id=task_id,
        spec=packed,
        type=spec.type,
        context=spec.k8s_job.context if spec.k8s_job else "",
        priority=spec.priority,
        timeout_ms=spec.timeout_ms,
        start_timeout_ms=spec.start_timeout_ms,
        placement=spec.placement,
        submitter_node="",
        principal="",
        submitted_at=at,
        sequence=sequence,
    )


def is_known(table: Rows, command: Submit | Retry, principal: str) -> bool:
    """Whether *command* speaks of a task that is there, or of a key that was used: a repetition, or a mistake."""
    known_key = command.key != "" and _key(command, principal) in table.keys
    return known_key or table.task(command.task_id) is not None


def _submit(table: Rows, entry: Entry, command: Submit) -> Edits | Refused:
    return _once(table, entry, command, wish=command.spec, rule=_submit_now)


def _submit_now(table: Rows, entry: Entry, command: Submit) -> Edits | Refused:
    present = table.task(command.task_id)
    if present is not None:
        if present.spec == command.spec:
            return NOTHING
        return Refused(code="task-exists", detail=f"task {command.task_id} exists with another specification")
    if len(command.spec) > limits.SPEC_BYTES:
        return Refused(code="too-large", detail=f"a specification has at most {limits.SPEC_BYTES} bytes")
    return _admit(table, entry, command, command.spec)


def _retry(table: Rows, entry: Entry, command: Retry) -> Edits | Refused:
    return _once(table, entry, command, wish=command.retry_of.encode(), rule=_retry_now)


def _retry_now(table: Rows, entry: Entry, command: Retry) -> Edits | Refused:
    present = table.task(command.task_id)
    if present is not None:
        if present.retry_of == command.retry_of:
            return NOTHING
        return Refused(
            code="task-exists", detail=f"task {command.task_id} exists, and is no retry of {command.retry_of}"
        )
    tried = table.task(command.retry_of)
    if tried is None:
        return Refused(code="task-not-found", detail=f"there is no task {command.retry_of}")
    if not tried.ended:
        return Refused(code="not-ended", detail=f"task {command.retry_of} is {tried.state}; it has not ended")
    return _admit(table, entry, command, tried.spec)


def _admit(table: Rows, entry: Entry, command: Submit | Retry, packed: bytes) -> Edits | Refused:
    if not 0 < len(command.task_id) <= limits.TASK_ID_CHARS:
        return Refused(code="invalid-spec", detail=f"a task's id has 1 to {limits.TASK_ID_CHARS} characters")
    try:
        spec = unpack_spec(packed)
    except MalformedEntry as error:
        return Refused(code="invalid-spec", detail=str(error))
    blank = new_task(spec, packed, task_id=command.task_id, sequence=table.index, at=entry.at)
    task = msgspec.structs.replace(
        blank,
        submitter_node=command.submitter_node,
        principal=entry.principal,
        retry_of=command.retry_of if isinstance(command, Retry) else TaskId(""),
    )
    return Edits(tasks=(task,))


# --- idempotency keys ---------------------------------------------------------------------------


def _once(table: Rows, entry: Entry, command: Submit | Retry, *, wish: bytes, rule: Rule) -> Edits | Refused:
    """Carry out *rule*, unless the command's key says for which task that was done before."""
    if not command.key:
        return rule(table, entry, command)
    if len(command.key) > limits.IDEMPOTENCY_KEY_CHARS:
        detail = f"a key has at most {limits.IDEMPOTENCY_KEY_CHARS} characters"
        return Refused(code="invalid-parameter", detail=detail)
    use = KeyUse(
        key=_key(command, entry.principal),
        wish=_fingerprint(wish),
        task_id=command.task_id,
        at=entry.at,
    )
    past = table.keys.get(use.key)
    if past is not None and not _is_over(past, entry.at):
        return _repetition(table, past, use, chosen=not command.id_made)
    answer = rule(table, entry, command)
    if isinstance(answer, Refused):
        return answer
    return msgspec.structs.replace(answer, keys=(use,), dropped_keys=tuple(_surplus(table, entry.at)))


def _repetition(table: Rows, past: KeyUse, use: KeyUse, *, chosen: bool) -> Edits | Refused:
    """Answer a key that was used before. *chosen*: the user named the id, so another one is another request."""
    if use.wish != past.wish or (chosen and use.task_id != past.task_id):
        detail = f"the key was used for another request, which task {past.task_id} came from; use a new one"
        return Refused(code="idempotency-key-reused", detail=detail)
    if table.task(past.task_id) is None:
        detail = f"the key led to task {past.task_id}, which has ended and is no longer kept"
        return Refused(code="task-not-found", detail=detail)
    return Edits(repeated=True, found=past.task_id)


def _surplus(table: Rows, now: Instant) -> Iterator[bytes]:
    """Yield the keys to drop before one more is kept: the oldest, when they are too old or too many."""
    too_many = len(table.keys) + 1 - limits.IDEMPOTENCY_KEYS
    for place, use in enumerate(islice(table.keys.values(), limits.KEYS_DROPPED_PER_COMMAND)):
        if place >= too_many and not _is_over(use, now):
            return
        yield use.key


def _is_over(use: KeyUse, now: Instant) -> bool:
    return now - use.at >= limits.IDEMPOTENCY_KEY_MS


def _key(command: Submit | Retry, principal: str) -> bytes:
    return _fingerprint(f"{type(command).__name__}\0{command.key}\0{principal}".encode())


def _fingerprint(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=_FINGERPRINT_BYTES).digest()


SUBMISSION_RULES: Rules = {Submit: _submit, Retry: _retry}
"""One rule per command that lets a task in."""
