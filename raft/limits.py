"""Every bound of the table, with its reason. What users may set is in ``node.settings`` instead."""

SPEC_BYTES = 128 * 1024
"""A packed spec: far above any sensible task, far below a command's limit."""

COMMAND_BYTES = 512 * 1024
"""A command in the log: above a few MiB one entry delays heartbeats long enough to depose the leader."""

CHANGES_PER_TASK = 32
"""Changes kept in a task's row: enough for a story, bounded for a Pod that waits for days."""

OUTPUT_TAIL_BYTES = 2 * 1024
"""Output that travels through the log, so that every node can show how a task ended."""

REASON_BYTES = 1024
"""A reason or message in a row: Kubernetes' own texts reach 32 KiB and repeat themselves."""

IDEMPOTENCY_KEY_CHARS = 255
IDEMPOTENCY_KEY_MS = 24 * 3600 * 1000
"""How long a key is remembered: whoever repeats a request does so within a day, and the industry's habit is a day."""

IDEMPOTENCY_KEYS = 100_000
"""Keys remembered at a time, the newest: about 30 MB, and as many as finished tasks are kept by default."""

KEYS_DROPPED_PER_COMMAND = 100
"""Keys that go when one comes: many that expire together must not make one command slow."""

RESULTS = 20_000
"""Results of commands kept at a time, the newest: the busiest cluster makes fewer while somebody repeats one."""

RESULT_MS = 10 * 60 * 1000
"""How long a result is kept: whoever proposed it gives up after seconds (``replica.PROPOSAL_DEADLINE_S``)."""

RESULTS_ALWAYS = 1_000
"""The newest results stay whatever their age: one node with a wrong clock must not make the others' repetitions new."""

RESULTS_DROPPED_PER_COMMAND = 100

TASK_ID_CHARS = 128
CONTEXTS_PER_MEMBER = 256
MEMBERS = 64
FORGET_PER_COMMAND = 1000
"""Finished tasks that one command removes: keeps the entry and the time to apply it small."""


def clip(text: str, limit: int = REASON_BYTES) -> str:
    """Return *text* cut to *limit* bytes of UTF-8, ending in an ellipsis when something was cut."""
    raw = text.encode(errors="replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode(errors="ignore") + "…"
