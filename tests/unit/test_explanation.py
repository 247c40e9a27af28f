"""Where a task would run, what is excluded, and what would help."""

import inspect
import re

import msgspec

from raftsman.raft.codec import pack_spec
from raftsman.raft.commands import Cancel, MemberBack, MemberJoined, MemberLost
from raftsman.raft.lifecycle import Signal
from raftsman.raft.records import Instant, NodeId, Placement, ShellSpec, Task, TaskId, TaskSpec
from raftsman.raft.submission_rules import new_task
from raftsman.raft.table import TaskTable
from raftsman.scheduler import filters, planner
from raftsman.scheduler.explanation import HELP, Explanation, explain_in_turn
from tests.harness.tables import apply, assign, context, find, joined, member, report, spec, submit, table_of

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


def explain_task(table: TaskTable, task_id: str) -> Explanation:
    (found,) = explain_in_turn(table, [find(table, task_id)])
    return found


def test_a_task_that_has_a_node_or_has_ended_is_explained_as_if_it_were_tried_again() -> None:
    table = table_of(joined("alpha"), joined("beta", context(max_jobs=1)), submit("t"), assign("t", "beta"))
    held = explain_task(table, "t")
    assert (held.node, held.waiting, held.no_takers) == ("alpha", None, ())  # Its own attempt takes no room from it.
    apply(table, joined("alpha", context(reachable=False)), joined("beta", context(reachable=False)))
    lame = explain_task(table, "t")
    assert lame.waiting is not None
    assert codes(lame) == {"alpha": "context-unreachable", "beta": "context-unreachable", "prod": "context-unreachable"}
    apply(table, joined("alpha"), Cancel(task_id=TaskId("t")), report("t", "beta", Signal.GONE))
    assert explain_task(table, "t").node == "alpha"


def test_who_cannot_take_an_attempt_over_is_told_once_it_has_to_move() -> None:
    east, west = context(server="east"), context(server="west")
    wish = spec(placement=Placement(excluded_nodes=("gamma",)))
    table = table_of(joined("alpha", east), joined("beta", west), joined("gamma", east), submit("t", wish))
    apply(table, assign("t", "alpha"))
    assert explain_task(table, "t").no_takers == ()
    for cut in (joined("alpha", context("stage")), joined("alpha", context(reachable=False, server="east"))):
        apply(table, cut)
        held = explain_task(table, "t")
        assert {node: no.code for node, no in held.no_takers} == {"beta": "other-cluster", "gamma": "excluded"}
        assert (held.node, held.help) == ("beta", (HELP["other-cluster"], HELP["excluded"]))  # A new one may go there.
    apply(table, Cancel(task_id=TaskId("t")))
    assert [node for node, _ in explain_task(table, "t").no_takers] == ["beta"]


def test_nobody_can_take_a_command_over_that_has_started_and_nobody_is_asked() -> None:
    table = table_of(joined("alpha", slots=1), joined("beta"), submit("t", SHELL), assign("t", "alpha"))
    apply(table, MemberLost(node=NodeId("alpha")))
    assert [no.code for _, no in explain_task(table, "t").no_takers] == ["type-not-allowed"]
    apply(table, MemberBack(node=NodeId("alpha")), report("t", "alpha", Signal.START), MemberLost(node=NodeId("alpha")))
    assert explain_task(table, "t").no_takers == ()


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
