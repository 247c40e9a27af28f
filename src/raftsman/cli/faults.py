"""The words for what went wrong: an error of a command, and a task that failed."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import click

from raftsman.cli.exits import Code
from raftsman.cli.words import paint, plain, say
from raftsman.errors import ApiProblem, ConnectionFailed, OutcomeUnknown, RaftsmanError
from raftsman.wire.views import TaskView

USER, CONFIGURATION, INFRASTRUCTURE = "user", "configuration", "infrastructure"


@dataclass(frozen=True, slots=True)
class Blame:
    """Whose move it is after a failure, and what to look at first (``{id}``: the task)."""

    party: str
    advice: str


_LOGS = "raftsman logs {id}"
_DESCRIBE = "raftsman describe {id}"

BLAME: Mapping[str, Blame] = MappingProxyType(
    {
        "NonZeroExit": Blame(USER, _LOGS),
        "Signal": Blame(USER, _LOGS),
        "OOMKilled": Blame(USER, "submit it again with more --memory; raftsman logs {id}"),
        "CommandNotRunnable": Blame(USER, "check the command and the image; raftsman describe {id}"),
        "ImagePull": Blame(USER, "check the image's name and its pull secret; raftsman describe {id}"),
        "ImageInvalid": Blame(USER, "correct the image's name; raftsman describe {id}"),
        "ContainerConfig": Blame(USER, "check what the container refers to; raftsman describe {id}"),
        "ContainerCreate": Blame(INFRASTRUCTURE, _DESCRIBE),
        "Timeout": Blame(USER, "submit it again with a longer --timeout; raftsman logs {id}"),
        "StartTimeout": Blame(INFRASTRUCTURE, _DESCRIBE),
        "Unschedulable": Blame(CONFIGURATION, "ask for less, or add nodes to the context; raftsman describe {id}"),
        "QuotaExceeded": Blame(CONFIGURATION, "raise the namespace's quota, or ask for less; raftsman describe {id}"),
        "PodSecurity": Blame(CONFIGURATION, "see what the namespace's policy forbids; raftsman describe {id}"),
        "LimitRange": Blame(CONFIGURATION, "ask for what the namespace allows; raftsman describe {id}"),
        "ReferenceMissing": Blame(USER, "create what the Pod refers to; raftsman describe {id}"),
        "AdmissionDenied": Blame(
            CONFIGURATION, "ask who runs the context's admission webhooks; raftsman describe {id}"
        ),
        "Forbidden": Blame(CONFIGURATION, "let raftsman's account create Jobs there; raftsman get contexts"),
        "InvalidSpec": Blame(USER, "correct what Kubernetes names; raftsman describe {id}"),
        "NamespaceMissing": Blame(CONFIGURATION, "create the namespace; raftsman describe {id}"),
        "NamespaceTerminating": Blame(CONFIGURATION, "choose another namespace; raftsman describe {id}"),
        "Evicted": Blame(INFRASTRUCTURE, _DESCRIBE),
        "Preempted": Blame(INFRASTRUCTURE, _DESCRIBE),
        "Drained": Blame(INFRASTRUCTURE, _DESCRIBE),
        "NodeLost": Blame(INFRASTRUCTURE, _DESCRIBE),
        "NodeShutdown": Blame(INFRASTRUCTURE, _DESCRIBE),
        "NodeRejected": Blame(INFRASTRUCTURE, _DESCRIBE),
        "ContainerLost": Blame(INFRASTRUCTURE, _DESCRIBE),
        "PodDeleted": Blame(INFRASTRUCTURE, "find out who deleted the Pod; raftsman describe {id}"),
        "JobDeleted": Blame(INFRASTRUCTURE, "find out who deleted the Job; raftsman describe {id}"),
        "JobNameConflict": Blame(CONFIGURATION, "submit it again under another id; raftsman describe {id}"),
        "ContextUnreachable": Blame(CONFIGURATION, "raftsman get contexts"),
        "ResultUnknown": Blame(
            INFRASTRUCTURE, "look for its effects before you submit it again; raftsman describe {id}"
        ),
        "Internal": Blame(INFRASTRUCTURE, "report it with the output of: raftsman describe {id} -o json"),
    }
)
"""By the API's closed list of causes; one that a later version adds is taken for the infrastructure's."""


def blame_of(cause: str | None) -> Blame:
    """Return whose move it is; without a cause, what the task says itself is all there is."""
    return BLAME.get(cause or "", Blame(INFRASTRUCTURE, _DESCRIBE))


def failure_story(task: TaskView, *, with_output: bool) -> list[str]:
    """Return what to tell about a failed task: cause, whose move it is, message, end of the output, next command."""
    blame = blame_of(task["cause"])
    code = task["exitCode"]
    lines = [f"  cause:     {plain(task['cause'] or 'not known')} (a matter of the {blame.party})"]
    if code is not None and code >= 0:
        lines.append(f"  exit code: {code}")
    lines += [f"  message:   {each}" for each in _messages(task)]
    if task["error"] and plain(task["error"]) not in _messages(task):
        lines.append(f"  error:     {plain(task['error'])}")
    output = (task.get("stderrTail") or task.get("stdoutTail") or "") if with_output else ""
    if output:
        lines += ["  end of the output:", *(f"    {plain(line)}" for line in output.splitlines())]
    return [*lines, f"  next:      {blame.advice.format(id=task['taskId'])}"]


def _messages(task: TaskView) -> list[str]:
    attempts = task.get("attempts") or []
    candidates = [attempts[-1]["message"] if attempts else None, task["reason"]]
    return list(dict.fromkeys(plain(each) for each in candidates if each))


def say_error(message: str) -> None:
    """Say on stderr that the command failed."""
    say(f"{paint('error:', 'red', sys.stderr)} {plain(message)}")


def say_problem(error: RaftsmanError) -> None:
    """Say on stderr what a cluster answered, every fault on a line of its own."""
    say_error(str(error) if not isinstance(error, ApiProblem) else _sentence(error))
    if isinstance(error, ApiProblem):
        for fault in error.errors:
            say(f"  {plain(fault.pointer or '/')}: {plain(fault.detail or fault.code)}")
        if error.request_id and error.status >= 500:
            say(f"  request id: {plain(error.request_id)}")
    if isinstance(error, OutcomeUnknown):
        say(f"  see what became of it: raftsman get tasks {error.task_id}")
    if isinstance(error, ConnectionFailed):
        say("  is a node running there? --address, RAFTSMAN_ADDRESS or a profile say where to look")


def _sentence(problem: ApiProblem) -> str:
    text = problem.detail or problem.title or "the node gave no reason"
    return f"{text} ({problem.code or f'HTTP {problem.status}'})"


@contextmanager
def saying_what_goes_on(*ids: str) -> Iterator[None]:
    """Turn Ctrl-C into exit code 130, and say that the tasks do not end with the command."""
    try:
        yield
    except KeyboardInterrupt:
        if ids:
            verb = "goes on" if len(ids) == 1 else "go on"
            say(f"\ninterrupted; {', '.join(ids)} {verb} (raftsman wait {' '.join(ids)}, or raftsman cancel …)")
        raise click.exceptions.Exit(Code.INTERRUPTED) from None
