"""What may enter the table, and what is said to the rest."""

from collections.abc import Sequence

from raftsman.raft import limits
from raftsman.raft.commands import MemberJoined, MemberLost
from raftsman.raft.records import Member, NodeId, Placement, TaskSpec
from raftsman.raft.table import TaskTable
from raftsman.scheduler.admission import Rejection, Submitted, admit
from tests.harness.tables import assign, context, joined, spec, submit, table_of

HOST = (("/k8sJob/podTemplate/spec/hostPID", "hostPID"), ("/k8sJob/podTemplate/spec/volumes/0", "hostPath"))


WITHOUT_CONTEXT = MemberJoined(member=Member(node=NodeId("alpha"), url="http://alpha"))


def ask(
    table: TaskTable,
    wish: TaskSpec | None = None,
    *,
    packed_bytes: int = 400,
    host_uses: Sequence[tuple[str, str]] = (),
    max_queued: int = 10,
) -> list[Rejection]:
    submitted = Submitted(spec=wish or spec(), packed_bytes=packed_bytes, host_uses=host_uses)
    return admit(table, submitted, max_queued=max_queued)


def test_a_submission_for_a_known_context_enters() -> None:
    assert ask(table_of(joined("alpha"))) == []


# --- contexts ---------------------------------------------------------------------------------


def test_an_unknown_context_is_named_and_so_are_those_that_there_are() -> None:
    table = table_of(joined("beta", context("stage"), context("prod")), joined("alpha", context("prod")))
    assert ask(table, spec(context="prdo")) == [
        Rejection("unknown-context", "/k8sJob/clusterContext", "no node has a context 'prdo'; there are prod, stage")
    ]


def test_without_any_context_there_is_no_adapter_and_exactly_that_is_said() -> None:
    rejection = Rejection("unknown-context", "/k8sJob/clusterContext", "Kubernetes adapter not available")
    assert ask(table_of()) == [rejection]
    assert ask(table_of(WITHOUT_CONTEXT)) == [rejection]
    assert ask(table_of(WITHOUT_CONTEXT), host_uses=HOST) == [rejection]


def test_one_context_of_one_member_is_an_adapter() -> None:
    (rejection,) = ask(table_of(WITHOUT_CONTEXT, joined("beta")), spec(context="x"))
    assert rejection.reason == "no node has a context 'x'; there are prod"


def test_a_context_that_nobody_reaches_now_is_known_all_the_same() -> None:
    assert ask(table_of(joined("alpha", context(reachable=False)))) == []
    assert ask(table_of(joined("alpha"), MemberLost(node=NodeId("alpha")))) == []


def test_constraints_that_nobody_meets_are_no_fault() -> None:
    assert ask(table_of(joined("alpha")), spec(placement=Placement(target_nodes=("nobody",)))) == []


def test_a_task_that_needs_no_context_is_not_asked_for_one() -> None:
    assert ask(table_of(), TaskSpec(type="shell")) == []


# --- the host ---------------------------------------------------------------------------------


def test_wishes_for_the_host_are_refused_one_by_one_where_the_context_does_not_allow_them() -> None:
    reason = "context prod does not allow {} (its setting allow_host)"
    assert ask(table_of(joined("alpha")), host_uses=HOST) == [
        Rejection("invalid-spec", HOST[0][0], reason.format("hostPID")),
        Rejection("invalid-spec", HOST[1][0], reason.format("hostPath")),
    ]


def test_all_members_that_have_the_context_must_allow_the_host() -> None:
    allows, forbids = context(allow_host=True), context(allow_host=False)
    other = context("stage", allow_host=False)
    assert ask(table_of(joined("alpha", allows), joined("beta", allows, other)), host_uses=HOST) == []
    assert len(ask(table_of(joined("alpha", allows), joined("beta", forbids)), host_uses=HOST)) == 2


# --- bounds -----------------------------------------------------------------------------------


def test_the_queue_is_full_at_its_limit_and_only_queued_tasks_fill_it() -> None:
    table = table_of(joined("alpha"), submit("a"), submit("b"), submit("c"), assign("a", "alpha"))
    assert ask(table, max_queued=3) == []
    assert ask(table, max_queued=2) == [
        Rejection("queue-full", "", "2 tasks are queued, the limit is 2; try later"),
    ]


def test_a_specification_has_a_largest_size() -> None:
    table = table_of(joined("alpha"))
    assert ask(table, packed_bytes=limits.SPEC_BYTES) == []
    assert ask(table, packed_bytes=limits.SPEC_BYTES + 1) == [
        Rejection("too-large", "", "the specification has 131073 bytes, the limit is 131072"),
    ]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    rejections = ask(table_of(joined("alpha")), spec(context="x"), packed_bytes=10**6, max_queued=0)
    assert [each.code for each in rejections] == ["unknown-context", "too-large", "queue-full"]
