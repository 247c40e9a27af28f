"""Run the tests of the main job on the development Kubernetes: ``python -m tests.harness.development_kubernetes``.

They are those of ``tests/kubernetes`` that need no kubelet, registry, quota or RBAC; arguments go to pytest.
"""

import json
import os
import subprocess
import sys
import tempfile

from tests.conftest import KUBECONFIG


def main(arguments: list[str]) -> int:
    """Start the development Kubernetes, run the tests on it, end it; return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="raftsman-development-") as directory:
        command = [
            sys.executable,
            "-m",
            "raftsman.executor.sandbox",
            "--dir",
            directory,
            "--die-with",
            str(os.getpid()),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
            assert sandbox.stdout is not None
            try:
                kubeconfig = json.loads(sandbox.stdout.readline())["kubeconfig"]
                pytest = [sys.executable, "-c", "import pytest, sys; sys.exit(pytest.main())", "tests/kubernetes"]
                return subprocess.run(
                    [*pytest, "-m", "not kubelet", *arguments], env={**os.environ, KUBECONFIG: kubeconfig}, check=False
                ).returncode
            finally:
                sandbox.terminate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
