"""What a command writes, into the attempt's output: its two streams line by line, each with its name.

Which lines are kept is ``output``'s business. A command that writes faster than this copies is held back by its pipe.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from raftsman.executor.lines import LINE_BYTES
from raftsman.executor.output import Output
from raftsman.executor.processes import ProcessGroup, Stream
from raftsman.raft.records import Instant


async def copy_output(group: ProcessGroup, output: Output, now: Callable[[], Instant]) -> None:
    """Copy both streams of *group* until nobody can write to them any more."""
    async with asyncio.TaskGroup() as both:
        both.create_task(_copy(group.stdout, "stdout", output, now))
        both.create_task(_copy(group.stderr, "stderr", output, now))


async def _copy(stream: Stream, name: str, output: Output, now: Callable[[], Instant]) -> None:
    """Copy one stream; of a line that is too long the beginning is kept, and the rest counted."""
    line, beyond = b"", 0
    while chunk := await stream.read(LINE_BYTES):
        at = _stamp(now())
        *lines, line = (line + chunk).split(b"\n")
        for each in lines:
            output.append(at, name, each[:LINE_BYTES], beyond_bytes=beyond + len(each[LINE_BYTES:]))
            beyond = 0
        beyond += len(line[LINE_BYTES:])
        line = line[:LINE_BYTES]
        await asyncio.sleep(0)  # A flood must not hold up the rest of the node.
    if line or beyond:
        output.append(_stamp(now()), name, line, beyond_bytes=beyond)


def _stamp(at: Instant) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
