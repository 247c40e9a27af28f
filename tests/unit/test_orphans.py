"""Orphans and zombies: in a process to which orphans come, as they come to the first one of a container. Real ones."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from raftsman.executor.processes import Processes
from tests.harness.commands import is_alive, read_pid, until

ADOPTS = """
import asyncio, ctypes, json, os, subprocess, sys, time
from pathlib import Path
from raftsman.executor.orphans import reap_strangers
from raftsman.executor.processes import Processes

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0

async def run(processes, command):
    group = await processes.start(("/bin/sh", "-c", command), directory=None, environment=os.environ)
    group.open_gate()
    code = await group.wait()
    began = time.monotonic()
    ended = await group.end(10)
    took_s = time.monotonic() - began
    await group.close()
    return {"code": code, "ended": ended, "took_s": took_s}

def zombies():
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    return sum(state == "Z" and int(parent) == os.getpid() for state, parent, *_ in fields)

async def main():
    processes = Processes()
    print(json.dumps(await SCENE(processes)))
    processes.stop()
"""


LEAVES_A_ZOMBIE = """
import os, sys, time
os.fork() or os._exit(0)
os.setsid()  # Out of the group, in which its child stays.
with open(sys.argv[1], "w") as file:
    print(os.getpid(), file=file)
time.sleep(60)
"""


def adopting(scene: str) -> Any:
    """Return what *scene* returns in a process of its own, to which orphans come."""
    script = f"{ADOPTS}\nasync def SCENE(processes):\n{scene}\nasyncio.run(main())\n"
    done = subprocess.run([sys.executable, "-c", script], timeout=50, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_what_a_command_leaves_in_the_background_is_gone_at_once_where_orphans_come_to_this_process() -> None:
    found = adopting("    return [await run(processes, 'sleep 60 & exit 3'), zombies()]")
    assert (found[0]["code"], found[0]["ended"], found[1]) == (3, True, 0)
    assert found[0]["took_s"] < 3


def test_strangers_that_have_ended_are_waited_for_and_nobody_else_is() -> None:
    scene = """
    await run(processes, "setsid sleep 1 & setsid sleep 1 & sleep 0.5")
    own = subprocess.Popen(["sh", "-c", "exit 4"])
    known = subprocess.Popen(["sh", "-c", "exit 5"], start_new_session=True)
    await asyncio.sleep(2)
    before = zombies()
    reaped = reap_strangers({known.pid})
    return [before, reaped, own.wait(), known.wait(), zombies()]
    """
    assert adopting(scene) == [4, 2, 4, 5, 0]


def test_a_process_that_is_not_the_first_of_its_container_waits_for_no_stranger() -> None:
    assert os.getpid() != 1
    asyncio.run(asyncio.wait_for(Processes().reap_strangers(), 1))


async def test_a_group_of_zombies_is_gone_although_nobody_waits_for_them(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    leaver = tmp_path / "leaver.py"
    leaver.write_text(LEAVES_A_ZOMBIE)
    processes = Processes()
    command = f"{sys.executable} {leaver} {pid} & while ! [ -s {pid} ]; do sleep 0.05; done"
    group = await processes.start(("/bin/sh", "-c", command), directory=None, environment=os.environ)
    group.open_gate()
    assert await group.wait() == 0
    leaver_pid = await read_pid(pid)
    try:
        async with asyncio.timeout(5):
            assert await group.end(10)
        assert is_alive(leaver_pid)
    finally:
        os.kill(leaver_pid, signal.SIGKILL)
        await group.close()
        processes.stop()
    await until(lambda: not is_alive(leaver_pid))
