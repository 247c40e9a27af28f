"""``raftsman demo``: a cluster loses its leader in the middle of a task, and tells how the task goes on all the same.

A play for newcomers: every line says what happens. What runs is ``raftsman.node.playground``; what the task says is
read by ``raftsman.cli.feeds``, as any client would.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftsman.cli import rows
from raftsman.cli.exits import Code, CommandFailed
from raftsman.cli.playing import folder, narrate, news_line
from raftsman.cli.words import paint, plain, table, terminal_width
from raftsman.client import Client, LogLine
from raftsman.errors import RaftsmanError
from raftsman.ulid import new_task_id
from raftsman.wire.views import AttemptView, EventView, TaskView

if TYPE_CHECKING:
    from raftsman.cli.feeds import Item
    from raftsman.node.playground.ground import Playground
    from raftsman.node.playground.news import News

NODES = 3
CONTEXT = "dev-a"
STEPS = 14
"""Seconds that the task takes: the new leader waits 5 s for the old one before it gives its task to another node."""
KILLED_AFTER_STEP = 3
TRIES = 3
LONGEST_S = 90.0
"""Half a minute is usual; a machine that needs longer than this is not going to make it."""

_SCRIPT = f'i=1; while [ $i -le {STEPS} ]; do echo "step $i of {STEPS}"; i=$((i+1)); sleep 1; done'
_COLOURS = {"output": "cyan", "task": "blue", "cluster": "magenta"}


@click.command(name="demo")
def command() -> None:
    """Watch a cluster lose its leader in the middle of a task, and the task end as if nothing had happened.

    Starts three nodes and a development Kubernetes in a temporary folder, and leaves nothing behind.
    """
    import asyncio

    narrate(paint("raftsman demo: the leader dies in the middle of a task, and the task goes on", "green", sys.stdout))
    with folder(None, prefix="raftsman-demo-") as place:
        finished = asyncio.run(_perform(place))
    narrate()
    if not finished:
        narrate("Interrupted; everything is stopped and removed.")
        raise click.exceptions.Exit(Code.INTERRUPTED)
    narrate("Everything is stopped, and nothing of it is left. To play with it yourself: make dev (raftsman dev)")


async def _perform(place: Path) -> bool:
    """Return whether the demo came to its end; otherwise a signal ended it. Raises CommandFailed."""
    import asyncio

    from raftsman.cli.playing import ending_on_signals
    from raftsman.node.playground.ground import Playground
    from raftsman.node.playground.layout import lay_out
    from raftsman.node.playground.processes import StartFailed

    story = _Story(place)
    ground = Playground(lay_out(place, NODES), contexts=[], keeps_data=False, tell=story.hear)
    _scene(1, f"Starting {NODES} nodes and a development Kubernetes, each a process of its own")
    try:
        with ending_on_signals():
            async with asyncio.timeout(LONGEST_S), ground:
                await story.play(ground)
    except TimeoutError as error:
        raise CommandFailed(f"the demo took longer than {LONGEST_S:.0f} s") from error
    except (StartFailed, RaftsmanError, OSError) as error:
        raise CommandFailed(f"the demo could not go on: {error}") from error
    return story.finished


class _Story:
    """Tells what happens, and remembers it for the end."""

    def __init__(self, logs: Path) -> None:
        self.finished = False
        self._logs = logs
        self._began = time.monotonic()
        self._lines: list[str] = []
        self._leader = ""  # Of the beginning; killed later.
        self._before: TaskView | None = None  # The task when its node was killed.

    def hear(self, news: "News") -> None:
        """Take news of the playground."""
        from raftsman.node.playground.news import LeaderChanged, NodeGone

        match news:
            case NodeGone(asked=True):
                pass  # Told by who asked for it.
            case LeaderChanged(leader=str(leader)) if self._before is not None:
                self._tell("cluster", f"{leader} leads now, elected by the two nodes that are left (term {news.term})")
            case _:
                self._tell("cluster", news_line(news, logs=self._logs))

    async def play(self, ground: "Playground") -> None:
        """Tell the whole story. Raises CommandFailed when it does not end as it should."""
        import asyncio

        self._present(ground)
        client = Client(_addresses(ground), token=ground.layout.token)
        task_id = await self._act(ground, client)
        task = await asyncio.to_thread(client.get, task_id)
        events = await asyncio.to_thread(lambda: list(client.events(task_id)))
        await self._conclude(ground, task, events)

    async def _act(self, ground: "Playground", client: Client) -> str:
        """Let a task lose its node, which leads, and return its id when it has ended. Raises CommandFailed."""
        import asyncio

        for _ in range(TRIES):
            self._leader = ground.leader or self._leader
            self._lines.clear()
            leaders = Client([_url(ground, self._leader)], token=ground.layout.token)
            task_id = await asyncio.to_thread(self._submit, leaders)
            if await self._follow(ground, client, task_id):
                return task_id
            self._tell("cluster", "the leader has changed by itself, for this machine is busy; once more")
            await asyncio.to_thread(client.cancel, task_id)
            await asyncio.to_thread(client.wait, [task_id])
        raise CommandFailed("this machine is too busy: its leaders did not stay for three seconds")

    async def _follow(self, ground: "Playground", client: Client, task_id: str) -> bool:
        """Tell of the task, and kill its node in the middle; return False when that node does not lead any more."""
        import asyncio

        from raftsman.cli.feeds import follow_both

        async for item in follow_both(client, task_id):
            self._tell_item(item)
            if len(self._lines) == KILLED_AFTER_STEP and self._before is None:
                if ground.leader != self._leader:
                    return False
                self._before = await asyncio.to_thread(client.get, task_id)
                await self._kill_leader(ground)
        if self._before is None:
            raise CommandFailed("the task ended before its node could be killed")
        return True

    # --- scenes ---

    def _present(self, ground: "Playground") -> None:
        self._leader = ground.leader or ""
        for place in ground.layout.nodes:
            leads = "  leads: it puts what happens in order; the others follow" if place.name == self._leader else ""
            self._tell("cluster", f"{place.name:<6} {place.url}  process {ground.pid_of(place.name)}{leads}")
        contexts = " and ".join(ground.context_names)
        self._tell("cluster", f"all of them reach two Kubernetes clusters: {contexts}")
        self._tell("cluster", f"ready after {time.monotonic() - self._began:.1f} s")

    def _submit(self, client: Client) -> str:
        _scene(2, f"Submitting a task to {self._leader}, which prefers to look after it itself (preferLocal)")
        job = {"clusterContext": CONTEXT, "image": "busybox", "command": ["sh", "-c", _SCRIPT]}
        spec = {"taskId": new_task_id(), "type": "k8s_job", "k8sJob": job, "constraints": {"preferLocal": True}}
        task_id = client.submit(spec)["taskId"]
        self._tell("task", f"{task_id} is accepted: a majority has it in the log")
        self._tell("task", f"it is to count to {STEPS} in a Kubernetes Job in {CONTEXT}, a line a second")
        return task_id

    async def _kill_leader(self, ground: "Playground") -> None:
        pid = ground.pid_of(self._leader)
        _scene(3, f"Killing {self._leader}, which leads and looks after the task: kill -9 {pid}")
        await ground.kill_leader()
        self._tell("cluster", f"{self._leader} is dead; the Job runs on, for it belongs to Kubernetes")
        self._tell("cluster", "its output waits there until a node is sure, after 5 s of silence, and adopts the Job")

    async def _conclude(self, ground: "Playground", task: TaskView, events: list[EventView]) -> None:
        from raftsman.node.playground.jobs import job_uids

        there = await job_uids(ground.kubeconfig, CONTEXT)
        _scene(4, "The result")
        for name, text in self._facts(task, there):
            narrate(f"  {name:<26} {text}")
        _scene(5, "What the log says, as `raftsman events` shows it")
        lines = table(_EVENT_COLUMNS, [_event_cells(event) for event in events], columns=max(terminal_width() - 2, 0))
        for line in lines:
            narrate(f"  {line}")
        self._check(task, there)
        self.finished = True

    def _facts(self, task: TaskView, there: dict[str, str]) -> Iterator[tuple[str, str]]:
        assert self._before is not None
        before, after = _attempt(self._before), _attempt(task)
        same = ", the same" if before["jobUid"] == after["jobUid"] else ", ANOTHER ONE"
        yield "state", f"{task['state']}, exit code {task['exitCode']}"
        yield "looked after by", f"{before['node']}, then {after['node']}"
        yield "Job before the kill", f"{before['jobName']}, UID {before['jobUid']}"
        yield "Job after the kill", f"{after['jobName']}, UID {after['jobUid']}{same}"
        yield f"Jobs in {CONTEXT}, all of them", ", ".join(f"{name}, UID {uid}" for name, uid in there.items())
        yield "attempts", f"{task['attempt']}: nothing was started twice"
        yield "output", f"{len(self._lines)} lines of {STEPS}{', complete and in order' if self._is_whole() else ''}"
        yield "the demo took", f"{time.monotonic() - self._began:.0f} s"

    def _check(self, task: TaskView, there: dict[str, str]) -> None:
        assert self._before is not None
        before, after = _attempt(self._before), _attempt(task)
        fine = [
            (task["state"], task["exitCode"], task["attempt"]) == ("completed", 0, 1),
            before["node"] == self._leader != after["node"],
            before["jobUid"] == after["jobUid"],
            there == {before["jobName"]: before["jobUid"]},
            self._is_whole(),
        ]
        if not all(fine):
            raise CommandFailed("the demo did not end as it should: see the result above")

    # --- lines ---

    def _tell(self, who: str, text: str) -> None:
        after_s = time.monotonic() - self._began
        narrate(f"  {after_s:4.1f} s  {paint(f'{who:<8}', _COLOURS[who], sys.stdout)} {text}")

    def _tell_item(self, item: "Item") -> None:
        if isinstance(item, LogLine):
            self._lines.append(item.line)
            self._tell("output", plain(item.line))
        elif isinstance(item, dict):
            self._tell("task", _change(item))

    def _is_whole(self) -> bool:
        return self._lines == [f"step {number} of {STEPS}" for number in range(1, STEPS + 1)]


_EVENT_COLUMNS = [name for name in rows.EVENT_COLUMNS if name != "TASK"]


def _event_cells(event: EventView) -> list[str]:
    at, _, *rest = rows.event_row(event)
    return [at, *rest]


def _change(event: EventView) -> str:
    """Return what an event says, as a sentence for somebody who has never seen one."""
    node, state = event["node"], event["to"]
    if event["reason"]:
        conditions = f" ({', '.join(event['conditions'])})" if event["conditions"] else ""
        return plain(f"{state}{conditions}: {event['reason']}")
    if event["from"] == state and event["job"]:
        counts = ", ".join(f"{count} {word}" for word, count in event["job"].items() if count)
        return plain(f"{state}: {node} sees the Job in Kubernetes, its Pods: {counts or 'none active'}")
    sentence = {
        "queued": "queued: the leader looks for a node",
        "assigned": f"assigned to {node}, which creates the Job in Kubernetes",
        "running": f"running: {node} follows the Job and its output",
        "completed": f"completed, reports {node}",
    }
    return plain(sentence.get(state, f"{state}, reports {node}"))


def _attempt(task: TaskView) -> AttemptView:
    attempts = task.get("attempts")
    assert attempts, "a task that has run has an attempt"
    return attempts[-1]


def _addresses(ground: "Playground") -> list[str]:
    """Return all nodes' URLs, that of the leader first: whoever is served by it sees how a client fails over."""
    return [place.url for place in sorted(ground.layout.nodes, key=lambda place: place.name != ground.leader)]


def _url(ground: "Playground", name: str) -> str:
    return next(place.url for place in ground.layout.nodes if place.name == name)


def _scene(number: int, title: str) -> None:
    narrate()
    narrate(paint(f"{number}. {title}", "green", sys.stdout))
