"""Who uses the cluster: people who submit and cancel, nodes that carry out; they ask any node until they know."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from raftsman.raft import codec
from raftsman.raft.commands import (
    Accepted,
    Assign,
    Barrier,
    Cancel,
    Command,
    Entry,
    Expire,
    Forget,
    FoundCluster,
    MemberBack,
    MemberJoined,
    MemberLost,
    Report,
    Submit,
)
from raftsman.raft.lifecycle import Signal, State, StopKind
from raftsman.raft.records import (
    ContextName,
    Instant,
    K8sJobSpec,
    Member,
    MemberContext,
    NodeId,
    Task,
    TaskId,
    TaskSpec,
)
from raftsman.raft.table import TaskTable
from raftsman.raft.waiting import Answer
from tests.simulation.checks import Proposal

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
CONTEXT = ContextName("prod")


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
    doubtful: set[str] = field(default_factory=set)
    """Ids of tasks of which a late try may still come."""
    open: list[Wish] = field(default_factory=list)
    reads: int = 0
    _stopped: bool = False
    _count: int = 0
    _wishes: int = 0
    _busy_s: float = 0.05
    _specs: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(f"{self.world.seed}/clients")
        self._busy_s = self.random.choice((0.02, 0.05, 0.1, 0.5))
        self._specs = [_spec(self.random) for _ in range(6)]

    def start(self) -> None:
        """Begin: the cluster gets its name and its members, then everybody works."""
        joined: list[Command] = [MemberJoined(member=_member(name)) for name in self.world.names]
        for command in [FoundCluster(uuid="c-1"), *joined]:
            self._wish(command)
        self._again(self._work)
        self._again(self._look, times=WISHES_A_READ)

    def stop(self) -> None:
        """Wish for nothing new; what is open is still asked for."""
        self._stopped = True

    def submit(self) -> Wish:
        """Submit one more task."""
        return self._wish(self._submission())

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
            self._wish(self._checkpoint(process) or process.replica.read(self._command) or self._submission())

    def _look(self) -> None:
        if self._stopped:
            return
        self._again(self._look, times=WISHES_A_READ)
        process = self._some_node()
        if process is not None:
            self._read(process)

    def _submission(self) -> Submit:
        self._count += 1
        return Submit(task_id=TaskId(f"t-{self._count}"), spec=self.random.choice(self._specs))

    def _checkpoint(self, process: "Process") -> Command | None:
        """Return what makes every node compare its table with this one's, now and then, as a leader does."""
        return process.replica.checkpoint() if self.random.random() < 0.05 else None

    def _command(self, table: TaskTable) -> Command | None:
        """Return something to do with what *table* shows, None for a submission."""
        drawn = self.random.random()
        if drawn < 0.5:
            return None
        if drawn < 0.55:
            return Barrier()
        if drawn < 0.6:
            node = NodeId(self.random.choice(self.world.names))
            return MemberLost(node=node) if self.random.random() < 0.5 else MemberBack(node=node)
        if drawn < 0.63 and table.ended:
            return self._forgetting(table)
        if not table.live:
            return None
        task = self.random.choice(list(table.live.values())[:20])
        return Cancel(task_id=task.task_id) if drawn < 0.7 else self._progress(task)

    def _forgetting(self, table: TaskTable) -> Command | None:
        over = [each for each in list(table.ended)[:3] if each not in self.doubtful]
        self.world.checks.forgotten.update(over)
        return Forget(task_ids=tuple(over)) if over else None

    def _progress(self, task: Task) -> Command:
        if task.attempt is None:
            return Assign(task_id=task.task_id, attempt=1, node=NodeId(self.random.choice(self.world.names)))
        number = task.attempt.number
        if self.random.random() < 0.1:
            return Expire(task_id=task.task_id, attempt=number, kind=StopKind.TIMEOUT)
        signal = Signal.GONE if task.stop else Signal.START
        if task.state is State.RUNNING and not task.stop:
            signal = self.random.choice((Signal.SUCCEED, Signal.FAIL, Signal.OBSERVE))
        return Report(
            task_id=task.task_id,
            attempt=number,
            node=task.attempt.node,
            signal=signal,
            exit_code=0 if signal is Signal.SUCCEED else None,
            reason=f"seen {self._count} times" if signal is Signal.OBSERVE else "",
        )

    # --- how they ask ---

    def _some_node(self) -> "Process | None":
        running = [host.process for host in self.world.running if host.process is not None]
        leading = [each for each in running if each.participant.core.leads]
        if leading and self.random.random() < 0.4:
            return self.random.choice(leading)
        return self.random.choice(running) if running else None

    def _wish(self, command: Command) -> Wish:
        self._wishes += 1
        wish = Wish(command, f"w-{self._wishes}")
        self.open.append(wish)
        self._ask(wish)
        return wish

    def _ask(self, wish: Wish) -> None:
        process = self._some_node()
        if process is None or (process.host.is_paused and self.random.random() < 0.7):
            self.world.timeline.after(0.1, lambda: self._ask(wish))
            return
        wish.tries += 1
        self._count += 1
        at = Instant(process.host.clock.wall_ms() * 10_000 + self._count % 10_000)  # No two tries have equal bytes.
        raw = codec.encode(Entry(command_id=wish.command_id, command=wish.command, at=at))
        proposal = wish.current = Proposal(raw, process.name)
        process.host.note(f"is asked for {_text(wish.command)}, try {wish.tries}")

        def answered(answer: Answer, result: object) -> None:
            self.world.checks.answered(proposal, answer, result)
            self._on_answer(wish, proposal, result)

        process.participant.propose(raw, answered)
        process.tick_soon()
        patience_s = self.random.uniform(*PATIENCE_S)
        self.world.timeline.after(patience_s, lambda: self._give_up(wish, proposal))

    def _on_answer(self, wish: Wish, proposal: Proposal, result: object) -> None:
        what = f"{proposal.node} answers {proposal.answer} {proposal.index} for {_text(wish.command)}"
        self.world.trace.note("client", what)
        if proposal.answer is Answer.APPLIED:
            assert isinstance(result, tuple)
            if isinstance(wish.command, Submit) and isinstance(result[0], Accepted):
                self.acknowledged.append(wish.command.task_id)
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
            self.doubtful.add(wish.command.task_id)
        if isinstance(wish.command, Submit | MemberJoined | FoundCluster) or (wish.tries < 2 and not self._stopped):
            delay_s = min(AGAIN_S * 2 ** (wish.tries - 1), AGAIN_AT_MOST_S)
            self.world.timeline.after(self.random.uniform(delay_s / 2, delay_s), lambda: self._ask(wish))
        else:
            self._done(wish)

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


def _member(name: str) -> Member:
    context = MemberContext(name=CONTEXT, reachable=True)
    return Member(node=NodeId(name), url=f"http://{name}", contexts=(context,))


def _spec(random: Random) -> bytes:
    words = tuple("x" * random.randint(1, 60) for _ in range(random.randint(0, 8)))
    return codec.pack_spec(TaskSpec(type="k8s_job", k8s_job=K8sJobSpec(context=CONTEXT, image="busybox", args=words)))
