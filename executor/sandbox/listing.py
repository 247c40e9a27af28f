"""Lists, page by page, and single objects, as JSON or as tables.

Pure functions of a store. A page shows the present state under the version of the first page; whoever watches from
there sees what came in between once more, and misses nothing.
"""

import base64
import binascii
import json
from collections.abc import Sequence

from raftsman.executor.sandbox.answers import ApiError, Json, bad_request, expired
from raftsman.executor.sandbox.kinds import Kind
from raftsman.executor.sandbox.query import ListOptions, version_number
from raftsman.executor.sandbox.selection import parse_selector
from raftsman.executor.sandbox.store import Key, Store, key_of

CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter."
)


def list_page(store: Store, kind: Kind, namespace: str, options: ListOptions) -> tuple[Json, list[Json]]:
    """Return the list's metadata and its objects. Raises ApiError (400, 410, 504)."""
    selector = parse_selector(kind, options.labels, options.fields)
    version, start = _position(store, kind, options)
    found = [each for each in store.items(kind, namespace) if key_of(each) > start and selector.matches(each)]
    page = found[: options.limit] if options.limit > 0 else found
    metadata: Json = {"resourceVersion": str(version)}
    if len(page) < len(found):
        metadata["continue"] = _token(version, key_of(page[-1]))
        if selector.selects_all:
            metadata["remainingItemCount"] = len(found) - len(page)
    return metadata, page


def list_document(kind: Kind, metadata: Json, objects: Sequence[Json]) -> Json:
    """Return a list; its items do not repeat what they are."""
    items = [{key: value for key, value in each.items() if key not in ("kind", "apiVersion")} for each in objects]
    return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}


def wants_table(accept: str) -> bool:
    """Return whether the client prefers a Table to the objects themselves."""
    first = next((each for each in accept.split(",") if "application/json" in each), "")
    return "as=Table" in first


def _position(store: Store, kind: Kind, options: ListOptions) -> tuple[int, Key]:
    """Return the version that the list has and the key it begins behind."""
    if options.token:
        version, start = _parse_token(options.token)
        try:
            store.changes(kind, version)
        except ApiError as error:
            raise expired(CONTINUE_EXPIRED) from error
        return version, start
    asked = version_number(options)
    if asked is not None and asked > store.version:
        raise _too_large(asked, store.version)
    if asked is not None and options.version_match == "Exact" and asked != store.version:
        raise expired("The resourceVersion for the provided list is too old.")
    return store.version, ("", "")


def _too_large(asked: int, current: int) -> ApiError:
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1})


def _token(version: int, last: Key) -> str:
    content = {"v": "meta.k8s.io/v1", "rv": version, "start": list(last)}
    return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")


def _parse_token(token: str) -> tuple[int, Key]:
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = content["start"]
        return int(content["rv"]), (str(namespace), str(name))
    except (binascii.Error, ValueError, TypeError, KeyError) as error:
        raise bad_request("invalid continue token: continue key is not valid") from error
