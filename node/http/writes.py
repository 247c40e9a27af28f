"""How a write is carried out: proposed here when this node leads, else handed on to the leader.

The node that receives a write checks what needs no table and makes the task's id, before it hands anything on: so an
outcome that nobody knows can be asked for under that id. It makes the command's id, too: so it may hand the write to
one leader after another, and it happens once. What is written is the routes' business.
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from raftsman.node.forward import COMMAND_ID, FORWARDED_BY, MADE_ID, Crowded, Forwarded, HungUp, NobodyThere
from raftsman.node.http.auth import principal_of
from raftsman.node.http.problems import REQUEST_ID, Problem, of_faults, of_refusal
from raftsman.node.http.site import Site, site_of
from raftsman.raft.commands import Accepted, Command, Refused
from raftsman.raft.replica import Applied, NoRoom, NotLeader, Unknown
from raftsman.wire.document import parse_json
from raftsman.wire.faults import Fault

HANDED_ON = ("Authorization", "Idempotency-Key", "If-Match")
"""Headers of the request that reach the leader; the routes have checked the last two."""
PASSED_ON = ("Content-Type", "Location", "ETag", "Idempotent-Replayed", "Retry-After", "Raftsman-Index")
"""Headers of the leader's answer that reach the client."""
_COMMAND: web.RequestKey[str] = web.RequestKey("command", str)
_COMMAND_ID = re.compile(r"[0-9A-Za-z-]{16,64}")
_NO_EFFECT = ("no-leader", "disk-full", "not-ready")
ADDED_BYTES = 4096
"""A body that is handed on may be so much longer than the user's: it names the task and who took it in."""
READ_LEADER_WAIT_S = 2.0
"""How long a consistent read waits for a leader; then the client, whose patience is a little longer, asks elsewhere."""
CATCH_UP_S = 1.0
"""How long a forwarded write waits until this node has applied it too; two heartbeats are the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A write, ready to be carried out or handed on."""

    task_id: str
    id_made: bool = False  # By a node of ours: a repetition comes with another one.
    body: object  # What another node is sent.
    here: Callable[[], Awaitable[web.Response]]  # Carries it out and answers, on the leader.
    repeatable: bool = True  # It is one command, which ``carry_out`` proposes.


async def read_json(request: web.Request) -> Any:
    """Return the JSON value of the body. Raises a Problem."""
    if request.content_type != "application/json":
        raise Problem("unsupported-media-type", f"send application/json, not {request.content_type}")
    raw = await request.read()
    most_bytes = site_of(request).settings.http.max_body_bytes
    if len(raw) > most_bytes and FORWARDED_BY not in request.headers:
        raise web.HTTPRequestEntityTooLarge(most_bytes, len(raw))
    document = parse_json(raw)
    if isinstance(document, Fault):
        raise of_faults([document])
    return document


def id_was_made(request: web.Request) -> bool:
    """Whether another node of ours made the id that the body names."""
    return FORWARDED_BY in request.headers and request.headers.get(MADE_ID) == "true"


async def here_or_at_the_leader(request: web.Request, write: Write) -> web.Response:
    """Carry *write* out when this node leads, else hand it to the leader and answer what it answers."""
    site = site_of(request)
    request[_COMMAND] = _command_id_of(request) or site.replica.new_command_id()
    if site.replica.standing().leads:
        return await write.here()
    if FORWARDED_BY in request.headers:
        raise no_leader()  # The node that forwarded it looks again.
    try:
        answer = await _at_the_leader(request, write)
    except Crowded as error:
        raise Problem("not-ready", f"{error}; nothing was changed, try again") from error
    except NobodyThere:
        if site.replica.standing().leads:
            return await write.here()
        full = "disk-full" in dict(site.replica.troubles())
        raise (_disk_full() if full else no_leader()) from None
    except HungUp as error:
        if write.repeatable and site.replica.standing().leads:
            return await _here_in_doubt(write)
        raise _unknown(write.task_id, str(error)) from error
    index = answer.headers.get("Raftsman-Index", "")
    if answer.status < 300 and index.isdigit():  # So that whoever asks this node next sees what it was just told.
        await site.feed.wait_for_index(int(index), CATCH_UP_S)
    passed = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
    return web.Response(status=answer.status, headers=passed, body=answer.body)


async def _at_the_leader(request: web.Request, write: Write) -> Forwarded:
    headers = {name: request.headers[name] for name in HANDED_ON if name in request.headers}
    headers |= {"Content-Type": "application/json", "X-Request-Id": request[REQUEST_ID]}
    headers |= {COMMAND_ID: request[_COMMAND]} | ({MADE_ID: "true"} if write.id_made else {})
    # As short as the user may have written it: what fits here must fit there.
    body = json.dumps(write.body, ensure_ascii=False, separators=(",", ":")).encode()
    return await site_of(request).forwarder.to_leader(
        request.method, request.path_qs, headers, body, repeatable=write.repeatable
    )


async def _here_in_doubt(write: Write) -> web.Response:
    """Carry out what another leader may have carried out before it fell silent."""
    try:
        return await write.here()
    except Problem as problem:
        if problem.code in _NO_EFFECT:  # This time. Of the time before it says nothing.
            raise _unknown(write.task_id, problem.detail) from problem
        raise


def _command_id_of(request: web.Request) -> str:
    """Return the id that another node of ours has given to the command, "" when there is none."""
    given = request.headers.get(COMMAND_ID, "") if FORWARDED_BY in request.headers else ""
    return given if _COMMAND_ID.fullmatch(given) else ""


async def carry_out(request: web.Request, command: Command, task_id: str) -> tuple[Accepted, int]:
    """Propose *command*; return the table's yes, and the entry's index. Raises a Problem."""
    replica = site_of(request).replica
    match await replica.propose(command, principal=principal_of(request), command_id=request[_COMMAND]):
        case Applied(verdict, index):
            if isinstance(verdict, Refused):
                raise of_refusal(verdict)
            return verdict, index
        case NotLeader():
            raise no_leader()
        case NoRoom():
            raise _disk_full()
        case Unknown():
            raise _unknown(task_id)


async def require_barrier(site: Site) -> None:
    """Wait until this node has applied all that was committed before the request. Raises a Problem."""
    match await site.replica.barrier(leader_wait_s=READ_LEADER_WAIT_S):
        case Applied():
            return
        case NotLeader() | NoRoom():
            raise no_leader()
        case Unknown():
            raise Problem("not-ready", "no majority confirmed in time that this reading is up to date; try again")


def no_leader() -> Problem:
    """Return the answer while nobody leads."""
    return Problem("no-leader", "the nodes have not agreed on a leader; nothing was changed, try again")


def _disk_full() -> Problem:
    return Problem("disk-full", "the disk of the node's log is full; nothing was changed, try again when there is room")


def _unknown(task_id: str, why: str = "the log did not answer in time") -> Problem:
    detail = f"{why}; the change may or may not come into force: repeat the request under the same id"
    return Problem("outcome-unknown", detail, more={"taskId": task_id})
