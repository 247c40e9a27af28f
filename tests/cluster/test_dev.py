"""``raftsman dev`` as its users run it: told things by keys and signals, and leaving nothing behind."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raftsman.client import Client
from raftsman.node.playground.layout import addresses_in_use, lay_out
from raftsman.node.playground.processes import is_alive
from tests.harness.commandline import raftsman
from tests.harness.nodes import eventually

pytestmark = pytest.mark.cluster

RAFTSMAN = (sys.executable, "-m", "raftsman.cli.main")
READY_S = 40.0
SOON_S = 15.0


@dataclass
class Dev:
    """A running ``raftsman dev``."""

    process: "subprocess.Popen[bytes]"
    directory: Path | None
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def notes(self) -> dict[str, Any]:
        assert self.directory is not None
        try:
            notes: dict[str, Any] = json.loads((self.directory / "dev.json").read_text())
        except FileNotFoundError:
            return {}
        return notes

    @property
    def pids(self) -> list[int]:
        return [self.notes["kubernetesPid"], *(node["pid"] for node in self.notes["nodes"])]

    def node(self, name: str) -> dict[str, Any]:
        return next(node for node in self.notes["nodes"] if node["name"] == name)

    def press(self, key: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(key.encode())
        self.process.stdin.flush()

    def client(self) -> Client:
        return Client([node["url"] for node in self.notes["nodes"]], token=self.notes["token"])

    def wait_for_words(self, words: str) -> None:
        deadline = time.monotonic() + READY_S
        while words not in self.said:
            ended = self.process.poll()
            assert ended is None, f"dev ended with {ended} and said: {self.said}"
            assert time.monotonic() < deadline, f"dev never said {words!r}, but: {self.said}"
            time.sleep(0.05)

    def wait(self) -> int:
        return self.process.wait(timeout=SOON_S)


@contextmanager
def dev(folder: Path, *arguments: str, directory: Path | None = None, **variables: str) -> Iterator[Dev]:
    """Start ``raftsman dev``, wait until it is ready, and end it; *folder* is its home, and has its temporary files."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAFTSMAN_")}
    places = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "TMPDIR": str(folder)}
    output = folder / "said"
    into = ["--dir", str(directory)] if directory else []
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*RAFTSMAN, "dev", *into, *arguments],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env={**inherited, **places, **variables},
        )
    running = Dev(process, directory, output)
    try:
        running.wait_for_words("are ready")
        if directory:
            eventually(lambda: running.notes, within_s=SOON_S, what="dev.json")
        yield running
    finally:
        assert process.stdin is not None
        process.stdin.close()
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=READY_S)


def assert_gone(pids: list[int]) -> None:
    eventually(lambda: not [pid for pid in pids if is_alive(pid)], within_s=SOON_S, what=f"none of {pids} is left")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


def test_the_leader_is_killed_and_brought_back_by_keys_through_a_pipe(tmp_path: Path, place: Path) -> None:
    with dev(tmp_path, directory=place) as running:
        first = running.notes["leader"]
        running.press("k")
        eventually(
            lambda: running.notes["leader"] not in (first, None) and running.node(first)["pid"] is None,
            within_s=SOON_S,
            what="dev.json names another leader, and no process of the first",
        )
        running.wait_for_words(f"{first} is killed (kill -9 ")
        running.wait_for_words(f"{running.notes['leader']} leads now")
        running.press("r")
        running.wait_for_words(f"{first} is back and has caught up")
        assert is_alive(running.node(first)["pid"])
        pids = running.pids
        running.press("q")
        assert running.wait() == 0
    assert_gone(pids)
    assert not (place / "dev.json").exists()
    assert not (tmp_path / "config").exists()


def test_a_task_runs_in_either_context_and_a_second_terminal_needs_the_printed_variable_only(
    tmp_path: Path, place: Path
) -> None:
    with dev(tmp_path, directory=place) as running:
        assert running.notes["contexts"] == ["dev-a", "dev-b"]
        assert f"export RAFTSMAN_CONFIG={place}/client.toml" in running.said
        environment = {**os.environ, "RAFTSMAN_CONFIG": str(place / "client.toml")}
        for context in ("dev-a", "dev-b"):
            options = ["--follow", "--context", context, "--image", "busybox"]
            submitted = subprocess.run(
                [*RAFTSMAN, "submit", *options, "--", "sh", "-c", "echo it runs; exit 3"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert (submitted.stdout, submitted.returncode) == ("it runs\n", 1), submitted.stderr
        task = running.client().submit({"type": "shell", "shell": {"command": "echo shell"}})
        (ended,) = running.client().wait([task["taskId"]], timeout_s=20)
        assert (ended["state"], ended["exitCode"]) == ("completed", 0)


def test_a_node_that_somebody_else_kills_and_starts_again_is_noticed_and_ended_with_the_others(
    tmp_path: Path, place: Path
) -> None:
    with dev(tmp_path, directory=place) as running:
        name = next(node["name"] for node in running.notes["nodes"] if node["name"] != running.notes["leader"])
        pid = running.node(name)["pid"]
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        os.kill(pid, signal.SIGKILL)
        running.wait_for_words(f"{name} was ended by SIGKILL")
        bare = {"PATH": os.environ["PATH"]}
        again = subprocess.Popen(
            words, env=bare, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        running.wait_for_words(f"{name} was started again by somebody else (process {again.pid})")
        running.wait_for_words(f"{name} is back and has caught up")
        assert running.node(name)["pid"] == again.pid
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0
        again.wait(timeout=SOON_S)


def test_when_dev_itself_is_killed_nothing_of_it_stays(tmp_path: Path, place: Path) -> None:
    with dev(tmp_path, directory=place) as running:
        task = running.client().submit(
            {"type": "k8s_job", "k8sJob": {"clusterContext": "dev-a", "image": "busybox", "command": ["sleep", "4711"]}}
        )
        running.client().wait([task["taskId"]], for_="running", timeout_s=20)
        pids = running.pids
        running.process.kill()
        assert_gone(pids)
    eventually(lambda: not _processes_with("4711"), within_s=SOON_S, what="the task's process is gone")


def test_a_folder_that_was_used_before_keeps_its_addresses_and_its_tasks(tmp_path: Path, place: Path) -> None:
    with dev(tmp_path, directory=place) as running:
        task = running.client().submit({"type": "shell", "shell": {"command": "true"}})
        running.client().wait([task["taskId"]], timeout_s=20)
        urls = [node["url"] for node in running.notes["nodes"]]
        busy = raftsman([], "dev", "--dir", str(place), home=tmp_path)
        assert (busy.returncode, "another raftsman dev runs in" in busy.stderr) == (6, True)
    with dev(tmp_path, directory=place) as running:
        assert [node["url"] for node in running.notes["nodes"]] == urls
        assert running.client().get(task["taskId"])["state"] == "completed"


def test_the_folder_of_a_dev_without_one_is_held_too(tmp_path: Path) -> None:
    with dev(tmp_path, "--nodes", "1") as running:
        (folder,) = tmp_path.glob("raftsman-dev-*")
        refused = raftsman([], "dev", "--dir", str(folder), "--nodes", "1", home=tmp_path)
        assert (refused.returncode, refused.stdout) == (6, "")
        assert f"another raftsman dev runs in {folder}: end it" in refused.stderr
        assert (folder / "dev.json").exists()
        running.press("q")
        assert running.wait() == 0
        assert "has ended" not in running.said


def test_a_node_that_outlived_its_dev_is_named_and_does_not_answer_for_the_new_one(tmp_path: Path, place: Path) -> None:
    with dev(tmp_path, "--nodes", "1", directory=place) as running:
        running.press("q")
        assert running.wait() == 0
    left = subprocess.Popen([*RAFTSMAN, "serve", "--config", str(place / "alpha.toml")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: addresses_in_use(lay_out(place, 1).nodes[0]), within_s=SOON_S, what="the node listens")
        refused = raftsman([], "dev", "--dir", str(place), "--nodes", "1", home=tmp_path)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"process {left.pid} serves alpha already: end it" in refused.stderr
        assert left.poll() is None
    finally:
        left.terminate()
        left.wait(timeout=SOON_S)


def test_without_a_folder_a_second_terminal_needs_nothing_and_the_configuration_comes_back(tmp_path: Path) -> None:
    config = tmp_path / "config" / "raftsman" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('# mine\nprofile = "prod"\n\n[profiles.prod]\naddresses = ["http://127.0.0.1:1"]\n')
    before = config.read_text()
    with dev(tmp_path, "--nodes", "1") as running:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAFTSMAN_")}
        listed = subprocess.run(
            [*RAFTSMAN, "get", "nodes", "-o", "name"],
            env={**environment, "XDG_CONFIG_HOME": str(tmp_path / "config")},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (listed.stdout, listed.returncode) == ("nodes/alpha\n", 0), listed.stderr
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 0
    assert config.read_text() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config", "said"]


def test_a_second_one_tells_its_variable_and_leaves_the_first_its_profile(tmp_path: Path) -> None:
    config = tmp_path / "config" / "raftsman" / "config.toml"
    (tmp_path / "second").mkdir()
    with dev(tmp_path, "--nodes", "1") as first:
        lent = config.read_text()
        with dev(tmp_path / "second", "--nodes", "1", XDG_CONFIG_HOME=str(tmp_path / "config")) as second:
            second.wait_for_words("is that of the raftsman dev in ")
            second.wait_for_words("export RAFTSMAN_CONFIG=")
            second.press("q")
            assert second.wait() == 0
        assert config.read_text() == lent
        first.press("q")
        assert first.wait() == 0
    assert not (tmp_path / "config").exists()


def test_the_end_of_the_pipe_ends_nothing_and_a_terminal_gives_keys_without_enter(tmp_path: Path) -> None:
    with dev(tmp_path, "--nodes", "1") as running:
        assert running.process.stdin is not None
        running.process.stdin.close()
        time.sleep(0.5)
        assert running.process.poll() is None
    master, slave = pty.openpty()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAFTSMAN_")}
    places = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [*RAFTSMAN, "dev", "--nodes", "1"],
        stdin=slave,
        stdout=subprocess.PIPE,
        env={**inherited, **places},
    )
    os.close(slave)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"keys: "):
            break
    os.write(master, b"q")
    process.communicate(timeout=SOON_S)
    assert process.returncode == 0
    os.close(master)


def _processes_with(word: str) -> list[int]:
    processes = (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [int(entry.name) for entry in processes if word.encode() in _command_line(entry)]


def _command_line(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
