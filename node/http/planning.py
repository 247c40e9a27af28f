"""``/v1/tasks/{id}/explain`` and ``/v1/plan``: where a task would run, and what is in the way. Nothing is written."""

import msgspec
from aiohttp import web

from raftsman.node.http.answers import json_response, task_in
from raftsman.node.http.problems import Problem, of_faults, of_rejections
from raftsman.node.http.site import Site, known_parameters, site_of
from raftsman.node.http.submissions import spec_of, submitted
from raftsman.node.http.views import explain_view
from raftsman.node.http.writes import read_json
from raftsman.raft.codec import pack_spec
from raftsman.raft.records import Instant, Task, TaskId
from raftsman.raft.submission_rules import new_task
from raftsman.scheduler.admission import admit
from raftsman.scheduler.explanation import explain_in_turn
from raftsman.wire.bodies import PLAN_TASKS, tasks_of_plan
from raftsman.wire.faults import FAULTS_LISTED, Fault
from raftsman.wire.spec import Submission, check_submission

PASSING = frozenset({"unknown-context", "queue-full"})
"""What admission says no to and a plan explains: both are about the moment, not about the task."""


async def get_explanation(request: web.Request) -> web.Response:
    """Explain where a task would run now."""
    site = site_of(request)
    known_parameters(request)
    table = site.replica.copy()
    task = task_in(table, request.match_info["task_id"])
    (explanation,) = explain_in_turn(table, [task])
    view = explain_view(task, explanation, state=task.state, leader=site.replica.standing().leader)
    return json_response(view, index=table.index)


async def post_plan(request: web.Request) -> web.Response:
    """Explain where one or more tasks would run if they were submitted now, one after the other."""
    site = site_of(request)
    known_parameters(request)
    documents = tasks_of_plan(await read_json(request))
    if len(documents) > PLAN_TASKS:
        raise Problem("too-large", f"a plan has at most {PLAN_TASKS} tasks, not {len(documents)}")
    checked = [(where, _checked(site, document)) for where, document in documents]
    faults = [_at(where, fault) for where, found in checked if isinstance(found, list) for fault in found]
    if faults:
        raise of_faults(faults[:FAULTS_LISTED])
    tasks = [found for _, found in checked if isinstance(found, Task)]
    table = site.replica.copy()
    index = table.index  # Explaining places tasks in the copy.
    explanations = explain_in_turn(table, tasks)
    leader = site.replica.standing().leader
    pairs = zip(tasks, explanations, strict=True)
    items = [explain_view(task, each, state=None, leader=leader) for task, each in pairs]
    return json_response({"items": items}, index=index)


def _checked(site: Site, document: object) -> Task | list[Fault]:
    """Return the task that *document* would be, or all that keeps it from ever being one."""
    submission = check_submission(document, default_timeout_ms=site.settings.scheduler.default_timeout_ms)
    if not isinstance(submission, Submission):
        return submission
    spec = spec_of(submission)
    packed = pack_spec(spec)
    wish = submitted(spec, len(packed))
    rejections = site.replica.read(lambda table: admit(table, wish, max_queued=site.settings.scheduler.max_queued))
    lasting = [each for each in rejections if each.code not in PASSING]
    if lasting:
        return list(of_rejections(lasting).errors)
    task = new_task(spec, packed, task_id=TaskId(submission.task_id or ""), sequence=0, at=Instant(0))
    return msgspec.structs.replace(task, submitter_node=submission.submitter_node or site.node)


def _at(where: str, fault: Fault) -> Fault:
    return Fault(fault.code, where + fault.pointer, fault.detail)


def routes() -> list[web.RouteDef]:
    """Return these routes."""
    return [web.get("/v1/tasks/{task_id}/explain", get_explanation), web.post("/v1/plan", post_plan)]
