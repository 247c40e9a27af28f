"""The port to Kubernetes: what the executor asks of a context, and how a context can fail.

``executor.kubernetes`` implements it over HTTP; the simulation and the unit tests implement it in memory.
Objects are plain JSON dictionaries, as the API server sends them (pruned in the ``Mirror``). Nothing here
decides anything: that is ``reconcile``.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]

LABEL_DOMAIN = "raftsman.dev"  # A placeholder domain; every label and annotation key of ours derives from it.
LABEL_CLUSTER = f"{LABEL_DOMAIN}/cluster"
LABEL_TASK = f"{LABEL_DOMAIN}/task-id"
LABEL_ATTEMPT = f"{LABEL_DOMAIN}/attempt"
ANNOTATION_TASK = f"{LABEL_DOMAIN}/task"  # The full task id: a label value may have to be a hashed form of it.
ANNOTATION_SEQUENCE = f"{LABEL_DOMAIN}/sequence"  # The task's number in the log: an id comes again, this never does.
ANNOTATION_RELEASED = f"{LABEL_DOMAIN}/released"  # "true" from the moment at which the Job may make its Pod.
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "raftsman"
CONTAINER = "task"  # The container that carries the task; a pod template may bring others.


class KubernetesError(Exception):
    """A context answered no, or did not answer. Subclasses say which, and whether the effect may have happened."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status  # The HTTP code; 0 when there was no answer.
        self.reason = reason  # Of the Status object: AlreadyExists, Invalid, Forbidden …; "" when there was none.


class Unreachable(KubernetesError):
    """No usable answer: refused, timed out, cut, 5xx, 429, a proxy's page. A change may or may not have happened."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after_s = retry_after_s


class NoTurn(Unreachable):
    """The call was never sent, for too many others wait for their turn: nothing has happened."""


class Unauthorized(Unreachable):
    """401, or a 403 given to ``system:anonymous``: our credentials are missing or no longer good."""


class Denied(KubernetesError):
    """The API server said no, for good: 400, 403, 404, 409, 413, 422. Nothing happened."""


class AlreadyExists(Denied):
    """A create found an object of that name."""


class NotFound(Denied):
    """The object, or its namespace, does not exist."""


class Conflict(Denied):
    """The object is not the one meant (its UID differs), or it changed meanwhile."""


class Expired(Denied):
    """410: the resource version is too old; list again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextHealth:
    """Whether a context answers this node."""

    reachable: bool
    error: str  # Why not, in a sentence; "" when it answers.
    since_ms: int  # Unix milliseconds of the last change of `reachable`.


class Mirror(Protocol):
    """A live copy of our Jobs and their Pods in one namespace of one context, pruned, kept by list and watch."""

    @property
    def synced(self) -> bool:
        """Whether both lists are complete and their watches alive: only then does absence mean anything."""

    @property
    def error(self) -> str:
        """Why it is not synced, in a sentence; "" when it is."""

    @property
    def refusal(self) -> str:
        """What the API server does not let this account see, when that is why it is not synced; else ""."""

    @property
    def jobs(self) -> Mapping[str, Json]:
        """Jobs by name."""

    def pods_of(self, job_uid: str) -> list[Json]:
        """Return the Pods of a Job, the oldest first."""

    def departed_pods_of(self, job_uid: str) -> list[Json]:
        """Return the last state of Pods of the Job that were seen once and exist no more (remembered for a while)."""


class Jobs(Protocol):
    """One context. Every call has a deadline of its own and raises ``KubernetesError``."""

    async def create_job(self, namespace: str, manifest: Json) -> Json:
        """Create the Job and return it. Raises AlreadyExists; after Unreachable it may exist all the same."""

    async def get_job(self, namespace: str, name: str) -> Json | None:
        """Return the Job as a quorum knows it (no cache), or None when there is none (its namespace included)."""

    async def release_job(self, namespace: str, name: str, uid: str) -> Json | None:
        """Let the Job make its Pod, if its UID is *uid*, and return it; None when there is no such Job any more.

        Safe to repeat. One that is being deleted makes no Pod all the same.
        """

    async def delete_job(self, namespace: str, name: str, uid: str) -> Json | None:
        """Delete in the foreground if the UID is *uid*; return the Job as the deletion found it, None when it was gone.

        Raises Conflict when the name now belongs to another Job.
        """

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete the Pod, with its own grace, if its UID is *uid*; one that is gone, or another one, is left alone."""

    async def set_ttl(self, namespace: str, name: str, uid: str, seconds: int) -> None:
        """Let Kubernetes remove the finished Job after *seconds*; a Job that is gone, or another one, is left alone."""

    async def list_pods(self, namespace: str, job_uid: str) -> list[Json]:
        """Return the Job's Pods as a quorum knows them."""

    async def list_events(self, namespace: str, uid: str) -> list[Json]:
        """Return the Events about the object, the newest last."""

    def read_log(
        self, namespace: str, pod: str, container: str, *, since: str = "", follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield chunks of the container's output, each line behind its RFC 3339 timestamp.

        *since* is an RFC 3339 instant, of which Kubernetes heeds the whole seconds only. The end of the
        iteration does not mean that the output is complete: a cut connection looks the same. A followed output may
        have to wait for its turn; it yields an empty chunk when that has come, and gives way to others after a while.
        """

    def mirror(self, namespace: str, selector: str, on_change: Callable[[], None]) -> Mirror:
        """Return the mirror of what *selector* matches, started when it was not; *on_change* is called in the loop."""

    async def drop_mirror(self, namespace: str) -> None:
        """Stop the mirror of a namespace that is needed no more."""


class Contexts(Protocol):
    """The contexts of this node."""

    def names(self) -> list[str]:
        """Return the configured names, sorted."""

    def health(self, name: str) -> ContextHealth:
        """Return whether the context answers; a name that is not configured is not reachable and says so."""

    def server_fingerprint(self, name: str) -> str:
        """Return what tells the context's cluster from others, whatever they are called; "" while it is not known."""

    def jobs(self, name: str) -> Jobs | None:
        """Return the context's API, or None while it has none (not configured, or its kubeconfig cannot be read)."""
