"""The API's description: complete, sound as OpenAPI, and of nothing that there is not."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from raftsman.node.http.app import RESOURCES
from raftsman.node.http.auth import OPEN
from raftsman.node.http.openapi import document
from raftsman.node.http.problems import CODES
from raftsman.wire.spec import Submission, check_submission
from tests.harness.contract import check_value

DOCUMENT = document("test")
OPERATIONS = [(path, method, each) for path, methods in DOCUMENT["paths"].items() for method, each in methods.items()]
JOB = {"type": "k8s_job", "k8sJob": {"clusterContext": "prod", "image": "busybox"}}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        yield from (each for inner in value.values() for each in references(inner))
    elif isinstance(value, list):
        yield from (each for inner in value for each in references(inner))


def test_every_route_is_described_and_nothing_else() -> None:
    routes = {(route.method, route.path) for resource in RESOURCES for route in resource.routes()}
    assert {(method.upper(), path) for path, method, _ in OPERATIONS} == routes


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    found = set(references(DOCUMENT))
    parts = DOCUMENT["components"]
    known = {f"#/components/{kind}/{name}" for kind in ("schemas", "headers") for name in parts[kind]}
    assert found == known


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_an_operation_has_one_name_a_summary_and_the_parameters_of_its_path() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    for path, _, operation in OPERATIONS:
        assert operation["summary"].endswith((".", "excluded."))
        in_path = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)
        identities = [(each["in"], each["name"]) for each in operation["parameters"]]
        assert len(set(identities)) == len(identities)


def test_what_needs_no_token_says_so() -> None:
    assert {path for path, _, operation in OPERATIONS if not operation["security"]} == OPEN
    assert [path for path, _, each in OPERATIONS if ("401" in each["responses"]) == (path in OPEN)] == []


def test_every_code_of_an_error_can_be_met_somewhere() -> None:
    text = json.dumps([operation["responses"] for _, _, operation in OPERATIONS])
    everywhere = {"not-found", "method-not-allowed", "forbidden"}  # Said in the prose, or not used yet.
    assert [code for code in CODES if f"`{code}`" not in text and code not in everywhere] == []


def test_every_error_is_a_problem_but_those_that_probes_read() -> None:
    for path, _, operation in OPERATIONS:
        errors = [each for status, each in operation["responses"].items() if status >= "400"]
        for answer in errors:
            assert "application/problem+json" in answer["content"]
            assert len(answer["content"]) == 1 or path in ("/livez", "/readyz")


@pytest.mark.parametrize(
    "document",
    [
        JOB,
        {"type": "shell", "shell": {"command": "true", "workingDirectory": "/srv"}},
        {**JOB, "taskId": "a.b-c_d", "priority": -100, "timeoutMs": 0, "onUnreachable": "hold", "labels": {"a/b": ""}},
        {**JOB, "constraints": {"allowedNodes": ["alpha"], "preferLocal": True}, "targetNodes": None, "retry": None},
        {**JOB, "k8sJob": {**JOB["k8sJob"], "resources": {"cpu": "500m", "memory": 1024, "gpuCount": 1}}},  # type: ignore[dict-item]
    ],
)
def test_what_is_sound_is_sound_by_the_description_too(document: object) -> None:
    assert isinstance(check_submission(document), Submission)
    check_value("#/components/schemas/TaskSpec", document)


@pytest.mark.parametrize(
    "change", [{"taskId": "a b"}, {"priority": 101}, {"colour": "red"}, {"type": "cron"}, {"retry": {"maxAttempts": 2}}]
)
def test_what_the_description_forbids_is_not_sound(change: dict[str, object]) -> None:
    assert isinstance(check_submission({**JOB, **change}), list)
    with pytest.raises(jsonschema.ValidationError):
        check_value("#/components/schemas/TaskSpec", {**JOB, **change})
