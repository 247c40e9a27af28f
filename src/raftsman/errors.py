"""What can go wrong between a user and a cluster, as exceptions.

Three kinds, and no other leaves ``raftsman.client``: a node answered no (``ApiProblem`` and its subclasses), nobody
could answer and nothing was changed (``ConnectionFailed``), or nobody knows (``OutcomeUnknown``). The exit codes of
the command line are in ``raftsman.cli.exits``.
"""

import json
from collections.abc import Sequence
from typing import Any

from raftsman.wire.faults import Fault


class RaftsmanError(Exception):
    """Base of everything that ``raftsman.client`` raises about a cluster."""


class ConnectionFailed(RaftsmanError):
    """No node answered, and nothing was changed."""


class UnexpectedAnswer(RaftsmanError):
    """Something answered that does not speak raftsman's API: a proxy, another server."""


class WaitTimedOut(RaftsmanError):
    """The time to wait is over; the tasks go on."""

    def __init__(self, pending: Sequence[str]) -> None:
        super().__init__(f"still waiting for {', '.join(pending)}")
        self.pending = tuple(pending)
        """The ids that have not reached what was waited for."""


class OutcomeUnknown(RaftsmanError):
    """A change was asked for and may or may not have happened.

    Repeat it under the same ``task_id``: what has happened is then found, not done twice. The id is "" when it was
    about no task but about who leads.
    """

    def __init__(self, task_id: str, why: str) -> None:
        about, advice = f" for task {task_id}", "; it is safe to repeat under the same id"
        super().__init__(f"the outcome{about if task_id else ''} is not known ({why}){advice if task_id else ''}")
        self.task_id = task_id


class ApiProblem(RaftsmanError):
    """A node answered with an error (RFC 9457); what was to be changed is unchanged."""

    def __init__(  # One parameter per field of the answer.
        self,
        *,
        status: int,
        code: str,
        title: str = "",
        detail: str = "",
        errors: Sequence[Fault] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail or title or f"HTTP {status}")
        self.status = status
        self.code = code
        """From the closed list of the API, such as ``task-not-found``; "" when the answer had none."""
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        """All faults of what was sent."""
        self.request_id = request_id
        """What the node's log calls this request."""
        self.retry_after_s = retry_after_s
        """When asking again makes sense, if the node said so."""


class InvalidSpec(ApiProblem):
    """400, 422: what was sent cannot be accepted; ``errors`` names every fault."""


class NotAllowed(ApiProblem):
    """401, 403: no valid token, or one that may not do this."""

    token_was_sent = False
    """Whether the client has a token at all, which it sent."""


class NotFound(ApiProblem):
    """404: no such task."""


class Conflict(ApiProblem):
    """409, 412: the task exists with another spec, has ended already, or has changed meanwhile."""


class EventsCompacted(ApiProblem):
    """410: the events asked for are no longer kept."""


class OverLimit(ApiProblem):
    """413, 429, 507: too large, too many, or no room."""


class Unavailable(ApiProblem):
    """503: the nodes that answered could not serve the request."""


class NoLeader(Unavailable):
    """503 ``no-leader``: the nodes that answered know no leader: too few of them are alive or connected."""


_BY_STATUS: dict[int, type[ApiProblem]] = {
    400: InvalidSpec,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    410: EventsCompacted,
    412: Conflict,
    413: OverLimit,
    422: InvalidSpec,
    429: OverLimit,
    503: Unavailable,
    507: OverLimit,
}


def problem_from(status: int, body: bytes, *, title: str = "", retry_after: str | None = None) -> ApiProblem:
    """Return the exception for an answer of 300 and above.

    *body* is read as problem+json; when it is something else (a proxy's page), *title*, the status line's own words,
    has to do.
    """
    members = _members_of(body)
    code = str(members.get("code") or "")
    kind = NoLeader if code == "no-leader" else _BY_STATUS.get(status, ApiProblem)
    request_id = members.get("requestId")
    return kind(
        status=status,
        code=code,
        title=str(members.get("title") or title),
        detail=str(members.get("detail") or ""),
        errors=_faults_of(members.get("errors")),
        request_id=None if request_id is None else str(request_id),
        retry_after_s=_seconds(retry_after),
    )


def _members_of(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _faults_of(value: object) -> list[Fault]:
    if not isinstance(value, list):
        return []
    return [
        Fault(*(str(each.get(name) or "") for name in ("code", "pointer", "detail")))
        for each in value
        if isinstance(each, dict)
    ]


def _seconds(retry_after: str | None) -> float | None:
    # The HTTP date that Retry-After also allows is never sent by a node.
    return float(retry_after) if retry_after is not None and retry_after.strip().isdigit() else None
