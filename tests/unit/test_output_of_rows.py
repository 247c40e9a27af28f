"""Output that the task's last node does not keep: an earlier one may, and the table may know the end of it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from raftsman.executor.output import End, LogLine
from raftsman.executor.outputfiles import Ending
from raftsman.node.http.logs import known_to_row
from raftsman.node.http.streams import NDJSON
from raftsman.raft import codec
from raftsman.raft.commands import Command, Entry, MemberJoined, MemberLost, Reassign
from raftsman.raft.lifecycle import Signal, State
from raftsman.raft.records import Instant, NodeId, Task, TaskId
from tests.harness.tables import assign, joined, member, report, submit
from tests.unit.attempts import task
from tests.unit.one_node import one_node
from tests.unit.replicas import META_LEFT_OPEN

pytestmark = META_LEFT_OPEN

CANCELLED = task(State.CANCELLED)
assert CANCELLED.attempt is not None
RAN = msgspec.structs.replace(
    CANCELLED, attempt=msgspec.structs.replace(CANCELLED.attempt, started_at=Instant(1)), state=State.FAILED
)
ENDS = msgspec.structs.replace(RAN, output_tail="a\nb", error_tail="c")


@pytest.mark.parametrize(
    ("row", "number", "lines", "end", "reason"),
    [
        (task(), 1, [], "unavailable", "there is no output yet"),
        (
            msgspec.structs.replace(CANCELLED, attempt=None),
            1,
            [],
            "unavailable",
            "it was never started, so that there is no output",
        ),
        (CANCELLED, 1, [], "unavailable", "nobody saw it run, so that no output of it is known"),
        (RAN, 1, [], "unavailable", "no node keeps this output"),
        (ENDS, 2, [], "unavailable", "no node keeps this output"),
        (ENDS, 1, ["a", "b", "c"], "truncated", "only the end of the output is still known"),
    ],
)
def test_an_output_that_no_node_keeps_is_told_by_the_row(
    row: Task, number: int, lines: Sequence[str], end: Ending, reason: str
) -> None:
    *known, last = known_to_row(row, number)
    assert [line.line for line in known if isinstance(line, LogLine)] == lines
    assert last == End(end, reason)


async def test_the_output_that_an_earlier_node_saw_is_asked_for_there(tmp_path: Path) -> None:
    asked: list[str] = []

    async def kept(request: web.Request) -> web.Response:
        asked.append(request.path)
        record = b'{"attempt": 1, "stream": "stdout", "at": "", "line": "seen by beta"}\n'
        return web.Response(body=record + b'{"end": "truncated", "reason": "moved"}\n', content_type=NDJSON)

    beta = web.Application()
    beta.router.add_get("/v1/tasks/t/logs", kept)
    async with one_node(tmp_path) as alpha, TestServer(beta) as server:
        url = str(server.make_url("")).rstrip("/")
        rejoined = MemberJoined(member=msgspec.structs.replace(member("beta"), url=url))
        story: list[Command] = [
            *(joined("alpha"), rejoined, submit("t"), assign("t", "beta"), report("t", "beta", Signal.START)),
            MemberLost(node=NodeId("beta")),
            Reassign(task_id=TaskId("t"), attempt=1, from_node=NodeId("beta"), node=NodeId("alpha")),
            *(rejoined, report("t", "alpha", Signal.FAIL)),
        ]
        for index, command in enumerate(story, start=10):
            entry = Entry(command_id=f"x-{index}", command=command, at=Instant(1), principal="")
            alpha.site.replica.apply(codec.encode(entry), index)
        await alpha.site.forwarder.start()
        async with alpha.session.get(f"{alpha.url}/v1/tasks/t/logs") as answer:
            text = await answer.text()
        await alpha.site.forwarder.stop()
    assert text.splitlines()[0] == "seen by beta", text
    assert asked == ["/v1/tasks/t/logs"]
