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

CONTEXT = "dark"
WARM_UP = 20


def main() -> None:
    """Measure and print one line for each role."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=500, help="submissions at each node")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        kubeconfig = write_kubeconfig(directory / "kubeconfig", "http://127.0.0.1:1", name=CONTEXT)
        with node_group(directory, kubeconfig=kubeconfig) as group:
            group.wait_ready()
            for role, node in (("leader", group.leader()), ("follower", group.follower())):
                print(f"{role:8} {_summary(_measure(node, role, count))}")


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


def _summary(taken_ms: list[float]) -> str:
    percentiles = statistics.quantiles(taken_ms, n=100)
    return (
        f"n {len(taken_ms)}  p50 {percentiles[49]:6.1f} ms  p90 {percentiles[89]:6.1f} ms  "
        f"p99 {percentiles[98]:6.1f} ms  max {max(taken_ms):6.1f} ms"
    )


if __name__ == "__main__":
    main()
