"""The API server of the development Kubernetes, inside this process: what every call has in common."""

import base64
import io
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from raftsman.executor.sandbox.sandbox import Sandbox

Json = dict[str, Any]
JOBS = "/apis/batch/v1/namespaces/default/jobs"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


class Api:
    """Calls to one context."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session
        (self.server,) = sandbox.servers.values()
        document = json.loads(sandbox.kubeconfig.read_text(encoding="utf-8"))
        self.token = {"Authorization": f"Bearer {document['users'][0]['user']['token']}"}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        content = body if isinstance(body, io.BytesIO | None) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **self.token, **headers}
        async with self.session.request(method, self.server + path, data=content, headers=sent) as response:
            is_json = response.content_type == "application/json"
            return response.status, json.loads(await response.read()) if is_json else await response.text()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with (
        Sandbox(tmp_path / "dir", ["one"]) as sandbox,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session,
    ):
        document = json.loads(sandbox.kubeconfig.read_text(encoding="utf-8"))
        trust.load_verify_locations(cadata=_authority(document))
        yield Api(sandbox, session)


def _authority(document: Json) -> str:
    return base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"]).decode()


def job(name: str) -> Json:
    pod = {"restartPolicy": "Never", "containers": [{"name": "task", "image": "busybox"}]}
    return {"metadata": {"name": name}, "spec": {"suspend": True, "template": {"spec": pod}}}


async def test_nothing_is_told_without_the_token_but_health_and_version(api: Api) -> None:
    for path in ("/api", JOBS, "/nonsense", "/openapi/v3"):
        async with api.session.get(api.server + path) as response:
            assert (response.status, (await response.json())["reason"]) == (401, "Unauthorized")
    for path in ("/livez", "/readyz", "/healthz", "/version"):
        async with api.session.get(api.server + path) as response:
            assert response.status == 200


async def test_a_body_of_more_than_3_mib_is_too_large(api: Api) -> None:
    code, answer = await api.call("POST", JOBS, io.BytesIO(b" " * (3 * 1024 * 1024 + 1)))
    assert (code, answer["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_job_can_be_a_row(api: Api) -> None:
    assert (await api.call("POST", JOBS, job("j")))[0] == 201
    code, answer = await api.call("GET", f"{JOBS}/j", **TABLE)
    assert (code, answer["kind"]) == (200, "Table")
    assert answer["rows"][0]["cells"][0] == "j"
    assert answer["rows"][0]["object"]["metadata"]["name"] == "j"


async def test_kubectl_finds_that_fields_are_checked_here(api: Api) -> None:
    _, index = await api.call("GET", "/openapi/v3")
    url = index["paths"]["apis/batch/v1"]["serverRelativeURL"]
    _, document = await api.call("GET", url)
    patch = document["paths"]["/apis/batch/v1/jobs/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "batch", "version": "v1", "kind": "Job"}
    assert [each["name"] for each in patch["parameters"]] == ["fieldValidation"]


async def test_pods_are_made_by_jobs_only_and_events_by_nobody(api: Api) -> None:
    for path in ("pods", "events", "serviceaccounts"):
        code, answer = await api.call("POST", f"/api/v1/namespaces/default/{path}", {"metadata": {"name": "x"}})
        assert (code, answer["reason"]) == (405, "MethodNotAllowed")
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await api.call(method, JOBS, {}))[0] == 405


async def test_a_dry_run_is_refused_rather_than_carried_out(api: Api) -> None:
    code, answer = await api.call("POST", f"{JOBS}?dryRun=All", job("dry"))
    assert (code, answer["message"]) == (400, "dryRun is not supported by the development Kubernetes")
    assert (await api.call("GET", f"{JOBS}/dry"))[0] == 404


async def test_the_first_namespaces_cannot_be_deleted(api: Api) -> None:
    code, answer = await api.call("DELETE", "/api/v1/namespaces/default")
    assert (code, answer["message"]) == (403, 'namespaces "default" is forbidden: this namespace may not be deleted')


async def test_a_stop_ends_the_watches_and_takes_the_files_along(tmp_path: Path, api: Api) -> None:
    query = {"watch": "1", "resourceVersion": "0"}
    async with api.session.get(api.server + JOBS, params=query, headers=api.token) as response:
        assert response.status == 200
        await api.sandbox.stop()
        assert await response.read() == b""
    assert list((tmp_path / "dir").iterdir()) == []
