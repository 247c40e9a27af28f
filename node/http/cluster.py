"""``/v1/cluster`` and ``/v1/contexts``: the nodes together, and the Kubernetes clusters they reach."""

import asyncio
from typing import Any

from aiohttp import web

from raftsman.node.http.answers import json_response
from raftsman.node.http.problems import Problem, of_faults
from raftsman.node.http.site import Site, known_parameters, rfc3339, site_of
from raftsman.node.http.writes import Write, here_or_at_the_leader, no_leader, read_json
from raftsman.raft.records import Member, MemberContext
from raftsman.raft.table import TaskTable
from raftsman.scheduler.deadlines import MEMBER_SILENCE_S
from raftsman.wire.faults import Fault
from raftsman.wire.views import ClusterView, ContextView, MemberView

NEW_LEADER_WITHIN_S = 1.0
DOES_NOT_ANSWER_S = 1.0
"""Twenty heartbeats. Writes wait while leadership is handed over, so it is not tried with a node that is silent."""
_LOOK_S = 0.01


async def get_cluster(request: web.Request) -> web.Response:
    """Show the cluster as this node sees it."""
    known_parameters(request)
    view = cluster_view(site_of(request))
    return json_response(view, index=view["appliedIndex"])


def cluster_view(site: Site) -> ClusterView:
    """Return the cluster as JSON."""
    standing = site.replica.standing()
    silent_for_s = site.replica.silent_for_s()

    def look(table: TaskTable) -> tuple[str, int, str, list[Member]]:
        return table.cluster_uuid, table.index, table.state_hash, list(table.members.values())

    uuid, index, state_hash, members = site.replica.read(look)
    names = sorted({site.node, *silent_for_s})
    rows: dict[str, Member] = {member.node: member for member in members}
    alive = {
        name: is_alive(
            heard_directly=name in (site.node, standing.leader),
            lost=name not in rows or rows[name].lost_at is not None,
            silent_s=silent_for_s.get(name, 0.0),
            leaderless_s=None if standing.leader else site.leaderless_for_s(),
        )
        for name in names
    }
    spare = sum(alive.values()) - (len(names) // 2 + 1)
    return {
        "name": site.settings.cluster,
        "uuid": uuid or None,
        "leader": standing.leader,
        "term": standing.term,
        "commitIndex": standing.commit_index,
        "appliedIndex": index,
        "stateHash": state_hash,
        "canLose": max(spare, 0) if standing.leader else 0,
        "members": [_member_view(site, name, rows.get(name), standing.leader, alive[name]) for name in names],
    }


def is_alive(*, heard_directly: bool, lost: bool, silent_s: float, leaderless_s: float | None) -> bool:
    """Whether a member counts as alive: by the leader's word, which is the table's; without a leader by its silence.

    *leaderless_s* is None while there is a leader. Followers do not talk to each other, so a member's silence means
    something only once there has been no leader for as long, or when the last one had lost it already.
    """
    if heard_directly:
        return True
    if leaderless_s is None:
        return not lost
    return silent_s <= MEMBER_SILENCE_S or not (lost or leaderless_s > MEMBER_SILENCE_S)


def _member_view(site: Site, name: str, member: Member | None, leader: str | None, alive: bool) -> MemberView:
    return {
        "name": name,
        "role": "leader" if name == leader else "follower" if alive else "lost",
        "url": member.url if member else "",
        "alive": alive,
        "lag": 0 if name == site.node else site.replica.behind().get(name),  # Only the leader knows.
        "contexts": [context.name for context in member.contexts] if member else [],
        "slots": member.slots if member else 0,
        "version": member.version if member else "",
    }


# --- leadership on request --------------------------------------------------------------------


async def post_transfer(request: web.Request) -> web.Response:
    """Let another node lead: the one that the body's ``to`` names, else whoever has most of the log."""
    site = site_of(request)
    known_parameters(request)
    document = await read_json(request) if request.can_read_body else {}
    to = _target(site, document)
    write = Write(task_id="", body={} if to is None else {"to": to}, here=lambda: _transfer(site, to), repeatable=False)
    return await here_or_at_the_leader(request, write)


def _target(site: Site, document: Any) -> str | None:
    names = sorted({site.node, *site.replica.silent_for_s()})
    match document:
        case {"to": str(name), **rest} if not rest and name in names:
            return name
        case {"to": str(name), **rest} if not rest:
            raise of_faults([Fault("unknown-node", "/to", f"there is no node {name!r}, only {', '.join(names)}")])
        case {**rest} if not rest:
            return None
        case _:
            raise of_faults([Fault("invalid-spec", "", 'send nothing, or {"to": the name of a node}')])


async def _transfer(site: Site, to: str | None) -> web.Response:
    if site.replica.silent_for_s().get(to or "", 0.0) > DOES_NOT_ANSWER_S:
        raise Problem("not-ready", f"{to} does not answer {site.node}, which still leads: see whether its process runs")
    if to != site.node and not await site.replica.transfer_leadership(to):
        who = f"{to} could not" if to else "no other node could"
        raise Problem("not-ready", f"{who} take over in time; {site.node} still leads")
    ends_at = asyncio.get_running_loop().time() + NEW_LEADER_WITHIN_S
    while (leader := site.replica.standing().leader) is None:
        if asyncio.get_running_loop().time() > ends_at:
            raise no_leader()
        await asyncio.sleep(_LOOK_S)
    return json_response({"leader": leader})


async def get_contexts(request: web.Request) -> web.Response:
    """Show every context that a member lists, and who reaches it."""
    known_parameters(request)
    items, index = site_of(request).replica.read(lambda table: (_contexts(table), table.index))
    return json_response({"items": items}, index=index)


def _contexts(table: TaskTable) -> list[ContextView]:
    running: dict[str, int] = {view.name: 0 for member in table.members.values() for view in member.contexts}
    for task in table.live.values():
        if task.attempt is not None and task.context in running:
            running[task.context] += 1
    return [_context_view(table, name, count) for name, count in sorted(running.items())]


def _context_view(table: TaskTable, name: str, running: int) -> ContextView:
    views: list[tuple[Member, MemberContext]] = [
        (member, view)
        for member in sorted(table.members.values(), key=lambda member: member.node)
        if member.lost_at is None and (view := member.context(name))
    ]
    reaching = [member.node for member, view in views if view.reachable]
    errors = dict.fromkeys(f"{member.node}: {view.error}" for member, view in views if view.error)
    since = max((view.since for _, view in views), default=None)
    return {
        "name": name,
        "reachableFrom": [str(node) for node in reaching],
        "health": "ok" if len(reaching) == len(views) > 0 else "degraded" if reaching else "unreachable",
        "since": rfc3339(since),
        "error": "; ".join(errors) or None,
        "credentialsExpireAt": None,
        "running": running,
    }


def routes() -> list[web.RouteDef]:
    """Return these resources' routes."""
    return [
        web.get("/v1/cluster", get_cluster),
        web.post("/v1/cluster:transfer", post_transfer),
        web.get("/v1/contexts", get_contexts),
    ]
