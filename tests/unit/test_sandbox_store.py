"""The store, its watches and pages, and what deletions do, without HTTP and without processes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from raftsman.executor.sandbox.answers import ApiError
from raftsman.executor.sandbox.deletion import Collector, delete_job, delete_namespace, delete_pod
from raftsman.executor.sandbox.events import NORMAL, Recorder
from raftsman.executor.sandbox.kinds import EVENTS, JOBS, NAMESPACES, PODS
from raftsman.executor.sandbox.listing import list_page
from raftsman.executor.sandbox.query import list_options
from raftsman.executor.sandbox.store import Store, key_of
from raftsman.executor.sandbox.watching import Watch

Json = dict[str, Any]


def job(store: Store, name: str = "j", **labels: str) -> Json:
    metadata = {"name": name, "namespace": "n", "labels": labels}
    return store.create(JOBS, {"metadata": metadata, "spec": {"suspend": True}, "status": {}})


def pod(store: Store, owner: Json | None = None, *, node: str = "sandbox", phase: str = "Running") -> Json:
    metadata: Json = {"generateName": "j-", "namespace": "n"}
    if owner:
        metadata["ownerReferences"] = [{"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]
    spec = {"terminationGracePeriodSeconds": 30, **({"nodeName": node} if node else {})}
    return store.create(PODS, {"metadata": metadata, "spec": spec, "status": {"phase": phase}})


def label(store: Store, name: str, number: int) -> None:
    store.update(JOBS, ("n", name), lambda found: found["metadata"].update(labels={"n": str(number)}))


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A store with a collector."""
    made = Store(history=10)
    collecting = asyncio.create_task(Collector(made).run())
    yield made
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def watch(store: Store, **query: str) -> Watch:
    return Watch(store, JOBS, "n", list_options({"watch": "1", **query}))


# --- the store ----------------------------------------------------------------------------------------


async def test_every_change_has_a_number_of_its_own_and_leaves_what_was_read_as_it_was(store: Store) -> None:
    first = job(store)
    second = store.update(JOBS, ("n", "j"), lambda found: found["spec"].update(suspend=False))
    assert int(second["metadata"]["resourceVersion"]) == int(first["metadata"]["resourceVersion"]) + 1
    assert (first["spec"]["suspend"], second["spec"]["suspend"]) == (True, False)
    assert (first["metadata"]["generation"], second["metadata"]["generation"]) == (1, 2)


async def test_a_change_of_nothing_has_no_number(store: Store) -> None:
    job(store)
    version = store.version
    store.update(JOBS, ("n", "j"), lambda found: found.update(status={}))
    assert store.version == version


async def test_a_change_of_an_older_version_is_a_conflict(store: Store) -> None:
    job(store)
    with pytest.raises(ApiError) as refused:
        store.update(JOBS, ("n", "j"), lambda found: None, expected_version="1")
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")


async def test_a_name_is_taken_until_its_object_is_gone(store: Store) -> None:
    job(store)
    with pytest.raises(ApiError, match=r'jobs\.batch "j" already exists'):
        job(store)


async def test_a_new_store_counts_on_from_where_an_older_one_cannot_have_been() -> None:
    older = Store(clock=lambda: 1_000.0)
    newer = Store(clock=lambda: 2_000.0)
    with pytest.raises(ApiError) as refused:
        newer.changes(JOBS, older.version)
    assert refused.value.code == 410


# --- watches and pages --------------------------------------------------------------------------------


async def test_a_watch_ends_at_its_time_with_a_bookmark_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftsman.executor.sandbox.watching.LAST_BOOKMARK_S", 0.9)
    job(store)
    version = str(store.version)
    watching = watch(store, resourceVersion=version, timeoutSeconds="1", allowWatchBookmarks="true")
    (event,) = [event async for event in watching.events()]
    assert event["type"] == "BOOKMARK"
    assert event["object"]["metadata"] == {"resourceVersion": version}


async def test_a_version_that_is_forgotten_is_an_error_of_the_watch(store: Store) -> None:
    first = job(store)
    for number in range(30):
        label(store, "j", number)
    watching = watch(store, resourceVersion=first["metadata"]["resourceVersion"])
    (event,) = [event async for event in watching.events()]
    assert (event["type"], event["object"]["reason"]) == ("ERROR", "Expired")


async def test_a_page_begins_behind_the_last_one_even_if_that_is_gone(store: Store) -> None:
    for name in "abc":
        job(store, name)
    metadata, page = list_page(store, JOBS, "n", list_options({"limit": "1"}))
    assert [each["metadata"]["name"] for each in page] == ["a"]
    delete_job(store, ("n", "a"), "Background")
    rest = list_options({"continue": metadata["continue"]})
    then, page = list_page(store, JOBS, "n", rest)
    assert [each["metadata"]["name"] for each in page] == ["b", "c"]
    assert then["resourceVersion"] == metadata["resourceVersion"]
    for number in range(30):
        label(store, "b", number)
    with pytest.raises(ApiError, match="continue parameter is too old"):
        list_page(store, JOBS, "n", rest)


# --- deletions ----------------------------------------------------------------------------------------


async def test_a_job_in_the_foreground_goes_when_its_last_pod_has_gone(store: Store) -> None:
    owner = job(store)
    owned = pod(store, owner)
    assert (delete_job(store, ("n", "j"), "Foreground") or {})["metadata"]["finalizers"] == ["foregroundDeletion"]
    await settle()
    found = store.get(PODS, *key_of(owned))
    assert found["metadata"]["deletionGracePeriodSeconds"] == 30
    assert store.find(JOBS, "n", "j") is not None
    store.update(PODS, key_of(owned), lambda each: each["metadata"].update(deletionGracePeriodSeconds=0))
    await settle()
    assert store.find(JOBS, "n", "j") is None


async def test_a_job_in_the_background_goes_first(store: Store) -> None:
    owned = pod(store, job(store))
    assert delete_job(store, ("n", "j"), "Background") is None
    await settle()
    assert "deletionTimestamp" in store.get(PODS, *key_of(owned))["metadata"]


async def test_an_orphaning_deletion_leaves_the_pod_alone(store: Store) -> None:
    owned = pod(store, job(store))
    delete_job(store, ("n", "j"), "Orphan")
    await settle()
    assert store.find(JOBS, "n", "j") is None
    left = store.get(PODS, *key_of(owned))["metadata"]
    assert "ownerReferences" not in left
    assert "deletionTimestamp" not in left


async def test_a_job_of_the_same_name_does_not_own_the_pods_of_the_one_before(store: Store) -> None:
    owned = pod(store, job(store))
    delete_job(store, ("n", "j"), "Background")
    job(store)
    await settle()
    assert "deletionTimestamp" in store.get(PODS, *key_of(owned))["metadata"]


async def test_grace_is_for_pods_that_run_and_can_only_be_shortened(store: Store) -> None:
    for idle in (pod(store, node=""), pod(store, phase="Failed")):
        delete_pod(store, key_of(idle))
        assert store.find(PODS, *key_of(idle)) is None
    key = key_of(pod(store))
    assert delete_pod(store, key)["metadata"]["deletionGracePeriodSeconds"] == 30
    assert delete_pod(store, key, 60)["metadata"]["deletionGracePeriodSeconds"] == 30
    assert delete_pod(store, key, 5)["metadata"]["deletionGracePeriodSeconds"] == 5
    delete_pod(store, key, 0)
    assert store.find(PODS, *key) is None


async def test_a_finalizer_holds_what_is_being_deleted(store: Store) -> None:
    job(store)
    store.update(JOBS, ("n", "j"), lambda found: found["metadata"].update(finalizers=["a/b"]))
    assert delete_job(store, ("n", "j"), "Background") is not None
    store.update(JOBS, ("n", "j"), lambda found: found["metadata"].pop("finalizers"))
    assert store.find(JOBS, "n", "j") is None


async def test_a_namespace_goes_when_nothing_is_left_in_it(store: Store) -> None:
    store.create(NAMESPACES, {"metadata": {"name": "n"}, "spec": {}, "status": {"phase": "Active"}})
    owned = pod(store, job(store))
    assert delete_namespace(store, "n")["status"] == {"phase": "Terminating"}
    await settle()
    assert store.find(JOBS, "n", "j") is None
    assert store.find(NAMESPACES, "", "n") is not None
    delete_pod(store, key_of(owned), 0)
    await settle()
    assert store.find(NAMESPACES, "", "n") is None
    with pytest.raises(ApiError) as refused:
        delete_namespace(store, "default")
    assert refused.value.code == 403


async def test_an_event_that_happens_again_is_counted(store: Store) -> None:
    about, recorder = job(store), Recorder(store, "job-controller")
    for message in ("a", "b", "a"):
        recorder.record(JOBS, about, NORMAL, "Reason", message)
    events = store.items(EVENTS, "n")
    assert [(each["message"], each["count"]) for each in events] == [("a", 2), ("b", 1)]
    assert events[0]["involvedObject"]["uid"] == about["metadata"]["uid"]
