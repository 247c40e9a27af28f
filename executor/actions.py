"""What is known of an attempt, and what can be done about it: the values between the looks and the deeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from raftsman.executor.jobs import Json
from raftsman.executor.moments import Moment
from raftsman.executor.outcome import Outcome
from raftsman.executor.waits import Waiting
from raftsman.raft.commands import Report
from raftsman.raft.lifecycle import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a look at the context shows of one attempt."""

    configured: bool = True  # Whether this node has the context at all.
    error: str = ""  # Why the rest cannot be trusted now; "" when it can.
    elsewhere: bool = False  # That is why: under the context's name is another cluster now.
    refused: bool = False  # That is an answer: the account may not look there, and no Job that this node made may be.
    job: Json | None = None  # The Job under the attempt's name.
    pods: Sequence[Json] = ()
    departed: Sequence[Json] = ()  # The last states of Pods that exist no more.
    events: Sequence[Json] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What this node remembers of an attempt between looks; a new one starts empty and loses nothing but time."""

    blind_since: Moment | None = None
    waits_since: Moment | None = None  # Since when the Job is there and has not run.
    wait: tuple[Cause | None, Moment | None] | None = None  # The current cause of waiting; when patience with it ends.
    lag: tuple[str, Moment] | None = None  # What is amiss (``_count_lag``); when that is told.
    reported_at: Moment | None = None
    events_at: Moment | None = None
    refusal: Outcome | Waiting | None = None  # What the last create was told.
    retry_at: Moment | None = None  # Not before, after a create that failed.
    release_at: Moment | None = None  # Not released (again) before.
    held: Waiting | None = None  # Why the Job may not be released.
    seen: str = ""  # The UID of the attempt's Job, once it was seen: it never gets another one, reported or not.
    cleared: str = ""  # The UID of the Job whose deletion was asked for to make room for the attempt's.
    vanished: bool = False  # A deletion has found that Job gone; the mirror may still show it.
    absent: bool = False  # A quorum read has found no Job, and no Pod that works.
    orphans: tuple[Json, ...] = ()  # The Pods that the last such read has found without their Job.
    deletion: Json | None = None  # The Job as our own deletion found it.
    ended_since: Moment | None = None  # Since when the attempt's end is known.
    found: tuple[Json, ...] | None = None  # The Pods that a quorum read has found of the Job that had ended.


@dataclass(frozen=True, slots=True)
class Create:
    """Create the attempt's Job, suspended, or adopt it when it exists."""


@dataclass(frozen=True, slots=True)
class Release:
    """Let the Job with this UID make its Pod: the log has it as the attempt's."""

    uid: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the Job with this UID, in the foreground."""

    uid: str


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete the Pod with this UID: its Job, with which it would go, is gone already."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Delete the Job with this UID, an earlier task's, to make room for the attempt's."""

    uid: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask a quorum whether the Job and its Pods are really gone."""

    uid: str


@dataclass(frozen=True, slots=True)
class FindPods:
    """Ask a quorum for the Pods of the Job with this UID, of which none is seen that says how it ended."""

    uid: str


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """Read the Events about these objects."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """Propose the report; it does not end the attempt."""

    report: Report


@dataclass(frozen=True, slots=True)
class Conclude:
    """Read the last of the output, then propose the report that ends the attempt."""

    report: Report


Action = Create | Release | Delete | DeletePod | Clear | Confirm | FindPods | ReadEvents | Tell | Conclude
