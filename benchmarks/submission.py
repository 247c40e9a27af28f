"""How long one submission takes over HTTP, at the leader and at a follower: three nodes on loopback, one client.

    python -m benchmarks.submission [--count 500]

A submission counts from the first byte sent to the whole answer, on a connection that is kept open; the answer means
that the task is committed and applied. The figures of a machine that does other things too are upper bounds.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.harness.fake_kubernetes import write_kubeconfig
from tests.harness.nodes import NodeProcess, node_group

from benchmarks.figures import write_figures

CONTEXT = "dark"
WARM_UP = 20


def main() -> None:
    """Measure, print one line for each role, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=500, help="submissions at each node")
    taken = measure_submissions(parser.parse_args().count)
    for role, taken_ms in taken.items():
        print(f"{role:8} {_summary(taken_ms)}")
    write_figures("submission", {role: _percentiles(taken_ms) for role, taken_ms in taken.items()})


def measure_submissions(count: int) -> dict[str, list[float]]:
    """Return the milliseconds of *count* submissions each, at the leader and at a follower of a cluster of its own.

    Its one context is reached by nobody, so that no Job comes of them.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        kubeconfig = write_kubeconfig(directory / "kubeconfig", "http://127.0.0.1:1", name=CONTEXT)
        with node_group(directory, kubeconfig=kubeconfig) as group:
            group.wait_ready()
            roles = {"leader": group.leader(), "follower": group.follower()}
            return {role: _measure(node, role, count) for role, node in roles.items()}


def _measure(node: NodeProcess, role: str, count: int) -> list[float]:
    """Return the milliseconds of each submission."""
    connection = http.client.HTTPConnection(urlsplit(node.url).netloc, timeout=15)
    taken_ms = []
    for number in range(WARM_UP + count):
        block = {"clusterContext": CONTEXT, "image": "busybox", "command": ["true"]}
        body = json.dumps({"taskId": f"{role}-{number}", "type": "k8s_job", "k8sJob": block})
        began = time.perf_counter()
        connection.request("POST", "/v1/tasks", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        taken_ms.append((time.perf_counter() - began) * 1000)
        assert answer.status == 201, content
    connection.close()
    return taken_ms[WARM_UP:]


def _percentiles(taken_ms: list[float]) -> dict[str, float]:
    at = statistics.quantiles(taken_ms, n=100)
    return {"n": len(taken_ms), "p50Ms": at[49], "p90Ms": at[89], "p99Ms": at[98], "maxMs": max(taken_ms)}


def _summary(taken_ms: list[float]) -> str:
    return "n {n}  p50 {p50Ms:6.1f} ms  p90 {p90Ms:6.1f} ms  p99 {p99Ms:6.1f} ms  max {maxMs:6.1f} ms".format_map(
        _percentiles(taken_ms)
    )


if __name__ == "__main__":
    main()
