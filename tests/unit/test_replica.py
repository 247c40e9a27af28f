"""Proposals and their outcomes, over real logs: who hears what, and what a restart remembers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from raftsman.raft import codec
from raftsman.raft.commands import Accepted, Barrier, Cancel, Checkpoint, Entry, FoundCluster, Refused, Submit
from raftsman.raft.consensus import Answer
from raftsman.raft.marks import MARK_EVERY
from raftsman.raft.records import Instant, K8sJobSpec, TaskId, TaskSpec
from raftsman.raft.replica import Applied, NotLeader, Unknown
from tests.unit.replicas import META_LEFT_OPEN, Group, Node, group_of, until

pytestmark = META_LEFT_OPEN


def submission(task_id: str) -> Submit:
    spec = TaskSpec(type="k8s_job", k8s_job=K8sJobSpec(context="dev", image="busybox"))
    return Submit(task_id=TaskId(task_id), spec=codec.pack_spec(spec), submitter_node="alpha")


async def commit(node: Node, raw: bytes) -> tuple[Answer, Any]:
    """Bring *raw* into the log by way of *node*, whatever it means."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[tuple[Answer, Any]] = loop.create_future()

    def answered(answer: Answer, result: Any) -> None:
        loop.call_soon_threadsafe(heard.set_result, (answer, result))

    node.consensus.propose(raw, answered)
    return await asyncio.wait_for(heard, 5)


async def tasks_everywhere(group: Group) -> list[list[str]]:
    await group.settled()
    return [sorted(node.replica.read(lambda table: list(table.live))) for node in group.nodes.values()]


async def test_a_followers_proposal_is_applied_there_and_everywhere(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        first, second = await group.followers()
        outcome = await first.apply(submission("one"))
        assert outcome.verdict == Accepted()
        assert first.replica.read(lambda table: table.task("one")) is not None
        assert [change.task_id for _, changes in first.applied for change in changes] == ["one"]
        repeated = await second.apply(submission("one"))
        assert repeated.verdict == Accepted(repeated=True)
        assert repeated.index > outcome.index
        assert await tasks_everywhere(group) == [["one"]] * 3


async def test_a_refusal_by_the_table_is_an_applied_proposal(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        (follower, _) = await group.followers()
        outcome = await follower.apply(Cancel(task_id=TaskId("nobody")))
        assert isinstance(outcome.verdict, Refused)
        assert outcome.verdict.code == "task-not-found"


async def test_proposals_from_all_nodes_at_once_are_all_applied_once(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        await group.leader()
        ids = [f"{name}.{number}" for name in group.nodes for number in range(30)]
        await asyncio.gather(*(group.nodes[task_id.split(".")[0]].apply(submission(task_id)) for task_id in ids))
        assert await tasks_everywhere(group) == [sorted(ids)] * 3


async def test_a_barrier_makes_a_follower_as_new_as_the_log(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader, followers = await group.leader(), await group.followers()
        for number in range(10):
            await leader.apply(submission(f"task-{number}"))
            for follower in followers:
                assert isinstance(await follower.replica.barrier(), Applied)
                assert f"task-{number}" in follower.replica.read(lambda table: set(table.live))


async def test_a_node_alone_is_not_leader_and_says_so_at_once(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start("alpha")
        async with asyncio.timeout(1):
            assert await group.nodes["alpha"].replica.propose(Barrier()) == NotLeader(None)
            assert await group.nodes["alpha"].replica.barrier() == NotLeader(None)


async def test_whoever_is_left_without_a_majority_is_told_that_nobody_leads(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader, followers = await group.leader(), await group.followers()
        await group.stop(leader.name, followers[0].name)
        left = followers[1].replica
        await until(lambda: left.standing().leader is None, "the leader's silence is noticed")
        assert await left.propose(Barrier()) == NotLeader(None)


async def test_a_leader_without_followers_does_not_know_and_then_does_not_lead(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader, followers = await group.leader(), await group.followers()
        await group.stop(*(follower.name for follower in followers))
        assert await leader.replica.propose(submission("one"), deadline_s=0.2) == Unknown()
        await until(lambda: not leader.leads, "it steps down")
        assert await leader.replica.propose(submission("two")) == NotLeader(None)


async def test_whoever_proposes_when_the_leader_has_just_stopped_hears_that_nothing_came_into_the_log(
    tmp_path: Path,
) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader, (follower, _) = await group.leader(), await group.followers()
        await group.stop(leader.name)
        assert isinstance(await follower.replica.propose(submission("one"), deadline_s=2), NotLeader)
        await follower.apply(submission("one"))
        assert await tasks_everywhere(group) == [["one"]] * 2


async def test_an_entry_that_cannot_be_decoded_is_refused_counted_and_stops_nothing(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader = await group.leader()
        answer, (verdict, _) = await commit(leader, bytes([codec.VERSION]) + b"\xc1 no msgpack")
        assert answer is Answer.APPLIED
        assert isinstance(verdict, Refused)
        assert verdict.code == "internal"
        await leader.apply(submission("one"))
        assert await tasks_everywhere(group) == [["one"]] * 3
        assert [node.replica.apply_errors for node in group.nodes.values()] == [1, 1, 1]
        assert not any(node.replica.broken for node in group.nodes.values())


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (bytes([codec.VERSION + 1]) + b"whatever", f"format {codec.VERSION + 1:02x}"),
        (
            codec.encode(Entry(command_id="x", command=Barrier(), at=Instant(1))).replace(b"barrier", b"newkind"),
            "newkind",
        ),
        (
            codec.encode(
                Entry(command_id="x", command=Cancel(task_id=TaskId("one"), if_index=(1,)), at=Instant(1))
            ).replace(b"if_index", b"if_newer"),
            "`if_newer`",
        ),
    ],
    ids=["a newer format", "a newer kind", "a newer field"],
)
async def test_an_entry_of_a_newer_program_breaks_the_replica_and_freezes_its_table(
    tmp_path: Path, raw: bytes, words: str
) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader = await group.leader()
        await leader.apply(submission("one"))
        await commit(leader, raw)
        assert await leader.replica.propose(submission("two")) == Unknown()
        await until(lambda: all(node.replica.broken for node in group.nodes.values()), "all nodes have met it")
        assert all(words in node.replica.broken for node in group.nodes.values())
        assert all("start a newer raftsman" in node.replica.broken for node in group.nodes.values())
        # The log below goes on; the table does not, and says nothing more that anybody could rely on.
        assert [await node.replica.barrier() for node in group.nodes.values()] == [Unknown()] * 3
        assert await tasks_everywhere(group) == [["one"]] * 3


async def test_a_table_that_differs_is_found_named_and_breaks_its_node(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader, (damaged, whole) = await group.leader(), await group.followers()
        await leader.apply(submission("one"))
        await group.settled()
        damaged.replica.read(lambda table: table.live.clear())  # As damaged memory would.
        damaged.replica.read(lambda table: setattr(table, "_hash", 0))
        assert leader.replica.checkpoint() is None
        for number in range(MARK_EVERY):
            await leader.apply(submission(f"task-{number}"))
        checkpoint = leader.replica.checkpoint()
        assert checkpoint is not None
        await leader.apply(checkpoint)
        await until(lambda: damaged.replica.broken, "the difference is found")
        words = f"after entry {checkpoint.index} of the log this node's table has the hash"
        assert damaged.replica.broken.startswith(words)
        assert "start the node again on an empty one" in damaged.replica.broken
        assert checkpoint.state_hash in damaged.replica.broken
        assert (whole.replica.broken, leader.replica.broken) == ("", "")


async def test_a_checkpoint_of_what_a_node_never_saw_says_nothing(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader = await group.leader()
        await leader.apply(Checkpoint(index=MARK_EVERY * 1000, state_hash="00"))
        await leader.apply(Checkpoint(index=1, state_hash="00"))
        await group.settled()
        assert not any(node.replica.broken for node in group.nodes.values())


async def test_a_restart_replays_the_journal_to_the_same_table(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        leader = await group.leader()
        await leader.apply(FoundCluster(uuid="0b5c"))
        for number in range(5):
            await leader.apply(submission(f"task-{number}"))
        await leader.apply(Cancel(task_id=TaskId("task-3")))
        index, state_hash = await group.settled()
        tasks = leader.replica.read(lambda table: list(table.tasks()))
        await group.stop()
        await group.start()
        await until(lambda: all(node.state == (index, state_hash) for node in group.nodes.values()), "the replay")
        for node in group.nodes.values():
            assert node.replica.read(lambda table: list(table.tasks())) == tasks


async def test_a_node_that_was_away_gets_what_it_missed(tmp_path: Path) -> None:
    async with group_of(tmp_path) as group:
        await group.start()
        (away, _) = await group.followers()
        await group.stop(away.name)
        leader = await group.leader()
        for number in range(20):
            await leader.apply(submission(f"task-{number}"))
        await group.start(away.name)
        assert {len(ids) for ids in await tasks_everywhere(group)} == {20}
