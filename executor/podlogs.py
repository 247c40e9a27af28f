"""Following what a container writes until all of it has been read, or cannot be.

The end of a log stream says nothing: a cut connection looks the same as the end of the output. So a stream is
resumed as long as the container runs, and read once more when it does not. When the Pod is gone before that, as after
every deletion, a stream that had just ended by itself was the whole: one that was cut at that very moment would look
the same, but for a line without its end. Kubernetes resumes at a whole second,
so the lines read before come again; ``_Place`` knows them by time and number. A kubelet that fails behind its 200 says
so where the next line would be, and that is no output: ``_complaint`` knows it. What becomes of the lines is up to
``output``; whether the container runs is known to the caller, who sees its Pod.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from raftsman.executor.jobs import Denied, Jobs, KubernetesError, NotFound, Unreachable
from raftsman.executor.lines import LINE_BYTES, nanoseconds
from raftsman.executor.output import LogLine, Output

STREAM = "stdout"  # Kubernetes mixes both streams of a container and does not say which one a line came from.

IDLE_S = 60.0  # Streams can go silent for good when the kubelet rotates the file (kubernetes#126564).
FIRST_PAUSE_S = 0.1  # Before a stream is resumed: a stream that ends at once must not become a storm.
LONGEST_PAUSE_S = 2.0  # A container may wait for minutes to start, and its first line is waited for.
PATIENCE_S = 30.0  # After a 403, which only an administrator ends, or at most when a server asks for a pause.
GLANCE_S = 0.5  # Within a pause: whether the container has stopped.
FINAL_PAUSES_S = (0.2, 0.4, 0.8, 1.6, 2.0)  # Between last reads that fail: a restarting kubelet answers 500.

_STAMP_CHARS = 35  # 2006-01-02T15:04:05.999999999+07:00
_TORN_STAMP = re.compile(rb"[0-9TZ:.+-]{1,%d}" % _STAMP_CHARS)

_COMPLAINT_BYTES = 1024  # The longest one names a path twice, and how it ends must be seen.
_COMPLAINT = re.compile(  # Of kubelets up to 1.34: kuberuntime_container.go, and logs.go of the CRI client.
    rb"unable to retrieve container logs for |rpc error: code = |failed to (try resolving symlinks|open log file"
    rb"|create fsnotify watcher|watch directory|read log file|get parse function)"
)
_NO_LOG_ANY_MORE = re.compile(r"unable to retrieve container logs for |: no such file or directory$|code = NotFound")

Sleep = Callable[[float], Awaitable[object]]


async def capture(
    jobs: Jobs,
    *,
    namespace: str,
    pod: str,
    container: str,
    output: Output,
    running: Callable[[], bool],
    sleep: Sleep = asyncio.sleep,
    idle_s: float = IDLE_S,
) -> None:
    """Read the container's whole output into *output* and finish that, whatever the context answers.

    *running* says whether the container may still write; before it has started it counts as running. A cancelled
    capture leaves *output* open, and another one goes on where it stopped.
    """
    log = _ContainerLog(jobs, namespace, pod, container, output, idle_s=idle_s)
    await log.find_place()
    error = await _follow(log, lambda: output.end is None and running(), sleep)
    if error is None:
        error = await _read_the_rest(log, sleep)
    log.finish(error)


async def _follow(log: "_ContainerLog", running: Callable[[], bool], sleep: Sleep) -> KubernetesError | None:
    """Read until the container does not run any more; return an error after which reading on is pointless."""
    pause_s = FIRST_PAUSE_S
    while running():
        came = await _read_in_turn(log, running)
        if came.error is not None and log.is_gone(came.error):
            return came.error
        if came.something and not isinstance(came.error, _Complaint):
            pause_s = FIRST_PAUSE_S
        await _pause(max(pause_s, _least_pause_s(came.error)), running, sleep)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return None


async def _read_in_turn(log: "_ContainerLog", running: Callable[[], bool]) -> "_Came":
    """Follow the log; but wait for the turn to do so only while the container runs, for its rest needs none."""
    reading = asyncio.ensure_future(log.read(follow=True))
    try:
        while not (await asyncio.wait({reading}, timeout=None if log.has_begun else GLANCE_S))[0]:
            if not log.has_begun and not running():
                return _Came(something=False, error=None)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return reading.result()


async def _pause(pause_s: float, running: Callable[[], bool], sleep: Sleep) -> None:
    while pause_s > 0 and running():
        await sleep(min(pause_s, GLANCE_S))
        pause_s -= GLANCE_S


def _least_pause_s(error: KubernetesError | None) -> float:
    if isinstance(error, Unreachable):
        return min(error.retry_after_s or 0.0, PATIENCE_S)
    return PATIENCE_S if isinstance(error, Denied) and error.status == 403 else 0.0


async def _read_the_rest(log: "_ContainerLog", sleep: Sleep) -> KubernetesError | None:
    """Read what the stopped container wrote last; return why that cannot be known, if so."""
    came = await log.read(follow=False)
    for pause_s in FINAL_PAUSES_S:
        if log.is_settled_by(came):
            break
        await sleep(pause_s)
        came = await log.read(follow=False)
    return came.error or log.doubt(came)


class _Complaint(Unreachable):
    """The kubelet said why it cannot read the log, or not any further."""


@dataclass(frozen=True, slots=True)
class _Came:
    """What one read brought."""

    something: bool  # Bytes came, though perhaps only known ones.
    error: KubernetesError | None  # None: the stream ended, or nothing was heard of it for long.


@dataclass(frozen=True, slots=True)
class _RawLine:
    """A line as the stream has it: behind its timestamp, when it has one."""

    at: str  # "" without a timestamp.
    ns: int | None
    text: bytes
    beyond_bytes: int  # Cut off its end.

    @classmethod
    def of(cls, raw: bytes, beyond_bytes: int) -> "_RawLine":
        stamp, _, text = raw.partition(b" ")
        at = stamp[: _STAMP_CHARS + 1].decode("ascii", errors="replace")
        ns = nanoseconds(at)
        return cls("", None, raw, beyond_bytes) if ns is None else cls(at, ns, text, beyond_bytes)


def _complaint(raw: bytes, *, stamped: bool) -> _Complaint | None:
    """Return what the kubelet said in *raw*, the end of a stream that has no line end; None when a container wrote it.

    A kubelet has sent its 200 before it asks for the container and opens its log, so an error can only follow what it
    has sent: without a line end, and without the timestamp that it puts before what containers write. A server that
    puts none (*stamped* is false as long as there was none) is believed to complain in a kubelet's words only.
    """
    if not raw or _TORN_STAMP.fullmatch(raw) or _RawLine.of(raw, 0).ns is not None:
        return None
    if not stamped and _COMPLAINT.match(raw) is None:
        return None
    return _Complaint(f"the kubelet says: {raw[:_COMPLAINT_BYTES].decode(errors='replace')}")


class _ContainerLog:
    """One container's log, read in as many pieces as it takes, each line once."""

    def __init__(self, jobs: Jobs, namespace: str, pod: str, container: str, output: Output, *, idle_s: float) -> None:
        self._jobs = jobs
        self._source = (namespace, pod, container)
        self._output = output
        self._idle_s = idle_s
        self._place = _Place()
        self._unended: _RawLine | None = None  # The last line, as long as its end has not been seen.
        self._empty_reads = 0
        self.has_begun = False  # The stream under way came to its turn.
        self._came_to_end = False  # The last stream that there was ended by itself.

    async def find_place(self) -> None:
        """Go to the end of what *output* has from an earlier capture."""
        async for each in self._output.read():
            if isinstance(each, LogLine):
                self._place.advance(each.at, nanoseconds(each.at))

    async def read(self, *, follow: bool) -> _Came:
        """Read on from the place that was reached, to the end of the stream."""
        lines, gate = _Splitter(), self._place.gate()
        self.has_begun = False
        size_bytes, error, came_to_end = 0, None, False
        loop = asyncio.get_running_loop()
        try:
            stream = self._jobs.read_log(*self._source, since=self._place.since, follow=follow)
            async with asyncio.timeout(self._idle_s) as idle, contextlib.aclosing(stream) as chunks:
                async for chunk in chunks:
                    self.has_begun = True
                    idle.reschedule(loop.time() + self._idle_s)
                    size_bytes += len(chunk)
                    self._keep_new(gate, lines.feed(chunk))
            came_to_end = True
        except KubernetesError as caught:
            error = caught
        except TimeoutError:
            silent_is_normal = follow and self.has_begun
            error = None if silent_is_normal else Unreachable(f"no answer within {self._idle_s:.0f} s")
        unended, beyond_bytes = lines.take()
        if came_to_end and (complaint := _complaint(unended, stamped=bool(self._place.at))) is not None:
            size_bytes -= len(unended)
            error, unended, came_to_end = complaint, b"", False
        self._remember_unended(gate, unended, beyond_bytes)
        if error is None or not self._has_gone(error):
            self._came_to_end = came_to_end
        self._empty_reads += not size_bytes and error is None
        return _Came(size_bytes > 0, error)

    def is_gone(self, error: KubernetesError) -> bool:
        """Whether the Pod no longer exists. A 404 that names something else is the kubelet's, or its node's."""
        return isinstance(error, NotFound) and f'"{self._source[1]}"' in error.message

    def _has_gone(self, error: KubernetesError) -> bool:
        """Whether there is nothing to read any more: Pod, container (400, "is terminated") or log is gone."""
        if isinstance(error, _Complaint):
            return _NO_LOG_ANY_MORE.search(error.message) is not None
        return self.is_gone(error) or (isinstance(error, Denied) and error.status == 400)

    def is_settled_by(self, came: _Came) -> bool:
        """Whether another last read would bring nothing new."""
        if came.error is not None and self._was_whole and self._has_gone(came.error):
            return True
        if came.error is not None:
            return self.is_gone(came.error) or (isinstance(came.error, Denied) and not isinstance(came.error, NotFound))
        return came.something or (not self._place.passed_lines and self._empty_reads > 1)

    def doubt(self, came: _Came) -> KubernetesError | None:
        """Return what speaks against a last read: the last known lines should have come again."""
        if came.something or not self._place.passed_lines:
            return None
        return Unreachable("the log came back empty, although lines of it had been read")

    @property
    def _was_whole(self) -> bool:
        return self._came_to_end and self._unended is None

    def finish(self, error: KubernetesError | None) -> None:
        """End the output, complete unless *error* says what was in the way."""
        was_whole = self._was_whole
        if self._unended is not None:
            self._keep(self._unended)
        if error is None or (was_whole and self._has_gone(error)):
            self._output.finish("complete")
        elif self._place.passed_lines:
            self._output.finish("truncated", f"the end could not be read: {error.message}")
        else:
            self._output.finish("unavailable", f"it could not be read: {error.message}")

    def _keep_new(self, gate: "_Gate", lines: Iterator[tuple[bytes, int]]) -> None:
        for raw, beyond_bytes in lines:
            line = _RawLine.of(raw, beyond_bytes)
            if gate.admits(line.ns):
                self._unended = None  # Here it is whole, or it came to nothing.
                self._keep(line)

    def _keep(self, line: _RawLine) -> None:
        at = line.at or self._place.at
        self._output.append(at, STREAM, line.text, beyond_bytes=line.beyond_bytes)
        self._place.advance(at, line.ns)

    def _remember_unended(self, gate: "_Gate", raw: bytes, beyond_bytes: int) -> None:
        """Hold a last line without its end back: when the stream was cut in it, it comes again as a whole."""
        if not raw or _TORN_STAMP.fullmatch(raw):
            return
        line = _RawLine.of(raw, beyond_bytes)
        if gate.admits(line.ns):
            self._unended = line


class _Place:
    """How far a log has been read.

    It is told by the newest time there was, and the number of lines from the first one of that time on: some of
    them may have the same time, none, or an older one, for stdout and stderr are stamped before they are mixed.
    """

    def __init__(self) -> None:
        self.at = ""  # Of the last line that had a time.
        self.since = ""  # Where to resume: the oldest time among the counted lines.
        self.passed_lines = 0
        self._since_ns: int | None = None
        self._newest_ns: int | None = None
        self._counted = 0

    def advance(self, at: str, ns: int | None) -> None:
        """Pass a line of the time *at*, which is *ns* or unknown."""
        self.passed_lines += 1
        self._counted += 1
        if ns is None:
            return
        self.at = at
        if self._newest_ns is None or ns > self._newest_ns:
            self._newest_ns, self._counted = ns, 1
            self.since, self._since_ns = at, ns
        elif self._since_ns is None or ns < self._since_ns:
            self.since, self._since_ns = at, ns

    def gate(self) -> "_Gate":
        """Return what tells the lines beyond this place from those before it, in a stream that is resumed here."""
        return _Gate(self._newest_ns, self._counted)


class _Gate:
    """Closed to the lines that had been passed, and open from the first other one on."""

    def __init__(self, newest_ns: int | None, counted: int) -> None:
        self._newest_ns = newest_ns
        self._left = counted
        self._reached = newest_ns is None  # The first of the counted lines.
        self._open = counted == 0

    def admits(self, ns: int | None) -> bool:
        """Return whether the next line of the stream, of the time *ns*, is a new one."""
        if not self._open:
            self._open = self._opens_at(ns)
        return self._open

    def _opens_at(self, ns: int | None) -> bool:
        if ns is not None and (self._newest_ns is None or ns > self._newest_ns):
            return True
        self._reached = self._reached or ns == self._newest_ns
        if not self._reached:
            return False
        self._left -= 1
        return self._left < 0


class _Splitter:
    """Makes lines of chunks. Of a long line it holds the beginning and counts the rest."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._beyond_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, int]]:
        """Yield every line that ends in *chunk*, and how many bytes it has beyond."""
        first, *others = chunk.split(b"\n")
        self._hold(first)
        for each in others:
            yield self.take()
            self._hold(each)

    def take(self) -> tuple[bytes, int]:
        """Return the line held so far, and forget it."""
        line = bytes(self._held), self._beyond_bytes
        self._held.clear()
        self._beyond_bytes = 0
        return line

    def _hold(self, piece: bytes) -> None:
        # A line and its timestamp; the line is cut to its own limit where it is stored.
        room = LINE_BYTES + _STAMP_CHARS + 1 - len(self._held)
        self._held += piece[:room]
        self._beyond_bytes += max(0, len(piece) - room)
