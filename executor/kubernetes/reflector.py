"""A live copy of one collection: list it, watch it from there, list it again when the watch is no longer to be trusted.

The copy is keyed by UID, for a name can come back as another object. It is complete once listed; whether it is
also current is ``live``. Reads through the port ``Source`` and knows no HTTP; ``mirror`` puts two of these together.
"""

import asyncio
import contextlib
import enum
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Protocol

from raftsman.executor.jobs import Denied, Expired, Json, KubernetesError, Unauthorized, Unreachable
from raftsman.executor.kubernetes.answers import decode, error_of_status
from raftsman.executor.kubernetes.lines import Lines
from raftsman.executor.kubernetes.prune import uid_of, version_of
from raftsman.executor.kubernetes.timing import LONGEST_PAUSE_S, Backoff, Timing

logger = logging.getLogger(__name__)

PAGE = 500  # kubectl's page: about 8 MB of Jobs, decoded in a few ten ms.
WATCH_S = (243.0, 297.0)  # 270 s ± 10 %: the server's own default begins at 300, load balancers cut from 350 on.
RELIST_S = 480.0  # Then the running watch is the last one: a watch of a restored API server is silent and deaf.
BETWEEN_WATCHES_S = 2.0  # A copy is taken for current that long without a watch.
HEALTHY_S = 30.0  # A watch of that length was one, even without a single event.
SHORT_PAUSE_S = (0.05, 0.2)  # Before a watch that follows a healthy one.
FIRST_PAUSE_S = 0.5
MOST_PAUSE_S = 30.0


class Gone(enum.Enum):
    """How an object left the copy."""

    DELETED = enum.auto()
    LEFT = enum.auto()  # The selector does not match it any more, or it was deleted without grace: ask before acting.
    MISSED = enum.auto()  # A list does not hold it; the event was lost.


class Source(Protocol):
    """A collection of the API server."""

    @property
    def resource(self) -> str:
        """``jobs`` or ``pods``, for sentences."""

    @property
    def namespace(self) -> str:
        """Where, for sentences."""

    async def list_page(self, limit: int, token: str) -> Json:
        """Return one page of the list; *limit* 0 is everything.

        Raises KubernetesError; Expired when *token* is too old.
        """

    def watch(self, version: str, timeout_s: int) -> AsyncGenerator[bytes, None]:
        """Yield chunks of events; the first one, empty, when the server has accepted. Raises KubernetesError."""


class Reflector:
    """Keeps ``objects`` like the source, pruned.

    *on_seen* gets every new state, *on_gone* the state known before and the last one of what leaves; *on_change*
    follows any change, of ``live`` too.
    """

    def __init__(
        self,
        source: Source,
        prune: Callable[[Json], Json],
        timing: Timing,
        *,
        on_change: Callable[[], None],
        on_seen: Callable[[Json], None],
        on_gone: Callable[[Json, Json, Gone], None],
    ) -> None:
        self._source = source
        self._prune = prune
        self._timing = timing
        self._on_change = on_change
        self._on_seen = on_seen
        self._on_gone = on_gone
        self._backoff = Backoff(timing, first_s=FIRST_PAUSE_S, most_s=MOST_PAUSE_S)
        self._version = ""  # From which the next watch starts; "" asks for a list.
        self._page = PAGE
        self._listed_at = 0.0
        self._watching = False
        self._watched_at = -BETWEEN_WATCHES_S
        self._error = f"{source.resource} of namespace {source.namespace} are not listed yet"
        self._refused = False  # The last failure was a 403.
        self._hope = asyncio.Event()
        self.objects: dict[str, Json] = {}  # By UID.
        self.listed = False
        self.malformed = 0  # Objects and events that were none.

    @property
    def live(self) -> bool:
        """Whether the copy is complete and current."""
        rests = self._timing.monotonic() - self._watched_at < BETWEEN_WATCHES_S
        return self.listed and (self._watching or rests)

    @property
    def error(self) -> str:
        """Why it is not live; "" when it is."""
        if self.live:
            return ""
        return self._error or f"there is no watch on {self._where()}"

    @property
    def refused(self) -> bool:
        """Whether it is not live because the account may not list or watch: an answer, where others are none."""
        return self._refused and not self.live

    async def run(self) -> None:
        """Follow the source until cancelled."""
        while True:
            try:
                pause_s = await self._round()
            except Exception:  # The outermost frame: a fault of ours must not blind a namespace for good.
                logger.exception("the copy of %s met an error, and is made anew", self._where())
                pause_s = self._start_over()
            self._hope.clear()
            await self._timing.sleep_unless(self._hope, pause_s)

    def hope(self) -> None:
        """End a pause, and let the next ones be short: there is reason to think that a try goes well soon.

        Harmless at any other time. A server that has just started ends its first watches at once.
        """
        self._backoff.reset()
        self._hope.set()

    def _start_over(self) -> float:
        """Trust nothing before the next list; return how long to pause."""
        self._version = ""
        self._refused = False
        self._error = f"raftsman failed at the {self._where()}, and lists them again"
        self._on_change()
        return self._backoff.next_s()

    async def _round(self) -> float:
        """List if needed, watch once, and return how long to pause then."""
        try:
            if not self._version or self._timing.monotonic() - self._listed_at > RELIST_S:
                await self._list()
            return await self._watch()
        except Expired:
            # The copy is whole again after a list; a server that answers 410 to every watch gets no faster lists.
            self._version = ""
            return self._backoff.next_s()
        except KubernetesError as error:
            return self._failed(error)

    def _failed(self, error: KubernetesError) -> float:
        self._refused = _is_refusal(error)
        sentence = self._sentence(error)
        if sentence != self._error:
            logger.warning("%s", sentence)
            self._error = sentence
            self._on_change()
        asked_s = min(error.retry_after_s or 0.0, LONGEST_PAUSE_S) if isinstance(error, Unreachable) else 0.0
        return max(self._backoff.next_s(), asked_s)

    def _sentence(self, error: KubernetesError) -> str:
        verb = "watch" if self._version else "list"
        where = f"{self._source.resource} in namespace {self._source.namespace}"
        if _is_refusal(error):
            return f"this account may not {verb} {where}: {error.message}"
        if isinstance(error, Unauthorized):
            return f"the credentials are not accepted for {verb} {where}: {error.message}"
        return f"cannot {verb} {where}: {error.message}"

    async def _list(self) -> None:
        """Read the whole collection and make the copy equal to it."""
        self._version = ""
        items: list[Any] = []
        token, version = "", ""
        while True:
            page = await self._page_of(token)
            items += page["items"] if isinstance(page.get("items"), list) else []
            version = version_of(page) or version
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                break
        self._replace(items)
        self._listed_at = self._timing.monotonic()
        self._page = PAGE
        self.listed = True
        self._version = version or "0"
        self._on_change()

    async def _page_of(self, token: str) -> Json:
        try:
            return await self._source.list_page(self._page, token)
        except Expired:
            self._page = 0  # Paging was too slow for this collection: the next list asks for it whole.
            raise

    def _replace(self, items: list[Any]) -> None:
        there = {uid_of(item) for item in items if isinstance(item, dict)}
        for uid, last in list(self.objects.items()):
            if uid not in there:
                self._on_gone(last, last, Gone.MISSED)
                del self.objects[uid]
        for item in items:
            self._keep(item, listed=True)

    async def _watch(self) -> float:
        """Apply the events of one watch; return the pause after its end."""
        started_at = self._timing.monotonic()
        heard = False
        timeout_s = round(self._timing.between(*WATCH_S))
        with self._counted_as_watching():
            async with contextlib.aclosing(_events(self._source.watch(self._version, timeout_s))) as events:
                async for line in events:
                    heard = self._hear(line) or heard
        if heard or self._timing.monotonic() - started_at >= HEALTHY_S:
            self._backoff.reset()
            return self._timing.between(*SHORT_PAUSE_S)
        # An end without a word, again and again, is a proxy's or a full server's: no tight loop.
        return self._backoff.next_s()

    @contextlib.contextmanager
    def _counted_as_watching(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self._watching:
                self._watching = False
                self._watched_at = self._timing.monotonic()

    def _hear(self, line: bytes) -> bool:
        """Apply one event, or note that the watch was accepted; return whether the server said something."""
        if not line:
            self._watching = True
            self._refused = False
            if self._error:
                self._error = ""
                self._on_change()
            return False
        event = decode(line)
        if event is None or not isinstance(event.get("object"), dict):
            self._count_malformed("an event")
            return False
        self._apply(event.get("type"), event["object"])
        # Only now: an event that failed half way must come again.
        self._version = version_of(event["object"]) or self._version
        self._backoff.reset()
        return True

    def _apply(self, kind: object, found: Json) -> None:
        match kind:
            case "ADDED" | "MODIFIED":
                if self._keep(found):
                    self._on_change()
            case "DELETED":
                self._drop(found)
            case "ERROR":
                self._version = ""  # After any error in the stream the copy may have a gap: list.
                raise error_of_status(found)
            case _:
                pass  # BOOKMARK says how far we are; kinds of the future say nothing to us.

    def _keep(self, found: Any, *, listed: bool = False) -> bool:
        uid = uid_of(found) if isinstance(found, dict) else ""
        if not uid:
            self._count_malformed("an object")
            return False
        known = self.objects.get(uid)
        # A list counts as it is: the versions of an API server that was restored from a backup go back.
        if not listed and known is not None and _is_older(version_of(found), version_of(known)):
            return False
        kept = self._prune(found)
        self._on_seen(kept)
        self.objects[uid] = kept
        return True

    def _drop(self, found: Json) -> None:
        known = self.objects.get(uid_of(found))
        if known is None:
            return
        last = self._prune(found)
        self._on_gone(known, last, Gone.DELETED if "deletionTimestamp" in last["metadata"] else Gone.LEFT)
        del self.objects[uid_of(found)]
        self._on_change()

    def _count_malformed(self, what: str) -> None:
        self.malformed += 1
        if self.malformed == 1:
            where = self._where()
            logger.warning("%s among the %s cannot be understood and is left out (further ones unsaid)", what, where)

    def _where(self) -> str:
        return f"{self._source.resource} of namespace {self._source.namespace}"


def _is_refusal(error: KubernetesError) -> bool:
    return isinstance(error, Denied) and error.status == 403


async def _events(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield "" when the watch is accepted, then every line."""
    lines = Lines()
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            if not chunk:
                yield b""
            for line in lines.feed(chunk):
                yield line
            # A chunk that is there already is handed out without a pause; a flood must not hold the loop.
            await asyncio.sleep(0)


def _is_older(version: str, than: str) -> bool:
    """Compare resource versions: integers in every API server (and documented so since Kubernetes 1.35)."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
