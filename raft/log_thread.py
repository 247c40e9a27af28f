"""The log's thread: an event loop for the links, and a tick of the participant whenever there is something to do.

A tick follows at once when something came in, so that no commit waits for a timer; a slow beat is for elections and
heartbeats. What a tick does is ``participant``; ``consensus`` hands calls of other threads over.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from raftsman.raft.disk import DiskFailed, DiskFull
from raftsman.raft.figures import Figures
from raftsman.raft.journal import Journal
from raftsman.raft.messages import Message
from raftsman.raft.participant import Participant
from raftsman.raft.transport import Transport

log = logging.getLogger(__name__)

TICK_S = 0.01
"""How often time is looked at when nothing comes in: a fifth of a heartbeat."""
STOP_WITHIN_S = 10.0


class LogThread:
    """Runs *participant* and *transport*. *ended* is called with a sentence when the node must not go on."""

    def __init__(
        self, participant: Participant, transport: Transport, journal: Journal, *, ended: Callable[[str], None]
    ) -> None:
        self.participant = participant
        self.over = threading.Event()
        self._transport = transport
        self._journal = journal
        self._ended = ended
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._calls: deque[Callable[[], None]] = deque()
        self._calls_lock = threading.Lock()
        self._called = False
        self._tick_scheduled = False
        self._failure = ""

    @property
    def refused(self) -> dict[str, str]:
        """Why members are not linked, by name."""
        return dict(self._transport.refused)

    # --- from other threads ---

    def figures(self) -> Figures:
        """Return what the log can be measured by at this moment."""
        journal, participant = self._journal, self.participant
        return Figures(
            log_bytes=journal.live_bytes,
            entries=len(journal.held),
            commit_index=participant.core.commit_index,
            snapshot_index=participant.shipping.newest_index,
            torn_ends_cut=journal.torn_frames,
            disk_full=participant.has_no_room,
            linked=self._transport.linked,
            refused_connections=self._transport.complaints,
            behind=participant.behind(),
        )

    def start(self) -> None:
        """Start, and return when the node listens. Raises OSError."""
        self._thread.start()
        self._started.result()

    def call(self, work: Callable[[], None]) -> None:
        """Let the log's thread do *work* before its next tick."""
        with self._calls_lock:
            self._calls.append(work)
            if self._called or self._loop is None:
                return
            self._called = True
        with suppress(RuntimeError):  # The loop is closed: the node is stopping, and nobody waits any more.
            self._loop.call_soon_threadsafe(self._take_calls)

    def stop(self) -> None:
        """End the thread and close the journal. Safe to call twice."""
        self.call(self._stop)
        self._thread.join(timeout=STOP_WITHIN_S)

    # --- on it ---

    def linked(self, peer: str, incarnation: str) -> None:
        """Tell the participant of a link."""
        self.participant.linked(peer, incarnation)
        self._tick_soon()

    def unlinked(self, peer: str) -> None:
        """Tell the participant that a link is gone."""
        self.participant.unlinked(peer)
        self._tick_soon()

    def received(self, peer: str, message: Message) -> None:
        """Tell the participant of a message."""
        self.participant.received(peer, message)
        self._tick_soon()

    def _take_calls(self) -> None:
        with self._calls_lock:
            calls, self._calls, self._called = self._calls, deque(), False
        try:
            for work in calls:
                work()
        except Exception as error:  # noqa: BLE001 — the outermost frame of what other threads want.
            self._fail(error)
        self._tick_soon()

    def _tick_soon(self) -> None:
        if not self._tick_scheduled and self._loop is not None:
            self._tick_scheduled = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._tick_scheduled = False
        if self._failure or self._stopping is None or self._stopping.is_set():
            return
        try:
            self.participant.tick()
        except Exception as error:  # noqa: BLE001 — the outermost frame of the loop.
            self._fail(error)
            return
        if self.participant.hurried:
            self._tick_soon()

    def _fail(self, error: Exception) -> None:
        """End: whatever it was, no promise may follow."""
        if not isinstance(error, DiskFailed):  # Of that ``_say_why`` says all that there is to say.
            log.error("the log's thread met an error; the node must end", exc_info=error)
        self._failure = str(error) or type(error).__name__
        self._stop()

    def _stop(self) -> None:
        if self._stopping is not None:
            self._stopping.set()

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live())
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)  # There was no descriptor for the event loop.
        finally:
            self.over.set()
            failed = self._failure
            if failed:
                self._say_why()  # First: closing may wait for a disk that hangs.
            self._close_journal()
        if self._failure and not failed:
            self._say_why()

    def _say_why(self) -> None:
        log.critical("the log has ended: %s", self._failure)
        self._ended(self._failure)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            await self._transport.start(self)
        except Exception as error:  # noqa: BLE001 — whoever waits in ``start`` gets it.
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        self._take_calls()
        beat = asyncio.create_task(self._beat())
        await self._stopping.wait()
        beat.cancel()
        await self._transport.stop()

    async def _beat(self) -> None:
        while True:
            self._tick_soon()
            await asyncio.sleep(TICK_S)

    def _close_journal(self) -> None:
        if self._failure:
            self._journal.abandon()
            return
        with suppress(DiskFull):  # Nothing was promised about what is not written.
            try:
                self._journal.close()
            except DiskFailed as error:
                self._failure = str(error)
