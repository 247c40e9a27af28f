"""Events: what happened to an object, for people; the same thing again raises a count.

Written by the controllers. Kubernetes forgets Events after an hour, and so does this. Served like any other kind.
"""

from raftsman.executor.sandbox.answers import Json
from raftsman.executor.sandbox.clock import micro_stamp, stamp, unix
from raftsman.executor.sandbox.kinds import EVENTS, Kind
from raftsman.executor.sandbox.store import Key, Store, key_of

NORMAL = "Normal"
WARNING = "Warning"
KEEP_S = 3600.0
MOST = 5000
"""However fast they come."""


class Recorder:
    """Writes the Events of one component."""

    def __init__(self, store: Store, component: str, host: str = "") -> None:
        self._store = store
        self._source = {"component": component, **({"host": host} if host else {})}
        self._known: dict[tuple[str, ...], Key] = {}  # What an Event is about and says, and where it is.

    def record(self, kind: Kind, about: Json, type_: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Write an Event about an object, or count the one that says the same."""
        metadata = about["metadata"]
        said = (metadata["uid"], type_, reason, message, field_path)
        now = self._store.now()
        key = self._known.get(said)
        if key is not None and self._store.find(EVENTS, *key) is not None:
            self._store.update(EVENTS, key, lambda event: _count(event, stamp(now)))
            return
        new = self._new(kind, metadata, now)
        new["involvedObject"].update({"fieldPath": field_path} if field_path else {})
        new.update(type=type_, reason=reason, message=message)
        self._known[said] = key_of(self._store.create(EVENTS, new))
        self._forget(now)

    def record_scheduling(self, kind: Kind, about: Json, type_: str, reason: str, message: str) -> None:
        """Write an Event of the newer form, which has no count, as the scheduler does."""
        now = self._store.now()
        new = self._new(kind, about["metadata"], now)
        for field in ("count", "source"):
            del new[field]
        new.update(type=type_, reason=reason, message=message, source={}, action="Binding")
        new.update(firstTimestamp=None, lastTimestamp=None, eventTime=micro_stamp(now))
        self._store.create(EVENTS, new)

    def _new(self, kind: Kind, metadata: Json, now: float) -> Json:
        return {
            "metadata": {
                "name": f"{metadata['name']}.{self._store.version:x}",  # Which sorts like time, and is never the same.
                "namespace": metadata.get("namespace") or "default",
            },
            "involvedObject": {
                "kind": kind.kind,
                "namespace": metadata.get("namespace", ""),
                "name": metadata["name"],
                "uid": metadata["uid"],
                "apiVersion": kind.api_version,
                "resourceVersion": metadata["resourceVersion"],
            },
            "source": self._source,
            "firstTimestamp": stamp(now),
            "lastTimestamp": stamp(now),
            "count": 1,
            "eventTime": None,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source.get("host", ""),
        }

    def _forget(self, now: float) -> None:
        """Drop the old ones, now and then."""
        events = self._store.items(EVENTS) if len(self._known) % 100 == 0 else []
        surplus = len(events) - MOST
        for at, event in enumerate(sorted(events, key=_seen_at)):
            if at < surplus or _seen_at(event) < now - KEEP_S:
                self._store.remove(EVENTS, key_of(event))
        if events:
            self._known = {said: key for said, key in self._known.items() if self._store.find(EVENTS, *key)}


def _count(event: Json, seen_at: str) -> None:
    event["count"] += 1
    event["lastTimestamp"] = seen_at


def _seen_at(event: Json) -> float:
    return unix(event["lastTimestamp"] or event["eventTime"])
