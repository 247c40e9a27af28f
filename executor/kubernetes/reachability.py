"""Whether a context answers this node: one loop per context that connects, probes, and reads new credentials.

Contexts share nothing, so that one that hangs is nobody else's matter: not even threads, for the file system of a
kubeconfig may hang as well, and a thread that waits for it cannot be called back. What follows from a
context that does not answer is the leader's business; here nothing is ever concluded about a Job.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from raftsman.executor.jobs import ContextHealth, Denied, KubernetesError, Unauthorized, Unreachable
from raftsman.executor.kubernetes.client import KubernetesJobs
from raftsman.executor.kubernetes.connection import Connection
from raftsman.executor.kubernetes.kubeconfig import Access, KubeconfigError, stamp_of
from raftsman.executor.kubernetes.timing import Backoff, Timing, TokenBucket
from raftsman.executor.kubernetes.transport import RequestHook, Transport
from raftsman.executor.threads import NoThread, Threads

logger = logging.getLogger(__name__)

PROBE_EVERY_S = 5.0
DOUBT_S = 1.0  # Before the second probe, which turns a doubt into a fact.
MOST_PAUSE_S = 10.0  # Between probes of a context that does not answer: a restart is noticed within that.
RELOAD_EVERY_S = 5.0  # Credentials are read again after a 401, but an exec plugin is not run in a loop.
FILES_S = 10.0  # For looking at small files: whatever takes longer hangs.
BUILD_S = 45.0  # For a connection: exec plugins have a deadline of their own, and the first one imports the client.
FAILURES = 2  # Probes that must fail in a row: a single lost packet makes no news.

ANYBODY = "/version"  # Answered to callers without credentials too: proof of life, not of trust.
ALIVE = "/livez"  # Answered to callers without credentials too, within 2 s.
ETCD_FAILS = b"[-]etcd "  # k8s.io/apiserver/pkg/server/healthz: one line a check, a sign at its beginning.
KNOWN_ONLY = "/api"  # Answered to everybody who has an account.

T = TypeVar("T")
HealthHook = Callable[[str, ContextHealth], None]


class HealthRecord:
    """What the probes add up to. Knows no clock: instants are handed in, in Unix milliseconds."""

    def __init__(self, at_ms: int) -> None:
        self.health = ContextHealth(reachable=False, error="this context has not been tried yet", since_ms=at_ms)
        self._failures = 0

    def answered(self, at_ms: int) -> bool:
        """Note an answer; return whether that is news."""
        self._failures = 0
        return self._become(reachable=True, error="", at_ms=at_ms)

    def failed(self, error: str, at_ms: int, *, certain: bool) -> bool:
        """Note a failure, *certain* when a second try would be no wiser; return whether the health changed."""
        self._failures += 1
        if self.health.reachable and not certain and self._failures < FAILURES:
            return False
        return self._become(reachable=False, error=error, at_ms=at_ms)

    def _become(self, *, reachable: bool, error: str, at_ms: int) -> bool:
        before = self.health
        since_ms = before.since_ms if before.reachable == reachable else at_ms
        self.health = ContextHealth(reachable=reachable, error=error, since_ms=since_ms)
        return self.health != before


class ContextLoop:
    """One context of this node, kept connected. *resolve* and *build* block and are run in a thread."""

    def __init__(
        self,
        name: str,
        resolve: Callable[[], Access],
        build: Callable[[Access], Connection],
        timing: Timing,
        *,
        qps: float,
        burst: int,
        on_request: RequestHook,
        on_health: HealthHook,
    ) -> None:
        self._name = name
        self._resolve = resolve
        self._build = build
        self._threads = Threads(f"kubeconfig of {name}", most=1)
        self._timing = timing
        self._bucket = TokenBucket(timing, qps=qps, burst=burst)
        self._on_request = on_request
        self._on_health = on_health
        self._record = HealthRecord(timing.wall_ms())
        self._backoff = Backoff(timing, first_s=DOUBT_S, most_s=MOST_PAUSE_S)
        self._wake = asyncio.Event()
        self._transport: Transport | None = None
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._read_at = -RELOAD_EVERY_S
        self._distrusted = False  # The credentials were not accepted.
        self._complaint = ""  # Why the files cannot be used any more, said once.
        self.errors = 0
        self.fingerprint = ""
        self.jobs: KubernetesJobs | None = None

    @property
    def health(self) -> ContextHealth:
        """The context's health as of the last probe."""
        return self._record.health

    async def run(self) -> None:
        """Connect and probe until cancelled."""
        while True:
            await self._pause(await self._guarded_round())

    async def stop(self) -> None:
        """Stop the mirrors and close the connection."""
        if self.jobs is not None:
            await self.jobs.stop()
        if self._transport is not None:
            await self._transport.close()

    async def _guarded_round(self) -> float:
        try:
            return await self._round()
        except Exception as error:  # The outermost frame of the loop: the health must not freeze as it is.
            self.errors += 1
            logger.exception("the loop of context %s met an error and goes on", self._name)
            what = f"raftsman failed at this context: {type(error).__name__}; see the log of this node"
            return self._failed(what, certain=False)

    async def _round(self) -> float:
        """Probe once, connecting first if needed; return how long to wait for the next round."""
        self._wake.clear()
        try:
            await self._probe(await self._connected())
            await self._look_at_storage()
        except Denied:
            # It may not read that, but it answers, and knows who asks.
            self._distrusted = False
            return self._answered()
        except KubeconfigError as error:
            return self._failed(str(error), certain=True)
        except KubernetesError as error:
            if error.status == 429:
                return self._answered()
            certain = isinstance(error, Unauthorized) or error.reason == "ConnectionRefused"
            return self._failed(_sentence(error), certain=certain)
        return self._answered()

    async def _probe(self, transport: Transport) -> None:
        """Ask for the version; once the credentials were not accepted, for something that needs good ones."""
        try:
            await transport.probe(KNOWN_ONLY if self._distrusted else ANYBODY)
        except Unauthorized:
            self._distrusted = True
            if not self._may_read_again():
                raise
            await (await self._connected()).probe(KNOWN_ONLY)
        self._distrusted = False

    async def _look_at_storage(self) -> None:
        """Ask an API server that answers how it does: without etcd every other call hangs, and its watches say nothing.

        Only its own word counts. Servers that do not give it (an old one, a proxy, an account that may not ask) are
        known by the other probe alone.
        """
        assert self._transport is not None
        if ETCD_FAILS in await self._transport.ask(ALIVE):
            server = self._transport.connection.server
            raise Unreachable(f"{server} answers, but cannot reach its etcd", reason="Storage")

    async def _connected(self) -> Transport:
        """Return the transport, over a new connection when the credentials changed or were not accepted."""
        try:
            if self._transport is not None and await self._is_current():
                return self._transport
            self._read_at = self._timing.monotonic()
            access = await self._read(self._resolve)
            stamps = await self._read(partial(_stamps, list(access.files)))
            connection = await self._in_thread("getting its credentials", partial(self._build, access), BUILD_S)
        except KubeconfigError as error:
            if self._transport is None or self._distrusted:
                raise
            # Half written, perhaps: what we have still works, and Jobs of ours run there. It is read again next time.
            if str(error) != self._complaint:
                logger.warning("context %s keeps its old credentials: %s", self._name, error)
                self._complaint = str(error)
            return self._transport
        self._stamps, self._complaint = stamps, ""
        return await self._use(connection)

    async def _is_current(self) -> bool:
        if self._distrusted and self._may_read_again():
            return False
        return await self._read(partial(_stamps, list(self._stamps))) == self._stamps

    async def _read(self, look: Callable[[], T]) -> T:
        return await self._in_thread("reading its kubeconfig", look, FILES_S)

    async def _in_thread(self, what: str, work: Callable[[], T], within_s: float) -> T:
        try:
            return await self._threads.run(work, within_s)
        except TimeoutError as error:
            raise KubeconfigError(f"{what} takes longer than {within_s:g} s; its file system may hang") from error
        except NoThread as error:
            raise KubeconfigError(f"{what} cannot be tried again yet ({error})") from error

    async def _use(self, connection: Connection) -> Transport:
        moved = self.fingerprint not in ("", connection.fingerprint)
        self.fingerprint = connection.fingerprint
        if self._transport is None or self.jobs is None:
            self._transport = Transport(
                self._name, connection, self._bucket, on_request=self._on_request, on_error=self._doubt
            )
            self.jobs = KubernetesJobs(self._transport, self._timing)
            return self._transport
        await self._transport.use(connection)
        if moved:
            logger.warning("context %s is another cluster now: %s", self._name, connection.server)
            await self.jobs.restart_mirrors()
        return self._transport

    def _doubt(self, error: KubernetesError) -> None:
        """Probe soon: a call went unanswered, or the credentials were not accepted."""
        if isinstance(error, Unauthorized):
            self._distrusted = True
        if self.health.reachable and (error.status == 0 or self._distrusted):
            self._wake.set()

    def _may_read_again(self) -> bool:
        return self._timing.monotonic() - self._read_at >= RELOAD_EVERY_S

    def _answered(self) -> float:
        self._backoff.reset()
        if self._record.answered(self._timing.wall_ms()):
            logger.info("context %s answers", self._name)
            if self.jobs is not None:
                self.jobs.hope()  # After a long outage their pauses are long, and nothing is seen meanwhile.
            self._on_health(self._name, self.health)
        return self._timing.between(0.9 * PROBE_EVERY_S, 1.1 * PROBE_EVERY_S)

    def _failed(self, error: str, *, certain: bool) -> float:
        if self._record.failed(error, self._timing.wall_ms(), certain=certain):
            logger.warning("context %s is out of reach: %s", self._name, error)
            self._on_health(self._name, self.health)
        return self._backoff.next_s()

    async def _pause(self, seconds: float) -> None:
        """Wait *seconds*, or until a call makes us doubt; then a moment, so that a burst of failures is one doubt."""
        await self._timing.sleep_unless(self._wake, seconds)
        if self._wake.is_set():
            await self._timing.sleep(self._timing.between(DOUBT_S / 4, DOUBT_S / 2))


def _sentence(error: KubernetesError) -> str:
    return f"its credentials are not accepted ({error.message})" if isinstance(error, Unauthorized) else error.message


def _stamps(files: list[Path]) -> dict[Path, tuple[int, int]]:
    return {file: stamp_of(file) for file in files}
