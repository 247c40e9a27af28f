"""What raftsman relies on is the same in the development Kubernetes and in a real one: how Jobs and Pods run."""

import pytest

from tests.conformance.target import (
    BACKOFF,
    Json,
    Target,
    conditions,
    manifest,
    states,
    terminated,
    told,
    until,
)


async def test_a_job_that_succeeds_says_so_in_two_steps(kube: Target, name: str) -> None:
    version = await kube.version(kube.jobs)
    await kube.create(manifest(name, "echo done; sleep 1"))
    job = await kube.ended(name)
    assert conditions(job) == [
        ("SuccessCriteriaMet", "True", "CompletionsReached"),
        ("Complete", "True", "CompletionsReached"),
    ]
    status = job["status"]
    assert {key: status[key] for key in status if key not in ("conditions", "startTime", "completionTime")} == {
        "succeeded": 1,
        "terminating": 0,
        "uncountedTerminatedPods": {},
        "ready": 0,
    }
    events = await kube.history(kube.jobs, name, version)
    assert [event["type"] for event in events] == ["ADDED"] + ["MODIFIED"] * (len(events) - 1)
    actives = [event["object"]["status"].get("active", 0) for event in events]
    assert actives[1] == 1
    steps = [[kind for kind, _, _ in conditions(event["object"])] for event in events]
    assert ["SuccessCriteriaMet"] in steps
    assert steps[-1] == ["SuccessCriteriaMet", "Complete"]


async def test_a_pod_goes_from_pending_to_succeeded(kube: Target, name: str) -> None:
    version = await kube.version(kube.pods)
    job = await kube.create(manifest(name, "sleep 1"))
    await kube.ended(name)
    pods = [event["object"] for event in await kube.history(kube.pods, name, version)]
    phases = [pod["status"]["phase"] for pod in pods]
    assert list(dict.fromkeys(phases)) == ["Pending", "Running", "Succeeded"]
    first, last = pods[0], pods[-1]
    assert first["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
    assert "finalizers" not in last["metadata"]
    assert first["metadata"]["generateName"] == f"{name}-"
    assert first["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name,
            "uid": job["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    waits = [state["waiting"]["reason"] for pod in pods for state in states(pod) if "waiting" in state]
    assert set(waits) == {"ContainerCreating"}
    assert told(pods[-1]) == {
        "PodReadyToStartContainers": ("False", None),
        "Initialized": ("True", "PodCompleted"),
        "Ready": ("False", "PodCompleted"),
        "ContainersReady": ("False", "PodCompleted"),
        "PodScheduled": ("True", None),
    }
    running = next(pod for pod in pods if pod["status"]["phase"] == "Running")
    assert {kind: status for kind, (status, _) in told(running).items()} == dict.fromkeys(told(running), "True")


async def test_a_job_that_fails_says_so_in_two_steps_and_its_pod_says_why(kube: Target, name: str) -> None:
    explained = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    version = await kube.version(kube.jobs)
    await kube.create(manifest(name, "echo out; echo no such bucket >&2; exit 3", container=explained))
    job = await kube.ended(name)
    assert conditions(job) == [("FailureTarget", "True", BACKOFF), ("Failed", "True", BACKOFF)]
    assert {each["message"] for each in job["status"]["conditions"]} == {"Job has reached the specified backoff limit"}
    assert job["status"]["failed"] == 1
    assert "active" not in job["status"]
    pod = await kube.pod_of(name)
    ended = terminated(pod)
    assert (pod["status"]["phase"], ended["exitCode"], ended["reason"]) == ("Failed", 3, "Error")
    assert "no such bucket\n" in ended["message"]
    assert told(pod)["Ready"] == ("False", "PodFailed")
    steps = [conditions(event["object"]) for event in await kube.history(kube.jobs, name, version)]
    assert [("FailureTarget", "True", BACKOFF)] in steps or len(steps) < 5  # Kubernetes may fold the two steps.


ENDS: dict[str, tuple[Json, int, str]] = {
    "a command that a shell does not find": (manifest("", "nonesuch"), 127, "Error"),
    "a command that is not there": (manifest("", container={"command": ["nonesuch"]}), 128, "StartError"),
    "a command that is a folder": (manifest("", container={"command": ["/etc"]}), 128, "StartError"),
    "too much memory": (
        manifest(
            "",
            "x=aaaaaaaa; while true; do x=$x$x; done",
            container={"resources": {"limits": {"memory": "32Mi"}}},
        ),
        137,
        "OOMKilled",
    ),
}
START = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
MESSAGES = {
    "a command that is not there": 'exec: "nonesuch": executable file not found in $PATH: unknown',
    "a command that is a folder": 'exec: "/etc": permission denied: unknown',
}


@pytest.mark.parametrize("how", ENDS)
async def test_the_end_of_a_container_has_the_same_code_and_reason(kube: Target, name: str, how: str) -> None:
    job, code, reason = ENDS[how]
    await kube.create({**job, "metadata": {"name": name}})
    await kube.ended(name)
    ended = terminated(await kube.pod_of(name))
    assert (ended["exitCode"], ended["reason"]) == (code, reason)
    if how in MESSAGES:
        assert ended["message"] == f"{START}unable to start container process: {MESSAGES[how]}"
        assert ended["startedAt"] == "1970-01-01T00:00:00Z"


async def test_an_init_container_that_fails_fails_the_pod_and_the_others_never_start(kube: Target, name: str) -> None:
    inits = [
        {"name": "first", "image": "busybox:1.36", "command": ["sh", "-c", "echo first"]},
        {"name": "second", "image": "busybox:1.36", "command": ["sh", "-c", "exit 5"]},
        {"name": "third", "image": "busybox:1.36", "command": ["true"]},
    ]
    await kube.create(manifest(name, pod={"initContainers": inits}))
    await kube.ended(name)
    pod = await kube.pod_of(name)
    status = pod["status"]
    assert status["phase"] == "Failed"
    assert [terminated(pod, each)["exitCode"] for each in ("first", "second")] == [0, 5]
    assert status["initContainerStatuses"][2]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert told(pod)["Initialized"] == ("False", "ContainersNotInitialized")
    assert await kube.log(pod["metadata"]["name"], container="first") == "first\n"
    answer = await kube.call("GET", f"{kube.pods}/{pod['metadata']['name']}/log")
    waiting = f'container "task" in pod "{pod["metadata"]["name"]}" is waiting to start: PodInitializing'
    assert answer.refusal == (400, "BadRequest", waiting)


async def test_one_of_several_containers_that_fails_fails_the_job_when_all_have_ended(kube: Target, name: str) -> None:
    containers = [
        {"name": "a", "image": "busybox:1.36", "command": ["sh", "-c", "exit 6"]},
        {"name": "b", "image": "busybox:1.36", "command": ["sh", "-c", "sleep 1; echo b"]},
    ]
    await kube.create(manifest(name, pod={"containers": containers}))
    job = await kube.ended(name)
    assert conditions(job)[-1] == ("Failed", "True", BACKOFF)
    pod = await kube.pod_of(name)
    assert [terminated(pod, each)["exitCode"] for each in ("a", "b")] == [6, 0]
    pod_name = pod["metadata"]["name"]
    answer = await kube.call("GET", f"{kube.pods}/{pod_name}/log")
    assert answer.refusal[2] == f"a container name must be specified for pod {pod_name}, choose one of: [a b]"
    assert await kube.log(pod_name, container="b") == "b\n"


async def test_a_process_knows_the_name_and_the_uid_of_its_pod(kube: Target, name: str) -> None:
    fields = {"NAME": "metadata.name", "SPACE": "metadata.namespace", "UID_": "metadata.uid"}
    env = [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()]
    env += [{"name": "BOTH", "value": "$(SPACE)/$(NAME) $$(X) $(Y)"}]
    container = {"command": ["sh", "-c"], "args": ["echo $NAME $SPACE $UID_ \"$BOTH\" '$(SPACE)'"], "env": env}
    await kube.create(manifest(name, container=container))
    await kube.ended(name)
    pod = await kube.pod_of(name)
    pod_name, space = pod["metadata"]["name"], kube.namespace
    said = await kube.log(pod_name)
    assert said == f"{pod_name} {space} {pod['metadata']['uid']} {space}/{pod_name} $(X) $(Y) {space}\n"


PULLING = ("image can't be pulled", "trying and failing to pull image")


async def test_an_image_that_cannot_be_pulled_is_told_first_in_full_then_in_the_pause(kube: Target, name: str) -> None:
    await kube.create(manifest(name, container={"image": "registry.invalid/x:1"}))

    async def waiting(reason: str) -> Json | None:
        (state, *_) = [state for pod in await kube.pods_of(name) for state in states(pod)] or [{}]
        wait: Json = state.get("waiting", {})
        return wait if wait.get("reason") == reason else None

    first = await until(lambda: waiting("ErrImagePull"), "the pull fails")
    assert 'failed to resolve reference "registry.invalid/x:1"' in first["message"]
    pod = await kube.pod_of(name)
    answer = await kube.call("GET", f"{kube.pods}/{pod['metadata']['name']}/log")
    assert answer.refusal[2].partition("is waiting to start: ")[2] in PULLING
    then = await until(lambda: waiting("ImagePullBackOff"), "the pause")
    assert then["message"].startswith('Back-off pulling image "registry.invalid/x:1": ErrImagePull: ')
    assert pod["status"]["phase"] == "Pending"
    assert told(pod)["Ready"] == ("False", "ContainersNotReady")
    await kube.events_about(pod["metadata"]["uid"], "Scheduled", "Pulling", "Failed", "BackOff")
    await kube.delete(name, {"propagationPolicy": "Foreground"})
    await kube.is_gone(f"{kube.jobs}/{name}")


async def test_an_image_that_is_none_is_told_at_once(kube: Target, name: str) -> None:
    await kube.create(manifest(name, container={"image": "HTTP://x y"}))

    async def waiting() -> Json | None:
        found = [state for pod in await kube.pods_of(name) for state in states(pod)]
        return next((state["waiting"] for state in found if "message" in state.get("waiting", {})), None)

    assert await until(waiting, "it says why it waits") == {
        "reason": "InvalidImageName",
        "message": 'Failed to apply default image tag "HTTP://x y": couldn\'t parse image name "HTTP://x y": '
        "invalid reference format",
    }
    await kube.delete(name, {"propagationPolicy": "Background"})


async def test_a_job_whose_service_account_is_missing_makes_no_pod_and_events_say_why(kube: Target, name: str) -> None:
    job = await kube.create(manifest(name, pod={"serviceAccountName": "nobody"}))
    about = await kube.events_about(job["metadata"]["uid"], "FailedCreate")
    event = next(event for event in about if event["reason"] == "FailedCreate")
    assert event["message"] == (
        f'Error creating: pods "{name}-" is forbidden: error looking up service account {kube.namespace}/nobody: '
        'serviceaccount "nobody" not found'
    )
    assert event["type"] == "Warning"
    job = await until(lambda: kube.job(name), "the Job")
    assert "active" not in job["status"]
    assert conditions(job) == []
    assert await kube.pods_of(name) == []


async def test_events_tell_the_life_of_a_pod(kube: Target, name: str) -> None:
    job = await kube.create(manifest(name, "true"))
    await kube.ended(name)
    about_job = await kube.events_about(job["metadata"]["uid"], "SuccessfulCreate", "Completed")
    assert {event["reason"] for event in about_job} == {"SuccessfulCreate", "Completed"}
    pod = await kube.pod_of(name)
    created = next(event for event in about_job if event["reason"] == "SuccessfulCreate")
    assert created["message"] == f"Created pod: {pod['metadata']['name']}"
    about_pod = await kube.events_about(pod["metadata"]["uid"], "Scheduled", "Pulled", "Created", "Started")
    started = next(event for event in about_pod if event["reason"] == "Started")
    assert started["message"] == "Started container task"
    assert started["involvedObject"]["fieldPath"] == "spec.containers{task}"
