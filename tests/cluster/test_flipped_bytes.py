"""A byte that rots on the disk of a stopped node: refused with file, offset and advice, or cut; the node is replaced.

Every byte, in thousands of journals and snapshots, is ``tests/unit``'s; here are whole nodes, and what they say.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from raftsman.raft.frames import HEADER_BYTES, SEAL_BYTES, Contents, frame_bytes, unpack_segment
from tests.chaos.clients import Notes, clients
from tests.chaos.faults import data_of, names_in
from tests.chaos.rounds import OFTEN_COMPACTED, SHELL, reckon
from tests.harness.history import faults_of
from tests.harness.nodes import NodeGroup, NodeProcess, eventually, node_group

pytestmark = pytest.mark.cluster

CONFIG_EXIT = 10
ADVICE = "start the node with an empty one under the same name"
WITHIN_S = 20.0


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory, kubeconfig: Path, notes: Notes) -> Iterator[NodeGroup]:
    """Three nodes with tasks, journals and snapshots."""
    folder = tmp_path_factory.mktemp("nodes")
    with node_group(folder, kubeconfig=kubeconfig, more_toml=SHELL, environment=OFTEN_COMPACTED) as nodes:
        nodes.wait_ready()
        work(nodes, notes)
        yield nodes


def work(nodes: NodeGroup, notes: Notes) -> None:
    """Let clients work until every running node has a newer snapshot than before."""
    before = {node.name: snapshots_of(node) for node in nodes.running()}
    with clients(nodes, Random(1), notes, pace_s=0.05, fillers=2):
        eventually(
            lambda: all(snapshots_of(node) > before[node.name] for node in nodes.running()),
            within_s=WITHIN_S,
            what="a snapshot on every node",
        )


def snapshots_of(node: NodeProcess) -> list[str]:
    return sorted(name for name in names_in(node) if name.startswith("snapshot-"))


def last_segment(node: NodeProcess) -> tuple[Path, Contents]:
    folder = data_of(node) / "raft"
    path = folder / max(name for name in names_in(node) if name.startswith("journal-"))
    return path, unpack_segment(path.read_bytes(), last=True)


def killed(group: NodeGroup, notes: Notes, node: NodeProcess) -> tuple[Path, Contents]:
    """Kill *node* after some work; return its last segment, which has several frames."""
    while True:
        work(group, notes)
        node.kill()
        path, contents = last_segment(node)
        if len(contents.frames) > 1:
            return path, contents
        node.start()  # The segment has just begun.
        group.wait_ready()


def places(node: NodeProcess) -> dict[str, tuple[Path, range]]:
    """Return where a flip must be found, by what stands there."""
    path, contents = last_segment(node)
    assert contents.sealed, "it was not stopped cleanly"
    snapshot = data_of(node) / "raft" / snapshots_of(node)[-1]
    first, last = contents.frames[0], contents.frames[-1]
    return {
        "a header": (path, range(HEADER_BYTES)),
        "a frame": (path, range(first[0], first[0] + frame_bytes(first[1].tobytes()))),
        "the last frame": (path, range(last[0], last[0] + frame_bytes(last[1].tobytes()))),
        "the seal": (path, range(contents.end - SEAL_BYTES, contents.end)),
        "a snapshot": (snapshot, range(snapshot.stat().st_size)),
    }


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def refusal_of(node: NodeProcess) -> str:
    """Start *node*, and return its last words; it must refuse."""
    node.start()
    assert node.process is not None
    assert node.process.wait(timeout=WITHIN_S) == CONFIG_EXIT
    return node.log.read_text().splitlines()[-1]


def replace(group: NodeGroup, node: NodeProcess) -> None:
    """Start *node* with an empty directory, and wait until it has caught up."""
    shutil.rmtree(data_of(node))
    node.start()
    group.wait_ready()


def test_after_a_clean_stop_every_flip_is_refused_and_an_empty_node_takes_over_under_load(
    group: NodeGroup, notes: Notes
) -> None:
    node = group.leader()
    node.stop()
    random = Random(7)
    for what, (path, offsets) in places(node).items():
        offset = random.choice(offsets)
        flip(path, offset)
        said = refusal_of(node)
        assert str(path) in said, what
        assert "offset " in said, what
        assert int(said.split("offset ")[1].split(":")[0]) <= offset, what
        assert ADVICE in said, what
        flip(path, offset)
    flip(*_anywhere(random, places(node)["a frame"]))
    assert ADVICE in refusal_of(node)
    with clients(group, random, notes, pace_s=0.05):
        replace(group, node)
    assert faults_of(notes.history(), reckon(group)) == []


def test_a_flip_in_what_nothing_was_written_to_changes_nothing(group: NodeGroup) -> None:
    node = group.follower()
    node.stop()
    path, contents = last_segment(node)
    flip(path, (contents.end + contents.header.size) // 2)
    node.start()
    group.wait_ready()
    assert len({state_hash for _, state_hash in group.state_hashes().values()}) == 1


def test_after_a_kill_a_flip_in_the_last_frame_is_cut_logged_and_counted(group: NodeGroup, notes: Notes) -> None:
    node = group.leader()
    path, contents = killed(group, notes, node)
    offset, payload = contents.frames[-1]
    flip(path, offset + frame_bytes(payload.tobytes()) - 1)
    node.start()
    group.wait_ready()
    assert f"{path}: offset {offset}: a write of at least" in node.log.read_text()
    _, _, page = node.request("GET", "/metrics")
    assert "raftsman_raft_torn_ends_cut_total 1.0" in page.decode().splitlines()
    assert faults_of(notes.history(), reckon(group)) == []


def test_after_a_kill_a_flip_before_the_last_frame_is_refused_and_an_empty_node_takes_over(
    group: NodeGroup, notes: Notes
) -> None:
    node = group.leader()
    path, contents = killed(group, notes, node)
    offset, _ = contents.frames[-2]
    flip(path, offset + 20)
    said = refusal_of(node)
    assert f"{path}: offset {offset}: " in said
    assert ADVICE in said
    with clients(group, Random(8), notes, pace_s=0.05):
        replace(group, node)
    assert faults_of(notes.history(), reckon(group)) == []


def _anywhere(random: Random, place: tuple[Path, range]) -> tuple[Path, int]:
    path, offsets = place
    return path, random.choice(offsets)
