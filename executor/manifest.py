"""From an attempt to its Job: the one name it can have, and the manifest that says everything.

Nothing here talks to Kubernetes (``executor.kubernetes`` does), and nothing checks what a user wrote: that
is ``raftsman.wire.spec``, which refuses the fields owned here by name. Whether a Job should exist at all is
``reconcile``; what became of it is ``outcome``.
"""

import hashlib
import json
import re
from collections.abc import Iterable

from raftsman.executor.jobs import (
    ANNOTATION_RELEASED,
    ANNOTATION_SEQUENCE,
    ANNOTATION_TASK,
    CONTAINER,
    LABEL_ATTEMPT,
    LABEL_CLUSTER,
    LABEL_DOMAIN,
    LABEL_MANAGED_BY,
    LABEL_TASK,
    MANAGED_BY,
    Json,
)
from raftsman.executor.podstatus import part
from raftsman.raft.records import Attempt, K8sJobSpec, Resources, Task, TaskSpec
from raftsman.wire.quantities import format_cpu, format_memory

ANNOTATION_CONTEXT = f"{LABEL_DOMAIN}/context"
"""The context an attempt was assigned to, for whoever finds the Job without us."""

GPU_RESOURCE = "nvidia.com/gpu"

TTL_SAFETY_S = 7 * 24 * 3600
"""A finished Job's time to live until ours is set, which happens once its outcome is in the log.

Short enough that an abandoned cluster cleans itself up, long enough that no outage of ours of less than a
week lets Kubernetes remove the only evidence of how a task ended.
"""

DEADLINE_SLACK_S = 300
"""How much later than our own timeouts Kubernetes' ``activeDeadlineSeconds`` fires.

Ours acts first, because it keeps the evidence and knows the cause; this one ends the work when every node is
down. Five minutes cover the election of a leader, clocks that differ and a stop that is under way.
"""

SYS_ADMIN = frozenset({"SYS_ADMIN", "CAP_SYS_ADMIN"})  # Both spellings are in use.
NAME_CHARS = 63  # Of a DNS-1123 label, and of a label's value: the Job's name becomes a label of its Pod.
HASH_CHARS = 10

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_LOOKS_HASHED = re.compile(rf".*--[0-9a-f]{{{HASH_CHARS}}}", re.ASCII | re.DOTALL)


# --- names ------------------------------------------------------------------------------------


def job_name(task_id: str, attempt: int) -> str:
    """Return the only name that the Job of this attempt can have: a DNS-1123 label of at most 63 characters.

    It is ``task-<id>-<attempt>`` wherever that is such a label. Two attempts never share one: the attempt has
    no dash, so the last dash separates it from the id; an id that stands as it is never ends like a hashed
    form; and two hashed forms are equal only when 40 bits of SHA-256 and the readable part both are, which
    the annotation that adoption compares (``is_ours``) would still tell apart.
    """
    plain = f"task-{task_id}-{attempt}"
    if len(plain) <= NAME_CHARS and _DNS_LABEL.fullmatch(plain) and not _LOOKS_HASHED.fullmatch(task_id):
        return plain
    room = NAME_CHARS - len(f"task--{attempt}")
    return f"task-{_hashed(task_id, room)}-{attempt}"


def label_value(task_id: str) -> str:
    """Return what labels carry for the id: itself where that is a legal value, else its hashed form."""
    legal = len(task_id) <= NAME_CHARS and _LABEL_VALUE.fullmatch(task_id)
    return task_id if legal and not _LOOKS_HASHED.fullmatch(task_id) else _hashed(task_id, NAME_CHARS)


def _hashed(task_id: str, room: int) -> str:
    """Return a lower-case form of the id, at most *room* long, that ends in two dashes and a hash of the id.

    Two dashes, so that ids which end in a time stamp or in digits of their own are not taken for hashed ones.
    """
    digest = hashlib.sha256(task_id.encode()).hexdigest()[:HASH_CHARS]
    readable = re.sub(r"[^a-z0-9]", "-", task_id.lower(), flags=re.ASCII)
    cut = readable[: room - HASH_CHARS - 2].strip("-")
    return f"{cut or 'x'}--{digest}"


def is_ours(job: Json, task: Task, *, cluster: str) -> bool:
    """Return whether a Job that was found under our name is that of the task's attempt, and so may be adopted."""
    return task.attempt is not None and _whose(job, task, cluster) == (task.sequence, task.attempt.number)


def is_earlier(job: Json, task: Task, *, cluster: str) -> bool:
    """Return whether the Job is that of an earlier task of this id, which has ended and was forgotten since."""
    whose = _whose(job, task, cluster)
    return (
        whose is not None and task.attempt is not None and whose[1] == task.attempt.number and whose[0] < task.sequence
    )


def is_superseded(job: Json, task: Task, *, cluster: str) -> bool:
    """Return whether the Job is that of an earlier attempt than the task's, or of an earlier task of this id."""
    whose = _whose(job, task, cluster)
    return whose is not None and task.attempt is not None and whose < (task.sequence, task.attempt.number)


def awaits_release(job: Json) -> bool:
    """Return whether the Job is still suspended as ``build_job`` made it, and not by somebody else."""
    suspended = part(job, "spec").get("suspend") is True
    return suspended and ANNOTATION_RELEASED not in part(job, "metadata", "annotations")


def _whose(job: Json, task: Task, cluster: str) -> tuple[int, int] | None:
    """Return number and attempt of the task of this id that the Job is of; None when it is of none."""
    labels, annotations = part(job, "metadata", "labels"), part(job, "metadata", "annotations")
    same = (
        labels.get(LABEL_MANAGED_BY) == MANAGED_BY
        and labels.get(LABEL_CLUSTER) == cluster
        and annotations.get(ANNOTATION_TASK) == task.task_id
    )
    sequence, attempt = _number(annotations.get(ANNOTATION_SEQUENCE)), _number(labels.get(LABEL_ATTEMPT))
    return (sequence, attempt) if same and sequence is not None and attempt is not None else None


def _number(text: object) -> int | None:
    return int(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else None


# --- the Job ----------------------------------------------------------------------------------


def build_job(task: Task, spec: TaskSpec, *, cluster: str, pod_security: str = "baseline") -> Json:
    """Return the manifest of the task's current attempt; the same arguments always give the same manifest.

    *cluster* is the UUID that labels this cluster's Jobs, *pod_security* the context's default profile. The Job
    is suspended: it makes its Pod when it is released, once the log has its UID. It
    never sets ``managedBy`` (Kubernetes would leave the Job alone for ever), ``podFailurePolicy``
    or ``podReplacementPolicy``: each of them can start a second Pod or hide how the first one ended.
    """
    wanted, attempt = spec.k8s_job, task.attempt
    assert wanted is not None, "only k8s_job tasks have a Job"
    assert attempt is not None, "an attempt is assigned before its Job is built"
    labels = {**dict(wanted.labels), **_own_labels(task.task_id, attempt.number, cluster)}
    annotations = _annotations(task, attempt)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(task.task_id, attempt.number),
            "namespace": attempt.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "backoffLimit": 0,  # Retrying is the table's decision; Kubernetes would hide attempts.
            "completions": 1,
            "parallelism": 1,
            "suspend": True,
            "ttlSecondsAfterFinished": TTL_SAFETY_S,
            **_deadline(spec),
            "template": _pod_template(spec, wanted, labels, annotations, wanted.pod_security or pod_security),
        },
    }


def _own_labels(task_id: str, attempt: int, cluster: str) -> dict[str, str]:
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_CLUSTER: cluster,
        LABEL_TASK: label_value(task_id),
        LABEL_ATTEMPT: str(attempt),
    }


def _annotations(task: Task, attempt: Attempt) -> dict[str, str]:
    return {
        ANNOTATION_TASK: task.task_id,
        ANNOTATION_SEQUENCE: str(task.sequence),
        LABEL_ATTEMPT: str(attempt.number),
        ANNOTATION_CONTEXT: attempt.context,
    }


def _deadline(spec: TaskSpec) -> Json:
    """Return the backstop; without one of the two timeouts the user wants no end, and there is none.

    Kubernetes counts from the Job's ``startTime``, so the time until the Pod runs is part of it.
    """
    if not spec.timeout_ms or not spec.start_timeout_ms:
        return {}
    ours_s = -(-(spec.start_timeout_ms + spec.timeout_ms) // 1000)
    return {"activeDeadlineSeconds": ours_s + DEADLINE_SLACK_S}


# --- the Pod ----------------------------------------------------------------------------------


def _pod_template(
    spec: TaskSpec, wanted: K8sJobSpec, labels: dict[str, str], annotations: dict[str, str], profile: str
) -> Json:
    """Return the user's template beneath what raftsman owns."""
    template: Json = json.loads(wanted.pod_template) if wanted.pod_template else {}
    metadata = template.get("metadata") or {}
    pod: Json = {**(template.get("spec") or {}), "restartPolicy": "Never"}
    if wanted.service_account:
        pod["serviceAccountName"] = wanted.service_account
    theirs = pod.get("containers") or []
    base: Json = next((each for each in theirs if each.get("name") == CONTAINER), {})
    others = [each for each in theirs if each.get("name") != CONTAINER]
    pod["containers"] = [_explained(each) for each in (_task_container(spec, wanted, base), *others)]
    if pod.get("initContainers"):
        pod["initContainers"] = [_explained(each) for each in pod["initContainers"]]
    return {
        **template,
        "metadata": {
            **metadata,
            "labels": {**(metadata.get("labels") or {}), **labels},
            "annotations": {**(metadata.get("annotations") or {}), **annotations},
        },
        "spec": _secured(pod, profile),
    }


def _task_container(spec: TaskSpec, wanted: K8sJobSpec, base: Json) -> Json:
    container: Json = {**base, "name": CONTAINER, "image": wanted.image}
    if wanted.command:
        container["command"] = list(wanted.command)
    if wanted.args:
        container["args"] = list(wanted.args)
    env = [{"name": name, "value": value} for name, value in spec.environment] + list(base.get("env") or [])
    if env:
        container["env"] = env
    resources = _resources(wanted.resources)
    if resources:
        container["resources"] = resources
    return container


def _resources(wanted: Resources) -> Json:
    """Return requests equal to limits; GPUs in the limits only, where Kubernetes wants them."""
    shares: dict[str, str] = {}
    if wanted.cpu_millis:
        shares["cpu"] = format_cpu(wanted.cpu_millis)
    if wanted.memory_bytes:
        shares["memory"] = format_memory(wanted.memory_bytes)
    limits = {**shares, **({GPU_RESOURCE: str(wanted.gpu_count)} if wanted.gpu_count else {})}
    return {**({"limits": limits} if limits else {}), **({"requests": shares} if shares else {})}


def _explained(container: Json) -> Json:
    """Return the container with the end of its output in its status when it fails: no log call needed to say why."""
    return {"terminationMessagePolicy": "FallbackToLogsOnError", **container}


# --- Pod security -----------------------------------------------------------------------------


def _secured(pod: Json, profile: str) -> Json:
    """Return the Pod's spec with the profile's settings where it is silent.

    ``baseline`` leaves images that run as root alone; ``restricted`` is accepted by a namespace that enforces
    the Pod Security Standard of that name.
    """
    if profile == "none":
        return pod
    restricted = profile == "restricted"
    secured = {"enableServiceLinks": False, **pod}
    if not (pod.get("serviceAccountName") or pod.get("serviceAccount")):
        secured.setdefault("automountServiceAccountToken", False)
    own = {"runAsNonRoot": True} if restricted else {}
    secured["securityContext"] = {
        **own,
        "seccompProfile": {"type": "RuntimeDefault"},
        **(pod.get("securityContext") or {}),
    }
    for field in ("initContainers", "containers"):
        if pod.get(field):
            secured[field] = _each_secured(pod[field], restricted=restricted)
    return secured


def _each_secured(containers: Iterable[Json], *, restricted: bool) -> list[Json]:
    return [
        {**each, "securityContext": _container_security(each.get("securityContext") or {}, restricted=restricted)}
        for each in containers
    ]


def _container_security(theirs: Json, *, restricted: bool) -> Json:
    capabilities = theirs.get("capabilities") or {}
    # Either of them implies escalation, and the API server refuses the contradiction.
    escalates = theirs.get("privileged") is True or not SYS_ADMIN.isdisjoint(capabilities.get("add") or ())
    security = dict(theirs) if escalates else {"allowPrivilegeEscalation": False, **theirs}
    if restricted:
        security.setdefault("privileged", False)
        security["capabilities"] = {"drop": ["ALL"], **capabilities}
    return security
