"""Who leads, on request: over HTTP, by the client, by the command line; and how a leader leaves."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.asking import ask, check_problem, submit
from tests.harness.commandline import raftsman
from tests.harness.nodes import NodeGroup, node_group

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory, kubeconfig: Path) -> Iterator[NodeGroup]:
    with node_group(tmp_path_factory.mktemp("nodes"), kubeconfig=kubeconfig) as nodes:
        nodes.wait_ready()
        yield nodes


def test_every_node_hands_leadership_to_the_node_that_is_named(group: NodeGroup) -> None:
    for asked in group.running():
        target = group.follower().name
        answer = ask(asked, "POST", "/v1/cluster:transfer", {"to": target})
        assert (answer.status, answer.json) == (200, {"leader": target})
        assert group.leader().name == target


def test_without_a_name_somebody_else_leads(group: NodeGroup) -> None:
    before = group.leader().name
    assert group.client().transfer_leadership() != before


def test_the_command_line_says_who_leads_now(group: NodeGroup, tmp_path: Path) -> None:
    target = group.follower().name
    done = raftsman(group.addresses, "cluster", "transfer", target, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{target} leads\n")


def test_a_node_that_there_is_none_of_is_refused(group: NodeGroup) -> None:
    answer = ask(group.leader(), "POST", "/v1/cluster:transfer", {"to": "omega"})
    check_problem(answer, 422, "unknown-node")
    check_problem(ask(group.leader(), "POST", "/v1/cluster:transfer", {"wohin": "beta"}), 422, "invalid-spec")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_leadership_that_is_offered_to_a_node_that_does_not_answer_keeps_no_write_waiting(
    group: NodeGroup, number: int
) -> None:
    leader, lost = group.leader(), group.follower()
    lost.signal(number)
    time.sleep(1.5)
    for n in range(3):
        answer = ask(leader, "POST", "/v1/cluster:transfer", {"to": lost.name})
        check_problem(answer, 503, "not-ready")
        assert f"{lost.name} does not answer {leader.name}, which still leads" in answer.json["detail"]
        began = time.monotonic()
        submit(leader, f"meanwhile-{number}-{n}")
        assert time.monotonic() - began < 0.5
    if number == signal.SIGKILL:
        lost.kill()
        lost.start()
    else:
        lost.signal(signal.SIGCONT)
    group.wait_ready()


def test_a_leader_that_is_stopped_hands_over_first(group: NodeGroup) -> None:
    leader = group.leader()
    others = [node for node in group.running() if node is not leader]
    assert leader.stop() == 0
    began = time.monotonic()
    submit(others[0], "after-the-hand-over")
    assert time.monotonic() - began < 0.3
    leader.start()
    group.wait_ready()
