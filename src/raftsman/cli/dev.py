"""``raftsman dev``: a cluster to play with, in one terminal. What runs, and how, is ``raftsman.node.playground``."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from raftsman.cli.exits import Code, CommandFailed
from raftsman.cli.playing import ending_on_signals, folder, narrate, news_line, path_hint, stamped
from raftsman.cli.profile import InvalidConfig
from raftsman.cli.selection import ProfileTaken, selected_profile
from raftsman.cli.words import paint, say

if TYPE_CHECKING:
    from raftsman.node.playground.ground import Playground
    from raftsman.node.playground.keys import Keys
    from raftsman.node.playground.layout import ContextPlace, Layout

T = TypeVar("T")

MOST_NODES = 9
"""As many as a playground has names for."""
KEYS = "keys: k kills the leader (kill -9), r brings it back, q ends"


@click.command(name="dev")
@click.option("--nodes", type=click.IntRange(1, MOST_NODES), default=3, show_default=True, help="How many nodes.")
@click.option(
    "--kube", "kube", multiple=True, metavar="CONTEXT", help="A context of your kubeconfig, beside dev-a and dev-b."
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the data here, and write nothing outside of it.",
)
def command(*, nodes: int, kube: tuple[str, ...], directory: Path | None) -> None:
    """Run a cluster to play with: nodes and a development Kubernetes, in one terminal, without any set-up.

    The development Kubernetes executes the commands of Pods on this machine, as you, without containers.
    """
    import asyncio

    from raftsman.node.playground.contexts import find_contexts
    from raftsman.node.playground.layout import lay_out

    began = time.monotonic()
    contexts = _usable(lambda: find_contexts(kube))
    with folder(directory, prefix="raftsman-dev-") as place:
        layout = _usable(lambda: lay_out(place, nodes))
        asyncio.run(_play(layout, contexts, lends_profile=directory is None, began=began))


def _usable(read: Callable[[], T]) -> T:
    """Return what *read* finds. Raises CommandFailed when it finds nothing that could be used."""
    try:
        return read()
    except (ValueError, OSError) as error:
        raise CommandFailed(str(error), Code.INVALID) from error


async def _play(layout: "Layout", contexts: "list[ContextPlace]", *, lends_profile: bool, began: float) -> None:
    from raftsman.node.playground.ground import Playground
    from raftsman.node.playground.processes import StartFailed

    ground = Playground(
        layout,
        contexts=contexts,
        keeps_data=not lends_profile,
        tell=lambda news: narrate(stamped(news_line(news, logs=layout.directory))),
    )
    with ending_on_signals():
        try:
            async with ground:
                await _serve(ground, lends_profile=lends_profile, began=began)
        except (StartFailed, OSError) as error:
            raise CommandFailed(str(error)) from error
    kept = "" if lends_profile else f"; its data are kept in {layout.directory}"
    narrate(stamped(f"everything is stopped{kept}"))


async def _serve(ground: "Playground", *, lends_profile: bool, began: float) -> None:
    """Say what is there, and do what the keys say."""
    from raftsman.node.playground.keys import Keys

    with _profile(ground.layout, lends=lends_profile) as hint, Keys() as keys:
        for line in _welcome(ground, hint, time.monotonic() - began):
            narrate(line)
        await _obey(ground, keys)


async def _obey(ground: "Playground", keys: "Keys") -> None:
    """Do what the keys say, until they say that it is enough."""
    while (key := await keys.next()) != "q":
        if key == "k" and await ground.kill_leader() is None:
            narrate(stamped("there is no leader to kill at the moment"))
        elif key == "r" and not await ground.revive():
            narrate(stamped("all nodes run"))
        elif key not in "kr":
            narrate(KEYS)


@contextmanager
def _profile(layout: "Layout", *, lends: bool) -> Iterator[str]:
    """Select the playground's profile for other terminals; yield what they have to set before, "" for nothing."""
    from raftsman.node.playground.layout import PROFILE, profile_lines

    by_variable = f"export RAFTSMAN_CONFIG={shlex.quote(str(layout.client_file))}"
    if not lends:
        yield by_variable
        return
    lent = selected_profile(os.environ, PROFILE, profile_lines(layout))
    try:
        lent.__enter__()
    except (InvalidConfig, ProfileTaken) as error:
        say(str(error))
        yield by_variable
        return
    try:
        yield ""
    finally:
        lent.__exit__(None, None, None)


def _welcome(ground: "Playground", hint: str, took_s: float) -> Iterator[str]:
    layout = ground.layout
    count = len(layout.nodes)
    yield f"{count} node{'s' if count > 1 else ''} and the development Kubernetes are ready ({took_s:.1f} s)"
    yield ""
    for node in layout.nodes:
        leads = paint("leader", "green", sys.stdout) if node.name == ground.leader else ""
        yield f"  {node.name:<9}{node.url:<25}process {ground.pid_of(node.name):<9}{leads}".rstrip()
    yield ""
    yield f"  contexts     {', '.join(ground.context_names)}"
    yield f"  kubeconfig   {ground.kubeconfig}"
    yield f"  files        {layout.directory}"
    yield ""
    yield "  The development Kubernetes runs the commands of Pods on this machine, as you, without containers."
    yield ""
    yield "In a second terminal:"
    yield ""
    for line in filter(None, [path_hint(), hint, *_FIRST_STEPS]):
        yield f"  {line}"
    yield ""
    yield KEYS
    yield ""


_FIRST_STEPS = (
    "raftsman get nodes",
    "raftsman submit --context dev-a --image busybox -- sh -c 'echo hello; sleep 20; echo bye'",
)
