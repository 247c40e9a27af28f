"""What is held of pysyncobj: the very file, the names in it, and that no pickle is ever reached."""

from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pysyncobj.syncobj as stock
import pytest

from raftsman.raft import core
from tests.harness.steps import Steps

SHA256 = "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4"
"""Of pysyncobj/syncobj.py 0.3.17. Another file may work alike, and must be read before it is trusted."""


def test_the_core_is_the_file_that_was_read() -> None:
    assert version("pysyncobj") == "0.3.17"
    assert sha256(Path(stock.__file__ or "").read_bytes()).hexdigest() == SHA256


def test_every_name_that_is_used_is_there() -> None:
    assert core.missing_names() == []


def test_a_name_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(stock.SyncObj, "_SyncObj__connectedToAnyone")
    assert core.missing_names() == ["_SyncObj__connectedToAnyone"]


def test_pysyncobj_can_neither_read_nor_write_a_pickle() -> None:
    bomb = b"cos\nsystem\n(S'touch /tmp/bomb'\ntR."
    with pytest.raises(AssertionError, match="tried to read a pickle"):
        stock.pickle.loads(bomb)
    with pytest.raises(AssertionError, match="tried to write a pickle"):
        stock.pickle.dumps("anything")


def test_a_long_log_is_applied_in_parts_so_that_heartbeats_get_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "APPLIED_PER_TICK", 10)
    world = Steps(["alpha"])
    world.start()
    node = world.leader()
    for number in range(25):
        world.propose(node, b"%d" % number)
    counts = []
    for _ in range(3):
        node.participant.tick()
        counts.append(len(node.commands))
    assert counts == [10, 20, 25]


def test_entries_that_take_long_to_apply_keep_no_heartbeat_waiting() -> None:
    world = Steps(["alpha"])
    world.start()
    node = world.leader()
    told = []

    class Slow(list[tuple[int, bytes]]):
        def append(self, each: tuple[int, bytes]) -> None:
            world.now += 0.0001  # Twice what the table takes for one.
            told.append(node.participant.standing().commit_index)
            super().append(each)

    node.machine.applied = Slow()
    commands = [b"%d" % number for number in range(2_000)]
    for command in commands:
        world.propose(node, command)
    began = world.now
    node.participant.tick()
    assert 0 < world.now - began < core.HEARTBEAT_S
    assert node.participant.hurried
    world.until(lambda: node.commands == commands, "all are applied")
    assert set(told) == {node.journal.last_index}, "what is committed stays so meanwhile"


def test_two_runs_of_the_same_seed_say_the_same_things_in_the_same_order() -> None:
    def trace() -> list[object]:
        world = Steps(("alpha", "beta", "delta", "gamma", "omega"), seed=7)
        world.start()
        world.commit(b"one")
        world.kill(world.leader().name, power=True)
        world.commit(b"two")
        return list(world.said)

    assert trace() == trace()
