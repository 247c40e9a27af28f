"""The small bodies beside a submission: what they may hold, and what is wrong with one that holds something else."""

from collections.abc import Iterator
from dataclasses import dataclass

from raftsman.wire import grammar
from raftsman.wire.faults import INVALID_SPEC, Fault, pointer, subject

PLAN_TASKS = 1000
"""Tasks of one plan: as many as a page of a list shows."""


@dataclass(frozen=True, slots=True)
class RetryWish:
    """The body of a retry: the new task's id, if the user chose one, and the node that the request came to first."""

    task_id: str | None
    submitter_node: str | None


def check_retry(document: object) -> RetryWish | list[Fault]:
    """Return what the body of a retry asks for, or everything that is wrong with it; never raises."""
    if not isinstance(document, dict):
        return [Fault(INVALID_SPEC, "", "the body must be an object; it may hold taskId")]
    faults = [
        Fault(INVALID_SPEC, pointer(name), f"{subject(name)} is an unknown field; a retry takes its task's own spec")
        for name in document
        if name not in _RULES
    ]
    faults += _faults(document)
    return faults or RetryWish(document.get("taskId"), document.get("submitterNode"))


def tasks_of_plan(document: object) -> list[tuple[str, object]]:
    """Return the tasks of a plan's body, each with the pointer to it: a ``tasks`` list, or else the body itself."""
    if isinstance(document, dict) and isinstance(document.get("tasks"), list) and len(document) == 1:
        return [(pointer("tasks", place), each) for place, each in enumerate(document["tasks"])]
    return [("", document)]


_RULES: dict[str, grammar.Rule] = {"taskId": grammar.task_id, "submitterNode": grammar.node_name}


def _faults(document: dict[str, object]) -> Iterator[Fault]:
    for name, rule in _RULES.items():
        value = document.get(name)
        if value is None:
            continue
        complaint = rule(value) if isinstance(value, str) else "must be a string"
        if complaint:
            yield Fault(INVALID_SPEC, pointer(name), f"{subject(name)} {complaint}")
