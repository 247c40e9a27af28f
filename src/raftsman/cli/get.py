"""``raftsman get``: lists, with the habits of kubectl."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import click

from raftsman.cli import rows
from raftsman.cli.exits import Code, CommandFailed
from raftsman.cli.faults import saying_what_goes_on
from raftsman.cli.options import TASK_ID, NameOf, connection_options, open_client
from raftsman.cli.printing import FORMATS, as_list, output_option, print_lines, print_value
from raftsman.cli.words import out, plain, say, table, terminal_width
from raftsman.client import Client, TaskFilters, is_ended
from raftsman.wire.views import ContextView, ListView, MemberView, TaskView

WATCH_PAUSE_S = 1.0
"""Between two readings of a watched list: what a person notices."""
WATCH_SHARE = 10
"""A list that takes long to read is read so many times less often: watching must not be a node's main work."""

Named = TypeVar("Named", MemberView, ContextView)


class _Plurals(click.Group):
    """Commands that answer to the singular of their name too."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, f"{cmd_name}s")


def _states(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the states that are asked for, all of them known (a click callback)."""
    for each in [] if value is None else value.split(","):
        if each not in rows.STATES:
            raise click.BadParameter(f"{each!r} is no state: there are {', '.join(rows.STATES)}", ctx, param)
    return value


@click.group(name="get", cls=_Plurals)
def command() -> None:
    """List tasks, nodes or contexts."""


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which tasks were asked for: these ids, or those that the filters leave."""

    client: Client
    ids: tuple[str, ...]
    filters: TaskFilters
    limit: int | None

    def read(self) -> Iterator[TaskView]:
        if self.ids:
            yield from (self.client.get(task_id) for task_id in self.ids)
        else:
            yield from self.client.list(limit=self.limit, **self.filters)


@command.command(name="tasks")
@click.argument("ids", nargs=-1, metavar="[ID]...", type=TASK_ID)
@click.option("-l", "--label", metavar="KEY=VALUE[,…]", help="Tasks with these labels.")
@click.option("--state", metavar="STATE[,…]", callback=_states, help="Tasks in one of these states.")
@click.option("--context", metavar="NAME", help="Tasks for this context.")
@click.option("--node", metavar="NAME", help="Tasks that this node looks after.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("-w", "--watch", is_flag=True, help="Go on printing what changes.")
@output_option(*FORMATS)
@connection_options
def tasks(
    ids: tuple[str, ...],
    *,
    label: str | None,
    state: str | None,
    context: str | None,
    node: str | None,
    limit: int | None,
    watch: bool,
    output: str,
) -> None:
    """List tasks: all of them, those that options select, or those with the given ids."""
    given = {"label": label, "state": state, "context": context, "node": node}
    filters = cast("TaskFilters", {name: value for name, value in given.items() if value is not None})
    if ids and (filters or limit):
        raise click.UsageError("ids and filters exclude one another")
    selection = _Selection(open_client(), ids, filters, limit)
    if watch:
        with saying_what_goes_on():
            _watch(selection, output)
    else:
        _print_tasks(selection, output)


def _print_tasks(selection: _Selection, output: str) -> None:
    if output == "jsonl":
        print_lines(selection.read())
    elif output in ("json", "yaml"):
        print_value(_one_or_list(selection), output)
    elif output == "name":
        for task in selection.read():
            out(f"tasks/{task['taskId']}")
    else:
        _print_table(list(selection.read()), wide=output == "wide")


def _print_table(found: Sequence[TaskView], *, wide: bool) -> None:
    if not found:
        say("No tasks found.")
        return
    columns = rows.WIDE_TASK_COLUMNS if wide else rows.TASK_COLUMNS
    for line in rows.task_table([rows.task_row(task, wide=wide) for task in found], columns):
        out(line)


def _one_or_list(selection: _Selection) -> TaskView | ListView[TaskView]:
    found = list(selection.read())
    if len(selection.ids) == 1:
        return found[0]
    return as_list(found)


def _watch(selection: _Selection, output: str) -> None:
    """Print tasks now and whenever one changes, until those that were named have all ended."""
    seen: dict[str, int] = {}
    if output in ("table", "wide"):
        out(rows.streamed_line(rows.WIDE_TASK_COLUMNS if output == "wide" else rows.TASK_COLUMNS))
    while True:
        began = time.monotonic()
        found = list(selection.read())
        took_s = time.monotonic() - began
        changed = [task for task in found if seen.get(task["taskId"]) != task["index"]]
        for task in changed:
            _print_change(task, output)
        seen = {task["taskId"]: task["index"] for task in found}
        if selection.ids and all(is_ended(task) for task in found):
            return
        time.sleep(max(WATCH_PAUSE_S, took_s * WATCH_SHARE))


def _print_change(task: TaskView, output: str) -> None:
    if output in ("table", "wide"):
        out(rows.streamed_line(rows.task_row(task, wide=output == "wide")))
    elif output == "name":
        out(f"tasks/{task['taskId']}")
    elif output == "yaml":
        out("---")
        print_value(task, output)
    else:
        print_lines([task])


@dataclass(frozen=True, slots=True)
class _Kind(Generic[Named]):
    """How one kind of thing with a name is listed."""

    plural: str
    columns: list[str]
    row_of: Callable[[Named], list[str]]


@command.command(name="nodes")
@click.argument("names", nargs=-1, metavar="[NAME]...", type=NameOf("node"))
@output_option(*FORMATS)
@connection_options
def nodes(names: tuple[str, ...], *, output: str) -> None:
    """List the nodes of the cluster."""
    kind = _Kind("nodes", rows.NODE_COLUMNS, rows.node_row)
    _print_named(kind, open_client().cluster()["members"], names, output)


@command.command(name="contexts")
@click.argument("names", nargs=-1, metavar="[NAME]...", type=NameOf("context"))
@output_option(*FORMATS)
@connection_options
def contexts(names: tuple[str, ...], *, output: str) -> None:
    """List the Kubernetes clusters that the nodes know."""
    kind = _Kind("contexts", rows.CONTEXT_COLUMNS, rows.context_row)
    _print_named(kind, open_client().contexts()["items"], names, output)


def _print_named(kind: _Kind[Named], found: Sequence[Named], wanted: tuple[str, ...], output: str) -> None:
    known = {each["name"]: each for each in found}
    if missing := [name for name in wanted if name not in known]:
        raise CommandFailed(f"no {kind.plural} named {', '.join(missing)}", Code.NOT_FOUND)
    chosen = [known[name] for name in wanted] if wanted else found
    if output in ("json", "yaml"):
        print_value({"items": list(chosen)}, output)
    elif output == "jsonl":
        print_lines(chosen)
    elif output == "name":
        for each in chosen:
            out(f"{kind.plural}/{plain(each['name'])}")
    elif not chosen:
        say(f"No {kind.plural} found.")
    else:
        for line in table(kind.columns, [kind.row_of(each) for each in chosen], columns=terminal_width()):
            out(line)
