"""Our Jobs and their Pods in one namespace of one context, side by side, with memory for Pods that are gone.

A Pod can vanish a second after it ended, and only it knew why. Puts two ``reflector``s together; what the objects
say is read by ``outcome`` and ``reconcile``.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType

from raftsman.executor.jobs import Json
from raftsman.executor.kubernetes.prune import job_uid_of, name_of, prune_job, prune_pod, uid_of
from raftsman.executor.kubernetes.reflector import Gone, Reflector, Source
from raftsman.executor.kubernetes.timing import Timing

DEPARTED_S = 15 * 60.0  # Longer than any pause after which the executor looks again.
DEPARTED = 10_000  # About 60 MB of pruned Pods at most.


class Departed:
    """The last states of Pods that exist no more: for a while, and not more than so many."""

    def __init__(self, timing: Timing, *, keep_s: float = DEPARTED_S, most: int = DEPARTED) -> None:
        self._timing = timing
        self._keep_s = keep_s
        self._most = most
        self._left: OrderedDict[str, tuple[float, Json]] = OrderedDict()  # By UID, the first to leave first.
        self._by_job: dict[str, dict[str, Json]] = {}

    def add(self, pod: Json) -> None:
        """Remember a Pod that has just gone."""
        self.discard(uid_of(pod))
        self._left[uid_of(pod)] = (self._timing.monotonic(), pod)
        self._by_job.setdefault(job_uid_of(pod), {})[uid_of(pod)] = pod
        self._forget()

    def discard(self, uid: str) -> None:
        """Forget a Pod: it is there after all."""
        entry = self._left.pop(uid, None)
        if entry is not None:
            _remove(self._by_job, entry[1])

    def of(self, job_uid: str) -> list[Json]:
        """Return the remembered Pods of a Job, the oldest first."""
        self._forget()
        return _oldest_first(self._by_job.get(job_uid, {}))

    def _forget(self) -> None:
        limit = self._timing.monotonic() - self._keep_s
        while self._left:
            uid, (left_at, _) = next(iter(self._left.items()))
            if left_at > limit and len(self._left) <= self._most:
                return
            self.discard(uid)


class NamespaceMirror:
    """The port ``Mirror``, kept by two tasks of the event loop; ``follow`` starts them."""

    def __init__(self, collections: Callable[[str], tuple[Source, Source]], timing: Timing) -> None:
        """*collections* returns the Jobs and the Pods that a label selector matches."""
        self._collections = collections
        self._timing = timing
        self._departed = Departed(timing)
        self._selector = ""
        self._on_change: Callable[[], None] = lambda: None
        self._told = False
        self._tasks: list[asyncio.Task[None]] = []
        self._jobs: dict[str, Json] = {}
        self._pods: dict[str, dict[str, Json]] = {}  # By the UID of their Job.
        self._reflectors: tuple[Reflector, ...] = ()

    @property
    def synced(self) -> bool:
        """Whether both lists are complete and their watches alive: only then does absence mean anything."""
        return bool(self._reflectors) and all(reflector.live for reflector in self._reflectors)

    @property
    def error(self) -> str:
        """Why it is not synced, in a sentence; "" when it is."""
        if not self._reflectors:
            return "the mirror is stopped"
        return self.refusal or next((reflector.error for reflector in self._reflectors if reflector.error), "")

    @property
    def refusal(self) -> str:
        """What the API server does not let this account see, when that is why it is not synced; else ""."""
        return next((reflector.error for reflector in self._reflectors if reflector.refused), "")

    @property
    def jobs(self) -> Mapping[str, Json]:
        """Jobs by name."""
        return MappingProxyType(self._jobs)

    def pods_of(self, job_uid: str) -> list[Json]:
        """Return the Pods of a Job, the oldest first."""
        return _oldest_first(self._pods.get(job_uid, {}))

    def departed_pods_of(self, job_uid: str) -> list[Json]:
        """Return the last state of Pods of the Job that were seen once and exist no more (for 15 minutes)."""
        return self._departed.of(job_uid)

    def follow(self, selector: str, on_change: Callable[[], None]) -> None:
        """Mirror what *selector* matches, if that is not so already, and call *on_change* after changes."""
        self._on_change = on_change
        if selector == self._selector and self._tasks:
            return
        self._cancel()
        self._selector = selector
        self._start()

    def hope(self) -> None:
        """Try at once what failed and is to be tried again after a pause: the context answers once more."""
        for reflector in self._reflectors:
            reflector.hope()

    async def restart(self) -> None:
        """Forget everything but departed Pods and list again."""
        stopped = self._cancel()
        await asyncio.gather(*stopped, return_exceptions=True)
        self._start()

    async def stop(self) -> None:
        """End the watches."""
        stopped = self._cancel()
        await asyncio.gather(*stopped, return_exceptions=True)

    def _start(self) -> None:
        jobs, pods = self._collections(self._selector)
        self._jobs, self._pods = {}, {}
        self._reflectors = (
            Reflector(
                jobs, prune_job, self._timing, on_change=self._tell, on_seen=self._see_job, on_gone=self._lose_job
            ),
            Reflector(
                pods, prune_pod, self._timing, on_change=self._tell, on_seen=self._see_pod, on_gone=self._lose_pod
            ),
        )
        self._tasks = [asyncio.create_task(reflector.run()) for reflector in self._reflectors]

    def _cancel(self) -> list[asyncio.Task[None]]:
        stopped, self._tasks, self._reflectors = self._tasks, [], ()
        for task in stopped:
            task.cancel()
        return stopped

    def _tell(self) -> None:
        """Call *on_change* once for all changes of this turn of the loop."""
        if not self._told:
            self._told = True
            asyncio.get_running_loop().call_soon(self._tell_now)

    def _tell_now(self) -> None:
        self._told = False
        self._on_change()

    def _see_job(self, job: Json) -> None:
        self._jobs[name_of(job)] = job

    def _lose_job(self, known: Json, _last: Json, _how: Gone) -> None:
        # A Job of the same name may have come before the event of this one's end.
        if uid_of(self._jobs.get(name_of(known), {})) == uid_of(known):
            del self._jobs[name_of(known)]

    def _see_pod(self, pod: Json) -> None:
        self._departed.discard(uid_of(pod))
        self._pods.setdefault(job_uid_of(pod), {})[uid_of(pod)] = pod

    def _lose_pod(self, known: Json, last: Json, how: Gone) -> None:
        _remove(self._pods, known)
        if how is not Gone.LEFT:
            self._departed.add(last)


def _remove(by_job: dict[str, dict[str, Json]], pod: Json) -> None:
    pods = by_job.get(job_uid_of(pod), {})
    pods.pop(uid_of(pod), None)
    if not pods:
        by_job.pop(job_uid_of(pod), None)


def _oldest_first(pods: Mapping[str, Json]) -> list[Json]:
    return sorted(pods.values(), key=lambda pod: (str(pod["metadata"].get("creationTimestamp", "")), name_of(pod)))
