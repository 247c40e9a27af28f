"""Shell tasks: a command of this node's own machine, run as a process group that dies with the node.

There is nothing to adopt: an attempt that was under way when this process started is over, and is reported as
``NodeLost``. What the command writes is kept like a Pod's output, its two streams apart. Who may run commands here is
said by the settings (``executor.allow_shell``); which attempts are this node's, by the table.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from raftsman.executor.causes import signal_name
from raftsman.executor.lines import LINE_BYTES
from raftsman.executor.output import Output, OutputStore
from raftsman.executor.processes import Processes, ProcessGroup
from raftsman.raft.codec import unpack_spec
from raftsman.raft.commands import Report
from raftsman.raft.lifecycle import Cause, Signal
from raftsman.raft.records import Instant, Task, TaskId, TaskSpec
from raftsman.raft.replica import Applied, Outcome

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""Between SIGTERM and SIGKILL, as `docker stop` has it."""
REPEAT_PROPOSAL_S = 0.3
LAST_OUTPUT_S = 2.0
"""How long the end of a command waits for its pipes: a process that left the group may hold them open."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
"""What a command sees of the node's own environment. Not all of it: tokens and kubeconfigs are in there."""

AttemptKey = tuple[TaskId, int]


@dataclass(slots=True)
class _Running:
    """A command under way."""

    work: "asyncio.Task[None]"
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    telling: "asyncio.Task[None] | None" = None  # That it runs, after its node was thought lost.


class Shells:
    """The shell attempts of this node."""

    def __init__(
        self,
        *,
        processes: Processes,
        output: OutputStore,
        propose: Callable[[Report], Awaitable[Outcome]],
        joined_index: Callable[[], int | None],
        now: Callable[[], Instant],
        environment: Mapping[str, str],
    ) -> None:
        """*joined_index*: the log index at which this process joined, None before."""
        self._processes = processes
        self._output = output
        self._propose = propose
        self._joined_index = joined_index
        self._now = now
        self._environment = {name: environment[name] for name in PASSED_ON if name in environment}
        self._running: dict[AttemptKey, _Running] = {}

    def attend(self, task: Task) -> None:
        """Start what is due, stop what is to be stopped; called at every look."""
        assert task.attempt is not None
        key = (task.task_id, task.attempt.number)
        running = self._running.get(key)
        joined = self._joined_index()
        if running is None and joined is not None:
            ours = task.attempt.assigned_index > joined
            work = asyncio.create_task(self._carry_out(task) if ours else self._lose(task), name=f"shell {key}")
            running = self._running[key] = _Running(work)
            work.add_done_callback(lambda done: self._ended(key, done))
        if running is not None and task.stop is not None:
            running.stop.set()
        if running is not None and task.unreachable and (running.telling is None or running.telling.done()):
            # The node was silent for a while, its process was not: the row does not know yet.
            running.telling = asyncio.create_task(self._report(_report(task, Signal.START)))

    async def stop(self) -> None:
        """End every command, because this node stops."""
        works = [running.work for running in self._running.values()]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _ended(self, key: AttemptKey, work: "asyncio.Task[None]") -> None:
        if not work.cancelled() and (error := work.exception()) is not None:
            log.error("shell attempt %s failed in raftsman itself", key, exc_info=error)
        self._running.pop(key, None)

    # --- one attempt ---

    async def _lose(self, task: Task) -> None:
        message = "the command died with its node, which was started again"
        await self._report(_failure(task, cause=Cause.NODE_LOST, message=message))

    async def _carry_out(self, task: Task) -> None:
        spec = unpack_spec(task.spec)
        assert task.attempt is not None
        assert spec.shell is not None
        directory = Path(spec.shell.working_directory) if spec.shell.working_directory else None
        if task.stop is not None:
            await self._report(_report(task, Signal.GONE))
            return
        try:
            command = ("/bin/sh", "-c", spec.shell.command)
            group = await self._processes.start(command, directory=directory, environment=self._variables(task, spec))
        except OSError as error:
            message = f"the command cannot be run: {error.strerror}: {error.filename}"
            await self._report(_failure(task, cause=Cause.COMMAND_NOT_RUNNABLE, message=message))
            return
        output = self._output.open(task.task_id, task.attempt.number)
        try:
            await self._follow(task, group, output)
        finally:
            if output.end is None:
                output.finish("truncated", "the node stopped")
            group.signal(signal.SIGKILL)
            self._processes.forget(group)

    def _variables(self, task: Task, spec: TaskSpec) -> dict[str, str]:
        assert task.attempt is not None
        ours = {"RAFTSMAN_TASK_ID": task.task_id, "RAFTSMAN_ATTEMPT": str(task.attempt.number)}
        return {**self._environment, **ours, **dict(spec.environment)}

    async def _follow(self, task: Task, group: ProcessGroup, output: Output) -> None:
        started_at = self._now()
        readers = [
            asyncio.create_task(self._copy(group.stdout, "stdout", output)),
            asyncio.create_task(self._copy(group.stderr, "stderr", output)),
        ]
        try:
            told = asyncio.create_task(self._report(_with(_report(task, Signal.START), started_at=started_at)))
            code = await self._wait(task, group)
            await told
            await group.end(GRACE_S)  # What it left in the background goes with it, as in a container.
            await asyncio.wait(readers, timeout=LAST_OUTPUT_S)
        finally:
            for reader in readers:
                reader.cancel()
        output.finish("complete")
        report = _report(task, Signal.GONE) if code is None else _ending(task, code)
        tail = output.tail_text()
        await self._report(_with(report, started_at=started_at, ended_at=self._now(), output_tail=tail))

    async def _wait(self, task: Task, group: ProcessGroup) -> int | None:
        """Wait for the end; return the exit code, or None when the command had to be stopped."""
        assert task.attempt is not None
        running = self._running[task.task_id, task.attempt.number]
        ended = asyncio.create_task(group.wait())
        stopped = asyncio.create_task(running.stop.wait())
        try:
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            await group.end(GRACE_S)
            await ended
            return None
        finally:
            stopped.cancel()

    async def _copy(self, stream: asyncio.StreamReader, name: str, output: Output) -> None:
        """Copy one stream into the output, line by line; a line that is too long is cut."""
        rest, beyond = b"", 0
        while chunk := await stream.read(LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                output.append(self._stamp(), name, line[:LINE_BYTES], beyond_bytes=beyond + len(line[LINE_BYTES:]))
                beyond = 0
            beyond += max(len(rest) - LINE_BYTES, 0)
            rest = rest[:LINE_BYTES]
        if rest:
            output.append(self._stamp(), name, rest, beyond_bytes=beyond)

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self._now() / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def _report(self, report: Report) -> None:
        """Propose until it is applied: what became of a command is known here and nowhere else."""
        while True:
            if isinstance(await self._propose(report), Applied):
                return
            await asyncio.sleep(REPEAT_PROPOSAL_S)


def _ending(task: Task, code: int) -> Report:
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
    return Report(task_id=task.task_id, attempt=task.attempt.number, node=task.attempt.node, signal=signal_)


def _with(report: Report, **fields: object) -> Report:
    return msgspec.structs.replace(report, **fields)
