"""Shell tasks: a command of this node's own machine, run as a process group that dies with the node.

That an attempt starts is in the log before its command runs. So an attempt that the log shows as assigned has never
run, wherever it is; and one that the log shows as running, but which this process has not started, died with an
earlier process of this node: nothing can be adopted, and it is reported as ``NodeLost``.

Who may run commands here is said by the settings (``executor.allow_shell``); which attempts are this node's, by the
table; how a process group is started and ended, by ``processes``; where its output goes, by ``shelloutput``.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from raftsman.executor.causes import signal_name
from raftsman.executor.output import Output, OutputStore
from raftsman.executor.processes import Processes, ProcessGroup
from raftsman.executor.shelloutput import copy_output
from raftsman.raft.codec import unpack_spec
from raftsman.raft.commands import Refused, Report, Verdict
from raftsman.raft.lifecycle import Cause, Signal, State, StopKind
from raftsman.raft.records import Instant, Task, TaskId, TaskSpec
from raftsman.raft.replica import Applied, Outcome

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""Between SIGTERM and SIGKILL, as `docker stop` has it."""
LEAVING_GRACE_S = 2.0
"""The same when the node stops: whoever stops it waits for that."""
LAST_REPORT_S = 1.0
"""How long a node that stops tries to say so; what is left is said when it is back."""
REPEAT_PROPOSAL_S = 0.3
LAST_OUTPUT_S = 2.0
"""How long the end of a command waits for its pipes: a process that left the group may hold them open."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
"""What a command sees of the node's own environment. Not all of it: tokens and kubeconfigs are in there."""
NO_ROOM = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""What says that the machine cannot take another process, whatever its command."""

AttemptKey = tuple[TaskId, int]


@dataclass(slots=True)
class _Ours:
    """An attempt in the hands of this process."""

    work: "asyncio.Task[object]"
    end: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its command must not run any longer."""
    stopped: bool = False  # Because the table wants that.
    runs: bool = False
    telling: "asyncio.Task[Verdict] | None" = None  # That it runs, after its node was thought lost.


class Shells:
    """The shell attempts of this node."""

    def __init__(
        self,
        *,
        processes: Processes,
        output: OutputStore,
        propose: Callable[[Report], Awaitable[Outcome]],
        row: Callable[[TaskId], Task | None],
        joined: Callable[[], bool],
        slots: int,
        now: Callable[[], Instant],
        environment: Mapping[str, str],
        grace_s: float = GRACE_S,
    ) -> None:
        """Take what it stands on.

        *row* is the task as this node's table has it now. *joined*: whether this process has joined, so that this
        table knows all that earlier processes of the node did.
        """
        self._processes = processes
        self._output = output
        self._propose = propose
        self._row = row
        self._joined = joined
        self._slots = asyncio.Semaphore(slots)  # Two leaders after one another may give away the same slot.
        self._now = now
        self._environment = {name: environment[name] for name in PASSED_ON if name in environment}
        self._grace_s = grace_s
        self._leaving = False
        self._ours: dict[AttemptKey, _Ours] = {}

    # --- what the worker asks for ---

    def attend(self, task: Task) -> None:
        """Take the attempt up if it is new, and stop it if it is to be stopped; called at every look."""
        if not self._joined():
            return
        ours = self._ours.get(_key(task))
        if ours is None:
            work = self._carry_out(task) if task.state is State.ASSIGNED else self._lose(task)
            ours = self._take_up(task, work)
            ours.work.add_done_callback(lambda done: self._conclude_failure(task, done))
        if task.stop is not None:
            ours.stopped = True
            ours.end.set()
        if task.unreachable and ours.runs and (ours.telling is None or ours.telling.done()):
            # The node was silent for a while, its command was not: the row does not know yet.
            ours.telling = asyncio.create_task(self._report(_report(task, Signal.START)))

    async def stop(self) -> None:
        """End every command because this node stops, and say so as far as the log answers."""
        self._leaving = True
        works = [ours.work for ours in self._ours.values()]
        tellings = [ours.telling for ours in self._ours.values() if ours.telling is not None]
        for ours in self._ours.values():
            ours.end.set()
        if works:
            await asyncio.wait(works, timeout=LEAVING_GRACE_S + LAST_REPORT_S)
        for each in (*works, *tellings):
            each.cancel()
        await asyncio.gather(*works, *tellings, return_exceptions=True)

    def _take_up(self, task: Task, work: Coroutine[object, object, object]) -> _Ours:
        """Hold the attempt until *work* is done. If its row has not ended then, it is taken up again by its state."""
        key = _key(task)
        ours = self._ours[key] = _Ours(asyncio.create_task(work, name=f"shell {key}"))
        ours.work.add_done_callback(lambda _: self._ours.pop(key))
        return ours

    def _conclude_failure(self, task: Task, work: "asyncio.Task[object]") -> None:
        """Let an attempt at which this program failed fail: the next try would go the same way."""
        if work.cancelled() or (error := work.exception()) is None:
            return
        log.error("task %s failed in raftsman itself", task.task_id, exc_info=error)
        message = f"raftsman failed at this task: {type(error).__name__}; see the log of node {task.node}"
        self._take_up(task, self._report(_failure(task, cause=Cause.INTERNAL, message=message)))

    # --- one attempt ---

    async def _lose(self, task: Task) -> None:
        if task.stop is not None and task.stop.kind is StopKind.CANCEL:
            await self._report(_report(task, Signal.GONE))
            return
        message = "the command died with its node, which was started again"
        await self._report(_failure(task, cause=Cause.NODE_LOST, message=message))

    async def _carry_out(self, task: Task) -> None:
        async with self._slots:
            report = await self._run(task)
        if report is not None:
            await self._report(report)

    async def _run(self, task: Task) -> Report | None:
        """Run the command, and return the report that ends the attempt; None: it is not ours to end."""
        if not self._is_due(task):
            return self._unwanted(task)
        spec = unpack_spec(task.spec)
        assert spec.shell is not None
        directory = Path(spec.shell.working_directory) if spec.shell.working_directory else None
        command = ("/bin/sh", "-c", spec.shell.command)
        try:
            group = await self._processes.start(command, directory=directory, environment=self._variables(task, spec))
        except OSError as error:
            return _not_started(task, error)
        try:
            start = _with(_report(task, Signal.START), started_at=self._now())
            if isinstance(await self._report(start), Refused) or not self._is_due(task):
                return self._unwanted(task)
            return await self._follow(task, group)
        finally:
            await group.close()

    def _is_due(self, task: Task) -> bool:
        """Whether the command may run, as far as this node's table knows."""
        row = self._row(task.task_id)
        return row is not None and row.stop is None and _same_attempt(row, task) and not self._leaving

    def _unwanted(self, task: Task) -> Report | None:
        """Return the report about a command that has not run and need not any more."""
        row = self._row(task.task_id)
        if row is None or row.ended or not _same_attempt(row, task):
            return None
        if row.stop is not None:
            return _report(task, Signal.GONE)
        return _left(task) if row.state is State.RUNNING else None  # While it is assigned, others may run it.

    def _variables(self, task: Task, spec: TaskSpec) -> dict[str, str]:
        assert task.attempt is not None
        ours = {"RAFTSMAN_TASK_ID": task.task_id, "RAFTSMAN_ATTEMPT": str(task.attempt.number)}
        return {**self._environment, **dict(spec.environment), **ours}

    async def _follow(self, task: Task, group: ProcessGroup) -> Report:
        """Let the command run to its end; return what became of it."""
        ours = self._ours[_key(task)]
        assert task.attempt is not None
        output = self._output.open(task.task_id, task.sequence, task.attempt.number)
        copying = asyncio.create_task(copy_output(group, output, self._now))
        ours.runs = True
        try:
            group.open_gate()
            code = await self._wait(ours, group)
            await group.end(self._grace())  # What it left in the background goes with it, as in a container.
            await asyncio.wait([copying], timeout=LAST_OUTPUT_S)
            _finish(output, copying)
        finally:
            ours.runs = False
            copying.cancel()
            await asyncio.wait([copying])
            output.finish("truncated", "the node stopped")  # Unless it has an end.
        report = _exit_report(task, code) if code is not None else self._stop_report(task, ours)
        out, err = (output.tail_text(stream=stream) for stream in ("stdout", "stderr"))
        return _with(report, ended_at=self._now(), output_tail=out, error_tail=err)

    def _grace(self) -> float:
        return min(self._grace_s, LEAVING_GRACE_S) if self._leaving else self._grace_s

    async def _wait(self, ours: _Ours, group: ProcessGroup) -> int | None:
        """Wait for the end; return the exit code, or None when the command has to be stopped."""
        ended = asyncio.create_task(group.wait())
        stopped = asyncio.create_task(ours.end.wait())
        try:
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else None
        finally:
            ended.cancel()
            stopped.cancel()

    def _stop_report(self, task: Task, ours: _Ours) -> Report:
        return _report(task, Signal.GONE) if ours.stopped else _left(task)

    async def _report(self, report: Report) -> Verdict:
        """Propose until it is applied: what became of a command is known here and nowhere else."""
        while True:
            outcome = await self._propose(report)
            if isinstance(outcome, Applied):
                return outcome.verdict
            await asyncio.sleep(REPEAT_PROPOSAL_S)


def _key(task: Task) -> AttemptKey:
    assert task.attempt is not None
    return task.task_id, task.attempt.number


def _same_attempt(row: Task, task: Task) -> bool:
    assert task.attempt is not None
    return row.attempt is not None and (row.attempt.number, row.node) == (task.attempt.number, task.node)


def _finish(output: Output, copying: "asyncio.Task[None]") -> None:
    if not copying.done():
        output.finish("truncated", "a process that left the command's group holds its output open")
    elif (error := copying.exception()) is not None:
        output.finish("truncated", f"it could not be read: {error}")
    else:
        output.finish("complete")


def _not_started(task: Task, error: OSError) -> Report:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in NO_ROOM:
        message = f"the node has no room for another process: {error.strerror}"
        return _failure(task, cause=Cause.NODE_REJECTED, message=message)
    message = f"the command cannot be run: {error.strerror}{where}"
    return _failure(task, cause=Cause.COMMAND_NOT_RUNNABLE, message=message)


def _left(task: Task) -> Report:
    return _failure(task, cause=Cause.NODE_LOST, message="the command was ended because its node stopped")


def _exit_report(task: Task, code: int) -> Report:
    if code == 0:
        return _with(_report(task, Signal.SUCCEED), exit_code=0)
    if code < 0:
        message = f"killed by {signal_name(-code)}"
        return _with(_failure(task, cause=Cause.SIGNAL, message=message), exit_code=128 - code, killed_by=-code)
    return _with(_failure(task, cause=Cause.NON_ZERO_EXIT, message=f"exit code {code}"), exit_code=code)


def _failure(task: Task, *, cause: Cause, message: str) -> Report:
    return _with(_report(task, Signal.FAIL), cause=cause, message=message, error=message)


def _report(task: Task, signal_: Signal) -> Report:
    assert task.attempt is not None
    attempt = task.attempt
    return Report(
        task_id=task.task_id, attempt=attempt.number, node=attempt.node, signal=signal_, sequence=task.sequence
    )


def _with(report: Report, **fields: object) -> Report:
    return msgspec.structs.replace(report, **fields)
