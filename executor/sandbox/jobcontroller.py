"""The Job controller: carries out what ``jobstatus`` decides.

Creates Pods, deletes them, keeps the status, releases what is counted. Jobs with another ``managedBy`` are left alone,
as Kubernetes does. What a deleted Job's Pods come to is ``deletion``'s; who runs Pods is ``kubelet``.
"""

from collections import Counter

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.defaults import request_limits
from raftsman.executor.sandbox.deletion import delete_pod, drop_finalizer
from raftsman.executor.sandbox.events import NORMAL, WARNING, Recorder
from raftsman.executor.sandbox.jobstatus import TRACKING, Decision, decide
from raftsman.executor.sandbox.kinds import JOBS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Kind
from raftsman.executor.sandbox.store import Change, Key, Store, copy_of, key_of
from raftsman.executor.sandbox.workqueue import WorkQueue

OURS = "kubernetes.io/job-controller"
FIRST_RETRY_S = 1.0
MOST_RETRY_S = 60.0


class JobController:
    """Keeps every Job of a store going."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder
        self._queue: WorkQueue[tuple[Kind, Key]] = WorkQueue(self._look)
        self._refused: Counter[str] = Counter()  # How often no Pod could be made, by the Job's UID.
        store.subscribe(self._notice)

    async def run(self) -> None:
        """Look after Jobs until cancelled."""
        await self._queue.run()

    def _notice(self, kind: Kind, change: Change) -> None:
        metadata = change.object["metadata"]
        if kind is JOBS:
            self._queue.add((JOBS, key_of(change.object)))
            if change.type == "DELETED":
                self._refused.pop(metadata["uid"], None)
        if kind is PODS:
            for owner in metadata.get("ownerReferences") or []:
                self._queue.add((JOBS, (metadata["namespace"], owner["name"])))
            if TRACKING in (metadata.get("finalizers") or []):
                self._queue.add((PODS, key_of(change.object)))

    async def _look(self, item: tuple[Kind, Key]) -> float | None:
        kind, key = item
        if kind is PODS:
            self._release_stray(key)
            return None
        job = self._store.find(JOBS, *key)
        if job is None or (job["spec"].get("managedBy") or OURS) != OURS:
            return None
        uid = job["metadata"]["uid"]
        pods = self._store.owned(uid)
        decision = decide(job, pods, self._store.now())
        return self._carry_out(key, job, decision)

    def _release_stray(self, key: Key) -> None:
        """Release a Pod that no Job counts any more: its Job is gone."""
        pod = self._store.find(PODS, *key)
        if pod is not None and not has_owner(self._store, pod):
            drop_finalizer(self._store, PODS, key, TRACKING)

    def _carry_out(self, key: Key, job: Json, decision: Decision) -> float | None:
        suspended = job["spec"]["suspend"]
        if suspended:
            self._release(key[0], decision)
        self._delete(key[0], job, decision)
        refused = self._create(job, decision.create)
        status = dict(decision.status)
        if refused:
            status["active"] = status["active"] - refused
            status = {name: value for name, value in status.items() if name != "active" or value}
        self._store.update(JOBS, key, lambda found: found.update(status=status))
        self._release(key[0], decision)
        for type_, reason, message in decision.events:
            self._recorder.record(JOBS, job, type_, reason, message)
        return self._again_s(job, decision, refused)

    def _again_s(self, job: Json, decision: Decision, refused: int) -> float | None:
        uid = job["metadata"]["uid"]
        if not refused:
            self._refused.pop(uid, None)
            return decision.again_s
        self._refused[uid] += 1
        retry_s = min(FIRST_RETRY_S * 2.0 ** (self._refused[uid] - 1), MOST_RETRY_S)
        return min(retry_s, decision.again_s) if decision.again_s is not None else retry_s

    def _release(self, namespace: str, decision: Decision) -> None:
        for name in decision.release:
            drop_finalizer(self._store, PODS, (namespace, name), TRACKING)

    def _delete(self, namespace: str, job: Json, decision: Decision) -> None:
        for name in decision.delete:
            if self._store.find(PODS, namespace, name) is not None:
                delete_pod(self._store, (namespace, name))
                self._recorder.record(JOBS, job, NORMAL, "SuccessfulDelete", f"Deleted pod: {name}")

    def _create(self, job: Json, count: int) -> int:
        """Create *count* Pods and return how many were refused."""
        for done in range(count):
            fault = self._fault(job)
            if fault:
                message = f'Error creating: pods "{job["metadata"]["name"]}-" is forbidden: {fault}'
                self._recorder.record(JOBS, job, WARNING, "FailedCreate", message)
                return count - done
            pod = self._store.create(PODS, pod_of(job))
            name = pod["metadata"]["name"]
            self._recorder.record(JOBS, job, NORMAL, "SuccessfulCreate", f"Created pod: {name}")
        return 0

    def _fault(self, job: Json) -> str:
        """Return why no Pod of this Job can be created now, or ""."""
        namespace = job["metadata"]["namespace"]
        account = job["spec"]["template"]["spec"].get("serviceAccountName") or "default"
        if self._store.find(SERVICE_ACCOUNTS, namespace, account) is None:
            found = f'serviceaccount "{account}" not found'
            return f"error looking up service account {namespace}/{account}: {found}"
        place = self._store.find(NAMESPACES, "", namespace)
        if place is None or "deletionTimestamp" in place["metadata"]:
            return f"unable to create new content in namespace {namespace} because it is being terminated"
        return ""


def pod_of(job: Json) -> Json:
    """Return a new Pod of the Job."""
    template = copy_of(job["spec"]["template"])
    metadata, spec = job["metadata"], template["spec"]
    given = template["metadata"]
    spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    spec.setdefault("enableServiceLinks", True)
    spec.update(priority=0, preemptionPolicy="PreemptLowerPriority")
    request_limits(spec)
    owner = {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": given["labels"],
            **({"annotations": given["annotations"]} if given.get("annotations") else {}),
            "ownerReferences": [owner],
            "finalizers": [TRACKING, *(given.get("finalizers") or [])],
        },
        "spec": spec,
        "status": {"phase": "Pending", "qosClass": quality_of_service(spec)},
    }


def quality_of_service(spec: Json) -> str:
    """Return the Pod's class, which its requests and limits decide."""
    resources = [container["resources"] for container in [*(spec.get("initContainers") or []), *spec["containers"]]]
    shares = [(each.get("requests") or {}, each.get("limits") or {}) for each in resources]
    if not any(name in ("cpu", "memory") for requests, limits in shares for name in (*requests, *limits)):
        return "BestEffort"
    guaranteed = all(
        name in limits and limits[name] == requests.get(name, limits[name])
        for requests, limits in shares
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if guaranteed else "Burstable"


def has_owner(store: Store, pod: Json) -> bool:
    """Return whether the Job that made the Pod is there."""
    return any(
        (job := store.find(JOBS, pod["metadata"]["namespace"], owner["name"])) is not None
        and job["metadata"]["uid"] == owner["uid"]
        for owner in pod["metadata"].get("ownerReferences") or []
    )
