"""What raftsman relies on is the same in the development Kubernetes and in a real one: lists, watches, logs, errors."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest

from tests.conformance.target import Json, Target, account, manifest, until

FUTURE = "99999999999999"


async def suspended(kube: Target, name: str, **labels: str) -> str:
    """Create a Job that never runs and return its name."""
    await kube.create(manifest(name, spec={"suspend": True}, metadata={"labels": labels} if labels else None))
    return name


def names(items: list[Json]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


# --- discovery and access -------------------------------------------------------------------------------


async def test_the_api_says_what_it_has(kube: Target) -> None:
    assert (await kube.get("/api"))["versions"] == ["v1"]
    assert "batch" in [group["name"] for group in (await kube.get("/apis"))["groups"]]
    found = {each["name"]: each for each in (await kube.get("/apis/batch/v1"))["resources"]}
    assert {"create", "delete", "get", "list", "patch", "watch"} <= set(found["jobs"]["verbs"])
    found = {each["name"]: each for each in (await kube.get("/api/v1"))["resources"]}
    assert {"pods", "pods/log", "events", "namespaces", "serviceaccounts"} <= set(found)
    assert found["pods"]["shortNames"] == ["po"]
    assert (await kube.get("/version"))["gitVersion"].startswith("v1.")
    for probe in ("/livez", "/readyz", "/healthz"):
        assert await kube.get(probe) == "ok"


async def test_a_wrong_token_is_unauthorized(kube: Target) -> None:
    answer = await kube.call("GET", kube.jobs, headers={"Authorization": "Bearer wrong"})
    assert answer.refusal == (401, "Unauthorized", "Unauthorized")


async def test_without_a_token_nothing_but_health_is_told(kube: Target) -> None:
    server, _, trust = account(kube.place.kubeconfig, kube.place.context)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        async with session.get(server + kube.jobs) as response:
            # A cluster that knows anonymous users answers 403, any other 401.
            assert response.status in (401, 403)
        async with session.get(server + "/livez") as response:
            assert response.status == 200


async def test_paths_and_methods_that_are_none(kube: Target) -> None:
    for path in ("/nonsense", "/apis/nope/v1/things"):
        answer = await kube.call("GET", path)
        assert (answer.code, answer.body) == (404, "404 page not found\n")
    answer = await kube.call("PUT", kube.jobs, {})
    assert answer.refusal[:2] == (405, "MethodNotAllowed")
    answer = await kube.call("POST", kube.jobs, b"{")
    assert answer.refusal[:2] == (400, "BadRequest")
    answer = await kube.call("POST", kube.jobs, b"a: b", content_type="application/foo")
    assert answer.refusal[:2] == (415, "UnsupportedMediaType")


# --- lists ----------------------------------------------------------------------------------------------


async def test_a_list_comes_in_pages_by_name(kube: Target, name: str) -> None:
    wanted = [await suspended(kube, f"{name}-{letter}", story=name) for letter in "cab"]
    selector = {"labelSelector": f"story={name}"}
    first = await kube.get(kube.jobs, limit="2", **selector)
    assert first["kind"] == "JobList"
    assert "kind" not in first["items"][0]
    token = first["metadata"]["continue"]
    rest = await kube.get(kube.jobs, limit="2", **selector, **{"continue": token})
    assert names(first["items"]) + names(rest["items"]) == sorted(wanted)
    assert "continue" not in rest["metadata"]
    assert first["metadata"]["resourceVersion"] == rest["metadata"]["resourceVersion"]
    first = await kube.get(kube.jobs, limit="1")
    assert first["metadata"]["remainingItemCount"] >= 2
    assert (await kube.call("GET", kube.jobs, query={"continue": "junk"})).code == 400
    assert (await kube.call("GET", kube.jobs, query={"limit": "x"})).refusal[2] == (
        'strconv.ParseInt: parsing "x": invalid syntax'
    )


async def test_labels_select(kube: Target, name: str) -> None:
    one = await suspended(kube, f"{name}-1", story=name, kind="one")
    two = await suspended(kube, f"{name}-2", story=name, kind="two", extra="")
    selectors = {
        f"story={name}": [one, two],
        f"story=={name}": [one, two],
        f"story={name},kind!=one": [two],
        f"story={name},extra": [two],
        f"story={name},!extra": [one],
        f"story={name},extra!=x": [one, two],
        f"story = {name} , kind = two": [two],
        f"story={name},kind in (one, three)": [one],
        f"story={name},kind notin (one)": [two],
        f"story={name},extra=": [two],
        "story=none": [],
    }
    for selector, wanted in selectors.items():
        found = await kube.get(kube.jobs, labelSelector=selector)
        assert names(found["items"] or []) == wanted, selector
    for selector, sentence in {
        "a=b=c": "found '=', expected: ',' or 'end of string'",
        "a b": "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
    }.items():
        answer = await kube.call("GET", kube.jobs, query={"labelSelector": selector})
        assert answer.refusal == (400, "BadRequest", sentence)


async def test_fields_select(kube: Target, name: str) -> None:
    await suspended(kube, name)
    found = await kube.get(kube.jobs, fieldSelector=f"metadata.name={name}")
    assert names(found["items"]) == [name]
    found = await kube.get(kube.jobs, fieldSelector=f"metadata.name!={name}")
    assert name not in names(found["items"])
    answer = await kube.call("GET", kube.jobs, query={"fieldSelector": "foo=bar"})
    assert answer.refusal == (400, "BadRequest", 'field label "foo" not supported for Job')
    answer = await kube.call("GET", kube.pods, query={"fieldSelector": "foo=bar"})
    assert answer.refusal == (400, "BadRequest", "field label not supported: foo")
    assert (await kube.call("GET", kube.events, query={"fieldSelector": "involvedObject.uid=x"})).code == 200


async def test_a_list_of_the_future_is_a_timeout(kube: Target) -> None:
    answer = await kube.call("GET", kube.jobs, query={"resourceVersion": FUTURE})
    assert answer.refusal[:2] == (504, "Timeout")
    assert answer.refusal[2].startswith(f"Timeout: Too large resource version: {FUTURE}, current: ")
    assert (await kube.call("GET", kube.jobs, query={"resourceVersion": "abc"})).code == 400
    assert (await kube.call("GET", kube.jobs, query={"resourceVersionMatch": "Exact"})).code == 422
    assert (await kube.call("GET", kube.jobs, query={"resourceVersion": "0"})).code == 200


# --- watches --------------------------------------------------------------------------------------------


async def test_an_object_that_leaves_the_selector_is_deleted_to_its_watcher(kube: Target, name: str) -> None:
    await suspended(kube, name, story=name)
    await until(lambda: _settled(kube, name), "the controller has looked at it")
    version = await kube.version(kube.jobs)
    for value in (None, name):
        assert (await kube.patch(name, {"metadata": {"labels": {"story": value}}})).code == 200
    await kube.delete(name, {"propagationPolicy": "Background"})
    query = {"labelSelector": f"story={name}", "resourceVersion": version}
    events = await kube.watch(kube.jobs, seconds=1, **query)
    assert [event["type"] for event in events] == ["DELETED", "ADDED", "DELETED"]
    left = events[0]["object"]["metadata"]
    assert left["labels"]["story"] == name
    assert "deletionTimestamp" not in left
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions)
    assert versions[0] > int(version)


async def _settled(kube: Target, name: str) -> bool:
    return bool((await kube.job(name))["status"])


async def test_a_watch_without_a_version_begins_with_what_there_is(kube: Target, name: str) -> None:
    await suspended(kube, name, story=name)
    for version in ({}, {"resourceVersion": "0"}):
        events = await kube.watch(kube.jobs, seconds=1, labelSelector=f"story={name}", **version)
        assert next(event["type"] for event in events) == "ADDED"
        assert events[0]["object"]["kind"] == "Job"


async def test_initial_events_end_with_a_bookmark_that_says_so(kube: Target, name: str) -> None:
    await suspended(kube, name, story=name)
    query = {"sendInitialEvents": "true", "labelSelector": f"story={name}", "allowWatchBookmarks": "true"}
    events = await kube.watch(kube.jobs, seconds=1, resourceVersionMatch="NotOlderThan", **query)
    kinds = [event["type"] for event in events]
    assert kinds[0] == "ADDED"
    mark = events[kinds.index("BOOKMARK")]["object"]["metadata"]
    assert mark["annotations"] == {"k8s.io/initial-events-end": "true"}
    answer = await kube.call("GET", kube.jobs, query={**query, "watch": "1"})
    assert (answer.code, answer.fields) == (422, ["resourceVersionMatch"])


async def test_a_version_that_is_too_old_is_an_error_event(kube: Target) -> None:
    event, *more = await kube.watch(kube.jobs, seconds=1, resourceVersion="1")
    assert event["type"] == "ERROR", "this Kubernetes still knows its first version; restart its API server"
    assert more == []
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert re.fullmatch(r"too old resource version: 1 \(\d+\)", event["object"]["message"])


async def test_a_version_of_the_future_is_silence(kube: Target, name: str) -> None:
    watching = asyncio.create_task(kube.watch(kube.jobs, seconds=1, resourceVersion=FUTURE))
    await suspended(kube, name)
    assert await watching == []


async def test_a_watch_of_nothing_has_at_most_bookmarks(kube: Target) -> None:
    version = await kube.version(kube.jobs)
    query = {"labelSelector": "story=none", "resourceVersion": version}
    assert await kube.watch(kube.jobs, seconds=1, **query) == []
    # Some two seconds before the end, if the server's own timer allows it.
    for event in await kube.watch(kube.jobs, seconds=4, allowWatchBookmarks="true", **query):
        assert event["type"] == "BOOKMARK"
        assert event["object"]["kind"] == "Job"
        assert int(event["object"]["metadata"]["resourceVersion"]) >= int(version)


async def test_a_watch_over_all_namespaces_sees_ours(kube: Target, name: str) -> None:
    version = await kube.version("/apis/batch/v1/jobs")
    await suspended(kube, name, story=name)
    query = {"labelSelector": f"story={name}", "resourceVersion": version}
    events = await kube.watch("/apis/batch/v1/jobs", seconds=1, **query)
    assert events[0]["type"] == "ADDED"
    assert events[0]["object"]["metadata"]["namespace"] == kube.namespace


# --- logs -----------------------------------------------------------------------------------------------

SPEECH = "echo one; sleep 1; echo two; printf three; sleep 1; printf ' and four\\n\\nfive'"


async def test_output_is_read_whole_in_part_and_with_its_times(kube: Target, name: str) -> None:
    await kube.create(manifest(name, SPEECH))
    await kube.ended(name)
    pod = (await kube.pod_of(name))["metadata"]["name"]
    assert await kube.log(pod) == "one\ntwo\nthree and four\n\nfive"
    assert await kube.log(pod, tailLines="2") == "\nfive"
    assert await kube.log(pod, tailLines="0") == ""
    assert await kube.log(pod, limitBytes="6") == "one\ntw"
    assert await kube.log(pod, sinceSeconds="100000") == "one\ntwo\nthree and four\n\nfive"
    stamped = await kube.log(pod, timestamps="true")
    times = [line.partition(" ")[0] for line in stamped.splitlines()]
    assert len(times) == 5
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", time) for time in times)
    assert times == sorted(times)
    # Whole seconds: a time is heeded without its fraction, so the line of that time comes again.
    again = await kube.log(pod, timestamps="true", sinceTime=times[2])
    assert again == stamped[stamped.index(times[1] if times[1][:19] == times[2][:19] else times[2]) :]
    assert await kube.log(pod, sinceTime="2100-01-01T00:00:00Z") == ""


async def test_output_is_followed_until_the_container_ends(kube: Target, name: str) -> None:
    await kube.create(manifest(name, SPEECH))
    await kube.runs(name)
    pod = (await kube.pod_of(name))["metadata"]["name"]
    assert await kube.log(pod, follow="true") == "one\ntwo\nthree and four\n\nfive"
    said = b"".join([chunk async for chunk in kube.client.read_log(kube.namespace, pod, "task", follow=True)])
    assert [line.partition(b" ")[2] for line in said.split(b"\n")] == [b"one", b"two", b"three and four", b"", b"five"]


LOG_FAULTS: dict[str, tuple[int, str]] = {
    "container=nope": (400, "container nope is not valid for pod POD"),
    "previous=true": (400, 'previous terminated container "task" in pod "POD" not found'),
    "tailLines=x": (400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    "tailLines=-1": (
        422,
        'PodLogOptions "POD" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
    ),
    "limitBytes=0": (422, 'PodLogOptions "POD" is invalid: limitBytes: Invalid value: 0: must be greater than 0'),
    "sinceSeconds=0": (422, 'PodLogOptions "POD" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0'),
    "sinceTime=junk": (400, 'parsing time "junk" as "2006-01-02T15:04:05Z07:00": cannot parse "junk" as "2006"'),
    "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z": (
        422,
        'PodLogOptions "POD" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified',
    ),
    "stream=Stdout": (422, 'PodLogOptions "POD" is invalid: stream: Forbidden: may not be specified'),
}


async def test_output_that_there_is_not(kube: Target, name: str) -> None:
    answer = await kube.call("GET", f"{kube.pods}/nope/log")
    assert answer.refusal == (404, "NotFound", 'pods "nope" not found')
    await kube.create(manifest(name, "echo there"))
    await kube.ended(name)
    pod = (await kube.pod_of(name))["metadata"]["name"]
    for query, (code, sentence) in LOG_FAULTS.items():
        parameters = dict(part.split("=") for part in query.split("&"))
        answer = await kube.call("GET", f"{kube.pods}/{pod}/log", query=parameters)
        assert (answer.code, answer.body["message"]) == (code, sentence.replace("POD", pod)), query


# --- namespaces -----------------------------------------------------------------------------------------


async def test_a_namespace_that_is_being_deleted_takes_nothing_new(kube: Target, name: str) -> None:
    space: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    answer = await kube.call("POST", "/api/v1/namespaces", space)
    assert (answer.code, answer.body["status"]) == (201, {"phase": "Active"})
    answer = await kube.call("POST", "/api/v1/namespaces", space)
    assert answer.refusal == (409, "AlreadyExists", f'namespaces "{name}" already exists')
    jobs = f"/apis/batch/v1/namespaces/{name}/jobs"
    held = manifest("held", spec={"suspend": True}, metadata={"finalizers": ["raftsman.dev/test"]})
    assert (await kube.call("POST", jobs, held)).code == 201
    answer = await kube.call("DELETE", f"/api/v1/namespaces/{name}")
    assert (answer.code, answer.body["status"]["phase"]) == (200, "Terminating")
    answer = await kube.call("POST", jobs, manifest("late"))
    assert answer.refusal == (
        403,
        "Forbidden",
        (
            f'jobs.batch "late" is forbidden: unable to create new content in namespace {name} '
            "because it is being terminated"
        ),
    )
    assert answer.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    path = f"{jobs}/held"
    loosen = {"metadata": {"finalizers": None}}
    await kube.call("PATCH", path, loosen, content_type="application/merge-patch+json")
    await kube.is_gone(f"/api/v1/namespaces/{name}")


async def test_an_unknown_namespace_is_empty_to_a_list_and_missing_to_a_get(kube: Target) -> None:
    assert (await kube.get("/api/v1/namespaces/nope/pods"))["items"] in ([], None)
    answer = await kube.call("GET", "/api/v1/namespaces/nope")
    assert answer.refusal == (404, "NotFound", 'namespaces "nope" not found')


# --- kubectl --------------------------------------------------------------------------------------------


async def kubectl(kube: Target, *words: str, document: Any = None) -> str:
    """Return what kubectl prints."""
    command = ("--kubeconfig", str(kube.place.kubeconfig), "--context", kube.place.context, "-n", kube.namespace)
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        *command,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(json.dumps(document).encode() if document else b"")
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def test_kubectl_creates_shows_follows_and_deletes(kube: Target, name: str) -> None:
    made = await kubectl(kube, "create", "-f", "-", document=manifest(name, "echo hello"))
    assert made == f"job.batch/{name} created\n"
    job = await kube.ended(name)
    pod = await kube.pod_of(name)
    await kube.events_about(job["metadata"]["uid"], "SuccessfulCreate")
    await kube.events_about(pod["metadata"]["uid"], "Started")
    assert await kubectl(kube, "logs", "-f", f"job/{name}") == "hello\n"
    header, row = (await kubectl(kube, "get", "job", name)).splitlines()
    assert header.split() == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert row.split()[:3] == [name, "Complete", "1/1"]
    header, row = (await kubectl(kube, "get", "pods", "-l", f"job-name={name}", "-o", "wide")).splitlines()
    wide = ["IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES"]
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", *wide]
    assert row.split()[1:4] == ["0/1", "Completed", "0"]
    described = await kubectl(kube, "describe", "job", name)
    assert "Pods Statuses:    0 Active (0 Ready) / 1 Succeeded / 0 Failed" in described
    assert "SuccessfulCreate" in described
    assert "Started container task" in await kubectl(kube, "describe", "pods", "-l", f"job-name={name}")
    assert (await kubectl(kube, "delete", "job", name)).startswith(f'job.batch "{name}" deleted')
    assert await kubectl(kube, "get", "job", name, "--ignore-not-found") == ""
    assert await kubectl(kube, "get", "pods", "-l", f"job-name={name}") == ""


async def test_kubectl_creates_jobs_without_a_file_and_deletes_pods(kube: Target, name: str) -> None:
    await kubectl(kube, "create", "job", name, "--image", "busybox:1.36", "--", "sleep", "60")
    found = await kube.pod_of(name)
    pod = found["metadata"]["name"]
    await kube.runs(name)
    _, row = (await kubectl(kube, "get", "pods", pod)).splitlines()
    assert row.split()[1:4] == ["1/1", "Running", "0"]
    assert (await kubectl(kube, "delete", "pod", pod, "--grace-period=1")).startswith(f'pod "{pod}" deleted')
    await kube.events_about(found["metadata"]["uid"], "Killing")
    assert "Killing" in await kubectl(kube, "get", "events", "--field-selector", f"involvedObject.name={pod}")
    await kubectl(kube, "delete", "job", name)


COLUMNS = {
    "jobs": ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"],
    "pods": ["NAME", "READY", "STATUS", "RESTARTS", "AGE"],
    "events": ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"],
    "namespaces": ["NAME", "STATUS", "AGE"],
    "serviceaccounts": ["NAME", "SECRETS", "AGE"],
}


@pytest.mark.parametrize("what", COLUMNS)
async def test_kubectl_gets_the_same_columns(kube: Target, what: str, name: str) -> None:
    await kube.create(manifest(name))
    await kube.ended(name)
    header = (await kubectl(kube, "get", what)).splitlines()[0]
    assert [column for column in re.split(r"\s{2,}", header) if column] == COLUMNS[what]
