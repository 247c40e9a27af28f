"""Pod templates: owned fields are refused by name, ways to the host are listed, the rest is Kubernetes' to judge."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor import jobs
from raftsman.wire.podtemplate import CONTAINER, host_access, template_faults

ROOT = "/k8sJob/podTemplate"


def wrong(template: dict[str, Any], *variables: str, has_account: bool = False) -> set[str]:
    """Return the pointers, below the template, of what is wrong with it."""
    found = template_faults(template, variables=variables, has_account=has_account)
    assert all(fault.code == "invalid-spec" for fault in found)
    return {fault.pointer.removeprefix(ROOT) for fault in found}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a template of these containers and fields."""
    return {"spec": {"containers": list(containers), **spec}}


def uses(template: dict[str, Any]) -> set[str]:
    """Return the pointers, below the template's spec, of its ways to the host."""
    return {where.removeprefix(f"{ROOT}/spec") for where, _ in host_access(template)}


SOUND = {
    "metadata": {"labels": {"team": "vision"}, "annotations": {"Example.com/Note": "any text at all"}},
    "spec": {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "initContainers": [{"name": "proxy", "image": "proxy", "restartPolicy": "Always"}],
        "containers": [
            {
                "name": "task",
                "volumeMounts": [{"name": "scratch", "mountPath": "/s"}],
                "env": [{"name": "B", "value": "1"}],
            },
            {"name": "sidecar", "image": "x", "command": ["y"], "args": [], "resources": {}, "env": [{"name": "A"}]},
        ],
        "somethingNewer": {"than": "this"},
    },
}


def test_what_raftsman_does_not_own_is_left_to_kubernetes() -> None:
    assert wrong(SOUND, "A") == set()
    assert uses(SOUND) == set()


@pytest.mark.parametrize(
    ("template", "where"),
    [
        ({"kind": "Pod"}, "/kind"),
        ({"metadata": []}, "/metadata"),
        ({"metadata": {"name": "a"}}, "/metadata/name"),
        ({"metadata": {"labels": []}}, "/metadata/labels"),
        ({"metadata": {"labels": {"a": 1}}}, "/metadata/labels/a"),
        ({"metadata": {"labels": {"a": "b c"}}}, "/metadata/labels/a"),
        ({"metadata": {"labels": {"raftsman.dev/task-id": "x"}}}, "/metadata/labels/raftsman.dev~1task-id"),
        ({"metadata": {"annotations": {"a b": ""}}}, "/metadata/annotations/a b"),
        ({"metadata": {"annotations": {"a": None}}}, "/metadata/annotations/a"),
        ({"metadata": {"annotations": {"raftsman.dev/task": "x"}}}, "/metadata/annotations/raftsman.dev~1task"),
        ({"spec": "x"}, "/spec"),
        ({"spec": {"restartPolicy": "OnFailure"}}, "/spec/restartPolicy"),
        ({"spec": {"activeDeadlineSeconds": 1}}, "/spec/activeDeadlineSeconds"),
        ({"spec": {"containers": {}}}, "/spec/containers"),
        ({"spec": {"initContainers": [1]}}, "/spec/initContainers/0"),
        (pod({"image": "a"}), "/spec/containers/0/name"),
        (pod({"name": "A"}), "/spec/containers/0/name"),
        (pod({"name": 1}), "/spec/containers/0/name"),
        (pod({"name": "a"}, {"name": "a"}), "/spec/containers/1/name"),
        (pod({"name": "a"}, initContainers=[{"name": "a"}]), "/spec/initContainers/0/name"),
        (pod(initContainers=[{"name": "task"}]), "/spec/initContainers/0/name"),
        (pod({"name": "task", "image": "a"}), "/spec/containers/0/image"),
        (pod({"name": "task", "command": []}), "/spec/containers/0/command"),
        (pod({"name": "a"}, {"name": "task", "args": ["a"]}), "/spec/containers/1/args"),
        (pod({"name": "task", "resources": {}}), "/spec/containers/0/resources"),
        (pod({"name": "a", "restartPolicy": "Always"}), "/spec/containers/0/restartPolicy"),
        (pod({"name": "task", "env": [{"name": "X"}, {"name": "A"}]}), "/spec/containers/0/env/1/name"),
        (pod({"name": "task", "env": {"A": "1"}}), "/spec/containers/0/env"),
        (pod(securityContext="x"), "/spec/securityContext"),
        (pod({"name": "task", "securityContext": []}), "/spec/containers/0/securityContext"),
        (pod(initContainers=[{"name": "a", "securityContext": True}]), "/spec/initContainers/0/securityContext"),
        (
            pod({"name": "a", "securityContext": {"capabilities": ["CHOWN"]}}),
            "/spec/containers/0/securityContext/capabilities",
        ),
        (
            pod({"name": "a", "securityContext": {"capabilities": {"add": "CHOWN"}}}),
            "/spec/containers/0/securityContext/capabilities/add",
        ),
        (
            pod({"name": "a", "securityContext": {"capabilities": {"add": ["CHOWN", {}]}}}),
            "/spec/containers/0/securityContext/capabilities/add/1",
        ),
    ],
)
def test_what_raftsman_owns_or_reads_is_refused_where_it_stands(template: dict[str, Any], where: str) -> None:
    assert wrong(template, "A") == {where}


def test_the_account_may_stand_in_one_of_two_places() -> None:
    template = {"spec": {"serviceAccountName": "a"}}
    assert wrong(template) == set()
    assert wrong(template, has_account=True) == {"/spec/serviceAccountName"}


def test_a_refusal_names_the_field_to_use_instead() -> None:
    (fault,) = template_faults(pod({"name": "task", "image": "a"}), variables=(), has_account=False)
    assert fault.detail == (
        "k8sJob.podTemplate.spec.containers[0].image is not the template's to set: set k8sJob.image instead"
    )


@pytest.mark.parametrize(
    ("template", "where"),
    [
        ({"spec": {"hostPID": True}}, "/hostPID"),
        ({"spec": {"hostIPC": True}}, "/hostIPC"),
        ({"spec": {"hostNetwork": True}}, "/hostNetwork"),
        ({"spec": {"hostNetwork": "true"}}, "/hostNetwork"),
        ({"spec": {"volumes": [{"name": "a"}, {"hostPath": {"path": "/"}}]}}, "/volumes/1/hostPath"),
        (pod({"securityContext": {"privileged": True}}), "/containers/0/securityContext/privileged"),
        (pod({"securityContext": {"procMount": "Unmasked"}}), "/containers/0/securityContext/procMount"),
        (pod({"securityContext": {"procMount": {}}}), "/containers/0/securityContext/procMount"),
        (
            pod({"securityContext": {"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}}),
            "/containers/0/securityContext/capabilities/add/1",
        ),
        (
            pod({"securityContext": {"capabilities": {"add": [{}]}}}),
            "/containers/0/securityContext/capabilities/add/0",
        ),
        (
            {"spec": {"securityContext": {"windowsOptions": {"hostProcess": True}}}},
            "/securityContext/windowsOptions/hostProcess",
        ),
        (pod({"ports": [{"hostPort": 0}, {"hostPort": 80}]}), "/containers/0/ports/1/hostPort"),
        (
            {"spec": {"initContainers": [{"securityContext": {"privileged": True}}]}},
            "/initContainers/0/securityContext/privileged",
        ),
        ({"spec": {"ephemeralContainers": [{"ports": [{"hostPort": 1}]}]}}, "/ephemeralContainers/0/ports/0/hostPort"),
    ],
)
def test_each_way_to_the_host_is_listed_where_it_stands(template: dict[str, Any], where: str) -> None:
    assert uses(template) == {where}


def test_saying_no_to_the_host_is_no_way_to_it() -> None:
    assert uses({"spec": {"hostPID": False, "hostNetwork": None, "securityContext": {"runAsNonRoot": True}}}) == set()
    assert uses(pod({"securityContext": {"privileged": False, "capabilities": {"drop": ["ALL"]}}})) == set()


KEYS = ["metadata", "spec", "labels", "annotations", "containers", "initContainers", "volumes"]
KEYS += ["securityContext", "capabilities", "add", "env", "name", "ports"]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["task", "a", "", "Default"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(KEYS), ANY, max_size=4))
def test_no_template_makes_the_checks_raise(template: dict[str, Any]) -> None:
    assert all(where.startswith(ROOT) for where, _ in host_access(template))
    assert all(fault.pointer.startswith(ROOT) for fault in template_faults(template, variables={"a"}, has_account=True))


def test_the_container_of_the_task_has_one_name() -> None:
    assert CONTAINER == jobs.CONTAINER
