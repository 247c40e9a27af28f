"""What to do about an attempt when others had a hand in it: names that are taken, Jobs and rights that went away."""

from dataclasses import replace

import msgspec

from raftsman.executor.reconcile import Clear, Confirm, Create, Notes, Sight, Tell
from raftsman.raft.lifecycle import Cause, Signal, StopKind
from tests.unit.attempts import EXITED_0, action, concluded, job, step, task

# --- an id that is used again -------------------------------------------------------------------


def test_the_job_of_an_earlier_task_of_the_id_is_told_of_deleted_once_and_waited_for() -> None:
    row, sight = task(sequence=2), Sight(job=job("old", ended_as="Complete"), pods=[EXITED_0])
    done, notes = step(row, sight)
    assert isinstance(done, Tell)
    assert done.report.reason == "waiting until the Job of an earlier task of this id is gone from namespace batch"
    assert done.report.job_uid == ""
    row = msgspec.structs.replace(row, reason=done.report.reason)
    assert action(row, sight, notes) == Clear("old")
    notes = replace(notes, cleared="old")
    assert action(row, sight, notes) is None
    assert action(row, Sight(), notes) == Create()


def test_the_job_of_an_earlier_task_of_the_id_does_not_keep_a_stop_waiting() -> None:
    row, sight = task(sequence=2, stop=StopKind.CANCEL), Sight(job=job("old"))
    assert action(row, sight) == Confirm("")
    assert concluded(row, sight, Notes(absent=True)).signal is Signal.GONE


def test_the_job_of_a_later_task_of_the_id_is_left_alone() -> None:
    assert concluded(task(), Sight(job=job(sequence=2))).cause is Cause.JOB_NAME_CONFLICT
