"""Every metric of a node, named here and nowhere else, in Prometheus' format.

Counters are told by whoever counts; gauges are read from the node when somebody asks. No label carries an id
or anything a user wrote, so the number of series is bounded.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raftsman.raft.figures import Figures
from raftsman.raft.lifecycle import State
from raftsman.raft.records import Change, Instant, Task

PREFIX = "raftsman"
EVER = Instant(0)
QUICK_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5)
"""Buckets for what takes a millisecond when all is well."""
LONG_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 43_200, 86_400, 604_800)
"""Buckets for what batch work takes: up to a week."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the gauges show, at the moment somebody asks."""

    leads: bool
    term: int
    log: Figures
    applied_index: int
    apply_errors: int
    tasks: Tally[State]
    unplaceable: Tally[str]
    context_up: dict[str, bool]
    watchers: int


class Metrics:
    """The counters of this node, and the page that shows them with the gauges.

    *since*: what happened to tasks before is history that a start applies again, and is not counted.
    """

    def __init__(self, *, version: str, since: Instant = EVER) -> None:
        self._since = since
        self.registry = CollectorRegistry()
        self.watchers = 0
        """Open streams of output and events."""
        self.leader_changes = self._counter("raft_leader_changes_total", "Changes of leader that this node saw.")
        self.finished = self._counter("tasks_finished_total", "Tasks that ended.", "state", "cause")
        self.started = self._counter("attempts_started_total", "Jobs that this node created.", "context")
        self.adopted = self._counter("attempts_adopted_total", "Jobs that this node found and took over.", "context")
        self.duplicates = self._counter("duplicate_jobs_total", "Second Jobs of an attempt; must stay 0.")
        self.context_requests = self._counter(
            "context_requests_total", "Requests to Kubernetes.", "context", "verb", "code"
        )
        self.http_requests = self._counter("http_requests_total", "Requests answered.", "route", "method", "code")
        self.http_seconds = self._histogram("http_request_duration_seconds", "Time to the end of an answer.", "route")
        self.commit_seconds = self._histogram(
            "raft_commit_duration_seconds", "From a proposal to its application.", buckets=QUICK_S
        )
        self.sync_seconds = self._histogram(
            "raft_sync_duration_seconds", "Writing to the journal and syncing it.", buckets=QUICK_S
        )
        self.snapshot_seconds = self._histogram("snapshot_duration_seconds", "Writing a snapshot of the table.")
        self.plan_seconds = self._histogram(
            "plan_duration_seconds", "Deciding what to propose, while this node leads.", buckets=QUICK_S
        )
        self.wait_seconds = self._histogram("task_wait_seconds", "From submission to running.", buckets=LONG_S)
        self.run_seconds = self._histogram("attempt_run_seconds", "From running to the end.", buckets=LONG_S)
        Info(f"{PREFIX}_build", "What runs.", registry=self.registry).info({"version": version})

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS
    ) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, labels, registry=self.registry, buckets=buckets)

    def note(self, change: Change, task: Task) -> None:
        """Count a change that was applied here, and the time that the part of the life it ends took."""
        if change.after is change.before or change.at < self._since:
            return
        if change.after is State.RUNNING:
            self.wait_seconds.observe(max(change.at - task.submitted_at, 0) / 1000)
        if change.after.ended:
            self.finished.labels(change.after.value, change.cause.value if change.cause else "").inc()
        if change.after.ended and task.attempt and task.attempt.running_since is not None:
            self.run_seconds.observe(max(change.at - task.attempt.running_since, 0) / 1000)

    def gauges(self, read: Callable[[], Reading]) -> None:
        """Show what *read* returns whenever the page is asked for."""
        self.registry.register(_Gauges(read))

    def page(self) -> bytes:
        """Return the page that Prometheus scrapes."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return []  # Nothing is read before somebody asks.

    def collect(self) -> Iterable[Metric]:
        now = self._read()
        yield _gauge("raft_is_leader", "1 while this node leads.", {(): float(now.leads)})
        yield _gauge("raft_term", "The current term.", {(): now.term})
        yield _gauge("raft_applied_index", "The last entry applied here.", {(): now.applied_index})
        yield _counter("apply_errors_total", "Entries that could not be applied; must stay 0.", now.apply_errors)
        yield from _of_the_log(now.log)
        yield _gauge("tasks", "Tasks by state.", {(s.value,): now.tasks[s] for s in State}, "state")
        waiting: dict[tuple[str, ...], float] = {(code,): count for code, count in now.unplaceable.items()}
        yield _gauge("unplaceable_tasks", "Queued tasks that no node can take now.", waiting, "reason")
        up: dict[tuple[str, ...], float] = {(name,): reachable for name, reachable in now.context_up.items()}
        yield _gauge("context_up", "1 while this node reaches the context.", up, "context")
        yield _gauge("watchers", "Open streams of output and events.", {(): now.watchers})


def _of_the_log(log: Figures) -> Iterable[Metric]:
    yield _gauge("raft_commit_index", "The last entry known to be committed.", {(): log.commit_index})
    yield _gauge("raft_log_bytes", "Bytes of the journal's segments in use.", {(): log.log_bytes})
    yield _gauge("raft_log_entries", "Entries held in the journal.", {(): log.entries})
    yield _gauge("raft_snapshot_index", "The last entry in the newest snapshot; 0: none.", {(): log.snapshot_index})
    yield _gauge("raft_disk_full", "1 while there is no room to accept anything new.", {(): float(log.disk_full)})
    yield _gauge("raft_linked_nodes", "Other nodes that this one has a link to.", {(): log.linked})
    behind: dict[tuple[str, ...], float] = {(node,): entries for node, entries in log.behind.items()}
    yield _gauge("raft_lag_entries", "Entries that a node is not known to have; told by the leader.", behind, "node")
    yield _counter(
        "raft_torn_ends_cut_total", "Unfinished last writes cut from the journal at this start.", log.torn_ends_cut
    )
    yield _counter(
        "raft_refused_connections_total", "Connections of the log that were refused.", log.refused_connections
    )


def _counter(name: str, text: str, value: float) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text)
    family.add_metric((), value)
    return family


def _gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
