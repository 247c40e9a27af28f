"""The kinds of object the development Kubernetes has, and what the API calls them.

A table; ``discovery`` tells it to clients, ``server`` makes routes of it, ``answers`` takes names from it.
"""

from dataclasses import dataclass

READ = ("get", "list", "watch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of object and its names."""

    plural: str
    kind: str
    singular: str
    group: str = ""  # "" is the core group.
    version: str = "v1"
    namespaced: bool = True
    verbs: tuple[str, ...] = READ
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """What objects carry as ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """The path below which the kind's collections are."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def qualified(self) -> str:
        """The collection's name in sentences about objects: ``jobs.batch``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind's name in sentences about fields: ``Job.batch``, ``Pod``."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


JOBS = Kind(
    plural="jobs",
    kind="Job",
    singular="job",
    group="batch",
    verbs=("create", "delete", *READ, "patch"),
    categories=("all",),
)
PODS = Kind(
    plural="pods", kind="Pod", singular="pod", verbs=("delete", *READ), short_names=("po",), categories=("all",)
)
EVENTS = Kind(plural="events", kind="Event", singular="event", short_names=("ev",))
NAMESPACES = Kind(
    plural="namespaces",
    kind="Namespace",
    singular="namespace",
    namespaced=False,
    verbs=("create", "delete", *READ),
    short_names=("ns",),
)
SERVICE_ACCOUNTS = Kind(plural="serviceaccounts", kind="ServiceAccount", singular="serviceaccount", short_names=("sa",))
KINDS = (JOBS, PODS, EVENTS, NAMESPACES, SERVICE_ACCOUNTS)
