"""Run the tests of the main job on the development Kubernetes: ``python -m tests.harness.development_kubernetes``.

They are those of ``tests/kubernetes`` that need no kubelet, registry, quota or RBAC; arguments go to pytest.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import KUBECONFIG
from tests.harness.sandbox import sandbox_process


def main(arguments: list[str]) -> int:
    """Start the development Kubernetes, run the tests on it, end it; return pytest's exit code."""
    pytest = [sys.executable, "-c", "import pytest, sys; sys.exit(pytest.main())", "tests/kubernetes"]
    with tempfile.TemporaryDirectory(prefix="raftsman-development-") as name, sandbox_process(Path(name)) as kubeconfig:
        environment = {**os.environ, KUBECONFIG: str(kubeconfig)}
        done = subprocess.run([*pytest, "-m", "not kubelet", *arguments], env=environment, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
