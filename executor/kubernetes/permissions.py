"""What raftsman's account must be allowed to do in a namespace, and what of it Kubernetes says it may.

``NEEDS`` is the Role of ``examples/role.yaml``. Kubernetes is asked about each verb by a SelfSubjectAccessReview, which
every account may create; where there is no such API (the development Kubernetes), lists are tried instead.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from raftsman.executor.jobs import Denied, Json, KubernetesError, NotFound
from raftsman.executor.kubernetes.transport import Call, Transport

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_LISTS = {"jobs": "/apis/batch/v1/namespaces/{}/jobs", "pods": "/api/v1/namespaces/{}/pods"}


@dataclass(frozen=True, slots=True)
class Need:
    """Verbs on one resource of a namespace."""

    group: str
    resource: str  # With its subresource, as a Role names it.
    verbs: tuple[str, ...]


NEEDS: tuple[Need, ...] = (
    Need("batch", "jobs", ("create", "get", "list", "watch", "patch", "delete")),
    Need("", "pods", ("get", "list", "watch", "delete")),
    Need("", "pods/log", ("get",)),
    Need("", "events", ("get", "list", "watch")),
)


@dataclass(frozen=True, slots=True)
class Rights:
    """What became of the questions: *missing* holds texts such as ``create jobs``."""

    missing: tuple[str, ...]
    certain: bool  # Whether Kubernetes answered about every verb; otherwise only lists were tried.


async def ask_rights(transport: Transport, namespace: str) -> Rights:
    """Return what the account may not do of NEEDS in *namespace*. Raises KubernetesError."""
    asked = [(need, verb) for need in NEEDS for verb in need.verbs]
    try:
        allowed = await asyncio.gather(*(_is_allowed(transport, namespace, need, verb) for need, verb in asked))
    except KubernetesError as error:
        if error.status != 404:
            raise
        return Rights(missing=tuple([each async for each in _refused_lists(transport, namespace)]), certain=False)
    missing = [f"{verb} {need.resource}" for (need, verb), yes in zip(asked, allowed, strict=True) if not yes]
    return Rights(missing=tuple(missing), certain=True)


async def namespace_exists(transport: Transport, namespace: str) -> bool | None:
    """Return whether the namespace is there; None when the account may not know. Raises KubernetesError."""
    try:
        await transport.send(Call(verb="get", method="GET", path=f"/api/v1/namespaces/{namespace}"))
    except NotFound:
        return False
    except Denied:
        return None
    return True


def role_lines(namespace: str, name: str = "raftsman") -> Iterator[str]:
    """Yield the lines of the Role that allows all of NEEDS."""
    yield "apiVersion: rbac.authorization.k8s.io/v1"
    yield "kind: Role"
    yield f"metadata: {{name: {name}, namespace: {namespace}}}"
    yield "rules:"
    for need in NEEDS:
        group = need.group or '""'
        yield f"  - {{apiGroups: [{group}], resources: [{need.resource}], verbs: [{', '.join(need.verbs)}]}}"


async def _is_allowed(transport: Transport, namespace: str, need: Need, verb: str) -> bool:
    resource, _, subresource = need.resource.partition("/")
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": need.group,
        "resource": resource,
        "subresource": subresource,
    }
    body: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await transport.send(Call(verb="create", method="POST", path=_REVIEWS, body=body))
    return bool(answer.get("status", {}).get("allowed"))


async def _refused_lists(transport: Transport, namespace: str) -> AsyncIterator[str]:
    for resource, path in _LISTS.items():
        call = Call(verb="list", method="GET", path=path.format(namespace), query=[("limit", "1")])
        try:
            await transport.send(call)
        except Denied:
            yield f"list {resource}"
