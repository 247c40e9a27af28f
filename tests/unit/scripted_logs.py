"""A context of which only the logs answer, as a script says, and what a capture makes of that."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raftsman.executor.jobs import Denied, Json, KubernetesError, Mirror, NotFound, Unreachable
from raftsman.executor.lines import KeptLines
from raftsman.executor.output import Cut, End, LogLine, Output
from raftsman.executor.outputfiles import OutputFiles
from raftsman.executor.podlogs import capture

S5 = "2026-01-02T03:04:05"
REFUSED = Unreachable("dial tcp 10.0.0.1:10250: connect: connection refused", status=500)
NODE_NOT_FOUND = NotFound('nodes "kube-3" not found', status=404)
POD_NOT_FOUND = NotFound('pods "task-t-1-abcde" not found', status=404)
NO_CONTAINER = b"unable to retrieve container logs for containerd://0deae4d2951810af"
NO_FILE = b'failed to try resolving symlinks in path "/pods/0.log": lstat /pods/0.log: no such file or directory'
NO_WATCHER = b"failed to create fsnotify watcher: too many open files"
NO_RUNTIME = b'rpc error: code = Unavailable desc = connection error: desc = "transport: error while dialing"'
WAITING = Denied('container "task" is waiting to start: ContainerCreating', status=400)

Step = bytes | KubernetesError
Read = Sequence[Step]


@dataclass
class ScriptedLog:
    """A context of which only the logs answer: one read after another plays its steps and ends."""

    reads: list[Read]
    asked: list[tuple[str, bool]] = field(default_factory=list)  # (since, follow)

    async def read_log(
        self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        assert (namespace, pod, container) == ("batch", "task-t-1-abcde", "task")
        self.asked.append((since, follow))
        for step in self.play(since):
            await asyncio.sleep(0)
            if isinstance(step, KubernetesError):
                raise step
            yield step

    def play(self, since: str) -> Read:
        return self.reads.pop(0) if self.reads else []

    async def create_job(self, namespace: str, manifest: Json) -> Json:
        raise NotImplementedError

    async def release_job(self, namespace: str, name: str, uid: str) -> Json | None:
        raise NotImplementedError

    async def get_job(self, namespace: str, name: str) -> Json | None:
        raise NotImplementedError

    async def delete_job(self, namespace: str, name: str, uid: str) -> Json | None:
        raise NotImplementedError

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        raise NotImplementedError

    async def set_ttl(self, namespace: str, name: str, uid: str, seconds: int) -> None:
        raise NotImplementedError

    async def list_pods(self, namespace: str, job_uid: str) -> list[Json]:
        raise NotImplementedError

    async def list_events(self, namespace: str, uid: str) -> list[Json]:
        raise NotImplementedError

    def mirror(self, namespace: str, selector: str, on_change: Callable[[], None]) -> Mirror:
        raise NotImplementedError

    async def drop_mirror(self, namespace: str) -> None:
        raise NotImplementedError


@dataclass
class Sleeps:
    """Sleeping without waiting."""

    taken_s: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.taken_s.append(seconds)
        await asyncio.sleep(0)


def new_output(folder: Path = Path("/nonexistent")) -> Output:
    return Output(1, OutputFiles(folder), kept=KeptLines(1 << 20, 1 << 20))


async def captured(
    log: ScriptedLog,
    *,
    follows: int = 1,
    output: Output | None = None,
    sleep: Sleeps | None = None,
    idle_s: float = 60.0,
) -> list[LogLine | Cut | End]:
    """Return the output after the container has stopped behind so many followed reads."""
    output = output or new_output()
    await capture(
        log,
        namespace="batch",
        pod="task-t-1-abcde",
        container="task",
        output=output,
        running=lambda: sum(follow for _, follow in log.asked) < follows,
        sleep=sleep or Sleeps(),
        idle_s=idle_s,
    )
    return [each async for each in output.read()]


def lines_of(seen: list[LogLine | Cut | End]) -> list[str]:
    return [each.line for each in seen if isinstance(each, LogLine)]


def end_of(seen: list[LogLine | Cut | End]) -> End:
    assert isinstance(seen[-1], End)
    return seen[-1]


def stamped(*lines: str) -> bytes:
    """Return the lines as Kubernetes sends them, a nanosecond after one another."""
    return b"".join(f"{S5}.{n:09}Z {line}\n".encode() for n, line in enumerate(lines, start=1))


ABC = stamped("a", "b", "c")
