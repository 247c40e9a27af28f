"""Creating, changing and deleting over the API: from a request's body and query to the store and an answer.

Jobs and namespaces are created, Jobs changed by merge patch, Jobs, Pods and namespaces deleted. Every function
returns the answer's code, body and warnings, or raises ApiError. Fields and rules are ``fields``', ``defaults``' and
``validation``'s; what follows from a deletion ``deletion``'s.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from raftsman.executor.sandbox.answers import (
    ORPHAN_WARNING,
    Json,
    bad_request,
    invalid,
    invalid_object,
    invalid_value,
    method_not_allowed,
    namespace_terminating,
    not_found,
)
from raftsman.executor.sandbox.cluster import add_namespace
from raftsman.executor.sandbox.defaults import complete_job
from raftsman.executor.sandbox.deletion import Options, Policy, delete_job, delete_namespace, delete_pod
from raftsman.executor.sandbox.fields import check_object, decode_object, decode_options
from raftsman.executor.sandbox.kinds import JOBS, NAMESPACES, PODS, Kind
from raftsman.executor.sandbox.query import field_validation, integer
from raftsman.executor.sandbox.store import Store, copy_of
from raftsman.executor.sandbox.validation import job_change_faults, job_faults, job_warnings, namespace_faults

PATCH_TYPES = ("application/merge-patch+json", "application/strategic-merge-patch+json")
"""The second is merged like the first: the two differ in lists only, and a Job's lists are immutable."""

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of 2xx."""

    body: Json
    code: int = 200
    warnings: tuple[str, ...] = field(default=())


def create(store: Store, kind: Kind, namespace: str, body: bytes, query: Query) -> Answer:
    """Create an object."""
    if kind is JOBS:
        return _create_job(store, namespace, body, query)
    if kind is NAMESPACES:
        return _create_namespace(store, body, query)
    raise method_not_allowed()


def _create_job(store: Store, namespace: str, body: bytes, query: Query) -> Answer:
    decoded = decode_object(body, "Job", validation=field_validation(query, "CreateOptions"))
    job = decoded.value
    metadata: Json = job.setdefault("metadata", {})
    if metadata.setdefault("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    name = metadata.get("name") or ""
    if not name and metadata.get("generateName"):
        name = metadata["name"] = store.new_name(JOBS, namespace, metadata["generateName"])
    _check_namespace(store, JOBS, namespace, name)
    for owned in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "managedFields", "selfLink"):
        metadata.pop(owned, None)
    metadata["uid"] = str(uuid.uuid4())
    complete_job(job)
    job["status"] = {}
    faults = job_faults(job)
    if faults:
        raise invalid_object(JOBS, name, faults)
    made = store.create(JOBS, job)
    return Answer(body=made, code=201, warnings=(*decoded.strays, *job_warnings(made)))


def _create_namespace(store: Store, body: bytes, query: Query) -> Answer:
    decoded = decode_object(body, "Namespace", validation=field_validation(query, "CreateOptions"))
    namespace = decoded.value
    metadata: Json = namespace.setdefault("metadata", {})
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = store.new_name(NAMESPACES, "", metadata["generateName"])
    metadata.pop("namespace", None)
    faults = namespace_faults(namespace)
    if faults:
        raise invalid_object(NAMESPACES, metadata.get("name", ""), faults)
    return Answer(body=add_namespace(store, namespace), code=201, warnings=decoded.strays)


def _check_namespace(store: Store, kind: Kind, namespace: str, name: str) -> None:
    found = store.find(NAMESPACES, "", namespace)
    if found is None:
        raise not_found(NAMESPACES, namespace)
    if "deletionTimestamp" in found["metadata"]:
        raise namespace_terminating(kind, name, namespace)


# --- patches ------------------------------------------------------------------------------------------


def patch_job(store: Store, namespace: str, name: str, body: bytes, query: Query) -> Answer:
    """Merge a patch into a Job."""
    strict = field_validation(query, "PatchOptions") == "Strict"
    before = store.get(JOBS, namespace, name)
    after = merge(before, _patch(body))
    metadata = after["metadata"]
    if metadata.get("name") != name:
        message = f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
        raise bad_request(message)
    if metadata.get("namespace") != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    metadata.setdefault("uid", before["metadata"]["uid"])
    version = metadata.get("resourceVersion") or before["metadata"]["resourceVersion"]
    after, strays = _shaped(after, strict=strict)
    _restore(after, before)
    faults = job_change_faults(before, after)
    if faults:
        raise invalid_object(JOBS, name, faults)

    def replace(job: Json) -> None:
        job.clear()
        job.update(after)

    kept = store.update(JOBS, (namespace, name), replace, expected_version=version)
    return Answer(body=kept, warnings=strays)


def merge(target: Json, patch: Json) -> Json:
    """Return *target* with a JSON merge patch applied (RFC 7396)."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            inner = merged.get(key)
            merged[key] = merge(inner if isinstance(inner, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _patch(body: bytes) -> Json:
    try:
        patch: Any = json.loads(body)
    except ValueError as error:
        raise bad_request("error decoding patch: unexpected end of JSON input") from error
    if not isinstance(patch, dict):
        what = "array" if isinstance(patch, list) else "value"
        message = f"error decoding patch: json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
        raise bad_request(message)
    return patch


def _shaped(job: Json, *, strict: bool) -> tuple[Json, tuple[str, ...]]:
    """Return the patched Job without unknown fields, and a sentence for each of those."""
    sentence = ""
    try:
        decoded = check_object(job, "Job")
    except ValueError as error:
        sentence = str(error)
    else:
        if not (strict and decoded.strays):
            return decoded.value, decoded.strays
        sentence = f"strict decoding error: {', '.join(decoded.strays)}"
    shown = json.dumps(job, separators=(",", ":"))
    # Kubernetes names neither kind nor object here.
    raise invalid("", "", [invalid_value("patch", shown, sentence)])


def _restore(after: Json, before: Json) -> None:
    """Undo what a patch cannot change, and complete what it took away."""
    asked_uid = after["metadata"]["uid"]
    for name in ("creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "uid"):
        after["metadata"].pop(name, None)
        if name in before["metadata"]:
            after["metadata"][name] = before["metadata"][name]
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
    after["status"] = copy_of(before["status"])
    complete_job(after)
    after["metadata"]["uid"] = asked_uid


# --- deletions ----------------------------------------------------------------------------------------


def delete(store: Store, kind: Kind, namespace: str, name: str, request: tuple[bytes, Query]) -> Answer:
    """Delete an object; *request* is the body and the query."""
    options = _options(*request)
    options.check()
    warnings = (ORPHAN_WARNING,) if kind is JOBS and not options.policy else ()
    found = store.find(kind, namespace, name)
    if found is None:
        raise not_found(kind, name)
    options.check_preconditions(kind, found)
    if kind is JOBS:
        return _delete_job(store, found, options, warnings)
    if kind is PODS:
        return Answer(body=delete_pod(store, (namespace, name), options.grace_s))
    if kind is NAMESPACES:
        return Answer(body=delete_namespace(store, name))
    raise method_not_allowed()


def _delete_job(store: Store, job: Json, options: Options, warnings: tuple[str, ...]) -> Answer:
    metadata = job["metadata"]
    policy = cast("Policy", options.policy or "Orphan")
    left = delete_job(store, (metadata["namespace"], metadata["name"]), policy)
    if left is not None:
        return Answer(body=left, warnings=warnings)
    details = {"name": metadata["name"], "group": JOBS.group, "kind": JOBS.plural, "uid": metadata["uid"]}
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return Answer(body=status, warnings=warnings)


def _options(body: bytes, query: Query) -> Options:
    given = decode_options(body)
    preconditions = given.get("preconditions") or {}
    orphan = given.get("orphanDependents")
    policy = given.get("propagationPolicy") or query.get("propagationPolicy", "")
    if not policy and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    grace_s = given.get("gracePeriodSeconds")
    return Options(
        policy=policy,
        grace_s=integer(query, "gracePeriodSeconds") if grace_s is None else grace_s,
        uid=preconditions.get("uid", ""),
        version=preconditions.get("resourceVersion", ""),
    )
