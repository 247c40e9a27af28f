"""Commands as process groups: what they see, how they end, and that none outlives its starter. Real processes."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raftsman.executor.processes import Processes, ProcessGroup, Stream
from raftsman.executor.reaping import Reaper
from tests.harness.commands import is_alive, read_pid, until

ENVIRONMENT = {"PATH": os.environ["PATH"]}
LEAVES_ONE_BEHIND = """
import asyncio, os, signal, sys
from raftsman.executor.processes import Processes

async def main():
    groups = Processes()
    for number in range(int(sys.argv[2])):
        command = f"(trap '' TERM HUP; sleep 60) & echo $! $$ > {sys.argv[1]}/{number}; wait"
        group = await groups.start(("/bin/sh", "-c", command), directory=None, environment=os.environ)
        group.open_gate()
    await groups.start(("/bin/sh", "-c", f"touch {sys.argv[1]}/ran"), directory=None, environment=os.environ)
    while len(os.listdir(sys.argv[1])) < int(sys.argv[2]):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@asynccontextmanager
async def running(
    command: str, *, directory: Path | None = None, environment: dict[str, str] | None = None
) -> AsyncIterator[ProcessGroup]:
    """Run one shell command."""
    processes = Processes()
    group = await start(processes, command, directory=directory, environment=environment)
    try:
        group.open_gate()
        yield group
    finally:
        await group.close()
        processes.stop()


async def start(
    processes: Processes,
    command: str,
    *,
    directory: Path | None = None,
    environment: dict[str, str] | None = None,
) -> ProcessGroup:
    whole: Sequence[str] = ("/bin/sh", "-c", command)
    return await processes.start(whole, directory=directory, environment=environment or ENVIRONMENT)


async def all_of(group: ProcessGroup) -> tuple[bytes, bytes]:
    async def whole(stream: Stream) -> bytes:
        read = b""
        while chunk := await stream.read(65536):
            read += chunk
        return read

    out, err = await asyncio.gather(whole(group.stdout), whole(group.stderr))
    return out, err


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def pids_in(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()]


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -TERM $$", -15)])
async def test_the_exit_code_is_that_of_the_command(command: str, code: int) -> None:
    async with running(command) as group:
        assert await group.wait() == code
        assert await group.wait() == code


async def test_both_streams_are_read_apart() -> None:
    async with running("echo out; echo err >&2; echo more") as group:
        assert await all_of(group) == (b"out\nmore\n", b"err\n")


async def test_a_command_sees_its_directory_its_environment_and_no_input(tmp_path: Path) -> None:
    async with running("pwd; env; cat", directory=tmp_path, environment={"A": "b c"}) as group:
        out, _ = await all_of(group)
    assert out.splitlines()[0] == bytes(tmp_path)
    assert {line.partition(b"=")[0] for line in out.splitlines()[1:]} <= {b"A", b"PWD", b"OLDPWD", b"_", b"SHLVL"}
    assert b"A=b c" in out


@pytest.mark.parametrize("directory", ["missing", "file"])
async def test_a_directory_that_cannot_be_entered_is_named(tmp_path: Path, directory: str) -> None:
    (tmp_path / "file").touch()
    processes = Processes()
    with pytest.raises(OSError, match=r"No such file|Not a directory") as raised:
        await start(processes, "true", directory=tmp_path / directory)
    assert raised.value.filename in (tmp_path / directory, str(tmp_path / directory))
    processes.stop()


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Directories below /dead do not answer until the event is set."""
    back, stat = threading.Event(), os.stat

    def hang(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).startswith("/dead"):
            back.wait(30)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", hang)
    monkeypatch.setattr("raftsman.executor.processes._DIRECTORY_WITHIN_S", 0.05)
    yield back
    back.set()


async def test_directories_that_hang_hold_no_thread_that_others_need(dead: threading.Event, tmp_path: Path) -> None:
    processes = Processes()
    for _ in range(40):
        with pytest.raises(OSError, match="its file system does not answer"):
            await start(processes, "true", directory=Path("/dead"))
    async with asyncio.timeout(5):
        await asyncio.to_thread(int)
        group = await start(processes, "true", directory=tmp_path)
    await group.close()
    processes.stop()


async def test_directories_are_refused_with_a_reason_while_too_many_hang(dead: threading.Event, tmp_path: Path) -> None:
    processes = Processes()
    for number in range(16):
        with pytest.raises(OSError, match="its file system does not answer"):
            await start(processes, "true", directory=Path(f"/dead/{number}"))
    with pytest.raises(OSError, match=r"no thread is left .* calls that hang: 16") as raised:
        await start(processes, "true", directory=tmp_path)
    assert raised.value.errno == errno.EAGAIN, "the node is full; nothing is wrong with the command"
    dead.set()
    await until(lambda: processes._directories._threads.busy == 0)
    group = await start(processes, "true", directory=tmp_path)
    await group.close()
    processes.stop()


async def test_nothing_runs_before_its_gate_opens_nor_when_it_never_does(tmp_path: Path) -> None:
    processes = Processes()
    group = await start(processes, f"touch {tmp_path}/ran")
    await asyncio.sleep(0.05)
    await group.close()
    processes.stop()
    assert group.gone
    assert not (tmp_path / "ran").exists()


async def test_the_end_of_a_command_is_seen_while_another_process_holds_its_pipes() -> None:
    async with running("sleep 60 & echo started") as group:
        async with asyncio.timeout(5):
            assert await group.wait() == 0
            assert await group.end(5)
        assert await all_of(group) == (b"started\n", b"")


async def test_the_whole_group_is_ended_first_with_sigterm_then_with_sigkill(tmp_path: Path) -> None:
    polite, deaf = tmp_path / "polite", tmp_path / "deaf"
    async with running(
        f"(trap '' TERM; echo $$ > /dev/null; exec sleep 60) & echo $! > {deaf};"
        f" trap 'touch {polite}.heard; exit 3' TERM; echo $$ > {polite}; while :; do sleep 0.01; done"
    ) as group:
        polite_pid, deaf_pid = await read_pid(polite), await read_pid(deaf)
        assert await group.end(0.3)
        assert await group.wait() == 3
    assert (tmp_path / "polite.heard").exists()
    assert not is_alive(polite_pid)
    assert not is_alive(deaf_pid)


async def test_no_signal_is_sent_to_a_group_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running("true") as group:
        await group.wait()
        assert await group.wait_until_gone(5)
        monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("the number may be another group's by now"))
        assert not group.signal(signal.SIGKILL)


async def test_a_killed_starter_leaves_nothing_behind(tmp_path: Path) -> None:
    script = [sys.executable, "-c", LEAVES_ONE_BEHIND, str(tmp_path), "10"]
    starter = await asyncio.to_thread(subprocess.run, script, timeout=30, check=False)
    assert starter.returncode == -signal.SIGKILL
    pids = [pid for number in range(10) for pid in pids_in(tmp_path / f"{number}")]
    assert len(pids) == 20
    await until(lambda: not any(map(is_alive, pids)), within_s=1.0)
    assert not (tmp_path / "ran").exists()


async def test_a_killed_reaper_is_replaced_and_the_next_one_knows_every_group(tmp_path: Path) -> None:
    processes = Processes()
    group = await start(processes, f"echo $$ > {tmp_path}/pid; sleep 60")
    group.open_gate()
    pid = await read_pid(tmp_path / "pid")
    reaper: Reaper = processes._reaper
    first = reaper.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: reaper.pid not in (None, first))
    processes.stop()
    await until(lambda: not is_alive(pid))
    await group.close()


async def test_commands_leave_no_file_descriptors_behind() -> None:
    processes = Processes()
    counts = []
    for _ in range(2):
        for _ in range(50):
            group = await start(processes, "true")
            group.open_gate()
            await group.wait()
            await group.close()
        counts.append(open_files())
    processes.stop()
    assert counts[0] == counts[1]
