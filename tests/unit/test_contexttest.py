"""A context tried out from an operator's machine: reachable, who is there, and which rights are missing."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from raftsman.cli.main import main
from raftsman.executor.contexts import ContextSettings
from raftsman.executor.contexttest import ContextReport, examine
from raftsman.executor.kubernetes.permissions import NEEDS, role_lines
from tests.harness.fake_kubernetes import Answer, FakeKubernetes, status_object, write_kubeconfig

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
NAMESPACE = "/api/v1/namespaces/batch"
LISTS = ("/apis/batch/v1/namespaces/batch/jobs", "/api/v1/namespaces/batch/pods")
RIGHTS = [f"{verb} {need.resource}" for need in NEEDS for verb in need.verbs]
FORBIDDEN = Answer(403, status_object(403, "Forbidden", "forbidden"))


@pytest.fixture
async def server() -> AsyncIterator[FakeKubernetes]:
    async with FakeKubernetes() as fake:
        fake.script("GET", NAMESPACE, Answer(body={"kind": "Namespace"}))
        fake.script("POST", REVIEWS, review(allowed=True))
        yield fake


def review(*, allowed: bool) -> Answer:
    return Answer(201, {"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}})


async def report_of(folder: Path, server: str) -> ContextReport:
    kubeconfig = write_kubeconfig(folder / "config", server)
    settings = ContextSettings(name="one", kubeconfig=str(kubeconfig))
    return await examine(settings, "batch", environment={}, home=folder)


async def test_a_context_with_all_rights_is_fine(tmp_path: Path, server: FakeKubernetes) -> None:
    report = await report_of(tmp_path, server.url)
    assert (report.is_fine, report.certain, report.version, report.missing) == (True, True, "v1.34.2", ())
    attributes = [each.body["spec"]["resourceAttributes"] for each in server.received("POST", REVIEWS)]
    assert {each["namespace"] for each in attributes} == {"batch"}
    assert {"namespace": "batch", "verb": "get", "group": "", "resource": "pods", "subresource": "log"} in attributes


async def test_every_right_that_is_missing_is_named(tmp_path: Path, server: FakeKubernetes) -> None:
    server.script("POST", REVIEWS, review(allowed=False))
    report = await report_of(tmp_path, server.url)
    assert (report.is_fine, list(report.missing)) == (False, RIGHTS)


async def test_where_rights_cannot_be_asked_about_lists_are_tried(tmp_path: Path, server: FakeKubernetes) -> None:
    server.script("POST", REVIEWS, Answer(404, "404 page not found"))
    for path in LISTS:
        server.script("GET", path, Answer(body={"kind": "List", "items": []}))
    report = await report_of(tmp_path, server.url)
    assert (report.is_fine, report.certain) == (True, False)
    server.script("GET", LISTS[1], FORBIDDEN)
    assert (await report_of(tmp_path, server.url)).missing == ("list pods",)


async def test_a_namespace_that_is_not_there_is_not_fine_and_one_that_nobody_may_see_is(
    tmp_path: Path, server: FakeKubernetes
) -> None:
    server.script("GET", NAMESPACE, Answer(404, status_object(404, "NotFound", "not found")))
    report = await report_of(tmp_path, server.url)
    assert (report.is_fine, report.namespace_exists) == (False, False)
    server.script("GET", NAMESPACE, FORBIDDEN)
    report = await report_of(tmp_path, server.url)
    assert (report.is_fine, report.namespace_exists) == (True, None)


async def test_a_context_that_does_not_answer_says_why(tmp_path: Path) -> None:
    report = await report_of(tmp_path, "http://127.0.0.1:1")
    assert not report.is_fine
    assert "refused" in report.error.lower()


def test_the_example_role_allows_exactly_what_is_needed() -> None:
    role, *_ = YAML(typ="safe").load_all((Path(__file__).parents[2] / "examples" / "role.yaml").read_text())
    ours = YAML(typ="safe").load("\n".join(role_lines("batch")))
    assert role["rules"] == ours["rules"]
    assert ours["metadata"] == {"name": "raftsman", "namespace": "batch"}


async def test_the_command_says_what_is_missing_and_which_role_helps(
    tmp_path: Path, server: FakeKubernetes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script("POST", REVIEWS, review(allowed=False))
    server.script("GET", "/api/v1/namespaces/default", Answer(body={"kind": "Namespace"}))
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", server.url)))
    assert await asyncio.to_thread(main, ["context", "test", "one"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:4] == ["one", "incomplete", "default", "v1.34.2"]
    assert "may not create jobs, " in out
    assert "\n".join(f"  {line}" for line in role_lines("default")) in err
    assert await asyncio.to_thread(main, ["context", "test", "--all", "-o", "json"]) == 1
    (item,) = json.loads(capsys.readouterr().out)["items"]
    assert (item["name"], item["fine"], item["missing"]) == ("one", False, RIGHTS)


def test_a_context_that_the_node_does_not_have_is_exit_code_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1")))
    assert main(["context", "test", "two"]) == 5
    assert "it has: one" in capsys.readouterr().err
    assert main(["context", "test"]) == 2
