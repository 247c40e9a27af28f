"""The development Kubernetes as a process: its ready line, its kubeconfig, and that it leaves nothing behind."""

import base64
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftsman.executor.sandbox.main import main
from raftsman.executor.sandbox.reaper import find

Json = dict[str, Any]
PATIENCE_S = 15.0
SCRIPT = "trap '' TERM; echo on; (setsid sleep 4321 &); while true; do sleep 0.05; done"


class Running:
    """A process of the development Kubernetes."""

    def __init__(self, directory: Path, *options: str) -> None:
        command = [sys.executable, "-m", "raftsman.executor.sandbox", "--dir", str(directory), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.ready: Json = json.loads(self.process.stdout.readline())
        self.kubeconfig: Json = json.loads(Path(self.ready["kubeconfig"]).read_text(encoding="utf-8"))

    def call(self, context: str, method: str, path: str, body: Json | None = None) -> Json:
        """Make a call."""
        cluster = next(each for each in self.kubeconfig["clusters"] if each["name"] == context)["cluster"]
        token = self.kubeconfig["users"][0]["user"]["token"]
        trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        content = json.dumps(body).encode() if body else None
        request = urllib.request.Request(cluster["server"] + path, method=method, data=content, headers=headers)
        with urllib.request.urlopen(request, context=trust, timeout=PATIENCE_S) as response:
            found: Json = json.loads(response.read())
            return found

    def run_pod(self, context: str) -> None:
        """Start a Pod that does not want to end."""
        task = {"name": "task", "image": "busybox", "command": ["sh", "-c", SCRIPT]}
        spec = {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [task]}}}
        self.call(context, "POST", "/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "j"}, "spec": spec})
        path = "/api/v1/namespaces/default/pods"
        eventually(lambda: any(pod["status"]["phase"] == "Running" for pod in self.call(context, "GET", path)["items"]))
        eventually(lambda: len(self.pods()) >= 2)

    def pods(self) -> list[int]:
        """Return the processes of its Pods."""
        return [pid for pid in find(set(), "") if _mark(pid) == self.mark] if self.mark else []

    @property
    def mark(self) -> str:
        """What its Pods carry in their environment."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _parent(entry) == self.process.pid:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                if any(word.endswith("sandbox/reaper.py") for word in words):
                    self._mark = words[-2]
        return self._mark

    _mark = ""


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _mark(pid: int) -> str:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next(
        (each.decode().partition("=")[2].partition(".")[0] for each in environment if b"RAFTSMAN_SANDBOX=" in each), ""
    )


def eventually(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "dir")
    with made.process:
        yield made
        made.process.kill()


def test_it_says_when_it_is_ready_and_both_contexts_answer(running: Running) -> None:
    assert running.ready["pid"] == running.process.pid
    assert list(running.ready["servers"]) == ["dev-a", "dev-b"]
    assert [each["name"] for each in running.kubeconfig["contexts"]] == ["dev-a", "dev-b"]
    path = "/apis/batch/v1/namespaces/default/jobs"
    running.call("dev-a", "POST", "/api/v1/namespaces", {"metadata": {"name": "only-a"}})
    names = [
        [each["metadata"]["name"] for each in running.call(context, "GET", "/api/v1/namespaces")["items"]]
        for context in ("dev-a", "dev-b")
    ]
    assert names == [["default", "kube-system", "only-a"], ["default", "kube-system"]]
    assert running.call("dev-b", "GET", path)["items"] == []


def test_only_its_user_can_read_the_kubeconfig_and_only_loopback_listens(running: Running) -> None:
    kubeconfig = Path(running.ready["kubeconfig"])
    assert stat.S_IMODE(kubeconfig.stat().st_mode) == 0o600
    assert len(running.kubeconfig["users"][0]["user"]["token"]) > 30
    assert all(server.startswith("https://127.0.0.1:") for server in running.ready["servers"].values())
    assert [path.name for path in kubeconfig.parent.iterdir() if path.is_file()] == ["kubeconfig"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_pods(running: Running, number: signal.Signals) -> None:
    running.run_pod("dev-a")
    running.process.send_signal(number)
    assert running.process.wait(PATIENCE_S) == 0
    assert running.pods() == []
    assert list(Path(running.ready["kubeconfig"]).parent.iterdir()) == []


def test_being_killed_leaves_no_pod_behind(running: Running) -> None:
    running.run_pod("dev-b")
    running.process.kill()
    running.process.wait(PATIENCE_S)
    eventually(lambda: running.pods() == [])


def test_it_ends_with_the_process_it_was_tied_to(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        made = Running(tmp_path / "dir", "--contexts", "one", "--die-with", str(other.pid))
        with made.process:
            assert list(made.ready["servers"]) == ["one"]
            made.run_pod("one")
            other.kill()
            other.wait(PATIENCE_S)
            assert made.process.wait(PATIENCE_S) == 0
    assert made.pods() == []


def test_a_port_that_is_taken_is_said(running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = running.ready["servers"]["dev-a"].rpartition(":")[2]
    assert main(["--dir", str(tmp_path / "other"), "--port", port]) == 1
    assert "cannot start" in capsys.readouterr().err
    assert os.listdir(tmp_path / "other") == []  # noqa: PTH208 — names are enough.


def test_contexts_need_names_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(tmp_path), "--contexts", "a,a"]) == 2
    assert "--contexts" in capsys.readouterr().err
