"""A container's output over HTTP: which container, which part of it, or why there is none yet.

Reads options and the Pod; the lines come from ``logfile``, the writing is ``server``'s.
"""

from collections.abc import Mapping
from datetime import datetime

from raftsman.executor.sandbox.answers import (
    ApiError,
    Cause,
    Json,
    bad_request,
    forbidden_value,
    invalid,
    invalid_value,
)
from raftsman.executor.sandbox.defaults import containers_of
from raftsman.executor.sandbox.logfile import Reading
from raftsman.executor.sandbox.query import flag, integer

_PULLING = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
_AT_LEAST = {"tailLines": (0, "must be greater than or equal to 0"), "limitBytes": (1, "must be greater than 0")}


def reading(pod: Json, query: Mapping[str, str], *, now: float) -> Reading:
    """Return what is asked for. Raises ApiError (400, 422)."""
    numbers = {name: integer(query, name) for name in ("tailLines", "limitBytes", "sinceSeconds")}
    since = _since(query)
    faults = [
        invalid_value(name, value, text)
        for name, (least, text) in {**_AT_LEAST, "sinceSeconds": (1, "must be greater than 0")}.items()
        if (value := numbers[name]) is not None and value < least
    ]
    faults += _clashes(query, numbers["sinceSeconds"])
    if faults:
        raise invalid("PodLogOptions", pod["metadata"]["name"], faults)
    if numbers["sinceSeconds"] is not None:
        since = int(now) - numbers["sinceSeconds"]
    return Reading(
        timestamps=flag(query, "timestamps"),
        since_s=since,
        tail_lines=numbers["tailLines"],
        limit_bytes=numbers["limitBytes"],
        follow=flag(query, "follow"),
    )


def container_name(pod: Json, asked: str) -> str:
    """Return the container whose output is meant. Raises ApiError (400)."""
    name = pod["metadata"]["name"]
    names = [each["name"] for each in pod["spec"]["containers"]]
    if not asked and len(names) == 1:
        return str(names[0])
    if not asked:
        inits = [each["name"] for each in pod["spec"].get("initContainers") or []]
        more = f" or one of the init containers: [{' '.join(inits)}]" if inits else ""
        message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]{more}"
        raise bad_request(message)
    if asked not in {each["name"] for each in containers_of(pod["spec"])}:
        raise bad_request(f"container {asked} is not valid for pod {name}")
    return asked


def no_output(pod: Json, container: str) -> ApiError:
    """Return why a container that was never started has no output."""
    name = pod["metadata"]["name"]
    statuses = [*(pod["status"].get("initContainerStatuses") or []), *(pod["status"].get("containerStatuses") or [])]
    state: Json = next((each["state"] for each in statuses if each["name"] == container), {})
    reason = (state.get("waiting") or {}).get("reason", "")
    if reason:
        reason = _PULLING.get(reason, reason)
        return bad_request(f'container "{container}" in pod "{name}" is waiting to start: {reason}')
    return bad_request(f'container "{container}" in pod "{name}" is not available')


def no_previous(pod: Json, container: str) -> ApiError:
    """Return the refusal of an earlier run's output: nothing runs twice here."""
    return bad_request(f'previous terminated container "{container}" in pod "{pod["metadata"]["name"]}" not found')


def _since(query: Mapping[str, str]) -> int | None:
    text = query.get("sinceTime", "")
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        layout = "2006-01-02T15:04:05Z07:00"
        raise bad_request(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"') from error
    return int(found.timestamp())


def _clashes(query: Mapping[str, str], since_s: int | None) -> list[Cause]:
    found = []
    if since_s is not None and query.get("sinceTime"):
        found.append(forbidden_value("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if query.get("stream", "All") != "All":
        found.append(forbidden_value("stream", "may not be specified"))
    return found
