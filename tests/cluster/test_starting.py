"""What keeps a node from starting, and the sentence it says then."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raftsman.raft import codec
from raftsman.raft.commands import Barrier, Entry
from raftsman.raft.consensus import Consensus
from raftsman.raft.records import Instant
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, free_port, node_group, raft_addresses

pytestmark = pytest.mark.cluster

WRONG_SETTINGS = 10
FAILURE = 1


def serve(config: Path, *more: str) -> tuple[int, str]:
    """Run a node that is not expected to stay; return its exit code and what it said."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAFTSMAN_")}
    environment["KUBECONFIG"] = os.devnull
    command = [sys.executable, "-m", "raftsman.cli.main", "serve", "--config", str(config), *more]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr


def second(node: NodeProcess, directory: Path) -> Path:
    """Return the settings of *node* with another data directory."""
    copy = directory / "second.toml"
    own = str(node.config.parent / node.name)
    copy.write_text(node.config.read_text().replace(own, str(directory / "data")))
    return copy


def test_a_node_is_not_started_twice(group: NodeGroup) -> None:
    code, said = serve(group.leader().config)
    assert code == WRONG_SETTINGS
    assert "another process uses" in said
    assert "is this node running already?" in said
    assert group.leader().get("/readyz") == {"reasons": []}


def test_the_ports_of_another_node_are_named(group: NodeGroup, tmp_path: Path) -> None:
    code, said = serve(second(group.leader(), tmp_path))
    assert code == WRONG_SETTINGS
    assert "cannot listen on raft.bind 127.0.0.1:" in said


def test_the_http_port_of_another_program_is_named(group: NodeGroup, tmp_path: Path) -> None:
    port = group.leader().url.rpartition(":")[2]
    config = tmp_path / "node.toml"
    config.write_text(
        f'name = "solo"\ndata_dir = "{tmp_path / "data"}"\n[http]\nbind = "127.0.0.1:{port}"\n'
        f'[raft]\nmembers = ["solo=127.0.0.1:{free_port()}"]\n'
    )
    code, said = serve(config)
    assert code == FAILURE
    assert f"cannot listen on http.bind 127.0.0.1:{port}: address already in use; set http.bind to a free" in said


def test_a_cluster_that_cannot_be_founded_says_which_settings_keep_it_from_that(tmp_path: Path) -> None:
    addresses = raft_addresses()
    misnamed = {"delta" if name == "gamma" else name: address for name, address in addresses.items()}
    with node_group(tmp_path, members_of=lambda name: misnamed if name == "beta" else addresses) as group:

        def reasons() -> dict[str, str]:
            found = json.loads(group["beta"].request("GET", "/readyz")[2])["reasons"]
            return {each["code"]: each["message"] for each in found}

        eventually(lambda: group["beta"].get("/v1/version"), within_s=20, what="it answers")
        eventually(lambda: "no-link" in reasons(), within_s=20, what="it says why")
        assert "delta refuses: beta looks for delta, and this is gamma: see name and raft" in reasons()["no-link"]
        waits = "beta waits: the cluster is founded when all members have come with empty directories; missing: delta"
        eventually(lambda: waits in group["beta"].log.read_text(), within_s=20, what="its log says so")


@pytest.mark.parametrize(
    ("flag", "key"),
    [
        ("http.bind=0.0.0.0:7117", "http.bind"),
        ("raft.bind=192.168.0.1:7118", "raft.bind"),
        ("http.advertise=http://example.org:7117", "http.advertise"),
    ],
)
def test_an_address_off_loopback_is_refused(tmp_path: Path, flag: str, key: str) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'name = "solo"\ndata_dir = "{tmp_path / "data"}"\n')
    code, said = serve(config, "--set", flag)
    assert code == WRONG_SETTINGS
    assert f"{key} must stay on loopback" in said
    assert not (tmp_path / "data").exists()


def test_a_log_that_a_newer_program_wrote_stops_the_node_with_a_sentence(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    barrier = codec.encode(Entry(command_id="x", command=Barrier(), at=Instant(1)))
    _leave_entry(barrier.replace(b"barrier", b"newkind"), address, tmp_path / "data" / "raft" / "journal")
    config = tmp_path / "node.toml"
    config.write_text(
        f'name = "solo"\ndata_dir = "{tmp_path / "data"}"\n[http]\nbind = "127.0.0.1:{free_port()}"\n'
        f'[raft]\nmembers = ["solo={address}"]\n'
    )
    code, said = serve(config)
    assert code == FAILURE
    assert "newkind" in said
    assert "start a newer raftsman on this node" in said


def _leave_entry(entry: bytes, address: str, journal: Path) -> None:
    """Let a log of its own hold *entry*."""
    applied = threading.Event()
    log = Consensus(
        name="solo",
        members={"solo": address},
        journal=journal,
        election_timeout_s=(0.1, 0.2),
        apply=lambda *_: applied.set(),
        monotonic=time.monotonic,
    )
    log.start()
    eventually(lambda: log.standing().leads, within_s=10, what="it leads")
    log.propose(entry, lambda *_: None)
    assert applied.wait(10)
    log.stop()
