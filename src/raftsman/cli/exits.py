"""How the command line ends: the exit codes, and which one an error means.

The words for an error are in ``raftsman.cli.faults``; who catches what is ``raftsman.cli.main``.
"""

from enum import IntEnum

from raftsman.errors import (
    ApiProblem,
    Conflict,
    ConnectionFailed,
    InvalidSpec,
    NotAllowed,
    NotFound,
    OutcomeUnknown,
    OverLimit,
    RaftsmanError,
    Unavailable,
    WaitTimedOut,
)
from raftsman.wire.views import TaskView


class Code(IntEnum):
    """What a script can learn from the exit code alone."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    TIMED_OUT = 4
    NOT_FOUND = 5
    CONFLICT = 6
    NOT_ALLOWED = 7
    UNPLACEABLE = 8
    UNAVAILABLE = 9
    INVALID = 10
    OVER_LIMIT = 12
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    """128 + SIGPIPE: what a shell reports of any program whose reader has gone."""


_CODES: tuple[tuple[type[RaftsmanError], Code], ...] = (
    (WaitTimedOut, Code.TIMED_OUT),
    (NotFound, Code.NOT_FOUND),
    (Conflict, Code.CONFLICT),
    (NotAllowed, Code.NOT_ALLOWED),
    (InvalidSpec, Code.INVALID),
    (OverLimit, Code.OVER_LIMIT),
    (Unavailable, Code.UNAVAILABLE),
    (ConnectionFailed, Code.UNAVAILABLE),
    (OutcomeUnknown, Code.UNAVAILABLE),
)

_ENDINGS = {"completed": Code.DONE, "failed": Code.FAILED, "cancelled": Code.CANCELLED}


class CommandFailed(Exception):
    """A command cannot do its work, and no node is to blame."""

    def __init__(self, message: str, code: Code = Code.FAILED) -> None:
        super().__init__(message)
        self.code = code


def code_of_error(error: RaftsmanError) -> Code:
    """Return the exit code that an error means."""
    if isinstance(error, ApiProblem) and error.status in (502, 504):
        return Code.UNAVAILABLE
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.FAILED)


def code_of_task(task: TaskView, *, goal: str = "ended") -> Code:
    """Return the exit code of having waited until *task* reached *goal* (a state, or ``ended``)."""
    state = task["state"]
    if goal == state:
        return Code.DONE
    if goal in ("failed", "cancelled"):
        return Code.FAILED  # It ended, but not so.
    return _ENDINGS.get(state, Code.DONE)
