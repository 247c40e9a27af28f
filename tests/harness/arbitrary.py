"""Rows and commands by chance, for properties.

``rows_of`` makes any value that a type allows; ``commands`` makes those that meet each other, because they
speak of the same few tasks, nodes and Jobs.
"""

import enum
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from raftsman.raft.codec import pack_spec
from raftsman.raft.commands import (
    Assign,
    Barrier,
    Cancel,
    Checkpoint,
    Command,
    Entry,
    Expire,
    Forget,
    FoundCluster,
    MemberBack,
    MemberJoined,
    MemberLost,
    MemberUpdated,
    Reassign,
    Report,
    Retry,
    Submit,
)
from raftsman.raft.lifecycle import Cause, Signal, StopKind
from raftsman.raft.records import (
    ContextName,
    Instant,
    JobCounts,
    K8sJobSpec,
    Member,
    MemberContext,
    NodeId,
    Row,
    ShellSpec,
    TaskId,
    TaskSpec,
)

R = TypeVar("R", bound=Row)
Strategies = Mapping[type, st.SearchStrategy[Any]]

PLAIN: Strategies = {
    str: st.text(max_size=12),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    bytes: st.binary(max_size=24),
    types.NoneType: st.none(),
}
"""Any value of a plain type; integers as wide as msgpack's."""


def rows_of(row: type[R], plain: Strategies = PLAIN) -> st.SearchStrategy[R]:
    """Return a strategy for any value of *row*, with plain values from *plain*; fields are left out at times."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(row):
        (required if field.required else optional)[field.name] = _values(field.type, plain)
    fields = st.fixed_dictionaries(required, optional=optional)
    return fields.map(lambda values: row(**values))


def _values(kind: Any, plain: Strategies) -> st.SearchStrategy[Any]:
    kind = getattr(kind, "__supertype__", kind)  # NewType.
    if kind in plain:
        return plain[kind]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    if isinstance(kind, type) and issubclass(kind, Row):
        return rows_of(kind, plain)
    return _composite(kind, plain)


def _composite(kind: Any, plain: Strategies) -> st.SearchStrategy[Any]:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is not tuple:
        return st.one_of([_values(part, plain) for part in parts])
    if parts[-1] is Ellipsis:
        return st.lists(_values(parts[0], plain), max_size=3).map(tuple)
    return st.tuples(*(_values(part, plain) for part in parts))


# --- commands that meet -----------------------------------------------------------------------

# What comes first is likelier to fit what a log has done before.
TASKS = st.sampled_from([TaskId("t1"), TaskId("t2")])
NODES = st.sampled_from([NodeId("alpha"), NodeId("alpha"), NodeId("beta")])
CONTEXTS = st.sampled_from([ContextName("prod"), ContextName("stage")])
ATTEMPTS = st.sampled_from([1, 1, 1, 1, 1, 2])
UIDS = st.sampled_from(["u1", "u1", "", "u2"])
TEXTS = st.sampled_from(["", "because", "日本" * 700])
INSTANTS = st.integers(0, 2**40).map(Instant)
KEYS = st.sampled_from(["", "", "k1", "k2"])

SPECS = st.builds(
    lambda context, priority: pack_spec(
        TaskSpec(type="k8s_job", k8s_job=K8sJobSpec(context=context, image="busybox"), priority=priority)
    ),
    CONTEXTS,
    st.sampled_from([0, 0, 7]),
) | st.just(pack_spec(TaskSpec(type="shell", shell=ShellSpec(command="true"))))

MEMBERS = st.builds(
    lambda node, names, reachable, server, slots: Member(
        node=node,
        url=f"http://{node}",
        contexts=tuple(MemberContext(name=name, reachable=reachable, server=server) for name in sorted(names)),
        slots=slots,
    ),
    NODES,
    st.sets(CONTEXTS),
    st.booleans(),
    st.sampled_from(["", "", "east", "west"]),
    st.sampled_from([0, 1, 2]),
)

REPORTS = st.builds(
    Report,
    task_id=TASKS,
    attempt=ATTEMPTS,
    node=NODES,
    signal=st.sampled_from([*Signal, Signal.OBSERVE, Signal.OBSERVE, Signal.START, Signal.START, Signal.GONE]),
    job_name=UIDS,
    job_uid=UIDS,
    started_at=st.none() | INSTANTS,
    ended_at=st.none() | INSTANTS,
    exit_code=st.none() | st.integers(0, 255),
    cause=st.none() | st.sampled_from(Cause),
    message=TEXTS,
    reason=TEXTS,
    unreachable=st.booleans(),
    job=st.none() | st.builds(JobCounts, active=st.integers(0, 1)),
    output_tail=TEXTS,
    error_tail=TEXTS,
)


def commands() -> st.SearchStrategy[Command]:
    """Return a strategy for commands about the same few things."""
    reassignments = st.builds(Reassign, task_id=TASKS, attempt=ATTEMPTS, from_node=NODES, node=NODES)
    expiries = st.builds(Expire, task_id=TASKS, attempt=ATTEMPTS, kind=st.sampled_from(StopKind))
    return weighted(
        *[REPORTS] * 12,  # As in a real log.
        *[st.builds(Assign, task_id=TASKS, attempt=ATTEMPTS, node=NODES)] * 2,
        *[reassignments] * 3,
        *[expiries] * 2,
        *[st.builds(Cancel, task_id=TASKS, if_index=st.none() | st.tuples(st.integers(1, 12)))] * 2,
        *[st.builds(Forget, task_ids=st.lists(TASKS, min_size=1, max_size=2).map(tuple))] * 2,
        *[st.builds(Submit, task_id=TASKS, spec=SPECS, submitter_node=NODES, key=KEYS, id_made=st.booleans())] * 2,
        st.builds(Retry, task_id=TASKS, retry_of=TASKS, key=KEYS, id_made=st.booleans()),
        *[st.builds(MemberLost, node=NODES)] * 2,
        st.builds(MemberBack, node=NODES),
        st.builds(MemberJoined, member=MEMBERS),
        st.builds(MemberUpdated, member=MEMBERS),
        st.builds(FoundCluster, uuid=UIDS),
        st.builds(Barrier),
        st.builds(Checkpoint, index=st.integers(0, 100), state_hash=st.just("00")),
    )


def weighted(*choices: st.SearchStrategy[Command]) -> st.SearchStrategy[Command]:
    """Return a strategy that chooses among *choices*, each as often as it stands there (``one_of`` counts it once)."""
    return st.sampled_from(choices).flatmap(lambda choice: choice)


def entries(of: st.SearchStrategy[Command], ids: tuple[str, ...] = ("",)) -> st.SearchStrategy[Entry]:
    """Return a strategy for log entries that carry *of*, under *ids*; "" is never repeated."""
    build: Callable[..., Entry] = Entry
    return st.builds(
        build, command_id=st.sampled_from(ids), command=of, at=INSTANTS, principal=st.sampled_from(["", "ann"])
    )
