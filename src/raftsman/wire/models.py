"""The shape of a submission as strict models: which fields there are, their types and their spelling.

Rules between fields, and those of maps and pod templates, are ``spec``'s, which also turns pydantic's errors into
faults. Fields whose work is not done here yet are known, and refused when they are given. A null is an absent field.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from raftsman.wire import grammar, quantities
from raftsman.wire.faults import Complaint, clipped

K8S_JOB, SHELL = "k8s_job", "shell"
CONTAINER, SUBAGENT, CLAUDE_RELAY = "container", "subagent", "claude_relay"
LATER_TYPES = (CONTAINER, SUBAGENT, CLAUDE_RELAY)
"""Known, and their blocks are checked; carrying them out is not implemented here."""

POD_SECURITY = ("baseline", "restricted", "none")

TEXTS = 1024
"""Items of command and args, and names in environment: a Job's Pod still fits etcd's 1.5 MiB by far."""

LABELS = 64
NODES = 64  # As many as a cluster has members.
GPUS = 1024
PRIORITY = 100
"""The highest; the lowest is its opposite."""

MOUNTS = 64
TURNS = 10_000
MOST_MS = 10 * 365 * 24 * 3600 * 1000
"""Ten years: a timeout above it is a slip of the unit, and 0 already means none."""

COMPLAINT, LATER = "complaint", "later"
"""Types of our own errors among pydantic's: what a rule says, and what is not implemented here."""


def _camel(name: str) -> str:
    head, *words = name.split("_")  # Pydantic's own makes k8SJob of k8s_job.
    return head + "".join(word.capitalize() for word in words)


def closest(word: str, known: Sequence[str]) -> str:
    """Return "; did you mean …?" for the known word that *word* resembles, or ""."""
    close = get_close_matches(word[:64], known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _complain(text: str, kind: str = COMPLAINT) -> PydanticCustomError:
    return PydanticCustomError(kind, "{text}", {"text": text})


def _obeys(*rules: grammar.Rule) -> AfterValidator:
    def check(text: str) -> str:
        for rule in rules:
            if complaint := rule(text):
                raise _complain(complaint)
        return text

    return AfterValidator(check)


def _reads(parse: Callable[[object], int | Complaint]) -> PlainValidator:
    def check(value: object) -> int:
        parsed = parse(value)
        if isinstance(parsed, int):
            return parsed
        raise _complain(parsed)

    return PlainValidator(check)


def _one_of(*words: str, later: Sequence[str] = ()) -> AfterValidator:
    def check(word: str) -> str:
        if word in later:
            raise _complain(f"{clipped(word)} is not implemented in this version; use {' or '.join(words)}", LATER)
        if word not in words:
            raise _complain(f"must be {' or '.join(words)}, not {clipped(word)}{closest(word, (*words, *later))}")
        return word

    return AfterValidator(check)


def _is_later(_value: object) -> object:
    raise _complain("is not implemented in this version; leave it out", LATER)


def _only_false(value: bool) -> bool:
    if value:
        raise _complain("has no other value than false in this version; leave it out", LATER)
    return value


def _hold(value: object) -> object:
    if value == "hold":
        return value
    if isinstance(value, dict):
        raise _complain("has no other rule than hold in this version; leave it out", LATER)
    raise _complain("must be hold")


def _cores(value: object) -> int | Complaint:
    return (
        Complaint("must be a number of cores; a quantity belongs in cpu")
        if isinstance(value, str)
        else quantities.parse_cpu(value)
    )


Later = Annotated[object, PlainValidator(_is_later)] | None
Text = Annotated[str, _obeys(grammar.no_nul)]
Sentence = Annotated[Text, _obeys(grammar.not_blank)]
Path = Annotated[Text, _obeys(grammar.absolute_path)]
Texts = Annotated[list[Text], Field(max_length=TEXTS)]
Labels = Annotated[dict[str, str], Field(max_length=LABELS)]
NodeName = Annotated[str, _obeys(grammar.node_name)]
NodeNames = Annotated[list[NodeName], Field(max_length=NODES)]
Milliseconds = Annotated[int, Field(ge=0, le=MOST_MS)]


class Block(BaseModel):
    """Base of every object in a submission: camelCase, no field unknown, no value bent into a type."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", alias_generator=_camel)


class ResourcesBlock(Block):
    """What the Job's container may use, as numbers or as Kubernetes quantities."""

    cpu_cores: Annotated[int, _reads(_cores)] | None = None  # Thousandths once read, like `cpu`.
    memory_bytes: Annotated[int, Field(ge=1, le=quantities.MEMORY_BYTES)] | None = None
    requires_gpu: bool | None = None
    gpu_count: Annotated[int, Field(ge=1, le=GPUS)] | None = None
    cpu: Annotated[int, _reads(quantities.parse_cpu)] | None = None
    memory: Annotated[int, _reads(quantities.parse_memory)] | None = None


class K8sJobBlock(Block):
    """One Kubernetes Job."""

    cluster_context: Annotated[str, _obeys(grammar.context_name)]
    image: Annotated[str, _obeys(grammar.image)]
    namespace: Annotated[str, _obeys(grammar.dns_label)] | None = None
    command: Texts | None = None
    args: Texts | None = None
    labels: Labels | None = None
    resources: ResourcesBlock | None = None
    service_account_name: Annotated[str, _obeys(grammar.dns_subdomain)] | None = None
    pod_template: dict[str, Any] | None = None
    pod_security: Annotated[str, _one_of(*POD_SECURITY)] | None = None


class ShellBlock(Block):
    """One command of the node's own machine."""

    command: Sentence
    working_directory: Path | None = None
    sandboxed: Annotated[bool, AfterValidator(_only_false)] | None = None


class MountBlock(Block):
    """A folder of the node inside a container."""

    host_path: Path
    container_path: Path
    read_only: bool | None = None


class ContainerBlock(Block):
    """One container of the node's own machine."""

    image: Annotated[str, _obeys(grammar.image)]
    command: Texts | None = None
    args: Texts | None = None
    labels: Labels | None = None
    mounts: Annotated[list[MountBlock], Field(max_length=MOUNTS)] | None = None


class SubagentBlock(Block):
    """One run of an agent with a prompt of its own."""

    prompt: Sentence
    model: Sentence | None = None
    tools: Annotated[list[Sentence], Field(max_length=TEXTS)] | None = None
    context_summary: Text | None = None
    max_turns: Annotated[int, Field(ge=1, le=TURNS)] | None = None


class ClaudeRelayBlock(Block):
    """A prompt for a session that is there already."""

    target_session_id: Sentence
    prompt: Sentence
    full_context: Text | None = None
    await_response: bool | None = None


class ConstraintsBlock(Block):
    """Which nodes may carry the task out, and which should."""

    allowed_nodes: NodeNames | None = None
    excluded_nodes: NodeNames | None = None
    prefer_local: bool | None = None


class TaskDocument(Block):
    """What a user submits."""

    type: Annotated[str, _one_of(K8S_JOB, SHELL, later=LATER_TYPES)]
    task_id: Annotated[str, _obeys(grammar.task_id)] | None = None
    k8s_job: K8sJobBlock | None = None
    shell: ShellBlock | None = None
    container: ContainerBlock | None = None
    subagent: SubagentBlock | None = None
    claude_relay: ClaudeRelayBlock | None = None
    environment: Annotated[dict[str, Text], Field(max_length=TEXTS)] | None = None
    submitter_node: NodeName | None = None
    timeout_ms: Milliseconds | None = None
    start_timeout_ms: Milliseconds | None = None
    priority: Annotated[int, Field(ge=-PRIORITY, le=PRIORITY)] | None = None
    requirements: Later = None
    constraints: ConstraintsBlock | None = None
    target_nodes: NodeNames | None = None
    retry: Later = None
    on_unreachable: Annotated[object, PlainValidator(_hold)] | None = None
    labels: Labels | None = None
