"""Reading Kubernetes' objects, the expected and the odd."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor import causes
from raftsman.executor.outcome import absent_outcome, job_outcome
from raftsman.executor.podstatus import instant, job_counts, running_since
from raftsman.executor.waits import waiting
from tests.unit.kubernetes_objects import container, ended, pod, recorded

# --- progress -----------------------------------------------------------------------------------


def test_running_begins_with_the_tasks_own_container() -> None:
    preparing = pod(
        container("waiting", reason="PodInitializing"),
        init=(container("running", name="fetch", startedAt="2026-01-01T00:00:00Z"),),
        phase="Pending",
    )
    assert running_since([preparing]) is None
    assert running_since([pod(container("running", startedAt="2026-01-01T00:00:05Z"))]) == instant(
        "2026-01-01T00:00:05Z"
    )
    assert running_since([]) is None


def test_what_has_ended_between_two_looks_has_run() -> None:
    assert running_since([pod(ended(0))]) == instant("2026-01-01T00:00:00Z")


def test_counts_are_kubernetes_own() -> None:
    counts = job_counts({"status": {"active": 1, "succeeded": None, "failed": 2}})
    assert (counts.active, counts.succeeded, counts.failed) == (1, 0, 2)
    assert job_counts({}) == job_counts({"status": None})


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("2026-11-26T02:36:39.271796Z", 1_795_660_599_271),
        ("2026-11-26T04:36:39+02:00", 1_795_660_599_000),
        ("2026-11-26T02:36:39.271796789Z", 1_795_660_599_271),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
    ],
)
def test_an_rfc_3339_time_is_read_to_the_millisecond(text: str, ms: int) -> None:
    assert instant(text) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-26T02:36:39", None, 5, {}])
def test_what_is_no_rfc_3339_time_is_none(text: object) -> None:
    assert instant(text) is None


# --- objects that nobody expected -------------------------------------------------------------------


def test_every_known_signal_has_its_name() -> None:
    assert [causes.signal_name(number) for number in (1, 9, 15, 31, 40)] == [
        "SIGHUP",
        "SIGKILL",
        "SIGTERM",
        "SIGSYS",
        "signal 40",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def spots(thing: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    return [path, *(spot for key, value in inner for spot in spots(value, (*path, key)))]


@given(case=st.sampled_from(["exit3", "nopull", "psa", "deleted", "initfails", "nosecretvolume"]), wild=st.data())
def test_an_odd_object_never_raises(case: str, wild: st.DataObject) -> None:
    changed = copy.deepcopy(recorded(case))
    fields = [(kind, each) for kind in ("pods", "departed", "events") for each in range(len(changed[kind]))]
    kind, position = wild.draw(st.sampled_from([("job", None), *fields]))
    target = changed["job"] if position is None else changed[kind][position]
    *way, last = wild.draw(st.sampled_from(spots(target)[1:]))
    for key in way:
        target = target[key]
    target[last] = wild.draw(json_values)
    outcome = job_outcome(changed["job"], changed["pods"], changed["departed"])
    wait = waiting(changed["job"], changed["pods"], changed["events"])
    assert outcome is None or (outcome.cause is None) == outcome.succeeded
    assert wait is None or isinstance(wait.message, str)
    absent_outcome(changed["departed"])
