"""Shell tasks on three nodes: what they see, how they end, and what becomes of them when their node does."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.asking import NDJSON, Json, ask, check_problem, get, open_stream
from tests.cluster.shells import TOML, events, lines, pid_in, row, submit, until_ended, until_state
from tests.harness.commands import is_alive, processes_with
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, node_group

pytestmark = pytest.mark.cluster

FLOOD_BYTES = 50_000_000
MANY = 200


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeGroup]:
    secrets = {"RAFTSMAN_TOKEN": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}
    with node_group(tmp_path_factory.mktemp("nodes"), more_toml=TOML, environment=secrets) as nodes:
        nodes.wait_ready()
        yield nodes


def back(node: NodeProcess, group: NodeGroup) -> None:
    node.start()
    group.wait_ready()


# --- what a command sees and how it ends ------------------------------------------------------------


@pytest.mark.parametrize("on", ["alpha", "beta", "gamma"])
def test_the_output_of_a_command_is_told_by_every_node(group: NodeGroup, on: str) -> None:
    submit(group["alpha"], f"output-{on}", "echo out; echo err >&2; echo $NAME", on=on, environment={"NAME": "é"})
    task = until_ended(group["alpha"], f"output-{on}")
    assert (task["state"], task["exitCode"], task["cause"], task["assignedNode"]) == ("completed", 0, None, on)
    assert (task["stdoutTail"], task["stderrTail"]) == ("out\né", "err")
    for node in group.nodes.values():
        until_ended(node, f"output-{on}")
        assert sorted(lines(node, f"output-{on}")) == [("stderr", "err"), ("stdout", "out"), ("stdout", "é")]
        assert lines(node, f"output-{on}", "?stream=stderr") == [("stderr", "err")]
        assert lines(node, f"output-{on}", "?stream=stdout&tail=1") == [("stdout", "é")]


@pytest.mark.parametrize(
    ("command", "more", "end"),
    [
        ("exit 3", {}, ("NonZeroExit", 3, "exit code 3")),
        ("kill -SEGV $$", {}, ("Signal", 139, "killed by SIGSEGV")),
        ("true", {"directory": "/no/such"}, ("CommandNotRunnable", -1, "the command cannot be run: No such file")),
        ("sleep 60", {"timeoutMs": 300}, ("Timeout", -1, "Job timed out")),
    ],
)
def test_a_command_fails_with_its_cause(group: NodeGroup, command: str, more: Json, end: tuple[str, int, str]) -> None:
    cause, exit_code, error = end
    submit(group["alpha"], f"fails-{cause}", command, **more)
    task = until_ended(group["alpha"], f"fails-{cause}")
    assert (task["state"], task["cause"], task["exitCode"]) == ("failed", cause, exit_code)
    assert task["error"].startswith(error)


def test_a_command_sees_nothing_of_its_nodes_secrets(group: NodeGroup) -> None:
    submit(group["alpha"], "env", "env")
    until_ended(group["alpha"], "env")
    names = {line.partition("=")[0] for _, line in lines(group["alpha"], "env")}
    assert {"PATH", "RAFTSMAN_TASK_ID"} <= names
    assert names.isdisjoint({"RAFTSMAN_TOKEN", "KUBECONFIG", "AWS_SECRET_ACCESS_KEY"})


def test_output_is_told_while_the_command_runs(group: NodeGroup, tmp_path: Path) -> None:
    submit(group["alpha"], "live", f"echo first; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo last", on="beta")
    until_state(group["alpha"], "live", "running")
    with open_stream(group["gamma"], "/v1/tasks/live/logs?follow=true") as connection:
        received = b""
        while b'"first"' not in received:
            received += connection.recv(65536)
        assert row(group["alpha"], "live")["state"] == "running"
        (tmp_path / "go").touch()
        while chunk := connection.recv(65536):
            received += chunk
    assert b'"last"' in received
    assert b'"end":"complete"' in received.replace(b" ", b"")


def test_slots_are_never_exceeded_and_who_waits_says_for_what(group: NodeGroup, tmp_path: Path) -> None:
    wait = f"touch {tmp_path}/$RAFTSMAN_TASK_ID; until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    ids = [f"slot-{number}" for number in range(14)]
    for task_id in ids:
        submit(group["alpha"], task_id, wait)
    eventually(lambda: len([*tmp_path.iterdir()]) == 12, within_s=15, what="every slot is taken")
    waiting = eventually(lambda: row(group["alpha"], ids[13]).get("waiting"), within_s=5, what="the last one waits")
    assert waiting["code"] == "no-slot"
    assert {each["node"]: each["code"] for each in waiting["nodes"]} == dict.fromkeys(group.nodes, "slots-full")
    assert "node alpha has all its 4 slots in use" in waiting["message"]
    time.sleep(0.5)
    assert len([*tmp_path.iterdir()]) == 12
    (tmp_path / "go").touch()
    assert {until_ended(group["alpha"], task_id)["state"] for task_id in ids} == {"completed"}


def test_a_cancelled_command_and_what_it_started_are_ended(group: NodeGroup, tmp_path: Path) -> None:
    submit(group["alpha"], "cancelled", f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/pid; wait")
    pids = [pid_in(tmp_path / name) for name in ("child", "pid")]
    until_state(group["alpha"], "cancelled", "running")
    assert ask(group["beta"], "POST", "/v1/tasks/cancelled/cancel").status in (200, 202)
    task = until_ended(group["alpha"], "cancelled")
    assert (task["state"], task["error"], task["exitCode"]) == ("cancelled", "Task cancelled", -1)
    assert not any(map(is_alive, pids))


def test_many_commands_end_once_each(group: NodeGroup) -> None:
    ids = [f"many-{number:03d}" for number in range(MANY)]

    def run(mine: list[str]) -> None:
        for task_id in mine:
            submit(group["beta"], task_id, "true")

    threads = [threading.Thread(target=run, args=(ids[first::4],)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = group.client().wait(ids, timeout_s=60)
    assert {(task["state"], task["attempt"], task["exitCode"]) for task in ended} == {("completed", 1, 0)}
    ends = [each for each in group.client().events() if each["taskId"] in ids and each["to"] == "completed"]
    assert len(ends) == MANY


def test_a_flood_of_output_is_held_back_and_cut_and_nobody_is_deposed(group: NodeGroup) -> None:
    leader = group.leader()
    term = get(leader, "/v1/cluster").json["term"]
    before = _resident_bytes(leader)
    submit(
        leader, "flood", f"yes 'a line of some forty bytes or a little more' | head -c {FLOOD_BYTES}", on=leader.name
    )
    task = until_ended(leader, "flood", within_s=60)
    assert task["state"] == "completed"
    assert get(leader, "/v1/cluster").json["term"] == term
    assert _resident_bytes(leader) - before < 30_000_000
    records = get(leader, "/v1/tasks/flood/logs", Accept=NDJSON).lines
    assert sum(record.get("cut", 0) for record in records) > FLOOD_BYTES - 2_000_000


def _resident_bytes(node: NodeProcess) -> int:
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


# --- where they are refused ------------------------------------------------------------------------


def test_a_sandbox_is_not_implemented_here(group: NodeGroup) -> None:
    body = {"type": "shell", "shell": {"command": "true", "sandboxed": True}}
    document = check_problem(ask(group["alpha"], "POST", "/v1/tasks", body), 422, "not-implemented-here")
    assert [each["pointer"] for each in document["errors"]] == ["/shell/sandboxed"]


def test_a_node_that_does_not_allow_commands_is_given_none(tmp_path: Path) -> None:
    with node_group(tmp_path, names=("only",)) as single:
        single.wait_ready()
        submit(single["only"], "waits", f"touch {tmp_path}/ran")
        waiting = eventually(lambda: row(single["only"], "waits").get("waiting"), within_s=5, what="it waits")
        assert waiting["code"] == "no-node"
        assert [(each["node"], each["code"]) for each in waiting["nodes"]] == [("only", "type-not-allowed")]
        assert not (tmp_path / "ran").exists()


# --- nodes that die --------------------------------------------------------------------------------


def test_commands_die_with_their_node_and_say_so_when_it_is_back(group: NodeGroup, tmp_path: Path) -> None:
    victim = group.follower()
    other = group.leader()
    marker = f"{tmp_path}/marker"
    submit(other, "dies", f"echo x >> {tmp_path}/runs; (sleep 300; : {marker}) & sleep 300; : {marker}", on=victim.name)
    until_state(other, "dies", "running")
    eventually(lambda: processes_with(marker), within_s=5, what="the command runs")
    victim.kill()
    eventually(lambda: not processes_with(marker), within_s=1, what="no process is left")
    task = eventually(
        lambda: found if "unreachable" in (found := row(other, "dies"))["conditions"] else None,
        within_s=15,
        what="the task is unreachable",
    )
    assert (task["state"], task["assignedNode"]) == ("running", victim.name)
    assert victim.name in task["reason"]
    back(victim, group)
    task = until_ended(other, "dies")
    assert (task["state"], task["cause"], task["attempt"]) == ("failed", "NodeLost", 1)
    group.state_hashes()  # Any node may be asked for the story; the one that was dead may not know its end yet.
    changes = events(group, "dies")
    assert [state for state, _, _ in changes].count("failed") == 1
    assert ("running", ("unreachable",), None) in changes
    assert (tmp_path / "runs").read_text() == "x\n"


def test_a_command_outlives_a_pause_of_its_node(group: NodeGroup, tmp_path: Path) -> None:
    paused, other = group.follower(), group.leader()
    submit(
        other, "paused", f"echo x >> {tmp_path}/runs; until [ -e {tmp_path}/go ]; do sleep 0.05; done", on=paused.name
    )
    until_state(other, "paused", "running")
    paused.signal(signal.SIGSTOP)
    eventually(lambda: "unreachable" in row(other, "paused")["conditions"], within_s=15, what="it is unreachable")
    paused.signal(signal.SIGCONT)
    eventually(lambda: row(other, "paused")["conditions"] == [], within_s=15, what="it is heard of again")
    assert row(other, "paused")["state"] == "running"
    (tmp_path / "go").touch()
    assert until_ended(other, "paused")["state"] == "completed"
    assert (tmp_path / "runs").read_text() == "x\n"


def test_a_node_that_stops_takes_its_commands_along(group: NodeGroup, tmp_path: Path) -> None:
    stopped, other = group.follower(), group.leader()
    submit(other, "stopped", f"echo $$ > {tmp_path}/pid; exec sleep 300", on=stopped.name)
    pid = pid_in(tmp_path / "pid")
    assert stopped.stop() == 0
    assert not is_alive(pid)
    task = until_ended(other, "stopped")
    assert (task["state"], task["cause"], task["error"]) == (
        "failed",
        "NodeLost",
        "the command was ended because its node stopped",
    )
    back(stopped, group)


def test_what_is_assigned_to_a_node_that_is_down_runs_once_when_it_is_back(group: NodeGroup, tmp_path: Path) -> None:
    down, other = group.follower(), group.leader()
    down.kill()
    submit(other, "early", f"echo x >> {tmp_path}/runs", on=down.name)
    until_state(other, "early", "assigned", within_s=4)
    back(down, group)
    assert until_ended(other, "early")["state"] == "completed"
    assert (tmp_path / "runs").read_text() == "x\n"


def test_what_a_node_did_not_start_before_it_was_lost_runs_elsewhere(group: NodeGroup, tmp_path: Path) -> None:
    down, other = group.follower(), group.leader()
    third = next(node for node in group.nodes.values() if node not in (down, other))
    down.kill()
    blockers = [f"blocks-{number}" for number in range(4)]
    for task_id in blockers:  # So that the node that is down is the only one with room.
        submit(other, task_id, f"until [ -e {tmp_path}/go ]; do sleep 0.05; done", on=third.name)
    submit(other, "moves", f"echo x >> {tmp_path}/runs", constraints={"excludedNodes": [other.name]})
    assert until_state(other, "moves", "assigned", within_s=4)["assignedNode"] == down.name
    (tmp_path / "go").touch()
    task = until_ended(other, "moves", within_s=20)
    assert (task["state"], task["attempt"], task["assignedNode"]) == ("completed", 1, third.name)
    assert (tmp_path / "runs").read_text() == "x\n"
    back(down, group)
