"""The language of ``tests/scenarios``: commands in, what the table says out.

A scenario is a text: prose after ``#``, then blocks of commands, each followed by ``----`` and the answers. A command
is a kind of ``commands.KINDS`` with its first fields in order and the others as ``name=value``; the looks (``LOOKS``)
show rows. Entry number *n* enters the log *n* seconds after the beginning. Nothing here judges an answer:
``test_scenarios`` compares the text with what ``play`` makes of it.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from raftsman.raft.codec import decode, encode, pack_spec
from raftsman.raft.commands import KINDS, Command, Entry, Refused, Verdict
from raftsman.raft.records import Change, Instant, Row, Task, TaskSpec
from raftsman.raft.table import TaskTable

R = TypeVar("R")

RULER = "----"
STAMPS = ("by=", "id=")
"""What a command's proposer stamps on it: the principal, and the command's id where it matters."""
WISHES = ("type", "context", "priority", "timeout_ms", "start_timeout_ms", "placement")
"""What a row repeats from its specification, and what never changes."""

POSITIONAL: Mapping[str, tuple[str, ...]] = {
    "found-cluster": ("uuid",),
    "member-joined": ("node",),
    "member-updated": ("node",),
    "member-lost": ("node",),
    "member-back": ("node",),
    "submit": ("task_id",),
    "retry": ("task_id", "retry_of"),
    "assign": ("task_id", "attempt", "node"),
    "reassign": ("task_id", "attempt", "from_node", "node"),
    "report": ("task_id", "attempt", "node", "signal"),
    "cancel": ("task_id",),
    "expire": ("task_id", "attempt", "kind"),
    "barrier": (),
    "checkpoint": ("index", "state_hash"),
}
"""The fields that stand without their name. ``forget`` takes any number of ids."""


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that are answered together, and the comment above them."""

    comment: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(slots=True)
class Stage:
    """A table in the middle of its story."""

    table: TaskTable = field(default_factory=TaskTable)
    kinds: set[str] = field(default_factory=set)
    """The kinds of commands that were played."""


def parse(text: str) -> Iterator[Block]:
    """Yield the blocks of a scenario; answers that the text already has are left out."""
    comment: list[str] = []
    commands: list[str] = []
    answers = False
    for line in [*text.splitlines(), ""]:
        if answers:
            answers = line != ""
        elif line == RULER:
            yield Block(tuple(comment), tuple(commands))
            comment, commands, answers = [], [], True
        elif line.startswith("#") or (line == "" and not commands):
            comment.append(line)
        elif line:
            commands.append(line)
    assert not commands, f"a block without {RULER}: {commands}"
    assert not any(comment), f"a comment that nothing follows: {comment}"


def play(text: str, stage: Stage | None = None) -> str:
    """Return the scenario with what the table answers now."""
    stage = stage or Stage()
    lines: list[str] = []
    for block in parse(text):
        lines += [*block.comment, *block.commands, RULER]
        lines += [answer for command in block.commands for answer in _answers(stage, command)]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _answers(stage: Stage, line: str) -> Iterator[str]:
    name, *words = shlex.split(line)
    if name in LOOKS:
        yield from LOOKS[name](stage.table, *words)
        return
    stage.kinds.add(name)
    index = stage.table.index + 1
    stamps = [word for word in words if word.startswith(STAMPS)]
    stamped = {"by": "", "id": f"c{index}"} | dict(word.split("=", 1) for word in stamps)
    command = _command(name, [word for word in words if word not in stamps])
    entry = Entry(command_id=stamped["id"], command=command, at=Instant(1000 * index), principal=stamped["by"])
    verdict, changes = stage.table.apply(decode(encode(entry)), index)
    yield _verdict(verdict)
    yield from (f"  {_change(change)}" for change in changes)


# --- commands ---------------------------------------------------------------------------------


def _command(name: str, words: list[str]) -> Command:
    if name == "forget":
        return _build(KINDS[name], {"task_ids": words})
    names = POSITIONAL[name]
    fields: dict[str, Any] = dict(zip(names, words, strict=False))
    for word in words[len(names) :]:
        key, equals, value = word.partition("=")
        assert equals, f"{name}: {word!r} is not name=value"
        fields[key.replace("-", "_")] = value
    return _build(KINDS[name], SHORTHANDS.get(name, _as_written)(fields))


def _build(kind: type[Command], fields: Mapping[str, Any]) -> Command:
    unknown = fields.keys() - kind.__struct_fields__
    assert not unknown, f"{kind.__name__} has no {', '.join(sorted(unknown))}"
    return _from_text(fields, kind)


def _from_text(fields: Mapping[str, Any], kind: type[R]) -> R:
    """Return the record; its numbers may be texts."""
    return msgspec.convert(fields, kind, strict=False, builtin_types=(bytes,))  # noqa: TID251 — one thread reads.


def _as_written(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


def _member(fields: dict[str, Any]) -> dict[str, Any]:
    """``contexts=a,b@x`` are reachable, b in the cluster x; those also in ``unreachable=b`` are not."""
    silent = fields.pop("unreachable", "").split(",")
    named = sorted(each.partition("@") for each in fields.pop("contexts", "").split(",") if each)
    contexts = [{"name": name, "reachable": name not in silent, "server": server} for name, _, server in named]
    return {"member": {"url": f"http://{fields['node']}", **fields, "contexts": contexts}}


def _submission(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of the command, of the specification and of its block, side by side; ``command``: of a shell task."""
    names = ("task_id", "submitter_node", "key", "id_made")
    own: dict[str, Any] = {name: fields.pop(name) for name in names if name in fields}
    if "spec" in fields:
        return {**own, "spec": bytes.fromhex(fields["spec"])}
    if "command" in fields:
        spec = _from_text({"type": "shell", "shell": {"command": fields.pop("command")}, **fields}, TaskSpec)
        return {**own, "spec": pack_spec(spec)}
    job = {"context": "prod", "image": "busybox"}
    job |= {name: fields.pop(name) for name in ("context", "image", "namespace") if name in fields}
    spec = _from_text({"type": "k8s_job", "k8s_job": job, **fields}, TaskSpec)
    return {**own, "spec": pack_spec(spec)}


def _report(fields: dict[str, Any]) -> dict[str, Any]:
    """``job=1/0/0``: active, succeeded and failed Pods."""
    if "job" in fields:
        fields["job"] = dict(zip(("active", "succeeded", "failed"), fields["job"].split("/"), strict=True))
    return fields


def _cancellation(fields: dict[str, Any]) -> dict[str, Any]:
    """``if-index=3,5``: one of these."""
    if "if_index" in fields:
        fields["if_index"] = fields["if_index"].split(",")
    return fields


SHORTHANDS: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "member-joined": _member,
    "member-updated": _member,
    "submit": _submission,
    "report": _report,
    "cancel": _cancellation,
}


# --- answers ----------------------------------------------------------------------------------


def _verdict(verdict: Verdict) -> str:
    if isinstance(verdict, Refused):
        return f"refused, {verdict.code}: {verdict.detail}"
    found = f": it is {verdict.found}" if verdict.found else ""
    return f"accepted, nothing changes{found}" if verdict.repeated else "accepted"


def _change(change: Change) -> str:
    moved = f"{change.before or 'new'} -> {change.after}" if change.before != change.after else f"still {change.after}"
    return f"{change.task_id}: {moved}{_circumstances(change)}"


def _circumstances(change: Change) -> str:
    conditions = f" [{', '.join(change.conditions)}]" if change.conditions else ""
    attempt = f", attempt {change.attempt} on {change.node}" if change.attempt else ""
    cause = f", {change.cause}" if change.cause else ""
    job = f", Pods {change.job.active}/{change.job.succeeded}/{change.job.failed}" if change.job else ""
    return f"{conditions}{attempt}{cause}{job}" + (f", because: {change.reason}" if change.reason else "")


def _show_task(table: TaskTable, task_id: str) -> Iterator[str]:
    task = table.task(task_id)
    return _fields(task, hidden=(*WISHES, "spec", "changes")) if task else iter([f"no task {task_id}"])


def _show_wishes(table: TaskTable, task_id: str) -> Iterator[str]:
    task = table.task(task_id)
    assert task is not None, f"no task {task_id}"
    return _fields(task, hidden=tuple(set(Task.__struct_fields__) - set(WISHES)))


def _show_history(table: TaskTable, task_id: str) -> Iterator[str]:
    task = table.task(task_id)
    for change in task.changes if task else ():
        yield f"{change.index}.{change.n} at {change.at}: {_change(change)}"


def _show_tasks(table: TaskTable) -> Iterator[str]:
    rows = list(table.tasks())
    yield from (f"{task.task_id}: {_standing(task)}" for task in rows)
    if not rows:
        yield "no tasks"


def _standing(task: Task) -> str:
    conditions = f" [{', '.join(task.conditions)}]" if task.conditions else ""
    attempt = f", attempt {task.attempt.number} on {task.attempt.node}" if task.attempt else ""
    return f"{task.state}{conditions}{attempt}" + (f", {task.cause}" if task.cause else "")


def _show_members(table: TaskTable) -> Iterator[str]:
    for member in table.members.values():
        lost = f", lost since {member.lost_at}" if member.lost_at is not None else ""
        contexts = [each.name if each.reachable else f"{each.name} (unreachable)" for each in member.contexts]
        yield f"{member.node}: joined at {member.joined_at}{lost}, contexts {', '.join(contexts) or 'none'}"


def _fields(row: Row, *, hidden: tuple[str, ...]) -> Iterator[str]:
    """Yield what is not at its default, a field a line."""
    for name, value in msgspec.to_builtins(row, builtin_types=(bytes,)).items():
        if name in hidden or value in ({}, ""):
            continue
        if isinstance(value, dict):
            yield f"{name}: " + " ".join(f"{key}={shlex.quote(str(each))}" for key, each in value.items())
        else:
            yield f"{name}: {value}"


def _show_keys(table: TaskTable) -> Iterator[str]:
    yield from (f"used at {use.at} for {use.task_id}" for use in table.keys.values())
    if not table.keys:
        yield "no keys"


LOOKS: Mapping[str, Callable[..., Iterator[str]]] = {
    "task": _show_task,
    "wishes": _show_wishes,
    "history": _show_history,
    "tasks": _show_tasks,
    "members": _show_members,
    "keys": _show_keys,
}
