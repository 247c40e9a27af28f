"""The development Kubernetes as a process of its own, for tests and benchmarks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY_S = 20.0


@contextmanager
def sandbox_process(directory: Path) -> Iterator[Path]:
    """Run the development Kubernetes, with its files in *directory*, and hand out its kubeconfig."""
    module = ("-m", "raftsman.executor.sandbox")
    command = [sys.executable, *module, "--dir", str(directory), "--die-with", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Path(json.loads(process.stdout.readline())["kubeconfig"])
        finally:
            process.terminate()
            assert process.wait(READY_S) == 0
