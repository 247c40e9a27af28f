"""When a node counts: the founding of a cluster, and nodes that come with an empty disk.

A node votes, and is counted, only when it is sure to hold everything that it ever acknowledged. At the beginning
nobody ever acknowledged anything, so all founding members must say that they are new, each must have accepted the
same list of them, and each must know that. Whoever comes with an empty directory later *joins*: it counts when it
holds everything that a leader of a term no older than any in which its lost directory may have acted has committed.

Pure: values in, values out. ``identity`` keeps them on disk, ``participant`` exchanges them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

from raftsman.raft.messages import Status

NEW = "new"  # An empty directory; whether there is a cluster already is not known.
ACCEPTED = "accepted"  # Founds a cluster with the directories on its list and with no other.
JOINING = "joining"  # There is a cluster, founded without this directory.
MEMBER = "member"  # Votes and counts.
STAGES = (NEW, ACCEPTED, JOINING, MEMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose directory this is, and how far it has come."""

    cluster: str
    node: str
    incarnation: str
    stage: str = NEW
    cluster_id: str = ""
    founding: Mapping[str, str]
    """The founding members' directories, by node; empty until it is known."""

    @property
    def counts(self) -> bool:
        """Whether this node votes and is counted."""
        return self.stage == MEMBER

    @property
    def known_cluster_id(self) -> str:
        """The cluster's id, "" before this node counts: until then the list may be exchanged for another.

        A node that introduced itself by the id of such a list would be refused for ever by those who have exchanged it.
        """
        return self.cluster_id if self.counts else ""

    def status(self, *, disk_full: bool = False) -> Status:
        """Return what the others are told."""
        return Status(
            stage=self.stage,
            cluster_id=self.cluster_id,
            incarnation=self.incarnation,
            founding=dict(self.founding),
            disk_full=disk_full,
        )


def id_of(founding: Mapping[str, str]) -> str:
    """Return the id of the cluster that these directories found: the same on every node, without asking."""
    listed = "\n".join(f"{node} {founding[node]}" for node in sorted(founding))
    return blake2b(listed.encode(), digest_size=8).hexdigest()


def advance(mine: Identity, others: Iterable[str], statuses: Mapping[str, Status]) -> Identity:
    """Return this node's identity, given what every other node last said. A node that joins becomes a member elsewhere.

    Founding takes two steps, because a disk may be lost in between: a node counts only when everybody has accepted the
    list that it has accepted. A list with a directory that is gone can be exchanged until then, for a list needs
    everybody: while one is missing nobody can have committed anything.
    """
    names = list(others)
    if mine.stage in (NEW, ACCEPTED):
        mine = _accept(mine, names, statuses)
    if mine.stage == ACCEPTED and _all_accepted(mine, names, statuses):
        return replace(mine, stage=MEMBER)
    return mine


def _accept(mine: Identity, others: list[str], statuses: Mapping[str, Status]) -> Identity:
    """Accept the list of a member, if this directory is on it; else, of the directories that there are now."""
    founded = [status.founding for status in statuses.values() if status.stage == MEMBER]
    listed = [founding for founding in founded if founding.get(mine.node) == mine.incarnation]
    if listed:
        founding = listed[0]
    elif founded:
        return replace(mine, stage=JOINING, founding={}, cluster_id="")
    elif all(node in statuses and statuses[node].stage != JOINING for node in others):
        founding = {mine.node: mine.incarnation} | {node: statuses[node].incarnation for node in others}
    else:
        return mine
    if founding == mine.founding:
        return mine
    return replace(mine, stage=ACCEPTED, founding=dict(founding), cluster_id=id_of(founding))


def _all_accepted(mine: Identity, others: list[str], statuses: Mapping[str, Status]) -> bool:
    alike = {node for node, status in statuses.items() if status.founding == mine.founding}
    return alike >= set(others) or any(statuses[node].stage == MEMBER for node in alike)  # It has seen that all had.


def waits_for(mine: Identity, others: Iterable[str], statuses: Mapping[str, Status], noted: Iterable[str]) -> str:
    """Return what this node waits for before it counts, or before anybody can lead; "" when it takes its part."""
    names = sorted(others)
    emptied = sorted(_emptied(mine, statuses))
    if (len(names) + 1 - len(emptied)) * 2 <= len(names) + 1:
        return (
            f"the directories of {_and(emptied)} are empty, and without them no majority can elect a leader: "
            "if what one of them had last is still somewhere, start that node on it"
        )
    if mine.stage == MEMBER:
        return ""
    if mine.stage == JOINING:
        missing = sorted(set(names) - set(noted))
        if missing:
            return (
                "this node's directory is empty; it counts again when every other node knows that, "
                f"and {_and(missing)} did not answer yet"
            )
        return "this node's directory is empty; it counts again when it holds all that the leader has committed"
    missing = [node for node in names if node not in statuses]
    if missing:
        return f"the cluster is founded when all members have come with empty directories; missing: {_and(missing)}"
    knowing = f"; {_and(names)} must say that they know all members" if names else ""
    return f"the cluster is being founded{knowing}"


def _emptied(mine: Identity, statuses: Mapping[str, Status]) -> Iterator[str]:
    """Yield the nodes that have joined with an empty directory and do not count yet."""
    stages = {mine.node: mine.stage} | {node: status.stage for node, status in statuses.items()}
    return (node for node, stage in stages.items() if stage == JOINING)


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
