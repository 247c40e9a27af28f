"""What the table of legal changes promises."""

from itertools import product

import pytest

from raftsman.raft.commands import REPORT_SIGNALS
from raftsman.raft.lifecycle import AFTER_STOP, ENDED, RANK, TRANSITIONS, Signal, State, StopKind, step


def test_nothing_leads_out_of_a_state_that_has_ended() -> None:
    assert {before for before, _ in TRANSITIONS}.isdisjoint(ENDED)
    assert {state for state in State if state.ended} == ENDED == {State.COMPLETED, State.FAILED, State.CANCELLED}


def test_no_change_leads_back() -> None:
    assert all(RANK[after] >= RANK[before] for (before, _), after in TRANSITIONS.items())
    assert RANK.keys() == set(State)


def test_every_state_can_be_reached_from_queued() -> None:
    reached = {State.QUEUED}
    for _ in State:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached | set(AFTER_STOP.values()) == set(State)


def test_every_signal_but_gone_means_something_in_some_state() -> None:
    assert {signal for _, signal in TRANSITIONS} == set(Signal) - {Signal.GONE}


def test_every_stop_ends_a_task_and_only_a_cancellation_as_cancelled() -> None:
    assert AFTER_STOP.keys() == set(StopKind)
    assert {kind for kind, state in AFTER_STOP.items() if state is State.CANCELLED} == {StopKind.CANCEL}
    assert set(AFTER_STOP.values()) <= ENDED


def test_a_queued_task_has_no_attempt_that_anybody_could_report_on() -> None:
    assert all(step(State.QUEUED, signal) is None for signal in REPORT_SIGNALS)


def test_a_stop_keeps_the_state_until_the_job_is_gone() -> None:
    for state, signal in product((State.ASSIGNED, State.RUNNING), (Signal.CANCEL, Signal.EXPIRE, Signal.GIVE_UP)):
        assert step(state, signal) is state


@pytest.mark.parametrize("state", State)
def test_what_the_table_does_not_list_is_not_legal(state: State) -> None:
    legal = {signal for before, signal in TRANSITIONS if before is state}
    assert all(step(state, signal) is None for signal in set(Signal) - legal)
