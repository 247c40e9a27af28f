"""Where a task would run, what is excluded, and what would help."""

import inspect
import re

import msgspec

from raftsman.raft.codec import pack_spec
from raftsman.raft.commands import Cancel, MemberJoined, MemberLost
from raftsman.raft.records import Instant, NodeId, Placement, ShellSpec, Task, TaskId, TaskSpec
from raftsman.raft.submission_rules import new_task
from raftsman.raft.table import TaskTable
from raftsman.scheduler import filters, planner
from raftsman.scheduler.explanation import HELP, Explanation, explain_in_turn
from tests.harness.tables import apply, assign, context, find, joined, member, spec, submit, table_of

SHELL = TaskSpec(type="shell", shell=ShellSpec(command="true"))


def wish(of: TaskSpec) -> Task:
    return new_task(of, pack_spec(of), task_id=TaskId("wish"), sequence=0, at=Instant(0))


def explain(table: TaskTable, of: TaskSpec) -> Explanation:
    (found,) = explain_in_turn(table, [wish(of)])
    return found


def codes(explanation: Explanation) -> dict[str, str]:
    return {name: exclusion.code for name, exclusion in (*explanation.nodes, *explanation.contexts)}


def test_the_best_node_is_named_and_the_excluded_ones_too() -> None:
    table = table_of(joined("alpha"), joined("beta"), joined("gamma"), MemberLost(node=NodeId("gamma")))
    explained = explain(table, spec(placement=Placement(excluded_nodes=("alpha",))))
    assert (explained.node, explained.context, explained.waiting, explained.help) == ("beta", "prod", None, ())
    assert codes(explained) == {"alpha": "excluded", "gamma": "member-lost"}


def test_what_one_task_takes_is_not_free_for_the_next() -> None:
    table = table_of(MemberJoined(member=msgspec.structs.replace(member("alpha"), slots=1)))
    first, second = explain_in_turn(table, [wish(SHELL), wish(SHELL)])
    assert (first.node, second.node) == ("alpha", None)
    assert codes(second) == {"alpha": "slots-full"}
    assert second.help == (HELP["slots-full"],)


def test_a_context_that_is_full_is_said_to_be() -> None:
    table = table_of(joined("alpha", context(max_jobs=1)), submit("t"), assign("t", "alpha"))
    explained = explain(table, spec())
    assert explained.waiting is not None
    assert (explained.waiting.code, codes(explained)) == ("context-full", {"prod": "context-full"})


def test_contexts_say_why_they_are_not_used() -> None:
    contexts = (context("dark", reachable=False, error="refused"), context("prod"))
    explained = explain(table_of(joined("alpha", *contexts)), spec(context="dark"))
    assert codes(explained) == {"alpha": "context-unreachable", "dark": "context-unreachable", "prod": "not-requested"}
    messages = {name: exclusion.message for name, exclusion in explained.contexts}
    assert messages["dark"] == "no node reaches dark: alpha: refused"


def test_without_any_member_everything_is_unknown() -> None:
    explained = explain(TaskTable(), spec())
    assert explained.node is None
    assert codes(explained) == {"prod": "unknown-context"}
    assert dict(explained.contexts)["prod"].message == "Kubernetes adapter not available"


def test_a_task_that_runs_is_where_it_is_and_an_ended_one_as_if_tried_again() -> None:
    table = table_of(joined("alpha"), joined("beta"), submit("t"), assign("t", "beta"), submit("u"))
    (running,) = explain_in_turn(table, [find(table, "t")])
    assert (running.node, running.waiting) == ("beta", None)
    apply(table, Cancel(task_id=TaskId("u")))
    (ended,) = explain_in_turn(table, [find(table, "u")])
    assert ended.node == "alpha"


def test_a_node_that_does_not_exist_is_said_not_to_also_when_others_would_do() -> None:
    table = table_of(joined("alpha"), joined("beta"))
    nowhere = explain(table, spec(placement=Placement(allowed_nodes=("alfa",))))
    assert codes(nowhere) == {"alfa": "unknown-node", "alpha": "not-allowed", "beta": "not-allowed"}
    assert nowhere.help[0] == HELP["unknown-node"]
    somewhere = explain(table, spec(placement=Placement(target_nodes=("alfa", "beta"))))
    assert (somewhere.node, codes(somewhere)) == ("beta", {"alfa": "unknown-node", "alpha": "not-targeted"})
    assert explain(TaskTable(), spec(placement=Placement(allowed_nodes=("alfa",)))).nodes == ()


def test_explaining_changes_nothing() -> None:
    table = table_of(joined("alpha"), submit("t"))
    before = table.state_hash
    explain_in_turn(table, [find(table, "t")] * 3)
    assert (table.state_hash, find(table, "t").attempt) == (before, None)


def test_every_exclusion_has_its_help() -> None:
    sources = inspect.getsource(filters) + inspect.getsource(planner)
    assert set(re.findall(r'Exclusion\(\s*"([a-z-]+)"', sources)) <= set(HELP)
