"""What happens in a playground, as values; the command line finds the words."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """Another node leads; None: at the moment none does."""

    leader: str | None
    term: int


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A node's process has ended; *code* is negative for the signal that ended it, None when it was not our child."""

    name: str
    pid: int
    code: int | None
    asked: bool  # Whether we killed it.
    running: int  # How many nodes are left …
    of: int  # … of how many.


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node's process runs again."""

    name: str
    pid: int
    by_us: bool


@dataclass(frozen=True, slots=True)
class NodeReady:
    """A node that was started again serves."""

    name: str


@dataclass(frozen=True, slots=True)
class KubernetesGone:
    """The development Kubernetes has ended by itself."""

    code: int


News = LeaderChanged | NodeGone | NodeStarted | NodeReady | KubernetesGone
