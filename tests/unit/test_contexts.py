"""Kubeconfigs and what is wrong with them; contexts that come, go and change."""

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftsman.executor.contexts import ContextSettings, KubernetesContexts, discover
from raftsman.executor.jobs import ContextHealth, Unauthorized
from raftsman.executor.kubernetes.connection import Connection, build_connection
from raftsman.executor.kubernetes.kubeconfig import (
    Access,
    KubeconfigError,
    Kubeconfigs,
    fingerprint,
    resolve,
    resolve_in_cluster,
)
from raftsman.executor.kubernetes.reachability import FAILURES, HealthRecord
from raftsman.executor.kubernetes.timing import Timing
from tests.harness.fake_kubernetes import Answer, FakeKubernetes, Hang, Stream, status_object, write_kubeconfig

SECRET = "s3cret-token"
AUTHORITY = b"-----BEGIN CERTIFICATE-----\nnot really\n-----END CERTIFICATE-----\n"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://k:6443"}}],
        "users": [{"name": "u", "user": {"token": SECRET}}],
        **changes,
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def cluster(**fields: Any) -> list[Any]:
    return [{"name": "c", "cluster": fields}]


def user(**fields: Any) -> list[Any]:
    return [{"name": "u", "user": fields}]


def context(**fields: Any) -> list[Any]:
    return [{"name": "one", "context": fields}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the kubeconfig is empty"),
        ("[1, 2]", "this is not a kubeconfig"),
        (f"a: b\ntoken: {SECRET}: [", "line 2 is not YAML"),
        (f'{{"token": "{SECRET}', "this is not YAML"),
        (document(contexts=None), 'there is no context "one" (there are: none)'),
        (document(contexts="x"), "contexts is not a list"),
        (document(contexts=["one"]), "an entry of contexts has no name"),
        (document(contexts=[{"name": "two", "context": {}}]), 'there is no context "one" (there are: two)'),
        (document(contexts=context(user="u")), 'the context "one" names no cluster'),
        (document(contexts=context(cluster="c")), 'the context "one" names no user'),
        (document(contexts=context(cluster="d", user="u")), 'names the cluster "d", which is not there'),
        (document(users=[]), 'names the user "u", which is not there'),
        (document(clusters=cluster()), "has no server with a URL"),
        (document(clusters=cluster(server="k:6443")), "has no server with a URL"),
        (document(clusters=[{"name": "c", "cluster": 7}]), 'the entry "c" of clusters is not a mapping'),
        (
            document(clusters=cluster(server="https://k", **{"certificate-authority": "ca.pem"})),
            "which does not exist",
        ),
        (
            document(clusters=cluster(server="https://k", **{"certificate-authority-data": "%"})),
            "is not base64",
        ),
        (document(users=user(tokenFile="token")), "which does not exist"),
        (document(users=user(tokenFile="t" * 300)), "which cannot be looked at: File name too long"),
    ],
)
def test_a_fault_in_a_kubeconfig_is_named_without_its_secrets(tmp_path: Path, content: Any, sentence: str) -> None:
    path = write(tmp_path / "config", content)
    with pytest.raises(KubeconfigError) as caught:
        resolve([path], "one", Kubeconfigs())
    assert sentence in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_kubeconfig_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="missing: the kubeconfig cannot be read: No such file"):
        resolve([tmp_path / "missing"], "one", Kubeconfigs())


def test_parts_of_a_context_may_come_from_several_files_and_the_first_wins(tmp_path: Path) -> None:
    first = write(tmp_path / "a", document(clusters=[]))
    second = write(tmp_path / "b", document(users=user(token="other"), clusters=cluster(server="https://b/")))
    access = resolve([first, second], "one", Kubeconfigs())
    assert access.server == "https://b"
    assert access.document["users"][0]["user"] == {"token": SECRET}
    assert access.files == (first, second)


def test_files_are_named_relative_to_their_kubeconfig_and_watched(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    authority = write(tmp_path / "pki" / "ca.pem", AUTHORITY.decode())
    token = write(tmp_path / "token", f"{SECRET}\n")
    parts = document(
        clusters=cluster(server="https://k", **{"certificate-authority": "pki/ca.pem"}),
        users=user(tokenFile="token", exec={"command": "./login"}),
    )
    path = write(tmp_path / "config", parts)
    access = resolve([path], "one", Kubeconfigs())
    assert access.files == (path, authority, token)
    assert access.document["clusters"][0]["cluster"]["certificate-authority"] == str(authority)
    assert access.document["users"][0]["user"]["token"] == SECRET
    assert access.document["users"][0]["user"]["exec"]["command"] == str(tmp_path / "login")
    assert SECRET not in repr(access)


def test_a_cluster_has_one_fingerprint_however_its_authority_is_given(tmp_path: Path) -> None:
    write(tmp_path / "ca.pem", AUTHORITY.decode())
    inline = base64.b64encode(AUTHORITY).decode()
    marks = [
        resolve([write(tmp_path / "config", document(clusters=clusters))], "one", Kubeconfigs()).fingerprint
        for clusters in (
            cluster(server="https://k/", **{"certificate-authority": "ca.pem"}),
            cluster(server="https://k", **{"certificate-authority-data": inline}),
            cluster(server="https://other", **{"certificate-authority-data": inline}),
        )
    ]
    assert marks[0] == marks[1] == fingerprint("https://k", AUTHORITY)
    assert marks[2] != marks[0]


def test_a_kubeconfig_is_parsed_again_only_when_it_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "config", document())
    kubeconfigs = Kubeconfigs()
    first = kubeconfigs.read(path)
    assert kubeconfigs.read(path) is first
    write(path, document(users=[]))
    assert kubeconfigs.read(path)["users"] == []


def test_every_context_of_the_kubeconfigs_is_discovered(tmp_path: Path) -> None:
    first = write_kubeconfig(tmp_path / "a", "https://a", name="one")
    second = write_kubeconfig(tmp_path / "b", "https://b", name="two")
    environment = {"KUBECONFIG": f"{first}::{tmp_path / 'missing'}:{second}"}
    found = discover(environment, tmp_path)
    assert [each.name for each in found] == ["one", "two"]
    assert {each.kubeconfig for each in found} == {f"{first}:{second}"}


def test_without_a_variable_the_kubeconfig_of_the_home_is_discovered(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube" / "config", "https://a", name="home")
    assert [each.name for each in discover({}, tmp_path)] == ["home"]


def test_nothing_is_discovered_where_nothing_is(tmp_path: Path) -> None:
    assert discover({}, tmp_path) == []


def test_the_account_of_a_pod_is_read_from_where_kubelets_mount_it(tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(KubeconfigError, match=r"ca\.crt: the cluster's certificate cannot be read"):
        resolve_in_cluster(environment, tmp_path)
    write(tmp_path / "ca.crt", AUTHORITY.decode())
    write(tmp_path / "token", SECRET)
    access = resolve_in_cluster(environment, tmp_path)
    assert access.server == "https://[fd00::1]:443"
    with pytest.raises(KubeconfigError, match="this is no Pod"):
        resolve_in_cluster({}, tmp_path)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}, "gave no credentials"),
        ({"exec": {"command": "false"}}, "gave no credentials"),
        ({"client-certificate-data": "%%%", "client-key-data": "%%%"}, "cannot be used"),
    ],
)
def test_credentials_that_cannot_be_had_are_a_sentence(tmp_path: Path, fields: Any, sentence: str) -> None:
    path = write(tmp_path / "config", document(users=user(**fields)))
    with pytest.raises(KubeconfigError, match=sentence):
        build_connection(resolve([path], "one", Kubeconfigs()))


def test_importing_the_contexts_does_not_import_the_official_client() -> None:
    code = "import sys, raftsman.executor.contexts; sys.exit('kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_failed_probe_is_a_doubt_and_the_second_a_fact() -> None:
    record = HealthRecord(1)
    assert record.answered(2)
    assert not record.answered(3)
    news = [record.failed("silent", 4 + turn, certain=False) for turn in range(FAILURES + 1)]
    assert news == [False, True, False]
    assert record.health == ContextHealth(reachable=False, error="silent", since_ms=5)


def test_a_certain_failure_needs_no_second_probe_and_a_new_reason_keeps_the_date() -> None:
    record = HealthRecord(1)
    record.answered(2)
    assert record.failed("refused", 3, certain=True)
    assert record.failed("expired", 4, certain=True)
    assert record.health == ContextHealth(reachable=False, error="expired", since_ms=3)
    record.answered(5)
    assert record.health == ContextHealth(reachable=True, error="", since_ms=5)


# Contexts over HTTP. Time runs fifty times faster.

SPEED = 50.0


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / SPEED)


FAST = Timing(monotonic=lambda: time.monotonic() * SPEED, sleep=_sleep)


async def until(fact: Callable[[], bool]) -> None:
    for _ in range(2000):
        if fact():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(fact)


class Running:
    """The contexts of a kubeconfig, started."""

    def __init__(self, path: Path, *names: str) -> None:
        settings = [ContextSettings(name=name, kubeconfig=str(path), context="one") for name in names or ("one",)]
        self.news: list[tuple[str, bool]] = []
        self.contexts = KubernetesContexts(settings, timing=FAST)
        self.contexts.on_health(lambda name, health: self.news.append((name, health.reachable)))

    async def __aenter__(self) -> KubernetesContexts:
        await self.contexts.start()
        return self.contexts

    async def __aexit__(self, *_: object) -> None:
        await self.contexts.stop()


async def test_a_context_that_answers_is_reachable_and_has_an_api(tmp_path: Path) -> None:
    async with FakeKubernetes() as server:
        running = Running(write_kubeconfig(tmp_path / "config", server.url))
        assert running.contexts.health("one").error == "this context has not been tried yet"
        assert running.contexts.jobs("one") is None
        async with running as contexts:
            await until(lambda: contexts.health("one").reachable)
            assert contexts.health("one").error == ""
            assert contexts.jobs("one") is not None
            assert contexts.names() == ["one"]
            assert contexts.server_fingerprint("one") == fingerprint(server.url, b"")
        assert running.news == [("one", True)]


async def test_a_name_that_is_not_configured_says_so(tmp_path: Path) -> None:
    contexts = KubernetesContexts([], environment={}, home=tmp_path)
    assert contexts.health("x").error == 'the context "x" is not configured on this node'
    assert contexts.jobs("x") is None
    assert contexts.server_fingerprint("x") == ""


async def test_a_context_that_goes_away_is_unreachable_and_comes_back(tmp_path: Path) -> None:
    async with FakeKubernetes() as server:
        running = Running(write_kubeconfig(tmp_path / "config", server.url))
        async with running as contexts:
            await until(lambda: contexts.health("one").reachable)
            server.script("GET", "/version", Answer(500, "etcd is not there"))
            await until(lambda: not contexts.health("one").reachable)
            assert contexts.health("one").error == "HTTP 500: etcd is not there"
            assert contexts.jobs("one") is not None
            server.script("GET", "/version", Answer(200, {}))
            await until(lambda: contexts.health("one").reachable)


async def test_a_context_whose_storage_hangs_is_unreachable_though_its_server_answers(tmp_path: Path) -> None:
    async with FakeKubernetes() as server, Running(write_kubeconfig(tmp_path / "config", server.url)) as contexts:
        await until(lambda: contexts.health("one").reachable)
        server.script("GET", "/livez", Answer(500, "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n"))
        await until(lambda: not contexts.health("one").reachable)
        assert contexts.health("one").error == f"{server.url} answers, but cannot reach its etcd"
        server.script("GET", "/livez", Answer(500, "[+]ping ok\n[-]poststarthook/x failed: reason withheld\n"))
        await until(lambda: contexts.health("one").reachable)


async def test_a_server_that_does_not_say_whether_it_lives_is_known_by_its_version(tmp_path: Path) -> None:
    async with FakeKubernetes() as server:
        server.script("GET", "/livez", Answer(403, status_object(403, "Forbidden", "no")))
        async with Running(write_kubeconfig(tmp_path / "config", server.url)) as contexts:
            await until(lambda: contexts.health("one").reachable and len(server.received("GET", "/livez")) > 3)


async def test_a_context_that_comes_back_is_listed_again_at_once(tmp_path: Path) -> None:
    path = "/apis/batch/v1/namespaces/n/jobs"
    async with FakeKubernetes() as server:
        away = Answer(503, status_object(503, "ServiceUnavailable", "away"))
        server.script("GET", "/version", away)
        server.script("GET", path, away)
        # The pauses of probes pass at once, the shorter one after a list that failed does not pass at all.
        pauses = Timing(random=lambda: 0.9, sleep=lambda seconds: asyncio.sleep(0.01 if seconds > 0.7 else 3600))
        settings = [ContextSettings(name="one", kubeconfig=str(write_kubeconfig(tmp_path / "config", server.url)))]
        contexts = KubernetesContexts(settings, timing=pauses)
        await contexts.start()
        await until(lambda: contexts.jobs("one") is not None)
        jobs = contexts.jobs("one")
        assert jobs is not None
        jobs.mirror("n", "a=b", lambda: None)
        probes = len(server.received("GET", "/version"))
        await until(lambda: len(server.received("GET", "/version")) > probes + 3)
        assert len(server.received("GET", path)) == 1
        server.script("GET", path, Answer(200, {"items": [], "metadata": {"resourceVersion": "1"}}))
        server.script("GET", "/version", Answer(200, {}))
        await until(lambda: len(server.received("GET", path)) > 1)
        await contexts.stop()


async def test_a_context_that_hangs_does_not_disturb_another(tmp_path: Path) -> None:
    async with FakeKubernetes() as hanging, FakeKubernetes() as well:
        hanging.script("GET", "/version", Hang())
        one = write_kubeconfig(tmp_path / "a", hanging.url)
        two = write_kubeconfig(tmp_path / "b", well.url)
        settings = [
            ContextSettings(name="hanging", kubeconfig=str(one), context="one"),
            ContextSettings(name="well", kubeconfig=str(two), context="one"),
            ContextSettings(name="gone", kubeconfig=str(tmp_path / "missing")),
        ]
        contexts = KubernetesContexts(settings, timing=FAST)
        await contexts.start()
        await until(lambda: contexts.health("well").reachable and len(well.received("GET", "/version")) > 3)
        assert not contexts.health("hanging").reachable
        assert "No such file" in contexts.health("gone").error
        await contexts.stop()


async def test_a_refused_connection_is_a_fact_at_once(tmp_path: Path) -> None:
    async with Running(write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1")) as contexts:
        await until(lambda: contexts.health("one").error == "http://127.0.0.1:1 refused the connection")


async def test_an_account_that_may_not_read_the_version_is_reachable(tmp_path: Path) -> None:
    async with FakeKubernetes() as server:
        server.script("GET", "/version", Answer(403, status_object(403, "Forbidden", "no")))
        async with Running(write_kubeconfig(tmp_path / "config", server.url)) as contexts:
            await until(lambda: contexts.health("one").reachable)


async def test_a_changed_kubeconfig_is_read_without_a_restart(tmp_path: Path) -> None:
    async with FakeKubernetes() as server:
        path = write_kubeconfig(tmp_path / "config", server.url, token="first")
        async with Running(path) as contexts:
            await until(lambda: contexts.health("one").reachable)
            jobs = contexts.jobs("one")
            write_kubeconfig(path, server.url, token="the second")
            await until(lambda: server.journal[-1].headers["Authorization"] == "Bearer the second")
            write(path, "half writ")
            probes = len(server.journal)
            await until(lambda: len(server.journal) > probes + 2)
            assert contexts.health("one").reachable
            assert contexts.jobs("one") is jobs


@pytest.mark.parametrize("authority", ["a" * 300, 7], ids=["its name is too long", "no path at all"])
async def test_a_kubeconfig_that_cannot_be_followed_leaves_the_context_alive(tmp_path: Path, authority: object) -> None:
    async with FakeKubernetes() as server:
        path = write_kubeconfig(tmp_path / "config", server.url)
        good = path.read_text()
        bad = json.loads(good)
        bad["clusters"][0]["cluster"]["certificate-authority"] = authority
        write(path, bad)
        async with Running(path) as contexts:
            await until(lambda: "which" in contexts.health("one").error)
            write(path, good)
            await until(lambda: contexts.health("one").reachable)
            write(path, bad)
            server.script("GET", "/version", Answer(503, "gone"))
            await until(lambda: not contexts.health("one").reachable)


async def test_a_context_at_which_this_program_fails_says_so_and_is_tried_again(tmp_path: Path) -> None:
    broken = [True]

    def build(access: Access) -> Connection:
        if broken[0]:
            raise ZeroDivisionError
        return build_connection(access)

    async with FakeKubernetes() as server:
        path = write_kubeconfig(tmp_path / "config", server.url)
        settings = [ContextSettings(name="one", kubeconfig=str(path))]
        contexts = KubernetesContexts(settings, timing=FAST, build=build)
        await contexts.start()
        await until(lambda: "ZeroDivisionError" in contexts.health("one").error)
        broken[0] = False
        await until(lambda: contexts.health("one").reachable)
        broken[0] = True
        write_kubeconfig(path, server.url, token="another")
        await until(lambda: "ZeroDivisionError" in contexts.health("one").error)
        await contexts.stop()


async def test_credentials_that_are_not_accepted_are_read_again(tmp_path: Path) -> None:
    async with FakeKubernetes() as server:
        refused = Answer(401, status_object(401, "Unauthorized", "Unauthorized"))
        path = write_kubeconfig(tmp_path / "config", server.url)
        running = Running(path)
        async with running as contexts:
            await until(lambda: contexts.health("one").reachable)
            server.script("GET", "/version", refused, Answer(200, {}))
            await until(lambda: len(server.received("GET", "/version")) >= 5)
            assert len(server.received("GET", "/api")) == 1
        assert running.news == [("one", True)]


async def test_credentials_that_stay_unaccepted_make_a_context_unreachable_until_they_are_good(tmp_path: Path) -> None:
    async with FakeKubernetes() as server:
        anonymous = Answer(403, status_object(403, "Forbidden", 'User "system:anonymous" cannot get path "/api"'))
        running = Running(write_kubeconfig(tmp_path / "config", server.url))
        async with running as contexts:
            await until(lambda: contexts.health("one").reachable)
            server.script("GET", "/api", anonymous)
            server.script("GET", "/apis/batch/v1/namespaces/n/jobs/j", anonymous)
            jobs = contexts.jobs("one")
            assert jobs is not None
            with pytest.raises(Unauthorized):
                await jobs.get_job("n", "j")
            await until(lambda: "system:anonymous" in contexts.health("one").error)
            server.script("GET", "/api", Answer(200, {}))
            await until(lambda: contexts.health("one").reachable)
        assert running.news == [("one", True), ("one", False), ("one", True)]


async def test_a_call_that_is_refused_for_its_credentials_makes_the_context_probe(tmp_path: Path) -> None:
    async with FakeKubernetes() as server:
        slow = Timing(monotonic=time.monotonic, sleep=lambda seconds: asyncio.sleep(3600 if seconds > 1 else 0.01))
        settings = [ContextSettings(name="one", kubeconfig=str(write_kubeconfig(tmp_path / "config", server.url)))]
        contexts = KubernetesContexts(settings, timing=slow)
        await contexts.start()
        await until(lambda: contexts.health("one").reachable)
        refused = Answer(401, status_object(401, "Unauthorized", "Unauthorized"))
        server.script("GET", "/api", refused)
        server.script("GET", "/apis/batch/v1/namespaces/n/jobs/j", refused)
        jobs = contexts.jobs("one")
        assert jobs is not None
        with pytest.raises(Unauthorized):
            await jobs.get_job("n", "j")
        await until(lambda: not contexts.health("one").reachable)
        await contexts.stop()


async def test_a_context_that_becomes_another_cluster_is_listed_anew(tmp_path: Path) -> None:
    async with FakeKubernetes() as first, FakeKubernetes() as second:
        for server, name in ((first, "old"), (second, "new")):
            item = {"metadata": {"name": name, "uid": name, "resourceVersion": "7"}}
            for resource, items in (("apis/batch/v1/namespaces/n/jobs", [item]), ("api/v1/namespaces/n/pods", [])):
                listed = Answer(200, {"metadata": {"resourceVersion": "9"}, "items": items})
                server.script("GET", f"/{resource}", listed, Stream([b""], then="silence"))
        path = write_kubeconfig(tmp_path / "config", first.url)
        async with Running(path) as contexts:
            await until(lambda: contexts.health("one").reachable)
            jobs = contexts.jobs("one")
            assert jobs is not None
            mirror = jobs.mirror("n", "ours=yes", lambda: None)
            await until(lambda: mirror.synced and list(mirror.jobs) == ["old"])
            write_kubeconfig(path, second.url)
            await until(lambda: mirror.synced and list(mirror.jobs) == ["new"])
            assert contexts.server_fingerprint("one") == fingerprint(second.url, b"")
