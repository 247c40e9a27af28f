"""What a deletion does: to the object now, to what it owns later.

The order of things is that of Kubernetes, the default that leaves a Job's Pods running included: a Job in the
foreground outlives its Pods, in the background it goes at once and they follow, as an orphaning deletion it goes and
they stay. ``Collector`` does the later part. Who ends processes: ``kubelet``.
"""

from dataclasses import dataclass
from typing import Literal

from raftsman.executor.sandbox.answers import ApiError, Json, invalid_options, precondition_failed, unsupported
from raftsman.executor.sandbox.clock import stamp, unix
from raftsman.executor.sandbox.kinds import EVENTS, JOBS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Kind
from raftsman.executor.sandbox.store import Change, Key, Store, key_of, owners_of
from raftsman.executor.sandbox.workqueue import WorkQueue

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
TERMINAL = ("Succeeded", "Failed")
POLICIES = ("Foreground", "Background", "Orphan", "nil")
Policy = Literal["Foreground", "Background", "Orphan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a client asks of a deletion."""

    policy: str = ""  # "" is the kind's own default.
    grace_s: int | None = None
    uid: str = ""
    version: str = ""

    def check(self) -> None:
        """Raise ApiError (422) when they make no sense."""
        if self.policy and self.policy not in POLICIES[:3]:
            raise invalid_options("DeleteOptions", [unsupported("propagationPolicy", self.policy, POLICIES)])

    def check_preconditions(self, kind: Kind, found: Json) -> None:
        """Raise ApiError (409) when *found* is not the object that is meant."""
        metadata = found["metadata"]
        if self.uid and self.uid != metadata["uid"]:
            raise precondition_failed(kind, metadata["name"], "UID", self.uid, metadata["uid"])
        if self.version and self.version != metadata["resourceVersion"]:
            version = metadata["resourceVersion"]
            raise precondition_failed(kind, metadata["name"], "ResourceVersion", self.version, version)


def delete_job(store: Store, key: Key, policy: Policy) -> Json | None:
    """Begin to delete a Job; return it while it waits for something, None when it is gone. Raises ApiError (404)."""
    finalizer = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(policy)

    def mark(job: Json) -> None:
        metadata = job["metadata"]
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = stamp(store.now())
            metadata["deletionGracePeriodSeconds"] = 0
            metadata["generation"] += 1
        finalizers = [each for each in metadata.get("finalizers") or [] if each not in (FOREGROUND, ORPHAN)]
        metadata["finalizers"] = [*finalizers, *([finalizer] if finalizer else [])]

    after = store.update(JOBS, key, mark)
    return after if store.find(JOBS, *key) is not None else None


def delete_pod(store: Store, key: Key, grace_s: int | None = None) -> Json:
    """Begin to delete a Pod and return it: at once when nothing of it runs, else with its grace.

    A second deletion can only shorten the first. Raises ApiError (404).
    """
    pod = store.get(PODS, *key)
    asked = pod["spec"]["terminationGracePeriodSeconds"] if grace_s is None else grace_s
    ended = pod["status"].get("phase") in TERMINAL or not pod["spec"].get("nodeName")
    grace = 0 if ended else max(asked, 0 if asked == 0 else 1)

    def mark(found: Json) -> None:
        metadata = found["metadata"]
        if "deletionTimestamp" in metadata and metadata["deletionGracePeriodSeconds"] <= grace:
            return
        metadata["deletionTimestamp"] = stamp(store.now() + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        metadata["generation"] = metadata.get("generation", 0) + 1

    return store.update(PODS, key, mark)


def delete_namespace(store: Store, name: str) -> Json:
    """Begin to delete a namespace: everything in it goes, then it does. Raises ApiError (403, 404)."""
    if name in ("default", "kube-system"):
        message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        raise ApiError(403, "Forbidden", message, {"name": name, "kind": "namespaces"})

    def mark(namespace: Json) -> None:
        namespace["metadata"].setdefault("deletionTimestamp", stamp(store.now()))
        namespace["metadata"].setdefault("finalizers", ["kubernetes"])  # Until nothing is left in it.
        namespace["status"] = {"phase": "Terminating"}

    return store.update(NAMESPACES, ("", name), mark)


def drop_finalizer(store: Store, kind: Kind, key: Key, finalizer: str) -> None:
    """Take a finalizer from an object, which then goes when it was the last one that a deletion waited for."""
    if store.find(kind, *key) is None:
        return

    def drop(found: Json) -> None:
        left = [each for each in found["metadata"].get("finalizers") or [] if each != finalizer]
        found["metadata"].pop("finalizers", None)
        if left:
            found["metadata"]["finalizers"] = left

    store.update(kind, key, drop)


class Collector:
    """Follows deletions to their end: owned Pods, orphans, namespaces, Jobs whose time has come."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: WorkQueue[tuple[Kind, Key]] = WorkQueue(self._collect)
        store.subscribe(self._notice)

    async def run(self) -> None:
        """Collect until cancelled."""
        await self._queue.run()

    def _notice(self, kind: Kind, change: Change) -> None:
        if kind in (JOBS, PODS, NAMESPACES):
            self._queue.add((kind, key_of(change.object)))
        if kind in (JOBS, PODS) and change.type == "DELETED":
            self._queue.add((NAMESPACES, ("", change.object["metadata"]["namespace"])))
        if kind is JOBS and change.type == "DELETED":
            for pod in self._store.owned(change.object["metadata"]["uid"]):
                self._queue.add((PODS, key_of(pod)))
        if kind is PODS:
            self._notice_owner(change.object)

    def _notice_owner(self, pod: Json) -> None:
        for owner in pod["metadata"].get("ownerReferences") or []:
            self._queue.add((JOBS, (pod["metadata"]["namespace"], owner["name"])))

    async def _collect(self, item: tuple[Kind, Key]) -> float | None:
        """Do the next step for one object; return after how many seconds to look again."""
        kind, key = item
        found = self._store.find(kind, *key)
        if found is None:
            return None
        if kind is JOBS:
            return self._collect_job(key, found)
        if kind is NAMESPACES:
            self._collect_namespace(found)
        else:
            self._collect_pod(key, found)
        return None

    def _collect_job(self, key: Key, job: Json) -> float | None:
        metadata = job["metadata"]
        if "deletionTimestamp" not in metadata:
            return self._expire(key, job)
        pods = self._store.owned(metadata["uid"])
        finalizers = metadata.get("finalizers") or []
        if FOREGROUND in finalizers:
            for pod in pods:
                if "deletionTimestamp" not in pod["metadata"]:
                    delete_pod(self._store, key_of(pod))
            if not self._store.owned(metadata["uid"]):
                drop_finalizer(self._store, JOBS, key, FOREGROUND)
        elif ORPHAN in finalizers:
            for pod in pods:
                self._store.update(PODS, key_of(pod), _disown)
            drop_finalizer(self._store, JOBS, key, ORPHAN)
        return None

    def _expire(self, key: Key, job: Json) -> float | None:
        """Delete a finished Job whose time to live is over."""
        ttl_s = job["spec"].get("ttlSecondsAfterFinished")
        finished_at = finished(job)
        if ttl_s is None or finished_at is None:
            return None
        left_s = finished_at + float(ttl_s) - self._store.now()
        if left_s > 0:
            return left_s
        delete_job(self._store, key, "Foreground")
        return None

    def _collect_pod(self, key: Key, pod: Json) -> None:
        """Delete a Pod whose owner is gone."""
        owners = owners_of(pod)
        if not owners or "deletionTimestamp" in pod["metadata"]:
            return
        name = pod["metadata"]["ownerReferences"][0]["name"]
        owner = self._store.find(JOBS, key[0], name)
        if owner is None or owner["metadata"]["uid"] not in owners:
            delete_pod(self._store, key)

    def _collect_namespace(self, namespace: Json) -> None:
        name = namespace["metadata"]["name"]
        if "deletionTimestamp" not in namespace["metadata"]:
            return
        for job in self._store.items(JOBS, name):
            if "deletionTimestamp" not in job["metadata"]:
                delete_job(self._store, key_of(job), "Background")
        for pod in self._store.items(PODS, name):
            if "deletionTimestamp" not in pod["metadata"]:
                delete_pod(self._store, key_of(pod))
        if self._store.items(PODS, name) or self._store.items(JOBS, name):
            return
        for kind in (EVENTS, SERVICE_ACCOUNTS):
            for each in self._store.items(kind, name):
                self._store.remove(kind, key_of(each))
        self._store.remove(NAMESPACES, ("", name))


def finished(job: Json) -> float | None:
    """Return when a Job ended, in Unix seconds, or None while it has not."""
    for condition in job["status"].get("conditions") or []:
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return unix(condition["lastTransitionTime"])
    return None


def _disown(pod: Json) -> None:
    pod["metadata"].pop("ownerReferences", None)
