"""The blocks of the types beside ``k8s_job``: checked in full, also of those whose work is not done here."""

from typing import Any

import pytest

from raftsman.wire.spec import Submission, check_submission

KUBERNETES = {"type": "k8s_job", "k8sJob": {"clusterContext": "prod-eu", "image": "busybox"}}


def details(document: object) -> list[str]:
    found = check_submission(document)
    return [fault.detail for fault in found] if isinstance(found, list) else []


def places(document: object) -> set[tuple[str, str]]:
    """(code, pointer) of each fault of *document*."""
    found = check_submission(document)
    return {(fault.code, fault.pointer) for fault in found} if isinstance(found, list) else set()


def test_a_shell_task_has_a_command_and_no_k8s_job() -> None:
    shell = {"type": "shell", "shell": {"command": "ls", "workingDirectory": "/srv"}}
    found = check_submission(shell)
    assert isinstance(found, Submission)
    assert found.spec["shell"] == {"command": "ls", "working_directory": "/srv"}
    assert places({"type": "shell"}) == {("invalid-spec", "/shell")}
    assert places({**shell, "k8sJob": KUBERNETES["k8sJob"]}) == {("invalid-spec", "/k8sJob")}
    assert places({**KUBERNETES, "shell": {"command": "ls"}}) == {("invalid-spec", "/shell")}


@pytest.mark.parametrize(
    ("block", "where"),
    [
        ({}, ("invalid-spec", "/shell/command")),
        ({"command": "  "}, ("invalid-spec", "/shell/command")),
        ({"command": "a\0b"}, ("invalid-spec", "/shell/command")),
        ({"command": "ls", "workingDirectory": "srv"}, ("invalid-spec", "/shell/workingDirectory")),
        ({"command": "ls", "sandboxed": True}, ("not-implemented-here", "/shell/sandboxed")),
    ],
)
def test_an_invalid_shell_block_is_refused_where_it_is_wrong(block: dict[str, Any], where: tuple[str, str]) -> None:
    assert places({"type": "shell", "shell": block}) == {where}


LATER: dict[str, tuple[str, dict[str, Any]]] = {
    "container": (
        "container",
        {
            "image": "busybox",
            "command": ["sh"],
            "args": ["-c", "true"],
            "labels": {"team": "vision"},
            "mounts": [{"hostPath": "/srv", "containerPath": "/data", "readOnly": True}],
        },
    ),
    "subagent": ("subagent", {"prompt": "p", "model": "m", "tools": ["t"], "contextSummary": "", "maxTurns": 10}),
    "claude_relay": (
        "claudeRelay",
        {"targetSessionId": "s", "prompt": "p", "fullContext": "c", "awaitResponse": True},
    ),
}


@pytest.mark.parametrize("kind", LATER)
def test_a_type_whose_work_is_not_done_here_is_refused_whatever_its_block(kind: str) -> None:
    block, fields = LATER[kind]
    refused = ("not-implemented-here", "/type")
    assert places({"type": kind}) == {refused}
    assert places({"type": kind, block: fields}) == {refused}
    for name in fields:
        assert places({"type": kind, block: {**fields, name: 7.5}}) == {refused, ("invalid-spec", f"/{block}/{name}")}
    assert places({"type": kind, block: {**fields, "x": 1}}) == {refused, ("invalid-spec", f"/{block}/x")}
    assert places({"type": kind, block: []}) == {refused, ("invalid-spec", f"/{block}")}
    assert places({"type": kind, "shell": {"command": "ls"}}) == {refused, ("invalid-spec", "/shell")}
    assert places({**KUBERNETES, block: fields}) == {("invalid-spec", f"/{block}")}


@pytest.mark.parametrize(
    ("kind", "block", "where"),
    [
        ("container", {"container": {}}, {"/container/image"}),
        ("container", {"container": {"image": "A b"}}, {"/container/image"}),
        (
            "container",
            {"container": {"image": "a", "mounts": [{"hostPath": "srv", "readonly": True}]}},
            {
                "/container/mounts/0/hostPath",
                "/container/mounts/0/containerPath",
                "/container/mounts/0/readonly",
            },
        ),
        ("container", {"container": {"image": "a", "labels": {"a": 1}}}, {"/container/labels/a"}),
        ("subagent", {"subagent": {}}, {"/subagent/prompt"}),
        ("subagent", {"subagent": {"prompt": " ", "maxTurns": 0}}, {"/subagent/prompt", "/subagent/maxTurns"}),
        ("claude_relay", {"claudeRelay": {}}, {"/claudeRelay/prompt", "/claudeRelay/targetSessionId"}),
    ],
)
def test_the_block_of_such_a_type_is_checked_all_the_same(kind: str, block: dict[str, Any], where: set[str]) -> None:
    assert places({"type": kind, **block}) == {
        ("not-implemented-here", "/type"),
        *(("invalid-spec", each) for each in where),
    }


def test_a_field_in_a_list_is_asked_for_by_the_name_that_it_resembles() -> None:
    mount = {"hostPath": "/a", "containerPath": "/b", "readonly": True}
    document = {"type": "container", "container": {"image": "a", "mounts": [mount]}}
    assert "container.mounts[0].readonly is an unknown field; did you mean readOnly?" in details(document)
