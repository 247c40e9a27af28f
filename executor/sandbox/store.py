"""The objects of one context, their versions and their last changes: what etcd is to Kubernetes.

One number counts all changes. Objects are never changed in place: ``update`` puts a changed copy in their stead, so
whoever holds one may keep it. Knows nothing of what objects mean; ``deletion`` decides what becomes of owners and
owned, the controllers react to ``subscribe``.
"""

import asyncio
import bisect
import itertools
import secrets
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import msgspec

from raftsman.executor.sandbox.answers import Json, already_exists, expired, modified, not_found
from raftsman.executor.sandbox.clock import stamp
from raftsman.executor.sandbox.kinds import JOBS, PODS, Kind

HISTORY = 5000
"""Changes of one kind that a watch can begin after; etcd keeps five minutes' worth."""

SUFFIX_CHARS = "bcdfghjklmnpqrstvwxz2456789"
"""Of generated names: no vowels, so no words (``apimachinery/pkg/util/rand``)."""

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]
Key = tuple[str, str]
"""Namespace ("" for kinds without) and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one object."""

    version: int
    type: ChangeType
    object: Json
    before: Json | None = None


Listener = Callable[[Kind, Change], None]


class Store:
    """The objects of one context. All methods are for the event loop's thread."""

    def __init__(self, *, history: int = HISTORY, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._history = history
        # From the clock, so that a client of an earlier store finds its versions too old, not in the future.
        self._version = int(clock() * 1000)
        self._floor = self._version
        self._objects: dict[Kind, dict[Key, Json]] = defaultdict(dict)
        self._changes: dict[Kind, list[Change]] = defaultdict(list)
        self._forgotten: dict[Kind, int] = defaultdict(lambda: self._floor)
        self._owned: dict[str, dict[Key, Json]] = {}  # By the UID of the owner.
        self._listeners: list[Listener] = []
        self._wakers: set[asyncio.Event] = set()

    @property
    def version(self) -> int:
        """The number of the last change."""
        return self._version

    def now(self) -> float:
        """Return the Unix time."""
        return self._clock()

    def subscribe(self, listener: Listener) -> None:
        """Call *listener* after every change, before the call that made it returns."""
        self._listeners.append(listener)

    @contextmanager
    def waking(self) -> Iterator[asyncio.Event]:
        """Hand out an event that is set by every change."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        try:
            yield waker
        finally:
            self._wakers.discard(waker)

    def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return the object, or None."""
        return self._objects[kind].get((namespace, name))

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Return the object. Raises ApiError (404)."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind, name)
        return found

    def items(self, kind: Kind, namespace: str = "") -> list[Json]:
        """Return the objects of a namespace, or of all, by namespace and name."""
        found = self._objects[kind]
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def owned(self, uid: str) -> list[Json]:
        """Return the objects that name this UID as their owner."""
        return list(self._owned.get(uid, {}).values())

    def create(self, kind: Kind, new: Json) -> Json:
        """Add an object, which may have its UID already, and return it. Raises ApiError (409)."""
        metadata = new["metadata"]
        if not metadata.get("name"):
            metadata["name"] = self.new_name(kind, metadata.get("namespace", ""), metadata["generateName"])
        present = self.find(kind, *key_of(new))
        if present is not None:
            raise already_exists(kind, metadata["name"], being_deleted="deletionTimestamp" in present["metadata"])
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata["creationTimestamp"] = stamp(self.now())
        if kind in (JOBS, PODS):
            metadata["generation"] = 1
        made = {"kind": kind.kind, "apiVersion": kind.api_version, **new}
        self._put(kind, "ADDED", made, None)
        return made

    def update(self, kind: Kind, key: Key, change: Callable[[Json], None], *, expected_version: str = "") -> Json:
        """Apply *change* to a copy of the object, keep that, and return it; no change makes no version.

        An object that is being deleted and has lost its last finalizer goes. Raises ApiError (404, 409).
        """
        before = self.get(kind, *key)
        if expected_version and expected_version != before["metadata"]["resourceVersion"]:
            raise modified(kind, key[1])
        after = copy_of(before)
        change(after)
        if after == before:
            return before
        if kind is JOBS and after["spec"] != before["spec"]:
            after["metadata"]["generation"] += 1
        self._put(kind, "DELETED" if _may_go(after) else "MODIFIED", after, before)
        return after

    def remove(self, kind: Kind, key: Key) -> None:
        """Take the object away, finalizers or not; one that is not there is none."""
        before = self._objects[kind].get(key)
        if before is not None:
            self._put(kind, "DELETED", {**before, "metadata": dict(before["metadata"])}, before)

    def changes(self, kind: Kind, after: int) -> list[Change]:
        """Return the changes since *after*. Raises ApiError (410) when some of them are forgotten."""
        floor = self._forgotten[kind]
        if after < floor:
            raise expired(f"too old resource version: {after} ({floor})")
        changes = self._changes[kind]
        return changes[bisect.bisect_right(changes, after, key=lambda change: change.version) :]

    def new_name(self, kind: Kind, namespace: str, prefix: str) -> str:
        """Return a name that nothing of the kind has."""
        for _ in itertools.count():
            name = prefix[:58] + "".join(secrets.choice(SUFFIX_CHARS) for _ in range(5))
            if self.find(kind, namespace, name) is None:
                return name
        raise AssertionError("unreachable")

    def _put(self, kind: Kind, type_: ChangeType, new: Json, before: Json | None) -> None:
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        if type_ == "DELETED":
            del self._objects[kind][key_of(new)]
        else:
            self._objects[kind][key_of(new)] = new
        self._index(new, gone=type_ == "DELETED", before=before)
        change = Change(version=self._version, type=type_, object=new, before=before)
        self._remember(kind, change)
        for listener in self._listeners:
            listener(kind, change)
        for waker in self._wakers:
            waker.set()

    def _index(self, new: Json, *, gone: bool, before: Json | None) -> None:
        for owner in owners_of(before or {}):
            owned = self._owned.get(owner, {})
            owned.pop(key_of(new), None)
            if not owned:
                self._owned.pop(owner, None)
        for owner in () if gone else owners_of(new):
            self._owned.setdefault(owner, {})[key_of(new)] = new

    def _remember(self, kind: Kind, change: Change) -> None:
        changes = self._changes[kind]
        changes.append(change)
        if len(changes) > 2 * self._history:  # Half at a time: cutting a list's head costs its whole length.
            self._forgotten[kind] = changes[-self._history - 1].version
            del changes[: -self._history]


_JSON: msgspec.json.Decoder[Json] = msgspec.json.Decoder()


def copy_of(found: Json) -> Json:
    """Return a copy that shares nothing; a round trip through JSON is several times as fast as ``copy.deepcopy``."""
    return _JSON.decode(msgspec.json.encode(found))


def key_of(found: Json) -> Key:
    """Return an object's place in its collection."""
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def owners_of(found: Json) -> list[str]:
    """Return the UIDs of an object's owners."""
    return [owner["uid"] for owner in found.get("metadata", {}).get("ownerReferences") or []]


def _may_go(found: Json) -> bool:
    metadata = found["metadata"]
    deleting = "deletionTimestamp" in metadata and not metadata.get("deletionGracePeriodSeconds")
    return deleting and not metadata.get("finalizers")
