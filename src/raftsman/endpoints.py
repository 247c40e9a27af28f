"""Several addresses that answer the same API: a request goes round until somebody can answer it.

A node that refuses the connection, hangs, is cut off or says 503 makes way for the next one; a definite no (any other
error) is raised at once. When time is up, what a node has said is worth more than another one's silence.
One exchange is ``raftsman.exchange``; streams that outlive their node are ``raftsman.follow``.
"""

import itertools
import random
import ssl
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeVar

from raftsman.errors import ApiProblem, ConnectionFailed, NoLeader, NotAllowed, OutcomeUnknown, RaftsmanError
from raftsman.exchange import ANSWER_TIMEOUT_S, Answer, NoAnswer, Request, checked_address, exchange

FIRST_PAUSE_S = 0.1
"""Between two rounds through all addresses; doubled each time, with jitter: an election takes about half a second."""
LONGEST_PAUSE_S = 2.0
LONGEST_RETRY_AFTER_S = 5.0
"""How far a node's own advice is followed."""
ROUNDS_WITHOUT_CONTACT = 3
"""Nobody has ever answered: most likely the addresses are wrong, and waiting longer does not help."""
ROOM_S = 4.0
"""A node that finds no leader says so after 3 s. With less time left a change is not sent again: cut by the deadline,
its outcome would be unknown."""
TELL_AFTER_S = 2.0
"""Whoever waits for longer wants to hear what for."""
READ_PATIENCE_S = 2.5
"""A reading takes milliseconds, and 2 s when a node makes sure first that a task does not exist. One that takes longer
in the first round may hang, and another one need not. Each round is twice as patient as the one before."""
WRITE_PATIENCE_S = ROOM_S
"""Likewise for what is no reading."""
STREAM_PATIENCE_S = 5.0
"""Likewise for the beginning of a stream. A node may have to hand it on to one that hangs; after so long, the others
give that one up."""
SLOW_S = 1.0
"""A node that has used up so much time without saying anything is asked behind the others."""
_SAY_NOTHING_OF_EARLIER_TRIES = frozenset({401, 403, 429, 507})
"""Answers that a node gives before it looks whether the task is there."""

_jitter = random.SystemRandom()

T = TypeVar("T")
Attempt = Callable[[str, Request], T]
"""One try: an address, and the request as it is sent there this time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer below 300, or a 304."""

    status: int
    body: bytes


@dataclass(slots=True)
class _Search:
    """What is known while a request looks for somebody who can answer it."""

    request: Request
    deadline: float
    began_at: float = field(default_factory=time.monotonic)
    failures: dict[str, NoAnswer] = field(default_factory=dict)  # By address; the one of each that tells most.
    may_have_happened: bool = False
    longest_answer_s: float = 0.0  # Of a node that said that it cannot serve.
    slow: set[str] = field(default_factory=set)  # The addresses that took long to say nothing.

    @property
    def left_s(self) -> float:
        """The time until the deadline."""
        return self.deadline - time.monotonic()

    def note(self, address: str, failure: NoAnswer, took_s: float) -> None:
        """Remember what a try came to. A change that one try may have made is not unmade by what the others say."""
        known = self.failures.get(address)
        if known is None or self._worth(failure) >= self._worth(known):
            self.failures[address] = failure
        self.may_have_happened |= failure.may_have_happened
        if failure.problem is not None:
            self.longest_answer_s = max(self.longest_answer_s, took_s)
        elif took_s >= SLOW_S:
            self.slow.add(address)

    def _worth(self, failure: NoAnswer) -> int:
        if failure.may_have_happened and self.request.changes_task is not None:
            return 3
        return 2 if failure.problem is not None else int(failure.may_have_happened)

    def request_of(self, round_number: int) -> Request:
        """Return the request as it is sent in this round, when others can be asked instead: at first in a hurry.

        What must not be repeated has to wait for the answer.
        """
        if not self.request.repeatable:
            return self.request
        patience_s = READ_PATIENCE_S if self.request.method == "GET" else WRITE_PATIENCE_S
        if self.request.streams:
            patience_s = STREAM_PATIENCE_S
        spared_s = max(ANSWER_TIMEOUT_S - patience_s * 2**round_number, 0.0)
        return replace(self.request, answer_timeout_s=self.request.answer_timeout_s - spared_s)

    def is_too_late(self, pause_s: float = 0.0) -> bool:
        """Return whether the deadline would cut a try that begins after a pause. The first one is always made."""
        return bool(self.failures) and self.left_s - pause_s <= self._room_s()

    def _room_s(self) -> float:
        if self.request.changes_task is None:
            return 0.0  # A reading that is cut does no harm.
        return max(self.longest_answer_s, min(ROOM_S, (self.deadline - self.began_at) / 4))

    def leaves_unknown(self, problem: ApiProblem) -> bool:
        """Return whether a change may have come into force although this answer is an error."""
        if self.request.changes_task is None:
            return False
        broke_in_the_middle = problem.status == 500
        return broke_in_the_middle or (self.may_have_happened and problem.status in _SAY_NOTHING_OF_EARLIER_TRIES)

    def pause_s(self, round_number: int) -> float:
        """Return how long to wait before the next round; a node's own advice goes first."""
        advice = [each.problem.retry_after_s for each in self.failures.values() if each.problem]
        given = [seconds for seconds in advice if seconds is not None]
        if given:
            return min([*given, LONGEST_RETRY_AFTER_S])
        return min(FIRST_PAUSE_S * 2.0**round_number, LONGEST_PAUSE_S) * _jitter.uniform(0.5, 1.0)

    def obstacle(self) -> str:
        """Return what the request waits for, in a few words."""
        problem = self._most_telling_problem()
        return "no leader" if isinstance(problem, NoLeader) else str(problem or self._why())

    def conclusion(self) -> RaftsmanError:
        """Return what to raise now that nobody could answer."""
        if self.request.changes_task is not None and self.may_have_happened:
            return OutcomeUnknown(self.request.changes_task, self._why())
        problem = self._most_telling_problem()
        if problem is None:
            return ConnectionFailed(f"no node answered ({self._why()})")
        for address, failure in self.failures.items():
            if failure.problem is None:
                problem.add_note(f"{address}: {failure}")
        return problem

    def _most_telling_problem(self) -> ApiProblem | None:
        problems = [failure.problem for failure in self.failures.values() if failure.problem]
        return min(problems, key=lambda problem: not isinstance(problem, NoLeader), default=None)

    def _why(self) -> str:
        return "; ".join(f"{address}: {_in_short(failure)}" for address, failure in self.failures.items())


def _in_short(failure: NoAnswer) -> str:
    if failure.problem is None or failure.may_have_happened:
        return str(failure)
    return failure.problem.code or str(failure)  # Its "nothing was changed" is about one try, not about all.


class Endpoints:
    """The addresses of one cluster's nodes; the one that answered last is asked first."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        token: str | None = None,
        ca: str | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Take base URLs, a bearer token, and a PEM file of the only certificates to trust.

        *on_wait* is told, once until somebody answers again, what a request waits for. Raises ValueError for an
        address that is no such URL, OSError for a *ca* that cannot be read.
        """
        if not addresses:
            raise ValueError("no address was given")
        self.addresses = tuple(checked_address(address) for address in addresses)
        encrypted = any(address.startswith("https:") for address in self.addresses)
        self._tls = ssl.create_default_context(cafile=ca) if encrypted else None
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._on_wait = on_wait
        # Threads may race on these; the worst that comes of it is one try more, or that something is told twice.
        self._first = 0
        self._told = False
        self._had_contact = False
        self._seen_index = 0

    def ask(self, request: Request, deadline: float) -> Reply:
        """Return the first whole answer that any node gives before *deadline* (an instant of ``time.monotonic``).

        Raises the ApiProblem of a definite no; ConnectionFailed, Unavailable or OutcomeUnknown when time is up.
        """

        def whole(address: str, sent: Request) -> Reply:
            with self._exchange(address, sent, deadline) as answer:
                try:
                    return Reply(answer.status, answer.whole(deadline))
                except ConnectionFailed as error:
                    raise NoAnswer(str(error), may_have_happened=True) from error

        return self._first_that_answers(whole, request, deadline)

    def open(self, request: Request, deadline: float) -> Answer:
        """Return the answer of the first node that begins one before *deadline*. Raises as ``ask`` does."""
        return self._first_that_answers(
            lambda address, sent: self._exchange(address, sent, deadline), request, deadline
        )

    def _exchange(self, address: str, request: Request, deadline: float) -> Answer:
        headers = dict(self._headers)
        if self._seen_index and request.method == "GET":
            # What one node has shown, another one that lags must not take back.
            headers["Raftsman-Min-Index"] = str(self._seen_index)
        answer = exchange(address, request, headers, tls=self._tls, deadline=deadline)
        shown = answer.header("Raftsman-Index") or ""
        self._seen_index = max(self._seen_index, int(shown) if shown.isdigit() else 0)
        return answer

    def _first_that_answers(self, attempt: Attempt[T], request: Request, deadline: float) -> T:
        search = _Search(request, deadline)
        for round_number in itertools.count():
            sent = search.request_of(round_number) if len(self.addresses) > 1 else request
            for place in self._in_turn(search.slow):
                if search.is_too_late():
                    raise search.conclusion()
                answer = self._try(place, attempt, sent, search)
                if answer is not None:
                    return answer
                self._tell(search)
            pause_s = search.pause_s(round_number)
            hopeless = not self._had_contact and round_number + 1 >= ROUNDS_WITHOUT_CONTACT
            if hopeless or search.is_too_late(pause_s):
                raise search.conclusion()
            time.sleep(pause_s)
        raise AssertionError("itertools.count() does not end")

    def _try(self, place: int, attempt: Attempt[T], sent: Request, search: _Search) -> T | None:
        """Return what one node answers, None when it has no answer. Raises what *search* makes of a definite no."""
        address, began_at = self.addresses[place], time.monotonic()
        try:
            answer = attempt(address, sent)
        except NoAnswer as failure:
            search.note(address, failure, time.monotonic() - began_at)
            self._had_contact |= failure.may_have_happened or failure.problem is not None
            if failure.may_have_happened and not search.request.repeatable:
                raise search.conclusion() from failure
            return None
        except ApiProblem as problem:
            self._had_contact = True
            if isinstance(problem, NotAllowed):
                problem.token_was_sent = "Authorization" in self._headers
            if search.leaves_unknown(problem):
                unknown = NoAnswer(str(problem), may_have_happened=True, problem=problem)
                search.note(address, unknown, time.monotonic() - began_at)
                raise search.conclusion() from problem
            raise
        self._first, self._had_contact, self._told = place, True, False
        return answer

    def _tell(self, search: _Search) -> None:
        """Say what the request waits for, when it has waited and goes on to."""
        waited_s = time.monotonic() - search.began_at
        if self._on_wait is None or self._told or waited_s < TELL_AFTER_S or search.is_too_late():
            return
        self._told = True
        self._on_wait(f"{search.obstacle()}; trying again for up to {search.left_s:.0f} s")

    def _in_turn(self, slow: Set[str]) -> list[int]:
        count = len(self.addresses)
        places = [place % count for place in range(self._first, self._first + count)]
        return sorted(places, key=lambda place: self.addresses[place] in slow)
