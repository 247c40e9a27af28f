"""What the clients of a cluster were told, and whether one log can explain all of it. Pure: values in, faults out.

An ``Operation`` is one request with the instants of its call and return; a ``Story`` is what the table tells of one
task when all is over. ``faults_of`` compares the two. Who records operations is ``tests.chaos.clients``.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

Place = tuple[int, str]
"""How far a task is: number of the attempt, state."""

RANK = {"queued": 0, "assigned": 1, "running": 2, "completed": 3, "failed": 3, "cancelled": 3}


class Kind(StrEnum):
    """What was asked."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    READ = "read"
    CONSISTENT_READ = "consistent read"


@dataclass(frozen=True, slots=True)
class Done:
    """2xx for a write: it is entry *index* of the log. *replayed*: the task was there before."""

    index: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class NotDone:
    """Certainly not done: a refusal, "nothing was changed", or nobody listened."""

    code: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Done or not, or to be done still."""

    why: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a read saw: *place* (None: no such task), said to be the table at entry *index* (None: nothing was said)."""

    index: int | None
    place: Place | None


Answer = Done | NotDone | Unknown | Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request of one client about one task; instants are seconds of one clock."""

    kind: Kind
    task_id: str
    called_at: float
    returned_at: float
    answer: Answer
    client: str = ""
    node: str = ""
    min_index: int = 0
    """What a read asked for with ``Raftsman-Min-Index``."""


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """A visible change of a task: from entry *index* on it was at *place*. *created*: before it there was no task."""

    index: int
    place: Place
    created: bool = False


Story = Sequence[Step]
"""Every change of one task, in the order of the log."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A promise that was not kept: lost, doubled, order, stale, back, refused or invented."""

    promise: str
    text: str


def faults_of(history: Sequence[Operation], stories: Mapping[str, Story]) -> list[Fault]:
    """Return everything in *history* that the final *stories* (by task) do not explain."""
    checks = (_order, _once, _cancelled, _refused, _consistent, _as_of_its_index, _forward, _invented)
    return [fault for check in checks for fault in check(history, stories)]


# --- writes -----------------------------------------------------------------------------------


def _order(history: Sequence[Operation], _stories: Mapping[str, Story]) -> Iterator[Fault]:
    """Writes that follow one another in time do so in the log, behind what was read; and no two are one entry."""
    writes = [(each, each.answer.index) for each in history if isinstance(each.answer, Done)]
    by_index: dict[int, Operation] = {}
    for write, index in writes:
        if index in by_index:
            yield Fault("order", f"entry {index} is {_named(by_index[index])} and {_named(write)}")
        by_index[index] = write
    before = _known(history)
    for write, index in writes:
        if (least := before.until(write.called_at)) >= index:
            yield Fault("order", f"{_named(write)} is entry {index}, called after entry {least} was known")


def _once(history: Sequence[Operation], stories: Mapping[str, Story]) -> Iterator[Fault]:
    """An acknowledged submission is in the table, created once, where the client was told."""
    for task_id, submits in _by_task(history, Kind.SUBMIT).items():
        story = stories.get(task_id, ())
        created = [step.index for step in story if step.created]
        done = [each.answer for each in submits if isinstance(each.answer, Done)]
        first = [answer.index for answer in done if not answer.replayed]
        if done and not created:
            yield Fault("lost", f"{task_id} was acknowledged at {done[0].index}, and there is no such task")
        if len(created) > 1 or len(first) > 1:
            yield Fault("doubled", f"{task_id} was created at {created}; clients were told {first}")
        elif created and first and first != created:
            yield Fault("order", f"{task_id} was created at {created[0]}; its client was told {first[0]}")
        if created and any(answer.replayed and answer.index <= created[0] for answer in done):
            yield Fault("order", f"{task_id} was said to be there before it was created at {created[0]}")


def _cancelled(history: Sequence[Operation], stories: Mapping[str, Story]) -> Iterator[Fault]:
    """An acknowledged cancellation is in force from its entry on, by that entry or an earlier one."""
    for task_id, cancels in _by_task(history, Kind.CANCEL).items():
        told = sorted(each.answer.index for each in cancels if isinstance(each.answer, Done))
        ended = [step.index for step in stories.get(task_id, ()) if step.place[1] == "cancelled"]
        if told and (not ended or ended[0] > told[0]):
            yield Fault("lost", f"the cancellation of {task_id} was acknowledged at {told[0]}; it is so since {ended}")
        if len(ended) > 1:
            yield Fault("doubled", f"{task_id} was cancelled at {ended}")
        uncertain = any(isinstance(each.answer, Unknown) for each in cancels)
        if ended and not uncertain and ended[0] not in told:
            yield Fault("order", f"{task_id} was cancelled at {ended[0]}; its clients were told {told}")


def _refused(history: Sequence[Operation], stories: Mapping[str, Story]) -> Iterator[Fault]:
    """What was refused every time did not happen."""
    for task_id, submits in _by_task(history, Kind.SUBMIT).items():
        if task_id in stories and all(isinstance(each.answer, NotDone) for each in submits):
            yield Fault("refused", f"{task_id} was only ever refused, and it is there")
    for task_id, cancels in _by_task(history, Kind.CANCEL).items():
        refused = all(isinstance(each.answer, NotDone) for each in cancels)
        if refused and any(step.place[1] == "cancelled" for step in stories.get(task_id, ())):
            yield Fault("refused", f"every cancellation of {task_id} was refused, and it is cancelled")


def _invented(history: Sequence[Operation], stories: Mapping[str, Story]) -> Iterator[Fault]:
    """There is nothing that nobody asked for, and nobody saw a task before it was asked for."""
    submits = _by_task(history, Kind.SUBMIT)
    for task_id in stories.keys() - submits.keys():
        yield Fault("invented", f"{task_id} is there, and nobody submitted it")
    for read, _, place in _reads(history):
        asked_at = min((each.called_at for each in submits.get(read.task_id, ())), default=float("inf"))
        if place is not None and asked_at > read.returned_at:
            yield Fault("invented", f"{_named(read)} saw {place} before anybody had submitted it")


# --- reads ------------------------------------------------------------------------------------


def _consistent(history: Sequence[Operation], _stories: Mapping[str, Story]) -> Iterator[Fault]:
    """A consistent read is of a table with all that anybody knew before its call; others are no older than asked."""
    before = _known(history)
    for read, index, _ in _reads(history):
        if read.kind is Kind.CONSISTENT_READ and index < (least := before.until(read.called_at)):
            yield Fault("stale", f"{_named(read)} is of entry {index}, called after {least} was known")
        if index < read.min_index:
            yield Fault("stale", f"{_named(read)} is of entry {index}, and asked for {read.min_index}")


def _as_of_its_index(history: Sequence[Operation], stories: Mapping[str, Story]) -> Iterator[Fault]:
    """A read, also a stale one, says of which entry it is, and saw what the table was then."""
    for each in history:
        if isinstance(each.answer, Seen) and each.answer.index is None:
            yield Fault("stale", f"{_named(each)} did not say of which entry it is")
    for read, index, place in _reads(history):
        was = place_at(stories.get(read.task_id, ()), index)
        if place != was:
            yield Fault("stale", f"{_named(read)} saw {place} at entry {index}, where the task was {was}")


def _forward(history: Sequence[Operation], _stories: Mapping[str, Story]) -> Iterator[Fault]:
    """In the order of the log, what readers saw of a task never goes back."""
    seen: defaultdict[str, list[tuple[int, Place]]] = defaultdict(list)
    for read, index, place in _reads(history):
        if place is not None:
            seen[read.task_id].append((index, place))
    for task_id, places in seen.items():
        places.sort(key=lambda each: each[0])
        for (before, earlier), (after, later) in pairwise(places):
            moved = earlier != later
            if moved and (after == before or _height(later) <= _height(earlier)):
                yield Fault("back", f"{task_id} was {earlier} at entry {before} and {later} at entry {after}")


def place_at(story: Story, index: int) -> Place | None:
    """Return where the task was when entry *index* had been applied."""
    count = bisect_right(story, index, key=lambda step: step.index)
    return story[count - 1].place if count else None


def _height(place: Place) -> tuple[int, int]:
    attempt, state = place
    return attempt, RANK[state]


def _reads(history: Iterable[Operation]) -> Iterator[tuple[Operation, int, Place | None]]:
    for each in history:
        if isinstance(each.answer, Seen) and each.answer.index is not None:
            yield each, each.answer.index, each.answer.place


# --- small things -----------------------------------------------------------------------------


class _Highest:
    """The highest index among pairs of instant and index, up to any instant."""

    def __init__(self, pairs: Iterable[tuple[float, int]]) -> None:
        ordered = sorted(pairs)
        self._instants = [instant for instant, _ in ordered]
        self._highest: list[int] = []
        for _, index in ordered:
            self._highest.append(max(index, self._highest[-1] if self._highest else 0))

    def until(self, instant: float) -> int:
        """Return the highest index of an instant before *instant*, 0 when there is none."""
        count = bisect_right(self._instants, instant)
        return self._highest[count - 1] if count else 0


def _known(history: Iterable[Operation]) -> "_Highest":
    """Return up to which entry the log was known, by instant: what was acknowledged, and what any read showed."""
    answers = ((each.returned_at, each.answer) for each in history)
    return _Highest(
        (at, answer.index) for at, answer in answers if isinstance(answer, Done | Seen) and answer.index is not None
    )


def _by_task(history: Iterable[Operation], kind: Kind) -> dict[str, list[Operation]]:
    found: defaultdict[str, list[Operation]] = defaultdict(list)
    for each in history:
        if each.kind is kind:
            found[each.task_id].append(each)
    return found


def _named(operation: Operation) -> str:
    return f"the {operation.kind} of {operation.task_id} by {operation.client or 'a client'} at {operation.node or '?'}"
