"""Contexts whose kubeconfig, or whose exec plugin, hangs: whose matter that is, and what is left of it."""

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from raftsman.executor.contexts import ContextSettings, KubernetesContexts
from raftsman.executor.kubernetes import connection, reachability
from raftsman.executor.kubernetes.connection import build_connection
from raftsman.executor.kubernetes.kubeconfig import Access, KubeconfigError, Kubeconfigs, resolve
from raftsman.executor.kubernetes.timing import Timing
from tests.harness.commands import is_alive, until
from tests.harness.fake_kubernetes import FakeKubernetes, write_kubeconfig

# --- exec plugins ---------------------------------------------------------------------------------


def plugin_of(path: Path, script: str) -> Access:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]}
    document = {
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://k:6443"}}],
        "users": [{"name": "u", "user": {"exec": plugin}}],
    }
    path.write_text(json.dumps(document))
    return resolve([path], "one", Kubeconfigs())


def test_a_plugin_that_hangs_is_killed_with_all_it_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CREDENTIALS_S", 0.6)
    pids = tmp_path / "pids"
    access = plugin_of(tmp_path / "config", f"sleep 60 & echo $! >> {pids}; echo $$ >> {pids}; exec sleep 60")
    with pytest.raises(KubeconfigError, match=r"took longer than 1 s"):
        build_connection(access)
    time.sleep(0.1)
    assert not any(map(is_alive, map(int, pids.read_text().split())))


async def test_what_a_plugin_leaves_behind_is_left_alone_when_it_has_answered(tmp_path: Path) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}
    script = f"sleep 60 >&- 2>&- & echo $! > {tmp_path}/pid; echo '{json.dumps(answer)}'"
    made = await asyncio.to_thread(build_connection, plugin_of(tmp_path / "config", script))
    agent = int((tmp_path / "pid").read_text())
    assert is_alive(agent)
    os.kill(agent, signal.SIGKILL)
    await made.close()


# --- files: time runs fifty times faster ----------------------------------------------------------

SPEED = 50.0


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / SPEED)


FAST = Timing(monotonic=lambda: time.monotonic() * SPEED, sleep=_sleep)


def let_go(fifo: Path, content: str) -> None:
    """Put a file in the FIFO's place, and let who waits for the FIFO read an empty one."""
    writer = os.open(fifo, os.O_WRONLY)
    whole = fifo.with_name(f"{fifo.name}.whole")
    whole.write_text(content)
    whole.replace(fifo)
    os.close(writer)


async def test_kubeconfigs_that_hang_disturb_no_other_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "FILES_S", 0.1)
    for number in range(12):
        os.mkfifo(tmp_path / f"{number}")  # Whoever opens it waits for a writer, as on a file system that is gone.
    async with FakeKubernetes() as server:
        good = write_kubeconfig(tmp_path / "good", server.url)
        settings = [
            *(ContextSettings(name=f"{number}", kubeconfig=str(tmp_path / f"{number}")) for number in range(12)),
            ContextSettings(name="well", kubeconfig=str(good), context="one"),
        ]
        contexts = KubernetesContexts(settings, timing=FAST)
        await contexts.start()
        await until(lambda: contexts.health("well").reachable)
        await until(lambda: all("calls that hang: 1" in contexts.health(f"{n}").error for n in range(12)))
        probes = len(server.journal)
        await until(lambda: len(server.journal) > probes + 3)
        reading = Counter(thread.name for thread in threading.enumerate() if thread.name.startswith("kubeconfig of"))
        assert all(reading[f"kubeconfig of {number}"] == 1 for number in range(12)), reading
        for number in range(12):
            let_go(tmp_path / f"{number}", "{}")
        await until(lambda: all("no context" in contexts.health(f"{n}").error for n in range(12)))
        await contexts.stop()


async def test_a_context_goes_on_with_what_it_has_while_its_kubeconfig_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachability, "FILES_S", 0.1)
    async with FakeKubernetes() as server:
        path = write_kubeconfig(tmp_path / "config", server.url)
        contexts = KubernetesContexts([ContextSettings(name="one", kubeconfig=str(path))], timing=FAST)
        await contexts.start()
        await until(lambda: contexts.health("one").reachable)
        good = path.read_text()
        path.unlink()
        os.mkfifo(path)
        probes = len(server.journal)
        await until(lambda: len(server.journal) > probes + 3)
        assert contexts.health("one").reachable
        let_go(path, good)
        await contexts.stop()
