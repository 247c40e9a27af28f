"""What a doctor makes of the facts: for every fact a finding, and for what is not well what to do about it.

Functions from values to findings; ``doctor`` gathers the facts and prints the findings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from raftsman.wire.views import ClusterView, ContextView

CLOCK_OFF_S = 3.0
"""An HTTP date counts whole seconds; beyond this, instants of different nodes can no longer be compared."""
LITTLE_ROOM_BYTES = 2 << 30
"""As much as the kept output may take by default."""
NO_ROOM_BYTES = 256 << 20


class Level(StrEnum):
    """How well something is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; *advice* is "" when there is nothing to do."""

    level: Level
    what: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnswer:
    """What one address answered to an open question."""

    address: str
    error: str = ""  # Why there is no answer.
    version: str = ""
    unready: Sequence[str] = ()  # Why it is not ready.
    date: str = ""  # The HTTP date.
    asked_at: datetime | None = None


def about_nodes(answers: Sequence[NodeAnswer], *, own_version: str) -> Iterator[Finding]:
    """Yield what the addresses' answers mean: who is there, whether clocks and versions agree."""
    for answer in answers:
        if answer.error:
            advice = "start the node, or take the address out of the profile"
            yield Finding(Level.FAIL, f"{answer.address} does not answer: {answer.error}", advice)
        else:
            yield Finding(Level.OK, f"{answer.address} answers, version {answer.version}")
            for reason in answer.unready:
                yield Finding(Level.FAIL, f"{answer.address} is not ready: {reason}", "its log says more")
            yield from _about_clock(answer)
    versions = sorted({answer.version for answer in answers if not answer.error})
    if len(versions) > 1:
        yield Finding(Level.WARN, f"the nodes run versions {', '.join(versions)}", "bring all to the newest of them")
    elif versions and versions != [own_version]:
        advice = "install the version that the nodes run"
        yield Finding(Level.WARN, f"this command is version {own_version}, the nodes are {versions[0]}", advice)


def _about_clock(answer: NodeAnswer) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(answer.date)
    except ValueError:
        return
    if answer.asked_at is None or theirs.tzinfo is None:
        return
    off_s = abs((theirs - answer.asked_at.astimezone(UTC)).total_seconds())
    if off_s > CLOCK_OFF_S:
        what = f"the clock of {answer.address} is off by {off_s:.0f} s, compared with this machine's"
        yield Finding(Level.WARN, what, "let NTP keep the clocks")


def about_cluster(view: ClusterView, addresses: Sequence[str]) -> Iterator[Finding]:
    """Yield what the state of the cluster means."""
    if view["leader"] is None:
        yield Finding(
            Level.FAIL, "the cluster has no leader: nothing can be accepted", "bring a majority of nodes back"
        )
    else:
        yield Finding(Level.OK, f"{view['leader']} leads, term {view['term']}")
    lost = [member["name"] for member in view["members"] if not member["alive"]]
    if lost:
        yield Finding(Level.WARN, f"lost: {', '.join(lost)}", "bring them back: raftsman get nodes")
    if len(view["members"]) == 1:
        yield Finding(Level.WARN, "the cluster is one node: when it is lost, so is everything", "run three nodes")
    elif view["canLose"] == 0 and view["leader"] is not None:
        yield Finding(Level.WARN, "no further node may be lost: then nothing could be accepted", "bring nodes back")
    known = {address.rstrip("/") for address in addresses}
    strangers = [member["url"] for member in view["members"] if member["url"] and member["url"] not in known]
    if strangers:
        what = f"this command does not know of {', '.join(strangers)}"
        yield Finding(Level.WARN, what, "add the addresses to the profile: it fails over between them")


def about_contexts(contexts: Sequence[ContextView]) -> Iterator[Finding]:
    """Yield what the health of the contexts means."""
    if not contexts:
        advice = "give the nodes a kubeconfig; k8s_job tasks are refused until then"
        yield Finding(Level.WARN, "no node knows a Kubernetes context", advice)
    for context in contexts:
        name, reached = context["name"], ", ".join(context["reachableFrom"])
        advice = f"on the node's machine: raftsman context test {name}"
        match context["health"]:
            case "ok":
                yield Finding(Level.OK, f"context {name} is reached by {reached}")
            case "unreachable":
                yield Finding(
                    Level.FAIL, f"context {name} is reached by nobody: {context['error'] or 'no reason'}", advice
                )
            case _:
                yield Finding(Level.WARN, f"context {name} is reached by {reached} only: {context['error']}", advice)


def about_room(folder: str, free_bytes: int | None, error: str) -> Finding:
    """Return what the room in a node's data folder means."""
    if free_bytes is None:
        return Finding(Level.FAIL, f"{folder} cannot be used: {error}", "let the node's user write there")
    free = f"{free_bytes / (1 << 30):.1f} GiB are free below {folder}"
    if free_bytes < NO_ROOM_BYTES:
        return Finding(Level.FAIL, free, "make room: the log must never fill the disk")
    if free_bytes < LITTLE_ROOM_BYTES:
        return Finding(Level.WARN, free, "make room, or lower executor.log_keep.total")
    return Finding(Level.OK, free)


def tally(findings: Sequence[Finding]) -> Mapping[Level, int]:
    """Return how many findings there are of each level."""
    return {level: sum(finding.level is level for finding in findings) for level in Level}
