"""The words for what went wrong: an error of a command, and a task that failed."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import click

from raftsman.cli.exits import Code, code_of_error
from raftsman.cli.words import paint, plain, say
from raftsman.errors import (
    ApiProblem,
    ConnectionFailed,
    NoLeader,
    NotAllowed,
    NotFound,
    OutcomeUnknown,
    RaftsmanError,
)
from raftsman.wire.faults import Fault
from raftsman.wire.views import TaskView

TASK, CONFIGURATION, INFRASTRUCTURE = "task", "configuration", "infrastructure"


@dataclass(frozen=True, slots=True)
class Blame:
    """With what a failure lies, what it means, and what to look at first (``{id}``: the task)."""

    party: str
    meaning: str
    advice: str


_LOGS = "raftsman logs {id}"
_DESCRIBE = "raftsman describe {id}"

BLAME: Mapping[str, Blame] = MappingProxyType(
    {
        "NonZeroExit": Blame(TASK, "a container or command ended with an exit code other than 0", _LOGS),
        "Signal": Blame(TASK, "a signal ended a container or command, and nothing says who sent it", _LOGS),
        "OOMKilled": Blame(
            TASK,
            "a container took more memory than its limit",
            "submit it again with more --memory; raftsman logs {id}",
        ),
        "CommandNotRunnable": Blame(
            TASK,
            "the command cannot be started: there is no such file or working directory, or it is not executable",
            "check the program, its rights and the working directory; raftsman describe {id}",
        ),
        "ImagePull": Blame(
            TASK, "the image cannot be pulled", "check the image's name and its pull secret; raftsman describe {id}"
        ),
        "ImageInvalid": Blame(TASK, "the image's name is not one", "correct the image's name; raftsman describe {id}"),
        "ContainerConfig": Blame(
            TASK,
            "a Secret or ConfigMap is missing, or the image runs as root where that is forbidden",
            "check what the container refers to; raftsman describe {id}",
        ),
        "ContainerCreate": Blame(
            INFRASTRUCTURE, "the runtime, a volume or the network of the Pod could not be set up", _DESCRIBE
        ),
        "Timeout": Blame(
            TASK,
            "the attempt ran longer than its timeout",
            "submit it again with a longer --timeout; raftsman logs {id}",
        ),
        "StartTimeout": Blame(
            INFRASTRUCTURE, "the attempt did not run within its start timeout, and nothing said why", _DESCRIBE
        ),
        "Unschedulable": Blame(
            CONFIGURATION,
            "no Kubernetes node fits the Pod, or none has room",
            "ask for less, or add nodes to the context; raftsman describe {id}",
        ),
        "QuotaExceeded": Blame(
            CONFIGURATION,
            "the namespace's quota has no room, or wants limits that the task does not name",
            "raise the namespace's quota, or ask for less; raftsman describe {id}",
        ),
        "PodSecurity": Blame(
            CONFIGURATION,
            "the namespace's Pod Security level forbids the Pod",
            "see what the namespace's policy forbids; raftsman describe {id}",
        ),
        "LimitRange": Blame(
            CONFIGURATION,
            "the Pod asks for more or less than the namespace allows one to",
            "ask for what the namespace allows; raftsman describe {id}",
        ),
        "ReferenceMissing": Blame(
            TASK,
            "the Pod names a service account, PriorityClass or RuntimeClass that does not exist",
            "create what the Pod refers to; raftsman describe {id}",
        ),
        "AdmissionDenied": Blame(
            CONFIGURATION,
            "an admission webhook or policy of the Kubernetes cluster refused the Pod, or did not answer",
            "ask who runs the context's admission webhooks; raftsman describe {id}",
        ),
        "Forbidden": Blame(
            CONFIGURATION,
            "raftsman's account may not see or create Jobs in the namespace",
            "give raftsman's account the rights of its Role there; raftsman get contexts",
        ),
        "InvalidSpec": Blame(
            TASK, "the Kubernetes API does not accept the Job", "correct what Kubernetes names; raftsman describe {id}"
        ),
        "NamespaceMissing": Blame(
            CONFIGURATION, "the namespace does not exist", "create the namespace; raftsman describe {id}"
        ),
        "NamespaceTerminating": Blame(
            CONFIGURATION, "the namespace is being deleted", "choose another namespace; raftsman describe {id}"
        ),
        "Evicted": Blame(INFRASTRUCTURE, "the Kubernetes node ran short of something and put the Pod out", _DESCRIBE),
        "Preempted": Blame(INFRASTRUCTURE, "a Pod of higher priority took the place", _DESCRIBE),
        "Drained": Blame(
            INFRASTRUCTURE, "the Pod was asked to leave its Kubernetes node, as kubectl drain does", _DESCRIBE
        ),
        "NodeLost": Blame(
            INFRASTRUCTURE, "the Kubernetes node was lost; or the node died that ran the command", _DESCRIBE
        ),
        "NodeShutdown": Blame(INFRASTRUCTURE, "the Kubernetes node was shut down", _DESCRIBE),
        "NodeRejected": Blame(
            INFRASTRUCTURE, "the node refused what was given to it, or had no room for it", _DESCRIBE
        ),
        "ContainerLost": Blame(
            INFRASTRUCTURE, "the container vanished from its Kubernetes node, and nobody saw how it ended", _DESCRIBE
        ),
        "PodDeleted": Blame(
            INFRASTRUCTURE, "somebody deleted the Pod", "find out who deleted the Pod; raftsman describe {id}"
        ),
        "JobDeleted": Blame(
            INFRASTRUCTURE,
            "somebody else than raftsman deleted the Job",
            "find out who deleted the Job; raftsman describe {id}",
        ),
        "JobNameConflict": Blame(
            CONFIGURATION,
            "a Job that is not this attempt's has its name",
            "submit it again under another id; raftsman describe {id}",
        ),
        "ContextUnreachable": Blame(
            CONFIGURATION,
            "the node that was to create the Job has lost the context from its settings",
            "raftsman get contexts",
        ),
        "ResultUnknown": Blame(
            INFRASTRUCTURE,
            "the Job failed or vanished, and nothing is left that says why",
            "look for its effects before you submit it again; raftsman describe {id}",
        ),
        "Internal": Blame(
            INFRASTRUCTURE,
            "raftsman itself could not say why: a fault of ours",
            "report it with the output of: raftsman describe {id} -o json",
        ),
    }
)
"""By the API's closed list of causes; one that a later version adds is taken for the infrastructure's.

``docs/causes.md`` is made from it.
"""


def blame_of(cause: str | None) -> Blame:
    """Return with what a failure lies; without a cause, what the task says itself is all there is."""
    return BLAME.get(cause or "", Blame(INFRASTRUCTURE, "a cause that this version does not know", _DESCRIBE))


def failure_story(task: TaskView, *, with_output: bool) -> list[str]:
    """Return what to tell about a failed task: cause, with what it lies, message, end of the output, next command."""
    blame = blame_of(task["cause"])
    code = task["exitCode"]
    lines = [f"  cause:     {plain(task['cause'] or 'not known')} (lies with the {blame.party})"]
    if code is not None and code >= 0:
        lines.append(f"  exit code: {code}")
    lines += [f"  message:   {each}" for each in _messages(task)]
    if task["error"] and plain(task["error"]) not in _messages(task):
        lines.append(f"  error:     {plain(task['error'])}")
    for name, tail in output_tails(task) if with_output else []:
        lines += [f"  end of {name}:", *(f"    {plain(line)}" for line in tail.splitlines())]
    return [*lines, f"  next:      {blame.advice.format(id=task['taskId'])}"]


def output_tails(task: TaskView) -> list[tuple[str, str]]:
    """Return the ends of the output that the task holds, with what to call them."""
    stdout, stderr = task.get("stdoutTail") or "", task.get("stderrTail") or ""
    if "k8sJob" in task:  # Kubernetes mixes both streams of a container: they are one, whatever it is called.
        return [("the output", stderr or stdout)] if stderr or stdout else []
    return [(name, tail) for name, tail in (("stdout", stdout), ("stderr", stderr)) if tail]


def _messages(task: TaskView) -> list[str]:
    attempts = task.get("attempts") or []
    candidates = [attempts[-1]["message"] if attempts else None, task["reason"]]
    return list(dict.fromkeys(plain(each) for each in candidates if each))


def say_error(message: str) -> None:
    """Say on stderr that the command failed."""
    say(f"{paint('error:', 'red', sys.stderr)} {plain(message)}")


def say_problem(error: RaftsmanError, *, where: Callable[[str], str] = str) -> None:
    """Say on stderr what a cluster answered, every fault once; *where* turns its pointer into a place."""
    faults = [(f"{where(each.pointer) or '/'}: {each.detail or each.code}") for each in _faults(error)]
    if len(faults) == 1 and isinstance(error, ApiProblem):
        say_error(f"{faults.pop()} ({error.errors[0].code or error.code})")  # The sentence above it would say the same.
    else:
        say_error(str(error) if not isinstance(error, ApiProblem) else _sentence(error))
    for each in (*faults, *_more(error)):
        say(f"  {plain(each)}")
    if isinstance(error, NoLeader):
        say("  which nodes are lost: raftsman get nodes")
    if isinstance(error, OutcomeUnknown):
        look = f"get tasks {error.task_id}" if error.task_id else "cluster status"
        say(f"  see what became of it: raftsman {look}")
    if isinstance(error, NotAllowed) and error.status == 401:
        say("  set RAFTSMAN_TOKEN or RAFTSMAN_TOKEN_FILE, or token_file of the profile")
    if isinstance(error, ConnectionFailed):
        say("  is a node running there? --address, RAFTSMAN_ADDRESS or a profile say where to look")


def _more(error: RaftsmanError) -> Iterator[str]:
    """Yield what became of the tries at the other addresses, and what to ask an operator with."""
    if isinstance(error, ApiProblem):
        yield from getattr(error, "__notes__", ())
        if error.request_id and error.status >= 500:
            yield f"request id: {error.request_id}"


def _faults(error: RaftsmanError) -> Sequence[Fault]:
    return error.errors if isinstance(error, ApiProblem) else ()


def _sentence(problem: ApiProblem) -> str:
    text = problem.detail or problem.title or "the node gave no reason"
    if isinstance(problem, NotAllowed) and problem.status == 401:  # The node's words are about HTTP.
        text = (
            "the token that was sent is not accepted"
            if problem.token_was_sent
            else "a token is needed, and none was sent"
        )
    return f"{text} ({problem.code or f'HTTP {problem.status}'})"


@contextmanager
def saying_what_goes_on(*ids: str) -> Iterator[None]:
    """Turn Ctrl-C into exit code 130, and say that the tasks do not end with the command."""
    try:
        yield
    except KeyboardInterrupt:
        if ids:
            say(f"\ninterrupted; {', '.join(ids)} {_go_on(ids)} (raftsman wait {' '.join(ids)}, or raftsman cancel …)")
        raise click.exceptions.Exit(Code.INTERRUPTED) from None


@contextmanager
def saying_what_was_submitted(*ids: str) -> Iterator[None]:
    """Say what goes on when Ctrl-C, or a cluster that cannot be heard any more, ends the following."""
    with saying_what_goes_on(*ids):
        try:
            yield
        except NotFound:
            raise
        except RaftsmanError as error:
            say_problem(error)
            say(f"  {', '.join(ids)} {_go_on(ids)} all the same (raftsman wait {' '.join(ids)}, or raftsman cancel …)")
            raise click.exceptions.Exit(code_of_error(error)) from error


def _go_on(ids: Sequence[str]) -> str:
    return "goes on" if len(ids) == 1 else "go on"
