"""The page for Prometheus, as a real node has it and as docs/api.md lists it."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.asking import CONTEXT, ask, get, submit
from tests.harness.documents import ROOT
from tests.harness.nodes import NodeGroup, NodeProcess

pytestmark = pytest.mark.cluster


def documented() -> set[str]:
    """Return the names that the page about the API lists."""
    section = (ROOT / "docs/api.md").read_text().partition("## Metrics")[2]
    cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([a-z_]+)", cell)}


def _bare(name: str) -> str:
    return name.removesuffix("_total").removesuffix("_info")


def test_metrics_are_what_prometheus_reads(group: NodeGroup, node: NodeProcess) -> None:
    task_id = f"counted-at-{node.name}"
    submit(node, task_id)
    ask(node, "PROPFIND", "/v1/tasks")
    answer = get(node, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    ours = {name for name in families if name.startswith("raftsman_") and not name.endswith("_created")}
    assert {_bare(name) for name in ours} == {_bare(f"raftsman_{name}") for name in documented()}
    values = {
        (sample.name, *sample.labels.values()): sample.value for each in families.values() for sample in each.samples
    }
    assert values["raftsman_raft_is_leader",] == float(node is group.leader())
    assert values["raftsman_raft_applied_index",] > 0
    assert values["raftsman_tasks", "queued"] >= 1
    assert values["raftsman_context_up", CONTEXT] == 0
    assert values["raftsman_duplicate_jobs_total",] == 0
    assert values["raftsman_raft_leader_changes_total",] >= 1
    assert values["raftsman_raft_commit_duration_seconds_count",] >= 1
    assert values["raftsman_apply_errors_total",] == 0
    assert values["raftsman_raft_commit_index",] >= values["raftsman_raft_applied_index",] > 0
    assert values["raftsman_raft_sync_duration_seconds_count",] >= 1
    assert values["raftsman_raft_log_bytes",] > 0
    assert values["raftsman_raft_log_entries",] > 0
    assert values["raftsman_raft_linked_nodes",] == 2
    assert values["raftsman_raft_torn_ends_cut_total",] == values["raftsman_raft_disk_full",] == 0
    assert values["raftsman_plan_duration_seconds_count",] >= (node is group.leader())
    lags = {name for name, *_ in values if name == "raftsman_raft_lag_entries"}
    assert bool(lags) == (node is group.leader())
    methods = {sample.labels["method"] for sample in families["raftsman_http_requests"].samples}
    assert "other" in methods
    assert "PROPFIND" not in methods
    assert values["raftsman_http_request_duration_seconds_count", "/v1/tasks"] >= 1
    assert not any(task_id in str(key) for key in values)
