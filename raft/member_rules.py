"""Which changes of the cluster and its members are legal, command by command. See ``task_rules`` for the rest."""

import msgspec

from raftsman.raft import limits
from raftsman.raft.commands import (
    Entry,
    FoundCluster,
    MemberBack,
    MemberJoined,
    MemberLost,
    MemberUpdated,
    Refused,
)
from raftsman.raft.rows import NOTHING, Edits, Rows, Rules


def _found_cluster(table: Rows, _entry: Entry, command: FoundCluster) -> Edits | Refused:
    if table.cluster_uuid:
        return Refused(code="already-founded", detail=f"the cluster is already {table.cluster_uuid}")
    if not command.uuid:
        return Refused(code="invalid-uuid", detail="a cluster needs a UUID")
    return Edits(cluster_uuid=command.uuid)


def _member_joined(table: Rows, entry: Entry, command: MemberJoined) -> Edits | Refused:
    new = command.member
    if not new.node or len(new.contexts) > limits.CONTEXTS_PER_MEMBER:
        return Refused(code="invalid-member", detail=f"a member has a name and ≤ {limits.CONTEXTS_PER_MEMBER} contexts")
    if new.node not in table.members and len(table.members) >= limits.MEMBERS:
        return Refused(code="too-many-members", detail=f"a cluster has at most {limits.MEMBERS} members")
    return Edits(members=(msgspec.structs.replace(new, joined_at=entry.at, lost_at=None),))


def _member_updated(table: Rows, _entry: Entry, command: MemberUpdated) -> Edits | Refused:
    new = command.member
    old = table.members.get(new.node)
    if old is None:
        return Refused(code="unknown-member", detail=f"{new.node} has not joined")
    if len(new.contexts) > limits.CONTEXTS_PER_MEMBER:
        return Refused(code="invalid-member", detail=f"a member has ≤ {limits.CONTEXTS_PER_MEMBER} contexts")
    return Edits(members=(msgspec.structs.replace(new, joined_at=old.joined_at, lost_at=old.lost_at),))


def _member_lost(table: Rows, entry: Entry, command: MemberLost) -> Edits | Refused:
    member = table.members.get(command.node)
    if member is None:
        return Refused(code="unknown-member", detail=f"{command.node} has not joined")
    if member.lost_at is not None:
        return NOTHING
    reason = f"node {command.node} does not answer; what its attempt does now is not known"
    orphans = tuple(
        msgspec.structs.replace(task, unreachable=True, reason=reason)
        for task in table.live.values()
        if task.node == command.node
    )
    return Edits(members=(msgspec.structs.replace(member, lost_at=entry.at),), tasks=orphans)


def _member_back(table: Rows, _entry: Entry, command: MemberBack) -> Edits | Refused:
    member = table.members.get(command.node)
    if member is None:
        return Refused(code="unknown-member", detail=f"{command.node} has not joined")
    if member.lost_at is None:
        return NOTHING
    return Edits(members=(msgspec.structs.replace(member, lost_at=None),))


MEMBER_RULES: Rules = {
    FoundCluster: _found_cluster,
    MemberJoined: _member_joined,
    MemberUpdated: _member_updated,
    MemberLost: _member_lost,
    MemberBack: _member_back,
}
"""One rule per command about the cluster and its members."""
