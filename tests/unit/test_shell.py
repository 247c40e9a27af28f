"""Shell attempts on a log in memory, with real commands: what is reported, when, and that each runs once."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from raftsman.executor import shell
from raftsman.executor.lines import LINE_BYTES
from raftsman.executor.output import Cut, End, KeepLimits, LogLine, OutputStore
from raftsman.executor.processes import Processes
from raftsman.executor.shell import Shells
from raftsman.raft.codec import pack_spec
from raftsman.raft.commands import (
    Assign,
    Cancel,
    Command,
    Expire,
    MemberJoined,
    MemberLost,
    Reassign,
    Refused,
    Report,
    Submit,
)
from raftsman.raft.lifecycle import Cause, Signal, State, StopKind
from raftsman.raft.records import Member, NodeId, ShellSpec, Task, TaskId, TaskSpec
from tests.harness.commands import is_alive, read_pid, until
from tests.harness.fake_log import FakeLog, FakeReplica, Trouble
from tests.harness.virtual_time import now

ALPHA, BETA = NodeId("alpha"), NodeId("beta")
NODE_ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "RAFTSMAN_TOKEN": "x", "KUBECONFIG": "y"}
KEEP = KeepLimits(head_bytes=4096, tail_bytes=65536)
LOOK_EVERY_S = 0.05


class Machine:
    """A node as far as its commands go: a replica of the log, and one process after another that looks at it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = FakeLog()
        self.wakeup = asyncio.Event()
        self.replica: FakeReplica = self.log.replica(ALPHA, self.wakeup)
        self.output = OutputStore(root / "output", KEEP)
        self.processes = Processes()
        self.joined = True
        self.slots = 8
        for node in (ALPHA, BETA):
            self.append(MemberJoined(member=Member(node=node, url="", slots=8)))
        self.shells = self._shells()
        self._looking = asyncio.create_task(self._look())

    def _shells(self) -> Shells:
        return Shells(
            processes=self.processes,
            output=self.output,
            propose=self.replica.propose,
            row=self.replica.table.task,
            joined=lambda: self.joined,
            slots=self.slots,
            now=now,
            environment=NODE_ENVIRONMENT,
            grace_s=0.2,
        )

    async def _look(self) -> None:
        while True:
            for task in list(self.replica.table.live.values()):
                if task.node == ALPHA:
                    self.shells.attend(task)
            self.wakeup.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wakeup.wait(), LOOK_EVERY_S)

    async def die(self) -> None:
        """Lose the process and all that it knows, as kill -9 would."""
        self._looking.cancel()
        for ours in list(self.shells._ours.values()):
            ours.work.cancel()
        await asyncio.sleep(0)
        self.replica.cut_off()

    def come_back(self) -> None:
        """Start another process of this node on the same log."""
        self.append(MemberJoined(member=Member(node=ALPHA, url="", slots=8)))
        self.replica = self.log.replica(ALPHA, self.wakeup)
        self.shells = self._shells()
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        self._looking.cancel()
        await self.shells.stop()
        self.processes.stop()

    def append(self, command: Command) -> None:
        verdict = self.log.append(command)
        assert not isinstance(verdict, Refused), verdict

    def submit(self, command: str, task_id: str = "t", *, directory: str = "", **environment: str) -> None:
        """Admit a task and assign it to this machine."""
        block = ShellSpec(command=command, working_directory=directory)
        spec = TaskSpec(type="shell", shell=block, environment=tuple(environment.items()))
        self.append(Submit(task_id=TaskId(task_id), spec=pack_spec(spec)))
        self.append(Assign(task_id=TaskId(task_id), attempt=1, node=ALPHA))

    def cancel(self, task_id: str = "t") -> None:
        self.append(Cancel(task_id=TaskId(task_id)))

    def task(self, task_id: str = "t") -> Task:
        task = self.log.table.task(task_id)
        assert task is not None
        return task

    async def ended(self, task_id: str = "t", within_s: float = 10.0) -> Task:
        await until(lambda: self.task(task_id).ended, within_s)
        return self.task(task_id)

    async def run(self, command: str, *, directory: str = "", **environment: str) -> Task:
        self.submit(command, directory=directory, **environment)
        return await self.ended()

    async def read(self, task_id: str = "t") -> list[LogLine | Cut | End]:
        output = self.output.find(task_id, self.task(task_id).sequence, 1)
        assert output is not None
        return [record async for record in output.read()]

    async def lines(self) -> list[tuple[str, str]]:
        return [(each.stream, each.line) for each in await self.read() if isinstance(each, LogLine)]

    def reports(self, signal_: Signal) -> int:
        """Return how often the log was told *signal_* and took it."""
        told = [entry.command for entry, verdict in self.log.entries if not isinstance(verdict, Refused)]
        return sum(isinstance(each, Report) and each.signal is signal_ for each in told)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    await machine.stop()
    assert machine.log.broken == []


# --- how a command ends ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "exit_code", "cause", "message"),
    [
        ("true", 0, None, ""),
        ("exit 3", 3, Cause.NON_ZERO_EXIT, "exit code 3"),
        ("no-such-program", 127, Cause.NON_ZERO_EXIT, "exit code 127"),
        ("kill -9 $$", 137, Cause.SIGNAL, "killed by SIGKILL"),
    ],
)
async def test_the_end_of_a_command_is_the_tasks(
    machine: Machine, command: str, exit_code: int, cause: Cause | None, message: str
) -> None:
    task = await machine.run(command)
    assert (task.exit_code, task.cause, task.error) == (exit_code, cause, message)
    assert task.state is (State.FAILED if cause else State.COMPLETED)
    assert task.attempt is not None
    assert task.attempt.started_at is not None
    assert task.attempt.ended_at is not None
    assert task.attempt.started_at <= task.attempt.ended_at
    assert [change.after for change in task.changes][-2:] == [State.RUNNING, task.state]


async def test_a_directory_that_is_not_there_is_said(machine: Machine) -> None:
    task = await machine.run("true", directory="/no/such/place")
    assert (task.state, task.cause, task.exit_code) == (State.FAILED, Cause.COMMAND_NOT_RUNNABLE, -1)
    assert task.error == "the command cannot be run: No such file or directory: /no/such/place"


async def test_a_machine_without_room_is_not_the_commands_fault(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(machine.processes, "start", full)
    task = await machine.run("true")
    assert task.cause is Cause.NODE_REJECTED
    assert task.error == "the node has no room for another process: Resource temporarily unavailable"


async def test_an_error_of_ours_ends_the_task_and_starts_nothing_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def broken(*args: object) -> None:
        tries.append(args)
        raise KeyError("odd")

    monkeypatch.setattr(machine.output, "open", broken)
    task = await machine.run("true")
    assert (task.state, task.cause) == (State.FAILED, Cause.INTERNAL)
    assert len(tries) == 1


async def test_what_a_command_left_in_the_background_ends_with_it(machine: Machine) -> None:
    task = await machine.run(f"(trap '' TERM; exec sleep 60) & echo $! > {machine.root}/pid")
    assert task.state is State.COMPLETED
    assert not is_alive(await read_pid(machine.root / "pid"))
    assert (await machine.read())[-1] == End("complete", "")


async def test_a_process_that_left_the_group_and_holds_the_output_does_not_hold_up_the_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "LAST_OUTPUT_S", 0.1)
    task = await machine.run(f"setsid sleep 60 & echo $! > {machine.root}/pid; echo done; sleep 0.1")
    assert task.state is State.COMPLETED
    records = await machine.read()
    assert [each.line for each in records if isinstance(each, LogLine)] == ["done"]
    assert records[-1] == End("truncated", "a process that left the command's group holds its output open")
    os.kill(await read_pid(machine.root / "pid"), signal.SIGKILL)


# --- what it sees and writes ---------------------------------------------------------------------


async def test_a_command_sees_its_own_variables_and_no_secret_of_the_node(machine: Machine) -> None:
    await machine.run("env", A="b c", RAFTSMAN_TASK_ID="mine")
    seen = dict(line.split("=", 1) for _, line in await machine.lines())
    of_the_shell = {"PWD", "OLDPWD", "_", "SHLVL"}
    assert seen.keys() - of_the_shell == {"PATH", "HOME", "A", "RAFTSMAN_TASK_ID", "RAFTSMAN_ATTEMPT"}
    assert (seen["A"], seen["RAFTSMAN_TASK_ID"], seen["RAFTSMAN_ATTEMPT"]) == ("b c", "t", "1")


async def test_a_command_runs_in_its_directory(machine: Machine) -> None:
    await machine.run("pwd", directory=str(machine.root))
    assert await machine.lines() == [("stdout", str(machine.root))]


async def test_both_streams_are_kept_apart_and_seen_while_it_runs(machine: Machine) -> None:
    machine.submit(f"echo out; echo err >&2; until [ -e {machine.root}/go ]; do sleep 0.01; done; printf last")
    await until(lambda: machine.output.find("t", machine.task().sequence, 1) is not None)
    output = machine.output.find("t", machine.task().sequence, 1)
    assert output is not None
    seen = set()
    async for record in output.read(follow=True):
        if isinstance(record, LogLine):
            seen.add((record.stream, record.line))
        if len(seen) == 2:
            assert machine.task().state is State.RUNNING
            (machine.root / "go").touch()
    assert seen == {("stdout", "out"), ("stderr", "err"), ("stdout", "last")}
    task = await machine.ended()
    assert (task.output_tail, task.error_tail) == ("out\nlast", "err")


async def test_bytes_that_are_no_text_are_kept_as_far_as_they_can_be(machine: Machine) -> None:
    task = await machine.run(r"printf 'a\377b\0c\n\n\342\202'")
    assert await machine.lines() == [("stdout", "a\ufffdb\0c"), ("stdout", ""), ("stdout", "\ufffd")]
    assert task.state is State.COMPLETED


@pytest.mark.parametrize("beyond", [0, 1, 3 * LINE_BYTES + 5])
async def test_a_line_that_is_too_long_keeps_its_beginning_and_says_how_much_is_missing(
    machine: Machine, beyond: int
) -> None:
    await machine.run(f"head -c {LINE_BYTES + beyond} /dev/zero | tr '\\0' x; echo; echo next")
    (_, line), after = await machine.lines()
    assert line == "x" * LINE_BYTES + (f"… [{beyond} bytes cut]" if beyond else "")
    assert after == ("stdout", "next")


async def test_a_flood_of_output_is_cut_in_the_middle_and_holds_up_nobody(machine: Machine) -> None:
    machine.submit("yes 'a line of output of some forty bytes or so' | head -c 20000000; echo end >&2")
    loop = asyncio.get_running_loop()
    longest = 0.0
    while not machine.task().ended:
        began = loop.time()
        await asyncio.sleep(0.01)
        longest = max(longest, loop.time() - began)
    records = await machine.read()
    cut = next(each.bytes for each in records if isinstance(each, Cut))
    kept = sum(len(each.line) + 1 for each in records if isinstance(each, LogLine))
    assert cut + kept == 20_000_000 + len("end\n") + 1  # The last line was cut off by head, and got a line end.
    assert kept < KEEP.head_bytes + KEEP.tail_bytes
    assert longest < 0.5


# --- stops ---------------------------------------------------------------------------------------


async def test_a_cancelled_command_is_asked_to_end_then_killed_with_all_that_it_started(machine: Machine) -> None:
    deaf = "trap '' TERM; (trap '' TERM; exec sleep 60) &"
    machine.submit(f"{deaf} echo $! > {machine.root}/child; echo $$ > {machine.root}/pid; while :; do sleep 0.1; done")
    pids = [await read_pid(machine.root / name) for name in ("pid", "child")]
    machine.cancel()
    task = await machine.ended()
    assert (task.state, task.exit_code, task.error, task.cause) == (State.CANCELLED, -1, "Task cancelled", None)
    assert not any(map(is_alive, pids))


async def test_a_cancelled_command_can_say_goodbye(machine: Machine) -> None:
    machine.submit(f"trap 'echo bye; exit 0' TERM; touch {machine.root}/up; while :; do sleep 0.01; done")
    await until((machine.root / "up").exists)
    machine.cancel()
    assert "bye" in (await machine.ended()).output_tail.splitlines()


async def test_a_timeout_has_the_words_of_every_timeout(machine: Machine) -> None:
    machine.submit("sleep 60")
    await until(lambda: machine.task().state is State.RUNNING)
    machine.append(Expire(task_id=TaskId("t"), attempt=1, kind=StopKind.TIMEOUT))
    task = await machine.ended()
    assert (task.state, task.exit_code, task.error, task.cause) == (State.FAILED, -1, "Job timed out", Cause.TIMEOUT)


async def test_an_end_that_came_before_the_stop_was_seen_counts(machine: Machine) -> None:
    machine.submit(f"until [ -e {machine.root}/go ]; do sleep 0.01; done; exit 5")
    await until(lambda: machine.task().state is State.RUNNING)
    machine.replica.cut_off()
    machine.cancel()
    (machine.root / "go").touch()
    await asyncio.sleep(0.2)
    machine.replica.cut_off(False)
    assert (await machine.ended()).exit_code == 5


@pytest.mark.parametrize("stop", ["cancel", "start-timeout"])
async def test_a_stop_that_comes_before_the_start_leaves_nothing_to_run(machine: Machine, stop: str) -> None:
    machine.replica.cut_off()
    machine.submit(f"touch {machine.root}/ran")
    if stop == "cancel":
        machine.cancel()
    else:
        machine.append(Expire(task_id=TaskId("t"), attempt=1, kind=StopKind.START_TIMEOUT))
    machine.replica.cut_off(False)
    task = await machine.ended()
    assert (task.state, task.cause) == (
        (State.CANCELLED, None) if stop == "cancel" else (State.FAILED, Cause.START_TIMEOUT)
    )
    assert not (machine.root / "ran").exists()


async def test_a_stop_in_the_moment_of_the_start_is_heard(machine: Machine) -> None:
    machine.replica.delay_s = 0.2  # The start is on its way to the log …
    machine.submit(f"touch {machine.root}/ran")
    await asyncio.sleep(0.1)
    machine.cancel()  # … and comes behind the cancellation.
    assert (await machine.ended()).state is State.CANCELLED
    assert not (machine.root / "ran").exists()


# --- the log's troubles --------------------------------------------------------------------------


async def test_nothing_runs_before_its_start_is_in_the_log(machine: Machine) -> None:
    machine.replica.chance = lambda: Trouble.NOT_LEADER
    machine.submit(f"touch {machine.root}/ran")
    await asyncio.sleep(0.5)
    assert not (machine.root / "ran").exists()
    machine.replica.chance = lambda: None
    assert (await machine.ended()).state is State.COMPLETED
    assert (machine.root / "ran").exists()


@pytest.mark.parametrize("trouble", Trouble)
async def test_reports_are_repeated_until_the_log_has_them_and_the_command_runs_once(
    machine: Machine, trouble: Trouble
) -> None:
    machine.replica.troubles.extend([trouble] * 2)
    machine.submit(f"echo x >> {machine.root}/runs; until [ -e {machine.root}/go ]; do sleep 0.01; done")
    await until((machine.root / "runs").exists)
    machine.replica.troubles.extend([trouble] * 2)
    (machine.root / "go").touch()
    assert (await machine.ended()).state is State.COMPLETED
    assert (machine.root / "runs").read_text() == "x\n"


async def test_no_more_run_at_a_time_than_there_are_slots_whatever_is_assigned(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.slots = 2
    machine.shells = machine._shells()
    running = tmp_path / "running"
    running.mkdir()
    for number in range(6):
        mark = f"{running}/{number}"
        machine.submit(f"touch {mark}; ls {running} | wc -l; sleep 0.05; rm {mark}", f"t{number}")
    for number in range(6):
        task = await machine.ended(f"t{number}")
        assert int(task.output_tail) <= 2
    await machine.stop()


# --- a node that dies ----------------------------------------------------------------------------


async def test_a_command_that_ran_when_its_node_died_is_lost_once_and_never_runs_again(machine: Machine) -> None:
    machine.submit(f"echo x >> {machine.root}/runs; exec sleep 60")
    await until((machine.root / "runs").exists)
    await machine.die()
    machine.append(MemberLost(node=ALPHA))
    assert machine.task().conditions == ("unreachable",)
    machine.come_back()
    task = await machine.ended()
    assert (task.state, task.cause, task.exit_code) == (State.FAILED, Cause.NODE_LOST, -1)
    assert "died with its node" in task.error
    assert (machine.reports(Signal.FAIL), machine.reports(Signal.START)) == (1, 1)
    assert (machine.root / "runs").read_text() == "x\n"


async def test_a_cancelled_command_whose_node_died_is_cancelled(machine: Machine) -> None:
    machine.submit("sleep 60")
    await until(lambda: machine.task().state is State.RUNNING)
    await machine.die()
    machine.cancel()
    machine.come_back()
    assert (await machine.ended()).state is State.CANCELLED


async def test_what_was_assigned_while_its_node_was_down_runs_once_it_has_joined(machine: Machine) -> None:
    await machine.die()
    machine.joined = False
    machine.submit(f"echo x >> {machine.root}/runs")
    machine.come_back()
    await asyncio.sleep(0.1)
    assert not (machine.root / "runs").exists()
    machine.joined = True
    machine.wakeup.set()
    assert (await machine.ended()).state is State.COMPLETED
    assert (machine.root / "runs").read_text() == "x\n"


async def test_an_attempt_that_moved_before_it_started_runs_where_it_is_now_only(machine: Machine) -> None:
    machine.replica.cut_off()
    machine.replica.delay_s = 0.2
    machine.submit(f"touch {machine.root}/ran")
    machine.replica.cut_off(False)  # The node sees its assignment, and its start goes out …
    await asyncio.sleep(0.1)
    machine.append(MemberLost(node=ALPHA))
    machine.append(Reassign(task_id=TaskId("t"), attempt=1, from_node=ALPHA, node=BETA))
    await asyncio.sleep(0.5)  # … and is refused.
    assert (machine.task().state, machine.task().node) == (State.ASSIGNED, BETA)
    assert not (machine.root / "ran").exists()


async def test_a_silence_that_the_command_survived_is_told(machine: Machine) -> None:
    machine.submit(f"until [ -e {machine.root}/go ]; do sleep 0.01; done")
    await until(lambda: machine.task().state is State.RUNNING)
    machine.append(MemberLost(node=ALPHA))
    assert machine.task().unreachable
    await until(lambda: not machine.task().unreachable)
    assert machine.task().state is State.RUNNING
    (machine.root / "go").touch()
    assert (await machine.ended()).state is State.COMPLETED


async def test_a_node_that_stops_ends_its_commands_and_says_so(machine: Machine) -> None:
    machine.submit(f"trap 'echo bye; exit 0' TERM; echo $$ > {machine.root}/pid; while :; do sleep 0.01; done")
    pid = await read_pid(machine.root / "pid")
    await machine.stop()
    task = machine.task()
    assert (task.state, task.cause) == (State.FAILED, Cause.NODE_LOST)
    assert "bye" in task.output_tail.splitlines()
    assert task.error == "the command was ended because its node stopped"
    assert not is_alive(pid)


async def test_a_node_that_stops_without_a_leader_leaves_the_end_to_its_next_start(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "LAST_REPORT_S", 0.1)
    monkeypatch.setattr(shell, "LEAVING_GRACE_S", 0.2)
    machine.submit(f"trap '' TERM; echo $$ > {machine.root}/pid; sleep 60")
    pid = await read_pid(machine.root / "pid")
    machine.replica.chance = lambda: Trouble.NOT_LEADER
    await machine.stop()
    assert not is_alive(pid)
    assert machine.task().state is State.RUNNING
    machine.come_back()
    assert (await machine.ended()).cause is Cause.NODE_LOST
