"""What the HTTP API returns, as types: the JSON objects themselves, nothing converted.

``raftsman.node.http`` builds these, ``raftsman.client`` returns them, ``raftsman get -o json`` prints them. Fields may
be added by a later version, never renamed: readers ignore what they do not know. Instants are RFC 3339 in UTC with
milliseconds. Standard library only. What a submission may contain is checked in ``raftsman.wire.spec``.
"""

from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

Row = TypeVar("Row")


class ListView(TypedDict, Generic[Row]):
    """One page of a list. The rows of a list of tasks omit ``attempts`` and the output tails."""

    items: list[Row]
    next: str | None
    """The cursor of the next page; None on the last one."""
    index: int
    """The log index that the page is a reading of."""


# --- tasks --------------------------------------------------------------------------------------


class ResourcesView(TypedDict, total=False):
    """What a Job may use, in numbers or in Kubernetes' quantities."""

    cpuCores: float
    memoryBytes: int
    requiresGpu: bool
    gpuCount: int
    cpu: str | float
    memory: str | int


class K8sJobView(TypedDict):
    """The ``k8sJob`` block of a task."""

    clusterContext: str
    image: str
    namespace: NotRequired[str]
    command: NotRequired[list[str]]
    args: NotRequired[list[str]]
    labels: NotRequired[dict[str, str]]
    resources: NotRequired[ResourcesView]
    serviceAccountName: NotRequired[str]
    podTemplate: NotRequired[dict[str, Any]]
    podSecurity: NotRequired[str]


class ShellView(TypedDict):
    """The ``shell`` block of a task."""

    command: str
    workingDirectory: NotRequired[str]


class ConstraintsView(TypedDict, total=False):
    """Which nodes may carry a task out."""

    allowedNodes: list[str]
    excludedNodes: list[str]
    preferLocal: bool


class JobCountsView(TypedDict):
    """Kubernetes' own counts of a Job's Pods."""

    active: int
    succeeded: int
    failed: int


class AttemptView(TypedDict):
    """One try at a task."""

    number: int
    node: str
    context: str
    jobName: str | None
    jobUid: str | None
    startedAt: str | None
    endedAt: str | None
    exitCode: int | None
    signal: int | None
    cause: str | None
    message: str | None


class NodeReasonView(TypedDict):
    """Why a node cannot take a task now."""

    node: str
    code: str
    message: str


class ContextReasonView(TypedDict):
    """Why a context cannot take a task now."""

    context: str
    code: str
    message: str


class WaitingView(TypedDict):
    """Why a task waits; computed when it is asked for."""

    code: str
    message: str
    nodes: list[NodeReasonView]
    contexts: list[ContextReasonView]


class BestView(TypedDict):
    """Where a task would run."""

    node: str
    context: str | None
    """None for a task that runs on the node itself."""


class LeaderView(TypedDict):
    """Who leads after a transfer of leadership."""

    leader: str


class HeldAttemptView(TypedDict):
    """An attempt that has not ended: which node looks after it, and what it waits for."""

    number: int
    node: str
    context: str | None
    """None for a task that runs on the node itself."""
    conditions: list[str]
    reason: str | None
    """What it waits for, or what happened to it last."""
    cause: str | None
    """What it would have failed of, if that lasts or if it is being stopped."""
    nodes: list[NodeReasonView]
    """Who cannot take it over; told when its own node does not answer, or is cut off from its context."""


class ExplainView(TypedDict):
    """Where a task would run now, or why nowhere; and everything that is excluded, also when it can be placed.

    Of a task that has a node, or has ended, all but ``state`` and ``attempt`` says what would be if it were tried
    again.
    """

    taskId: str | None
    """None for a task that was only planned and names no id."""
    state: str | None
    """None for a task that was only planned."""
    attempt: HeldAttemptView | None
    """Who looks after the task; None while nobody does."""
    leader: str | None
    """None when the answering node knows no leader: nothing is placed until there is one, and this may be old."""
    placeable: bool
    best: BestView | None
    waiting: WaitingView | None
    """Why it cannot be placed."""
    nodes: list[NodeReasonView]
    contexts: list[ContextReasonView]
    help: list[str]
    """What would help."""


class PlanView(TypedDict):
    """Where tasks would run if they were submitted now, one after the other."""

    items: list[ExplainView]


class TaskView(TypedDict):
    """A task: what was submitted, and what became of it."""

    taskId: str
    type: str
    k8sJob: NotRequired[K8sJobView]
    shell: NotRequired[ShellView]
    environment: NotRequired[dict[str, str]]
    timeoutMs: NotRequired[int]
    startTimeoutMs: NotRequired[int]
    priority: NotRequired[int]
    constraints: NotRequired[ConstraintsView]
    targetNodes: NotRequired[list[str]]
    labels: NotRequired[dict[str, str]]

    state: str
    """queued, assigned, running, completed, failed or cancelled."""
    conditions: list[str]
    reason: str | None
    waiting: NotRequired[WaitingView]
    """Only while the task waits."""
    submittedAt: str
    submitterNode: str
    principal: str | None
    assignedNode: str | None
    attempt: int
    """The number of the current or last attempt; 0 before the first."""
    startedAt: str | None
    completedAt: str | None
    exitCode: int | None
    error: str | None
    cause: str | None
    retryOf: str | None
    job: NotRequired[JobCountsView | None]
    """The Pods of the current or last attempt's Job, when they have been counted."""
    attempts: NotRequired[list[AttemptView]]
    stdoutTail: NotRequired[str | None]
    stderrTail: NotRequired[str | None]
    index: int
    """The log index of its last change."""


EventView = TypedDict(
    "EventView",
    {
        "id": str,  # "<index>.<n>": the changes of one log entry share its index.
        "index": int,
        "n": int,
        "at": str,
        "taskId": str,
        "attempt": int,
        "from": str | None,  # None: the task did not exist before. May equal `to`.
        "to": str,
        "conditions": list[str],
        "cause": str | None,
        "node": str | None,
        "reason": str | None,
        "job": JobCountsView | None,
    },
)
"""One visible change of a task."""


# --- output ---------------------------------------------------------------------------------------


class LogLineView(TypedDict):
    """A line of output, without its line feed."""

    attempt: int
    stream: str
    at: str
    line: str


class LogCutView(TypedDict):
    """Here so many bytes were dropped."""

    cut: int


class LogEndView(TypedDict):
    """The last record of a stream of output."""

    end: Literal["complete", "truncated", "unavailable"]
    reason: str | None


# --- the cluster -----------------------------------------------------------------------------------


class MemberView(TypedDict):
    """A node as the cluster knows it."""

    name: str
    role: str
    """leader, follower or, when nobody hears of it, lost."""
    url: str
    alive: bool
    lag: int | None
    """Log entries that it has still to apply; None when not known."""
    contexts: list[str]
    slots: int
    version: str


class ClusterView(TypedDict):
    """The nodes together, as the answering node sees them."""

    name: str
    uuid: str | None
    leader: str | None
    term: int
    commitIndex: int
    appliedIndex: int
    stateHash: str
    canLose: int
    """How many more members may be lost before nothing can be committed."""
    members: list[MemberView]


class ContextView(TypedDict):
    """A Kubernetes cluster that nodes can reach."""

    name: str
    reachableFrom: list[str]
    health: str
    since: str | None
    error: str | None
    credentialsExpireAt: str | None
    running: int


class ContextsView(TypedDict):
    """All contexts that any member lists."""

    items: list[ContextView]


class VersionView(TypedDict):
    """What the answering node runs."""

    version: str
    node: NotRequired[str]
    python: NotRequired[str]


# --- limits and readiness -----------------------------------------------------------------------------


class SubmissionLimitsView(TypedDict):
    """Bounds of one submitted task."""

    specBytes: int
    """Of the task after defaults, packed as the log keeps it."""
    taskIdChars: int
    contextChars: int
    nodeNameChars: int
    imageChars: int
    labels: int
    labelChars: int
    """Of a label's name and of its value."""
    environmentNames: int
    commandItems: int
    """Of `command` and of `args`."""
    nodes: int
    """Names in `constraints` and in `targetNodes`."""
    cpuMillis: int
    memoryBytes: int
    gpuCount: int
    timeoutMs: int
    lowestPriority: int
    highestPriority: int


class RequestLimitsView(TypedDict):
    """Bounds of one HTTP request and its answer."""

    bodyBytes: int
    bodyDepth: int
    bodyValues: int
    faults: int
    """That one answer names."""
    lineBytes: int
    """Of the request line, and of one header."""
    waitMs: int
    pageRows: int
    defaultPageRows: int
    planTasks: int
    tailLines: int
    arrivalMs: int
    """In which a request must arrive whole."""
    connections: int
    """Open at a time; fewer when this process may open few files."""
    passedOnOutputs: int
    """Of other nodes, at a time: beyond it they must be asked themselves."""


class KeptLimitsView(TypedDict):
    """How much is kept, and how long."""

    events: int
    """Of all tasks, on each node."""
    eventsPerTask: int
    queuedTasks: int
    finishedTasks: int
    finishedMs: int
    idempotencyKeys: int
    idempotencyKeyChars: int
    idempotencyKeyMs: int
    outputHeadBytes: int
    outputTailBytes: int
    outputTotalBytes: int
    """Of all attempts together, on each node."""
    tailInTaskBytes: int
    """Of the output that stands in the task itself."""
    reasonBytes: int
    nodes: int
    contextsPerNode: int


class LimitsView(TypedDict):
    """Every bound that a user can meet; those that are settings, as the answering node has them."""

    submission: SubmissionLimitsView
    requests: RequestLimitsView
    kept: KeptLimitsView


class ReadinessReasonView(TypedDict):
    """Why a node cannot serve yet."""

    code: str
    message: str


class ReadinessView(TypedDict):
    """Whether a node can serve: nothing speaks against it when there are no reasons."""

    reasons: list[ReadinessReasonView]


# --- errors (RFC 9457) ---------------------------------------------------------------------------------


class FaultView(TypedDict):
    """One fault of a request's body."""

    pointer: str
    code: str
    detail: str


class ProblemView(TypedDict):
    """The body of every answer of 400 and above."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: NotRequired[str]
    requestId: NotRequired[str]
    taskId: NotRequired[str]
    """With `outcome-unknown`: the id under which the request can be repeated."""
    oldestIndex: NotRequired[int]
    """With `events-compacted`: where the events begin that are still kept."""
    errors: NotRequired[list[FaultView]]
