"""How many shell tasks a cluster completes a second: `true`, on three nodes of this machine, against a bare loop.

    python -m benchmarks.shell [--count 500] [--slots 16]

The bare loop starts `/bin/sh -c true` with asyncio and reads its two pipes, as many at a time as the nodes have slots
together. The tasks are submitted while other commands hold every slot; the time runs from the end of those to that of
the last task, so submitting is not in it. The figures of a machine that does other things too are lower bounds.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.harness.nodes import NodeGroup, node_group

from benchmarks.figures import write_figures

CLIENTS = 4
WARM_UP = 30


def main() -> None:
    """Measure both, print their ratio, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=500, help="tasks")
    parser.add_argument("--slots", type=int, default=16, help="of each node")
    wishes = parser.parse_args()
    bare = asyncio.run(_bare(wishes.count, 3 * wishes.slots))
    print(f"bare loop {bare:7.1f} commands/s")
    with tempfile.TemporaryDirectory() as name:
        toml = f"[executor]\nallow_shell = true\nslots = {wishes.slots}\n"
        with node_group(Path(name), more_toml=toml) as group:
            group.wait_ready()
            _complete(group, "warm", Path(name), wishes.slots, WARM_UP)
            rate = _complete(group, "task", Path(name), wishes.slots, wishes.count)
    print(f"raftsman  {rate:7.1f} tasks/s")
    print(f"ratio     {rate / bare:7.2f}")
    write_figures("shell", {"bareLoopPerS": bare, "tasksPerS": rate, "ratio": rate / bare})


async def _bare(count: int, at_a_time: int) -> float:
    slots = asyncio.Semaphore(at_a_time)

    async def one() -> None:
        async with slots:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "true", stdout=pipe, stderr=pipe)
            await process.communicate()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - began)


def _complete(group: NodeGroup, prefix: str, directory: Path, slots: int, count: int) -> float:
    """Return how many tasks ended a second, once they could run."""
    go = directory / f"{prefix}-go"
    holders = [f"{prefix}-holds-{number}" for number in range(slots * len(group.nodes))]
    _submit(group, holders, f"until [ -e {go} ]; do sleep 0.2; done")
    group.client().wait(holders, for_="running", timeout_s=60)
    ids = [f"{prefix}-{number}" for number in range(count)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for each in [pool.submit(_submit, group, ids[first::CLIENTS], "true") for first in range(CLIENTS)]:
            each.result()
    go.touch()
    began = time.perf_counter()
    ended = group.client().wait(ids, timeout_s=300)
    assert {task["state"] for task in ended} == {"completed"}
    return count / (time.perf_counter() - began)


def _submit(group: NodeGroup, ids: Sequence[str], command: str) -> None:
    client = group.client()
    for task_id in ids:
        client.submit({"taskId": task_id, "type": "shell", "shell": {"command": command}})


if __name__ == "__main__":
    main()
