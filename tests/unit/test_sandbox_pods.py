"""Pods as local processes: how they start, run and end, and that nothing of them is left."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raftsman.executor.sandbox.cluster import Cluster
from raftsman.executor.sandbox.defaults import complete_job
from raftsman.executor.sandbox.deletion import delete_job, delete_pod
from raftsman.executor.sandbox.guard import Guard
from raftsman.executor.sandbox.kinds import EVENTS, JOBS, PODS
from raftsman.executor.sandbox.logfile import Reading
from raftsman.executor.sandbox.reaper import find
from raftsman.executor.sandbox.store import key_of

Json = dict[str, Any]
ENDLESS = "while true; do sleep 0.05; done"
PATIENCE_S = 15.0


class Bench:
    """A cluster without an API server."""

    def __init__(self, directory: Path) -> None:
        self.guard = Guard()
        self.cluster = Cluster(self.guard, directory)
        self.store = self.cluster.store
        self.directory = directory

    def run(self, script: str, *, grace_s: int = 1, **container: Any) -> str:
        """Create a Job that runs a script and return its name."""
        name = f"j{self.store.version}"
        task = {"name": "task", "image": "busybox", "command": ["sh", "-c", script], **container}
        pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": grace_s, "containers": [task]}
        job: Json = {
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
            "status": {},
        }
        complete_job(job)
        self.store.create(JOBS, job)
        return name

    def pod(self, name: str) -> Json | None:
        """Return a Job's Pod."""
        return next(iter(self.store.owned(f"uid-{name}")), None)

    async def ended(self, name: str) -> Json:
        """Return how the Pod's container ended."""
        pod: Json = await eventually(lambda: self._in(name, "Succeeded", "Failed"))
        state: Json = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        return state

    async def runs(self, name: str) -> Json:
        """Return the Pod once it runs."""
        pod: Json = await eventually(lambda: self._in(name, "Running"))
        return pod

    async def says(self, name: str, words: bytes) -> None:
        """Wait until the Pod has said *words*."""
        pod = await self.runs(name)

        async def look() -> bool:
            return words in await self.log(pod)

        await eventually_async(look)

    async def gone(self, pod: Json) -> None:
        """Wait until the Pod is not there any more."""
        await eventually(lambda: self.store.find(PODS, *key_of(pod)) is None)

    async def log(self, pod: Json) -> bytes:
        """Return the Pod's output."""
        log = self.cluster.kubelet.log_of(pod, "task")
        assert log is not None
        return b"".join([chunk async for chunk in log.read(Reading())])

    def left(self) -> list[int]:
        """Return the processes that carry our mark."""
        return find(set(), self.guard.mark)

    def _in(self, name: str, *phases: str) -> Json | None:
        pod = self.pod(name)
        return pod if pod and pod["status"].get("phase") in phases else None


def _is_gone(path: Path) -> bool:
    return not path.exists()


async def eventually(look: Callable[[], Any]) -> Any:
    async def looked() -> Any:
        return look()

    return await eventually_async(looked)


async def eventually_async(look: Callable[[], Awaitable[Any]]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := await look()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "pods")
    made.guard.start()
    await made.cluster.start()
    yield made
    await made.cluster.stop()
    await made.guard.stop()
    assert made.left() == []


async def test_output_of_both_streams_and_the_code_are_kept(bench: Bench) -> None:
    name = bench.run("echo out; echo err >&2; exit 3", terminationMessagePolicy="FallbackToLogsOnError")
    ended = await bench.ended(name)
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert sorted(ended["message"].splitlines()) == ["err", "out"]
    assert ended["containerID"].startswith("containerd://")


async def test_a_signal_is_its_number_above_128(bench: Bench) -> None:
    ended = await bench.ended(bench.run("kill -USR1 0; sleep 5"))
    assert (ended["exitCode"], ended["reason"]) == (128 + signal.SIGUSR1, "Error")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["nonesuch"], 'exec: "nonesuch": executable file not found in $PATH: unknown'),
        (["/nonesuch"], 'exec: "/nonesuch": stat /nonesuch: no such file or directory: unknown'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied: unknown'),
        (["a\0b"], 'exec: "a\0b": invalid argument: unknown'),
    ],
)
async def test_a_command_that_cannot_be_executed_is_a_start_error(bench: Bench, command: list[str], why: str) -> None:
    ended = await bench.ended(bench.run("", command=command))
    assert (ended["exitCode"], ended["reason"], ended["startedAt"]) == (128, "StartError", "1970-01-01T00:00:00Z")
    assert ended["message"].endswith(f"unable to start container process: {why}")


async def test_a_container_above_its_memory_is_killed(bench: Bench) -> None:
    limit = {"limits": {"memory": "40Mi"}}
    ended = await bench.ended(bench.run("x=aaaaaaaa; while true; do x=$x$x; done", resources=limit))
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


async def test_a_process_gets_little_of_our_environment_and_starts_in_its_own_folder(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_SECRET", "s3cret")
    name = bench.run("pwd; env", env=[{"name": "A", "value": "b"}], workingDir="/srv/../srv/x")
    await bench.ended(name)
    pod = bench.pod(name)
    assert pod is not None
    first, *rest = (await bench.log(pod)).decode().splitlines()
    assert Path(first) == bench.directory / pod["metadata"]["uid"] / "root" / "srv" / "x"
    names = {line.partition("=")[0] for line in rest}
    assert {"A", "PATH", "HOME", "TMPDIR", "HOSTNAME"} <= names
    assert "OUR_SECRET" not in names


async def test_the_end_of_the_first_process_is_the_end_of_all(bench: Bench) -> None:
    escapes = (
        "setsid sleep 321 & sh -c 'sleep 322 & sleep 323' & (env -i sleep 324 &) ; sleep 0.2; echo started; exit 0"
    )
    ended = await bench.ended(bench.run(escapes))
    assert ended["exitCode"] == 0
    assert bench.left() == []
    assert not _sleepers("321", "322", "323", "324")


def _sleepers(*seconds: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            found += [entry.name for each in seconds if words[:2] == [b"sleep", each.encode()]]
    return found


async def test_a_deleted_pod_is_asked_then_killed(bench: Bench) -> None:
    obedient = bench.run(f"trap 'echo bye; exit 7' TERM; echo on; {ENDLESS}", grace_s=10)
    stubborn = bench.run(f"trap '' TERM; echo on; {ENDLESS}", grace_s=1)
    codes = {}
    last: dict[str, Json] = {}
    bench.store.subscribe(lambda kind, change: last.update({change.object["metadata"]["uid"]: change.object}))
    for name in (obedient, stubborn):
        await bench.says(name, b"on")
        pod = bench.pod(name)
        assert pod is not None
        delete_pod(bench.store, key_of(pod))
        await bench.gone(pod)
        final = last[pod["metadata"]["uid"]]
        codes[name] = final["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        assert final["status"]["phase"] == "Failed"
        folder = bench.directory / pod["metadata"]["uid"]
        await eventually(partial(_is_gone, folder))  # It is removed after the Pod.
    assert codes == {obedient: 7, stubborn: 137}
    killing = [event for event in bench.store.items(EVENTS) if event["reason"] == "Killing"]
    assert {event["message"] for event in killing} == {"Stopping container task"}


async def test_a_pod_that_is_deleted_without_grace_leaves_no_process(bench: Bench) -> None:
    name = bench.run(f"trap '' TERM; echo on; {ENDLESS}", grace_s=30)
    await bench.says(name, b"on")
    pod = bench.pod(name)
    assert pod is not None
    delete_pod(bench.store, key_of(pod), 0)
    await eventually(lambda: bench.pod(name) is None and not bench.left())


async def test_a_pod_whose_image_cannot_be_pulled_can_be_deleted(bench: Bench) -> None:
    name = bench.run("true", image="registry.invalid/x:1")

    def waits() -> bool:
        pod = bench.pod(name) or {"status": {}}
        statuses = pod["status"].get("containerStatuses") or [{"state": {}}]
        return bool(statuses[0]["state"].get("waiting", {}).get("reason") == "ErrImagePull")

    await eventually(waits)
    delete_job(bench.store, ("default", name), "Foreground")
    await eventually(lambda: bench.store.find(JOBS, "default", name) is None)
    assert bench.pod(name) is None


async def test_a_missing_secret_is_said_and_nothing_starts(bench: Bench) -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    name = bench.run("true", env=env)

    def waiting() -> Json | None:
        pod = bench.pod(name) or {"status": {}}
        statuses = pod["status"].get("containerStatuses") or [{"state": {}}]
        wait: Json = statuses[0]["state"].get("waiting", {})
        return wait if wait.get("message") else None

    wait = await eventually(waiting)
    assert wait == {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}


async def test_a_pod_without_a_place_says_so(bench: Bench) -> None:
    name = bench.run("true", resources={"limits": {"memory": "9000Gi"}})
    pod = await eventually(lambda: (found := bench.pod(name)) and found["status"].get("conditions") and found)
    (condition,) = pod["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert "1 Insufficient memory" in condition["message"]
    delete_job(bench.store, ("default", name), "Foreground")
    await eventually(lambda: bench.store.find(JOBS, "default", name) is None)


async def test_a_hundred_pods_side_by_side(bench: Bench) -> None:
    names = [bench.run(f"echo {number}") for number in range(100)]
    for number, name in enumerate(names):
        assert (await bench.ended(name))["exitCode"] == 0
        pod = bench.pod(name)
        assert pod is not None
        assert await bench.log(pod) == b"%d\n" % number
    assert len(os.listdir("/proc/self/fd")) < 100  # noqa: PTH208 — names are enough.
