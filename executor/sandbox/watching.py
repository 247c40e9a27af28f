"""Watches: the changes of a collection as they come, in the form of the API's watch events.

An object that leaves the selector is ``DELETED`` in its last matching state, one that enters it ``ADDED``; a version
that is forgotten is answered with an ERROR event; one of the future with silence; all as in Kubernetes. Yields
events; ``server`` writes them.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator

from raftsman.executor.sandbox.answers import ApiError, Json
from raftsman.executor.sandbox.kinds import Kind
from raftsman.executor.sandbox.query import ListOptions, version_number
from raftsman.executor.sandbox.selection import Selector, parse_selector
from raftsman.executor.sandbox.store import Change, Store

BOOKMARK_S = 60.0
LAST_BOOKMARK_S = 2.0  # Before the end of the watch, so that the next one can begin late.
DEFAULT_TIMEOUT_S = (1800.0, 3600.0)
INITIAL_END = "k8s.io/initial-events-end"


class Watch:
    """One watch of the objects of a kind in a namespace ("" is all). Raises ApiError for bad options."""

    def __init__(self, store: Store, kind: Kind, namespace: str, options: ListOptions) -> None:
        self._store = store
        self._kind = kind
        self._namespace = namespace
        self._options = options
        self._selector: Selector = parse_selector(kind, options.labels, options.fields)
        self._asked = version_number(options)
        self._version = store.version if self._asked is None else self._asked
        self._broken = False
        length_s = options.timeout_s or random.uniform(*DEFAULT_TIMEOUT_S)  # noqa: S311 — spreads load, no secret.
        self._end = time.monotonic() + length_s
        self._marks = self._mark_times(length_s)

    async def events(self) -> AsyncIterator[Json]:
        """Yield the events until the time is over."""
        for initial in self._initial():
            yield initial
        with self._store.waking() as waker:
            while True:
                waker.clear()
                for event in self._pending():
                    yield event
                if self._broken or time.monotonic() >= self._end:
                    return
                if await self._silence(waker):
                    yield self._bookmark()

    def _pending(self) -> list[Json]:
        """Return what has happened since the last look; a version that is forgotten breaks the watch."""
        try:
            changes = self._store.changes(self._kind, self._version)
        except ApiError as error:
            self._broken = True
            return [{"type": "ERROR", "object": error.status()}]
        # The newest version, so that bookmarks tell it; one of the future is waited for.
        self._version = max(self._version, self._store.version)
        return [event for change in changes if (event := self._event(change)) is not None]

    def _initial(self) -> list[Json]:
        """Return what there is already, when the watch does not begin after a version."""
        if self._asked is not None and not self._options.initial_events:
            return []
        self._version = self._store.version
        found = self._store.items(self._kind, self._namespace)
        events = [{"type": "ADDED", "object": each} for each in found if self._selector.matches(each)]
        if self._options.initial_events:
            mark = self._bookmark()
            mark["object"]["metadata"]["annotations"] = {INITIAL_END: "true"}
            events.append(mark)
        return events

    def _event(self, change: Change) -> Json | None:
        """Return what the change is to somebody who sees only what is selected."""
        now = self._sees(change.object)
        if change.type != "MODIFIED":
            return {"type": change.type, "object": change.object} if now else None
        assert change.before is not None, "a modified object was something before"
        before = self._sees(change.before)
        if now:
            return {"type": "MODIFIED" if before else "ADDED", "object": change.object}
        if not before:
            return None
        version = change.object["metadata"]["resourceVersion"]
        last = {**change.before, "metadata": {**change.before["metadata"], "resourceVersion": version}}
        return {"type": "DELETED", "object": last}

    def _sees(self, found: Json) -> bool:
        here = not self._namespace or found["metadata"].get("namespace") == self._namespace
        return here and self._selector.matches(found)

    async def _silence(self, waker: asyncio.Event) -> bool:
        """Wait for a change or the end; return True when it is time for a bookmark instead."""
        until = min(self._marks[0] if self._marks else self._end, self._end)
        try:
            await asyncio.wait_for(waker.wait(), max(until - time.monotonic(), 0.0))
        except TimeoutError:
            if self._marks and time.monotonic() >= self._marks[0]:
                del self._marks[0]
                return True
        return False

    def _mark_times(self, length_s: float) -> list[float]:
        if not self._options.bookmarks:
            return []
        begin = time.monotonic()
        regular = [begin + BOOKMARK_S * at for at in range(1, int(length_s / BOOKMARK_S) + 1)]
        last = [self._end - LAST_BOOKMARK_S] if length_s > LAST_BOOKMARK_S else []
        return sorted([*regular, *last])

    def _bookmark(self) -> Json:
        metadata = {"resourceVersion": str(self._version)}
        return {
            "type": "BOOKMARK",
            "object": {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata},
        }
