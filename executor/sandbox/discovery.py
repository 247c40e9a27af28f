"""What the API says it has: groups, versions, resources. ``kubectl`` asks for these before anything else.

The OpenAPI documents hold just what ``kubectl create`` looks for in them: that the server checks fields itself.

Pure, from the table in ``kinds``.
"""

import platform

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.kinds import KINDS, PODS, Kind

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.2+raftsman.sandbox",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": f"linux/{platform.machine()}",
}
"""The Kubernetes whose behaviour is copied."""

GROUP = "batch"
_OPENAPI = {"api/v1": "", "apis/batch/v1": GROUP}
_GROUP_VERSION = {"groupVersion": "batch/v1", "version": "v1"}


def documents(address: str) -> dict[str, Json]:
    """Return the documents by path; *address* is where the API is."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    group = {"name": GROUP, "versions": [_GROUP_VERSION], "preferredVersion": _GROUP_VERSION}
    return {
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]},
        "/apis/batch": {"kind": "APIGroup", "apiVersion": "v1", **group},
        "/api/v1": _resources("v1", [kind for kind in KINDS if not kind.group]),
        "/apis/batch/v1": _resources("batch/v1", [kind for kind in KINDS if kind.group == GROUP]),
        "/openapi/v3": {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in _OPENAPI}},
        **{f"/openapi/v3/{path}": _open_api(group) for path, group in _OPENAPI.items()},
    }


def _open_api(group: str) -> Json:
    paths = {}
    for kind in KINDS:
        if kind.group == group:
            named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
            checks = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
            patch = {"parameters": [checks], "responses": {}, "x-kubernetes-group-version-kind": named}
            paths[f"{kind.prefix}/{kind.plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]}, "paths": paths}


def _resources(group_version: str, kinds: list[Kind]) -> Json:
    resources = [_resource(kind) for kind in kinds]
    if PODS in kinds:
        log = {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]}
        resources.append(log)
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _resource(kind: Kind) -> Json:
    named = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": sorted(kind.verbs),
    }
    names = {"shortNames": list(kind.short_names), "categories": list(kind.categories)}
    return {**named, **{key: value for key, value in names.items() if value}}
