"""``/v1/limits``: every bound that a user can meet, from the places where they are kept."""

from aiohttp import web

from raftsman.node import descriptors
from raftsman.node.changes import RING_CHANGES
from raftsman.node.http.answers import json_response
from raftsman.node.http.events import MAX_PAGE_EVENTS, PAGE_EVENTS
from raftsman.node.http.listener import ARRIVAL_S, LINE_BYTES
from raftsman.node.http.logs import MAX_TAIL_LINES
from raftsman.node.http.site import LONGEST_WAIT_MS, Site, known_parameters, site_of
from raftsman.node.http.tasks import MAX_PAGE_TASKS, PAGE_TASKS
from raftsman.raft import limits
from raftsman.wire import grammar, models, quantities
from raftsman.wire.bodies import PLAN_TASKS
from raftsman.wire.document import DEPTH, VALUES
from raftsman.wire.faults import FAULTS_LISTED
from raftsman.wire.views import KeptLimitsView, LimitsView, RequestLimitsView, SubmissionLimitsView


async def get_limits(request: web.Request) -> web.Response:
    """Show every bound."""
    known_parameters(request)
    return json_response(limits_view(site_of(request)))


def limits_view(site: Site) -> LimitsView:
    """Return the bounds as JSON; those that are settings, as this node has them."""
    return {"submission": _submission(), "requests": _requests(site), "kept": _kept(site)}


def _submission() -> SubmissionLimitsView:
    return {
        "specBytes": limits.SPEC_BYTES,
        "taskIdChars": grammar.TASK_ID_CHARS,
        "contextChars": grammar.CONTEXT_CHARS,
        "nodeNameChars": grammar.NODE_CHARS,
        "imageChars": grammar.IMAGE_CHARS,
        "labels": models.LABELS,
        "labelChars": grammar.LABEL_CHARS,
        "environmentNames": models.TEXTS,
        "commandItems": models.TEXTS,
        "nodes": models.NODES,
        "cpuMillis": quantities.CPU_MILLIS,
        "memoryBytes": quantities.MEMORY_BYTES,
        "gpuCount": models.GPUS,
        "timeoutMs": models.MOST_MS,
        "lowestPriority": -models.PRIORITY,
        "highestPriority": models.PRIORITY,
    }


def _requests(site: Site) -> RequestLimitsView:
    shares = descriptors.shares()
    assert (PAGE_EVENTS, MAX_PAGE_EVENTS) == (PAGE_TASKS, MAX_PAGE_TASKS)
    return {
        "bodyBytes": site.settings.http.max_body_bytes,
        "bodyDepth": DEPTH,
        "bodyValues": VALUES,
        "faults": FAULTS_LISTED,
        "lineBytes": LINE_BYTES,
        "waitMs": LONGEST_WAIT_MS,
        "pageRows": MAX_PAGE_TASKS,
        "defaultPageRows": PAGE_TASKS,
        "planTasks": PLAN_TASKS,
        "tailLines": MAX_TAIL_LINES,
        "arrivalMs": round(ARRIVAL_S * 1000),
        "connections": shares.connections,
        "passedOnOutputs": shares.relays,
    }


def _kept(site: Site) -> KeptLimitsView:
    scheduler, output = site.settings.scheduler, site.settings.executor.log_keep
    return {
        "events": RING_CHANGES,
        "eventsPerTask": limits.CHANGES_PER_TASK,
        "queuedTasks": scheduler.max_queued,
        "finishedTasks": scheduler.keep_finished_count,
        "finishedMs": scheduler.keep_finished_ms,
        "idempotencyKeys": limits.IDEMPOTENCY_KEYS,
        "idempotencyKeyChars": limits.IDEMPOTENCY_KEY_CHARS,
        "idempotencyKeyMs": limits.IDEMPOTENCY_KEY_MS,
        "outputHeadBytes": output.head_bytes,
        "outputTailBytes": output.tail_bytes,
        "outputTotalBytes": output.total_bytes,
        "tailInTaskBytes": limits.OUTPUT_TAIL_BYTES,
        "reasonBytes": limits.REASON_BYTES,
        "nodes": limits.MEMBERS,
        "contextsPerNode": limits.CONTEXTS_PER_MEMBER,
    }


def routes() -> list[web.RouteDef]:
    """Return this resource's route."""
    return [web.get("/v1/limits", get_limits)]
