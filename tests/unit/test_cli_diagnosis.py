"""What a doctor makes of the facts, and the command that gathers them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raftsman.cli.diagnosis import (
    Finding,
    Level,
    NodeAnswer,
    about_cluster,
    about_contexts,
    about_nodes,
    about_room,
)
from raftsman.cli.main import main
from raftsman.wire.views import ClusterView, ContextView, MemberView
from tests.harness.fake_api import Answer, FakeApi

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
HTTP_NOON = "Sat, 31 Jan 2026 12:00:00 GMT"


def levels(findings: Iterator[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def answer(address: str = "http://a:1", version: str = "1", date: str = HTTP_NOON) -> NodeAnswer:
    return NodeAnswer(address=address, version=version, date=date, asked_at=NOON)


def member(name: str, *, alive: bool = True) -> MemberView:
    return {
        "name": name,
        "role": "follower",
        "url": f"http://{name}:1",
        "alive": alive,
        "lag": None,
        "contexts": [],
        "slots": 0,
        "version": "1",
    }


def cluster(*members: MemberView, leader: str | None = "a", can_lose: int = 1) -> ClusterView:
    return {
        "name": "raftsman",
        "uuid": None,
        "leader": leader,
        "term": 1,
        "commitIndex": 1,
        "appliedIndex": 1,
        "stateHash": "",
        "canLose": can_lose,
        "members": list(members),
    }


def context(health: str) -> ContextView:
    return {
        "name": "dev-a",
        "reachableFrom": ["a"],
        "health": health,
        "since": None,
        "error": "b: refused",
        "credentialsExpireAt": None,
        "running": 0,
    }


def test_nodes_of_one_version_and_one_time_are_well() -> None:
    assert set(levels(about_nodes([answer(), answer("http://b:1")], own_version="1"))) == {Level.OK}


def test_a_silent_address_is_a_failure_that_names_it() -> None:
    (finding,) = about_nodes([NodeAnswer(address="http://a:1", error="connection refused")], own_version="1")
    assert finding.level == Level.FAIL
    assert "http://a:1 does not answer: connection refused" in finding.what
    assert finding.advice


@pytest.mark.parametrize(
    ("answers", "own", "words"),
    [
        ([answer(version="1"), answer("http://b:1", version="2")], "1", "the nodes run versions 1, 2"),
        ([answer(version="2")], "1", "this command is version 1, the nodes are 2"),
        ([answer(date="Sat, 31 Jan 2026 12:00:09 GMT")], "1", "off by 9 s"),
        ([answer(date="Sat, 31 Jan 2026 11:59:00 GMT")], "1", "off by 60 s"),
    ],
)
def test_versions_and_clocks_that_differ_are_worth_a_look(answers: list[NodeAnswer], own: str, words: str) -> None:
    (finding,) = [each for each in about_nodes(answers, own_version=own) if each.level != Level.OK]
    assert finding.level == Level.WARN
    assert words in finding.what


def test_a_node_that_answers_and_is_not_ready_is_a_failure_with_every_reason() -> None:
    full = NodeAnswer(address="http://a:1", version="1", unready=["its disk is full", "it has not joined"])
    found = list(about_nodes([full], own_version="1"))
    assert [finding.what for finding in found if finding.level == Level.FAIL] == [
        "http://a:1 is not ready: its disk is full",
        "http://a:1 is not ready: it has not joined",
    ]


def test_a_date_that_is_none_says_nothing_about_the_clock() -> None:
    assert levels(about_nodes([answer(date="yesterday")], own_version="1")) == [Level.OK]


def test_a_whole_cluster_is_well() -> None:
    three = cluster(member("a"), member("b"), member("c"))
    assert levels(about_cluster(three, ["http://a:1", "http://b:1/", "http://c:1"])) == [Level.OK]


@pytest.mark.parametrize(
    ("view", "level", "words"),
    [
        (cluster(member("a"), member("b"), leader=None, can_lose=0), Level.FAIL, "no leader"),
        (cluster(member("a"), member("b"), member("c", alive=False), can_lose=0), Level.WARN, "lost: c"),
        (cluster(member("a"), member("b"), can_lose=0), Level.WARN, "no further node may be lost"),
        (cluster(member("a"), can_lose=0), Level.WARN, "the cluster is one node"),
        (cluster(member("a"), member("z")), Level.WARN, "does not know of http://z:1"),
    ],
)
def test_what_a_cluster_lacks_is_said(view: ClusterView, level: Level, words: str) -> None:
    found = list(about_cluster(view, ["http://a:1", "http://b:1", "http://c:1"]))
    assert any(finding.level == level and words in finding.what and finding.advice for finding in found), found


def test_the_health_of_a_context_is_its_level() -> None:
    found = list(about_contexts([context("ok"), context("degraded"), context("unreachable")]))
    assert [finding.level for finding in found] == [Level.OK, Level.WARN, Level.FAIL]
    assert "raftsman context test dev-a" in found[2].advice
    assert levels(about_contexts([])) == [Level.WARN]


@pytest.mark.parametrize(
    ("free", "level"), [(10 << 30, Level.OK), (1 << 30, Level.WARN), (1 << 20, Level.FAIL), (None, Level.FAIL)]
)
def test_room_on_the_disk_is_judged(free: int | None, level: Level) -> None:
    assert about_room("/data", free, "no such file").level == level


def test_the_command_looks_at_everything_and_its_exit_code_is_that_of_the_worst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("RAFTSMAN_CONFIG", raising=False)
    settings = tmp_path / "node.toml"
    settings.write_text(f'name = "a"\ndata_dir = "{tmp_path / "data"}"\n')
    with FakeApi() as api:
        api.cluster = dict(cluster(member("a")))
        api.answers["/readyz"] = Answer(503, {"reasons": [{"code": "disk-full", "message": "the disk is full"}]})
        code = main(["doctor", "--address", f"{api.url},http://127.0.0.1:1", "--config", str(settings), "-o", "json"])
        items = json.loads(capsys.readouterr().out)["items"]
    assert code == 1
    assert [item["what"] for item in items if item["level"] == "fail"] == [
        f"{api.url} is not ready: the disk is full",
        "http://127.0.0.1:1 does not answer: connection refused",
    ]
    assert any(f"{settings} is sound" in item["what"] for item in items)


def test_every_fault_of_the_settings_is_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAFTSMAN_CONFIG", str(tmp_path / "absent.toml"))
    settings = tmp_path / "node.toml"
    settings.write_text('nmae = "a"\n[http]\nbind = 3\n')
    assert main(["doctor", "--config", str(settings)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "node.toml: " in line] == [
        f"fail  {settings}: line 1: nmae is not a setting; did you mean name?",
        f"fail  {settings}: line 3: http.bind must be a text in quotes, not 3",
    ]
    assert f"      correct it; raftsman config show --config {settings} looks again" in said


def test_a_broken_configuration_of_the_client_is_a_finding_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAFTSMAN_CONFIG", str(tmp_path / "absent.toml"))
    assert main(["doctor"]) == 1
    assert "fail  the client's configuration" in capsys.readouterr().out
