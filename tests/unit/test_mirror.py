"""Our Jobs and Pods of a namespace side by side: when their copy is current, why it is not, and what it remembers."""

import asyncio
import json
from typing import Any

import pytest

from raftsman.executor.jobs import Denied, KubernetesError, Unauthorized, Unreachable
from raftsman.executor.kubernetes.mirror import Departed, NamespaceMirror
from tests.unit.test_reflector import EXPIRED_EVENT, SILENCE, Clock, ScriptedSource, event, job, page, pod


class Mirrored:
    """A mirror over two scripts."""

    def __init__(self, jobs: ScriptedSource, pods: ScriptedSource) -> None:
        self.clock = Clock()
        self.jobs, self.pods = jobs, pods
        self.selectors: list[str] = []
        self.changes = 0
        self.mirror = NamespaceMirror(self._collections, self.clock.timing)
        self.mirror.follow("ours=yes", self.change)

    def _collections(self, selector: str) -> tuple[ScriptedSource, ScriptedSource]:
        self.selectors.append(selector)
        return self.jobs, self.pods

    def change(self) -> None:
        self.changes += 1

    async def settle(self) -> NamespaceMirror:
        async with asyncio.timeout(5):
            await self.jobs.idle.wait()
            await self.pods.idle.wait()
        return self.mirror


async def test_a_mirror_is_synced_when_both_of_its_copies_are_live() -> None:
    mirrored = Mirrored(ScriptedSource([page(job("a"))], [[SILENCE]]), ScriptedSource([page()], [[SILENCE]]))
    told = [(mirrored.mirror.synced, mirrored.mirror.error)]
    mirror = await mirrored.settle()
    assert list(mirror.jobs) == ["a"]
    told.append((mirror.synced, mirror.error))
    await mirror.stop()
    told.append((mirror.synced, mirror.error))
    unlisted = "jobs of namespace batch are not listed yet"
    assert told == [(False, unlisted), (True, ""), (False, "the mirror is stopped")]


async def test_a_mirror_that_may_not_list_pods_says_so_and_is_not_synced() -> None:
    refused = Denied("pods is forbidden", status=403)
    mirrored = Mirrored(ScriptedSource([page()], [[SILENCE]]), ScriptedSource([refused], []))
    mirror = await mirrored.settle()
    assert not mirror.synced
    assert "may not list" in mirror.error
    assert mirror.refusal == mirror.error
    await mirror.stop()


@pytest.mark.parametrize("silence", [Unreachable("no answer"), Unauthorized("who is it", status=401)])
async def test_silence_is_no_refusal_and_a_refusal_is_told_before_it(silence: KubernetesError) -> None:
    mirrored = Mirrored(ScriptedSource([silence], []), ScriptedSource([page()], [[SILENCE]]))
    mirror = await mirrored.settle()
    assert (mirror.refusal, bool(mirror.error)) == ("", True)
    await mirror.stop()
    refused = Denied("pods is forbidden", status=403)
    mirrored = Mirrored(ScriptedSource([silence], []), ScriptedSource([refused], []))
    mirror = await mirrored.settle()
    assert mirror.error == mirror.refusal
    assert "pods is forbidden" in mirror.refusal
    await mirror.stop()


@pytest.mark.parametrize("after", [Unreachable("no answer"), page()], ids=["silence", "a list"])
async def test_a_refusal_is_over_with_the_next_answer_or_silence(after: Any) -> None:
    refused = Denied("pods is forbidden", status=403)
    mirrored = Mirrored(ScriptedSource([refused, after], [[SILENCE]]), ScriptedSource([page()], [[SILENCE]]))
    mirror = await mirrored.settle()
    assert mirror.refusal == ""
    await mirror.stop()


async def test_pods_are_found_by_their_job_the_oldest_first() -> None:
    young = pod("p1", "J", creationTimestamp="2026-01-02T00:00:00Z")
    old = pod("p2", "J", creationTimestamp="2026-01-01T00:00:00Z")
    owned = pod("p3", labels={}, ownerReferences=[{"uid": "K", "kind": "Job"}])
    mirrored = Mirrored(ScriptedSource([page()], [[SILENCE]]), ScriptedSource([page(young, old, owned)], [[SILENCE]]))
    mirror = await mirrored.settle()
    assert [found["metadata"]["name"] for found in mirror.pods_of("J")] == ["p2", "p1"]
    assert [found["metadata"]["name"] for found in mirror.pods_of("K")] == ["p3"]
    assert mirror.pods_of("L") == []
    assert mirror.pods_of("J")[0]["spec"] == {"nodeName": "n1", "containers": [{"name": "task"}]}
    await mirror.stop()


async def test_the_last_state_of_a_deleted_pod_is_remembered() -> None:
    last = pod("p", "J", 12, phase="Failed", deletionTimestamp="2026-01-01T00:00:00Z")
    pods = ScriptedSource([page(pod("p"))], [[event("DELETED", last), SILENCE]])
    mirror = await Mirrored(ScriptedSource([page()], [[SILENCE]]), pods).settle()
    assert mirror.pods_of("J") == []
    assert [found["status"]["phase"] for found in mirror.departed_pods_of("J")] == ["Failed"]
    await mirror.stop()


async def test_a_pod_that_left_the_selector_has_not_departed() -> None:
    pods = ScriptedSource([page(pod("p"))], [[event("DELETED", pod("p", "", 12)), SILENCE]])
    mirror = await Mirrored(ScriptedSource([page()], [[SILENCE]]), pods).settle()
    assert mirror.pods_of("J") == []
    assert mirror.departed_pods_of("J") == []
    await mirror.stop()


async def test_a_pod_missing_from_a_later_list_has_departed() -> None:
    pods = ScriptedSource([page(pod("p")), page()], [[EXPIRED_EVENT], [SILENCE]])
    mirror = await Mirrored(ScriptedSource([page()], [[SILENCE]]), pods).settle()
    assert [found["metadata"]["name"] for found in mirror.departed_pods_of("J")] == ["p"]
    await mirror.stop()


async def test_a_job_made_anew_under_its_old_name_survives_the_end_of_the_old_one() -> None:
    old = job("a", 12, uid="old", deletionTimestamp="2026-01-01T00:00:00Z")
    events = [event("ADDED", job("a", 11, uid="new")), event("DELETED", old), SILENCE]
    jobs = ScriptedSource([page(job("a", uid="old"))], [events])
    mirror = await Mirrored(jobs, ScriptedSource([page()], [[SILENCE]])).settle()
    assert mirror.jobs["a"]["metadata"]["uid"] == "new"
    await mirror.stop()


async def test_many_changes_of_one_moment_are_told_once() -> None:
    raw = b"".join(json.dumps(event("ADDED", job(f"j{n}", 11 + n))).encode() + b"\n" for n in range(100))
    mirrored = Mirrored(ScriptedSource([page()], [[raw, SILENCE]]), ScriptedSource([page()], [[SILENCE]]))
    mirror = await mirrored.settle()
    await asyncio.sleep(0)
    assert len(mirror.jobs) == 100
    assert 1 <= mirrored.changes <= 5
    await mirror.stop()


async def test_a_mirror_follows_one_selector_until_it_is_given_another() -> None:
    mirrored = Mirrored(ScriptedSource([page()], [[SILENCE]]), ScriptedSource([page()], [[SILENCE]]))
    mirror = await mirrored.settle()
    mirror.follow("ours=yes", mirrored.change)
    assert mirrored.selectors == ["ours=yes"]
    mirror.follow("ours=no", mirrored.change)
    assert mirrored.selectors == ["ours=yes", "ours=no"]
    await mirror.stop()


def test_departed_pods_are_forgotten_after_a_while_and_beyond_a_number() -> None:
    clock = Clock()
    departed = Departed(clock.timing, keep_s=60, most=2)
    for name in ("p1", "p2", "p3"):
        departed.add(pod(name))
    assert [found["metadata"]["name"] for found in departed.of("J")] == ["p2", "p3"]
    departed.discard("uid-p2")
    assert [found["metadata"]["name"] for found in departed.of("J")] == ["p3"]
    clock.now += 61
    assert departed.of("J") == []
