"""How many commands three nodes commit a second, fsync on, proposed at the leader: three processes on loopback.

    python -m benchmarks.commits [--seconds 3]

Below HTTP: what is proposed are bytes of the size of a submission, and the answer means that they are on a majority of
disks and applied here. The figures of a machine that does other things too are upper bounds of the times.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from tests.harness.nodes import NAMES, eventually, free_port

from raftsman.raft.consensus import Answer, Consensus

COMMAND = b"x" * 250
OUTSTANDING = (1, 16, 256)


def main() -> None:
    """Measure and print a line for each number of proposals that are outstanding at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each line")
    seconds = parser.parse_args().seconds
    members = {name: f"127.0.0.1:{free_port()}" for name in NAMES}
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        over = processes.Event()
        nodes = [processes.Process(target=_node, args=(name, members, folder, seconds, over)) for name in NAMES]
        for node in nodes:
            node.start()
        for node in nodes:
            node.join()


def _node(name: str, members: Mapping[str, str], folder: str, seconds: float, over: Event) -> None:
    log = Consensus(
        name=name,
        members=members,
        journal=Path(folder) / name / "journal",
        election_timeout_s=(0.3, 0.6),
        apply=lambda _command, index: index,
        monotonic=time.monotonic,
    )
    log.start()
    eventually(lambda: log.standing().leader, within_s=20, what="a leader")
    time.sleep(0.5)
    if log.standing().leads:
        for outstanding in OUTSTANDING:
            print(_measure(log, outstanding, seconds), flush=True)
        print(_reads(log, seconds), flush=True)
        over.set()
    over.wait()
    log.stop()


def _measure(log: Consensus, outstanding: int, seconds: float) -> str:
    """Keep *outstanding* proposals under way; each is followed by another as soon as it is answered."""
    taken_s: list[float] = []
    ends_at = time.perf_counter() + seconds
    done = threading.Semaphore(0)

    def propose() -> None:
        began = time.perf_counter()

        def answered(answer: Answer, _result: Any) -> None:
            assert answer is Answer.APPLIED, answer
            taken_s.append(time.perf_counter() - began)
            if time.perf_counter() < ends_at:
                propose()
            else:
                done.release()

        log.propose(COMMAND, answered)

    for _ in range(outstanding):
        propose()
    for _ in range(outstanding):
        done.acquire()
    return f"{outstanding:4} outstanding: {len(taken_s) / seconds:8,.0f} commits/s  {_percentiles(taken_s)}"


def _reads(log: Consensus, seconds: float) -> str:
    taken_s: list[float] = []
    ends_at = time.perf_counter() + seconds
    while time.perf_counter() < ends_at:
        began = time.perf_counter()
        _read(log)
        taken_s.append(time.perf_counter() - began)
    return f"   consistent reads: {len(taken_s) / seconds:8,.0f} reads/s    {_percentiles(taken_s)}"


def _read(log: Consensus) -> None:
    answered = threading.Event()
    log.read(lambda _answer, _index: answered.set())
    answered.wait()


def _percentiles(taken_s: list[float]) -> str:
    cuts = statistics.quantiles(taken_s, n=100)
    return f"p50 {cuts[49] * 1000:6.2f} ms  p99 {cuts[98] * 1000:6.2f} ms"


if __name__ == "__main__":
    main()
