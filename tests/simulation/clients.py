"""Who uses the cluster: people who submit and cancel, nodes that carry out; they ask any node until they know.

What they want is ``wishes``'s.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from raftsman.raft import codec
from raftsman.raft.commands import Accepted, Command, Entry, FoundCluster, MemberJoined, Submit
from raftsman.raft.records import Instant
from raftsman.raft.waiting import Answer
from tests.simulation.checks import Proposal
from tests.simulation.wishes import Wishes

if TYPE_CHECKING:
    from tests.simulation.processes import Process
    from tests.simulation.world import World

WISHES = 12
"""Open at a time; bursts come on top."""
PATIENCE_S = (0.5, 2.5)
AGAIN_S, AGAIN_AT_MOST_S = 0.05, 1.2
"""When it is asked again: after twice as long each time."""
AT_ONCE = 40
WISHES_A_READ = 3
"""A consistent read costs more messages than a command."""


@dataclass(slots=True, eq=False)
class Wish:
    """One thing that a client wants done, however often it must ask."""

    command: Command
    command_id: str
    tries: int = 0
    current: Proposal | None = None
    done: bool = False


@dataclass(slots=True, eq=False)
class Clients:
    """Everybody who uses the cluster."""

    world: "World"
    random: Random = field(init=False)
    acknowledged: list[str] = field(default_factory=list)
    """Ids of the tasks that somebody was told are accepted."""
    wishes: Wishes = field(init=False)
    open: list[Wish] = field(default_factory=list)
    reads: int = 0
    _stopped: bool = False
    _count: int = 0
    _busy_s: float = 0.05
    _stamps: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = Random(f"{self.world.seed}/clients")
        self._busy_s = self.random.choice((0.02, 0.05, 0.1, 0.5))
        checks = self.world.checks
        self.wishes = Wishes(random=self.random, nodes=self.world.names, forgotten=checks.forgotten, keys=checks.keys)

    def start(self) -> None:
        """Begin: the cluster gets its name and its members, then everybody works."""
        for command in self.wishes.first():
            self._wish(command)
        self._again(self._work)
        self._again(self._look, times=WISHES_A_READ)

    def stop(self) -> None:
        """Wish for nothing new; what is open is still asked for."""
        self._stopped = True

    def submit(self) -> Wish:
        """Submit one more task."""
        return self._wish(self.wishes.submission())

    def burst(self, count: int) -> None:
        """Submit many tasks at once."""
        for _ in range(count):
            self.submit()

    # --- what they want ---

    def _again(self, work: Callable[[], None], *, times: int = 1) -> None:
        self.world.timeline.after(self.random.expovariate(1 / self._busy_s) * times, work)

    def _work(self) -> None:
        """Want something, whatever became of what was wanted before: trouble shows in what people do meanwhile."""
        if self._stopped:
            return
        self._again(self._work)
        process = self._some_node()
        if process is None or len(self.open) >= WISHES:
            return
        if self.random.random() < 0.02:
            self.burst(self.random.randint(2, AT_ONCE))
        else:
            wished = self._checkpoint(process) or process.replica.read(self.wishes.command)
            self._wish(wished or self.wishes.submission())

    def _look(self) -> None:
        if self._stopped:
            return
        self._again(self._look, times=WISHES_A_READ)
        process = self._some_node()
        if process is not None:
            self._read(process)

    def _checkpoint(self, process: "Process") -> Command | None:
        """Return what makes every node compare its table with this one's, now and then, as a leader does."""
        return process.replica.checkpoint() if self.random.random() < 0.05 else None

    # --- how they ask ---

    def _some_node(self) -> "Process | None":
        running = [host.process for host in self.world.running if host.process is not None]
        leading = [each for each in running if each.participant.core.leads]
        if leading and self.random.random() < 0.4:
            return self.random.choice(leading)
        return self.random.choice(running) if running else None

    def _wish(self, command: Command) -> Wish:
        wish = Wish(command, self._new_id())
        self.open.append(wish)
        self._ask(wish)
        return wish

    def _ask(self, wish: Wish) -> None:
        process = self._some_node()
        if process is None or (process.host.is_paused and self.random.random() < 0.7):
            self.world.timeline.after(0.1, lambda: self._ask(wish))
            return
        wish.tries += 1
        command = wish.command
        at = self._stamp(wish.command_id, process.host.clock.wall_ms())
        raw = codec.encode(Entry(command_id=wish.command_id, command=command, at=at))
        proposal = wish.current = Proposal(raw, process.name)
        process.host.note(f"is asked for {_text(command)}, try {wish.tries}")

        def answered(answer: Answer, result: object) -> None:
            self.world.checks.answered(proposal, answer, result)
            self._on_answer(wish, command, proposal, result)

        process.participant.propose(raw, answered)
        process.tick_soon()
        patience_s = self.random.uniform(*PATIENCE_S)
        self.world.timeline.after(patience_s, lambda: self._give_up(wish, proposal))

    def _new_id(self) -> str:
        self._count += 1
        return f"w-{self._count}"

    def _stamp(self, command_id: str, now_ms: int) -> Instant:
        """Return the time of a try, and that of no other: no two tries have equal bytes."""
        while (command_id, now_ms) in self._stamps:
            now_ms += 1
        self._stamps.add((command_id, now_ms))
        return Instant(now_ms)

    def _on_answer(self, wish: Wish, command: Command, proposal: Proposal, result: object) -> None:
        what = f"{proposal.node} answers {proposal.answer} {proposal.index} for {_text(command)}"
        self.world.trace.note("client", what)
        if proposal.answer is Answer.APPLIED:
            assert isinstance(result, tuple)
            if isinstance(command, Submit) and isinstance(result[0], Accepted):
                self.acknowledged.append(result[0].found or command.task_id)
            self._done(wish)
        else:
            self._repeat(wish, proposal, doubtful=proposal.answer is Answer.UNKNOWN)

    def _give_up(self, wish: Wish, proposal: Proposal) -> None:
        if proposal.answer is None:
            self._repeat(wish, proposal, doubtful=True)

    def lost(self, node: str) -> None:
        """The process that was asked is dead: nobody will hear from it."""
        for wish in self.open[:]:
            if wish.current is not None and wish.current.node == node and wish.current.answer is None:
                self._repeat(wish, wish.current, doubtful=True)

    def _repeat(self, wish: Wish, proposal: Proposal, *, doubtful: bool) -> None:
        if wish.current is not proposal or wish.done:
            return
        wish.current = None
        if doubtful and isinstance(wish.command, Submit):
            self.wishes.doubtful.add(wish.command.task_id)
            self._ask_anew(wish)
        if isinstance(wish.command, Submit | MemberJoined | FoundCluster) or (wish.tries < 2 and not self._stopped):
            delay_s = min(AGAIN_S * 2 ** (wish.tries - 1), AGAIN_AT_MOST_S)
            self.world.timeline.after(self.random.uniform(delay_s / 2, delay_s), lambda: self._ask(wish))
        else:
            self._done(wish)

    def _ask_anew(self, wish: Wish) -> None:
        """Let the next try be another command, if the task's key says that it is the same."""
        command = self.wishes.again(wish.command)
        if command is not wish.command:
            wish.command, wish.command_id = command, self._new_id()

    def _done(self, wish: Wish) -> None:
        if not wish.done:
            wish.done = True
            self.open.remove(wish)

    def _read(self, process: "Process") -> None:
        floor = self.world.checks.highest_acknowledged
        self.reads += 1

        def answered(answer: Answer, index: object) -> None:
            if answer is Answer.APPLIED:
                assert isinstance(index, int)
                self.world.checks.read(process.name, floor, index, process.participant.core.applied_index)

        process.participant.read(answered)
        process.tick_soon()


def _text(command: Command) -> str:
    return f"{type(command).__name__} {getattr(command, 'task_id', '')}".rstrip()
