"""What raftsman relies on is the same in the development Kubernetes and in a real one: how Jobs are stopped and go."""

import asyncio

from tests.conformance.target import (
    BACKOFF,
    ENDLESS,
    Json,
    Target,
    conditions,
    is_over,
    manifest,
    terminated,
    until,
)

ORPHANS = "child pods are preserved by default when jobs are deleted"
OBEDIENT = f"trap 'exit 7' TERM; echo begun; {ENDLESS}"


# --- suspending, deadlines, time to live --------------------------------------------------------------


async def test_a_suspended_job_makes_no_pod_until_it_is_resumed(kube: Target, name: str) -> None:
    job = await kube.create(manifest(name, ENDLESS, spec={"suspend": True}))

    async def suspended() -> Json | None:
        found = await kube.job(name)
        return found if conditions(found) else None

    found = await until(suspended, "it says that it is suspended")
    assert conditions(found) == [("Suspended", "True", "JobSuspended")]
    assert "startTime" not in found["status"]
    assert await kube.pods_of(name) == []
    answer = await kube.patch(name, {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"suspend": False}})
    assert (answer.code, answer.body["metadata"]["generation"]) == (200, 2)
    found = await kube.runs(name)
    assert conditions(found) == [("Suspended", "False", "JobResumed")]
    assert "startTime" in found["status"]
    await kube.patch(name, {"spec": {"suspend": True}})

    async def without_pods() -> Json | None:
        found = await kube.job(name)
        over = found["status"].get("terminating") == 0 and not await kube.pods_of(name)
        return found if over else None

    found = await until(without_pods, "the Pod is gone")
    assert conditions(found) == [("Suspended", "True", "JobSuspended")]
    assert "failed" not in found["status"]
    await kube.delete(name, {"propagationPolicy": "Background"})


async def test_a_deadline_ends_the_job_when_its_pod_has_ended(kube: Target, name: str) -> None:
    await kube.create(manifest(name, f"trap '' TERM; {ENDLESS}", spec={"backoffLimit": 3}))
    await kube.runs(name)
    version = await kube.version(kube.jobs)
    assert (await kube.patch(name, {"spec": {"activeDeadlineSeconds": 1}})).code == 200
    job = await kube.ended(name)
    reason = "DeadlineExceeded"
    assert conditions(job) == [("FailureTarget", "True", reason), ("Failed", "True", reason)]
    assert {each["message"] for each in job["status"]["conditions"]} == {
        "Job was active longer than specified deadline"
    }
    events = [event["object"]["status"] for event in await kube.history(kube.jobs, name, version)]
    stopping = [status for status in events if status["terminating"] == 1]
    assert stopping
    assert all(len(status["conditions"]) == 1 for status in stopping)
    assert job["status"]["failed"] == 1


async def test_a_finished_job_goes_when_its_time_is_over(kube: Target, name: str) -> None:
    job = await kube.create(manifest(name))
    await kube.ended(name)
    await kube.client.set_ttl(kube.namespace, name, "another", 0)
    await asyncio.sleep(0.2)
    assert await kube.client.get_job(kube.namespace, name)
    await kube.client.set_ttl(kube.namespace, name, job["metadata"]["uid"], 0)
    await kube.is_gone(f"{kube.jobs}/{name}")
    assert await until(lambda: kube.has_no_pods(name), "its Pod goes too")


# --- deleting -----------------------------------------------------------------------------------------


async def test_by_default_a_deleted_job_leaves_its_pod_running_with_a_warning(kube: Target, name: str) -> None:
    await kube.create(manifest(name, ENDLESS))
    await kube.runs(name)
    answer = await kube.delete(name)
    assert answer.code == 200
    assert answer.body["metadata"]["finalizers"] == ["orphan"]
    assert ORPHANS in answer.warnings[0]
    await kube.is_gone(f"{kube.jobs}/{name}")
    pod = await kube.pod_of(name)
    assert pod["status"]["phase"] == "Running"
    assert "ownerReferences" not in pod["metadata"]
    assert "deletionTimestamp" not in pod["metadata"]
    await kube.call("DELETE", f"{kube.pods}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
    await kube.is_gone(f"{kube.pods}/{pod['metadata']['name']}")


async def test_in_the_background_the_job_is_gone_before_its_pod(kube: Target, name: str) -> None:
    job = await kube.create(manifest(name, f"trap '' TERM; {ENDLESS}"))
    await kube.runs(name)
    answer = await kube.delete(name, {"propagationPolicy": "Background"})
    assert (answer.code, answer.warnings) == (200, [])
    assert answer.body["status"] == "Success"
    details = {"name": name, "group": "batch", "kind": "jobs", "uid": job["metadata"]["uid"]}
    assert answer.body["details"] == details
    assert (await kube.call("GET", f"{kube.jobs}/{name}")).code == 404
    assert (await kube.pod_of(name))["status"]["phase"] == "Running"
    assert await until(lambda: kube.has_no_pods(name), "the Pod goes")


async def test_in_the_foreground_the_job_stays_until_its_pod_is_gone(kube: Target, name: str) -> None:
    job = await kube.create(manifest(name, f"trap '' TERM; {ENDLESS}"))
    await kube.runs(name)
    wrong = {"propagationPolicy": "Foreground", "preconditions": {"uid": "x"}}
    uid = job["metadata"]["uid"]
    assert (await kube.delete(name, wrong)).refusal == (
        409,
        "Conflict",
        (
            f'Operation cannot be fulfilled on Job.batch "{name}": the UID in the precondition (x) does not match '
            f"the UID in record ({uid}). The object might have been deleted and then recreated"
        ),
    )
    answer = await kube.delete(name, {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}})
    assert (answer.code, answer.body["kind"]) == (200, "Job")
    assert answer.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert answer.body["metadata"]["deletionGracePeriodSeconds"] == 0
    again = await kube.call("POST", kube.jobs, manifest(name))
    assert again.refusal == (409, "AlreadyExists", f'object is being deleted: jobs.batch "{name}" already exists')
    await kube.is_gone(f"{kube.jobs}/{name}")
    assert await kube.pods_of(name) == []


async def test_a_job_that_is_released_while_it_is_being_deleted_makes_no_pod(kube: Target, name: str) -> None:
    await kube.create(manifest(name, spec={"suspend": True}, metadata={"finalizers": ["raftsman.dev/test"]}))
    await kube.delete(name, {"propagationPolicy": "Background"})
    answer = await kube.patch(name, {"spec": {"suspend": False}})
    assert answer.code == 200
    await asyncio.sleep(1)
    assert await kube.pods_of(name) == []
    assert (await kube.patch(name, {"metadata": {"finalizers": None}})).code == 200
    await kube.is_gone(f"{kube.jobs}/{name}")


async def test_a_pod_that_is_deleted_ends_in_its_grace_and_fails_its_job_afterwards(kube: Target, name: str) -> None:
    await kube.create(manifest(name, OBEDIENT))
    await kube.runs(name)
    pod = await kube.pod_of(name)
    path = f"{kube.pods}/{pod['metadata']['name']}"
    version = await kube.version(kube.pods)
    wrong = await kube.call("DELETE", path, {"preconditions": {"uid": "x"}})
    assert wrong.refusal[:2] == (409, "Conflict")
    answer = await kube.call("DELETE", path)
    assert (answer.code, answer.body["kind"]) == (200, "Pod")
    assert answer.body["metadata"]["deletionGracePeriodSeconds"] == 2
    job = await kube.ended(name)
    assert conditions(job) == [("FailureTarget", "True", BACKOFF), ("Failed", "True", BACKOFF)]
    assert job["status"]["failed"] == 1
    await kube.is_gone(path)
    events = await kube.history(kube.pods, name, version)
    assert events[-1]["type"] == "DELETED"
    last = events[-1]["object"]
    assert last["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (last["status"]["phase"], terminated(last)["exitCode"]) == ("Failed", 7)
    about = await kube.events_about(pod["metadata"]["uid"], "Killing")
    assert "Stopping container task" in [event["message"] for event in about if event["reason"] == "Killing"]


async def test_a_pod_that_ended_is_deleted_at_once(kube: Target, name: str) -> None:
    await kube.create(manifest(name))
    await kube.ended(name)
    pod = await kube.pod_of(name)
    path = f"{kube.pods}/{pod['metadata']['name']}"
    answer = await kube.call("DELETE", path)
    assert (answer.code, answer.body["metadata"]["deletionGracePeriodSeconds"]) == (200, 0)
    missing = f'pods "{pod["metadata"]["name"]}" not found'
    assert (await kube.call("GET", path)).refusal == (404, "NotFound", missing)
    assert is_over(await kube.job(name))


async def test_a_deletion_of_nothing_or_of_nonsense(kube: Target, name: str) -> None:
    answer = await kube.delete(name, {"propagationPolicy": "Foreground"})
    assert answer.refusal == (404, "NotFound", f'jobs.batch "{name}" not found')
    answer = await kube.delete(name, {"propagationPolicy": "Junk"})
    assert (answer.code, answer.fields) == (422, ["propagationPolicy"])
