"""What the nodes of a playground say when they are asked: who leads, who is ready, which contexts are reached.

Each node is asked by itself, because they may disagree: that is what a playground shows.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raftsman.errors import RaftsmanError
from raftsman.exchange import NoAnswer, Request, exchange
from raftsman.node.playground.layout import NodePlace

ANSWER_S = 1.0
"""A node on this machine answers within milliseconds; one that is stopped (SIGSTOP) never does."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at some nodes has found."""

    leader: str | None
    term: int


async def look_at(nodes: Sequence[NodePlace], token: str, *, of: int) -> Sight:
    """Ask *nodes*, those that run of a cluster *of* so many, who leads."""
    views = await asyncio.gather(*(ask(node.url, "/v1/cluster", token) for node in nodes))
    leader, term = leader_among([view for view in views if view], (node.name for node in nodes), of=of)
    return Sight(leader=leader, term=term)


async def is_ready(node: NodePlace, token: str) -> bool:
    """Return whether the node serves."""
    return await ask(node.url, "/readyz", token) is not None


def leader_among(views: Iterable[Mapping[str, Any]], running: Iterable[str], *, of: int) -> tuple[str | None, int]:
    """Return the running node that a majority *of* so many takes for the leader, and the latest term."""
    seen, alive = list(views), set(running)
    votes = Counter(view["leader"] for view in seen if view["leader"] in alive)
    elected = [name for name, count in votes.items() if count * 2 > of]
    return (elected[0] if elected else None), max((view["term"] for view in seen), default=0)


async def reached_by_all(node: NodePlace, token: str, *, contexts: Iterable[str], nodes: Iterable[str]) -> bool:
    """Return whether, as *node* knows, all *nodes* reach all *contexts*."""
    view = await ask(node.url, "/v1/contexts", token) or {"items": []}
    reaching = {item["name"]: set(item["reachableFrom"]) for item in view["items"]}
    wanted = set(nodes)
    return all(reaching.get(name, set()) >= wanted for name in contexts)


async def ask(url: str, path: str, token: str) -> Any:
    """Return the JSON that this very node answers; None when it does not answer, or not with a 2xx."""
    return await asyncio.to_thread(_ask, url, path, token)


def _ask(url: str, path: str, token: str) -> Any:
    deadline = time.monotonic() + ANSWER_S
    request = Request(path=path, answer_timeout_s=ANSWER_S)
    try:
        with exchange(url, request, {"Authorization": f"Bearer {token}"}, tls=None, deadline=deadline) as answer:
            return json.loads(answer.whole(deadline))
    except (NoAnswer, RaftsmanError, ValueError):
        return None
