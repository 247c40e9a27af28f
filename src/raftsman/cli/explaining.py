"""Where a task would run, what is in the way and what would help, as a person reads it."""

from collections.abc import Iterator

from raftsman.cli.words import plain
from raftsman.wire.views import ContextReasonView, ExplainView, HeldAttemptView, NodeReasonView

ENDED = frozenset({"completed", "failed", "cancelled"})


def explanation_lines(explanation: ExplainView, *, name: str) -> Iterator[str]:
    """Yield the lines that explain where the task called *name* is, and where it would run."""
    yield f"{name} {_standing(explanation)}"
    if explanation.get("leader", "") is None:
        yield "  no leader is known: nothing is placed until there is one, and what is said here may be old"
    if (attempt := explanation.get("attempt")) is not None:
        yield from _attempt_lines(attempt)
        yield f"  if it were tried again, it {_verdict(explanation, 'could', 'could not')}"
    yield from reason_lines(explanation["nodes"], explanation["contexts"])
    if explanation["help"]:
        yield "  what would help:"
        yield from (f"    {plain(each)}" for each in explanation["help"])


def _attempt_lines(attempt: HeldAttemptView) -> Iterator[str]:
    if attempt["reason"] or attempt["cause"]:
        cause = f" ({plain(attempt['cause'])})" if attempt["cause"] else ""
        yield f"  reason: {plain(attempt['reason'])}{cause}"
    for each in attempt["nodes"]:
        yield f"  node {plain(each['node'])} cannot take it over: {plain(each['message'])} ({plain(each['code'])})"


def reason_lines(nodes: list[NodeReasonView], contexts: list[ContextReasonView]) -> Iterator[str]:
    """Yield a line for each node and context that is excluded."""
    yield from (f"  node {plain(each['node'])}: {plain(each['message'])} ({plain(each['code'])})" for each in nodes)
    yield from (
        f"  context {plain(each['context'])}: {plain(each['message'])} ({plain(each['code'])})" for each in contexts
    )


def _standing(explanation: ExplainView) -> str:
    """Return where the task is; of one that has no node, whether it can be placed."""
    state, attempt = explanation.get("state"), explanation.get("attempt")
    if attempt is not None:
        context = f", context {plain(attempt['context'])}" if attempt["context"] else ""
        words = ", ".join([plain(state), *(plain(each) for each in attempt["conditions"])])
        return f"is assigned to node {plain(attempt['node'])}{context}: {words} (attempt {attempt['number']})"
    if state in ENDED:
        return f"has ended ({plain(state)}); if it were tried again, it {_verdict(explanation, 'could', 'could not')}"
    return _verdict(explanation, "can", "cannot")


def _verdict(explanation: ExplainView, can: str, cannot: str) -> str:
    best, waiting = explanation["best"], explanation["waiting"]
    if best is not None:
        context = f", context {plain(best['context'])}" if best["context"] else ""
        return f"{can} be placed: node {plain(best['node'])}{context}"
    why = f": {plain(waiting['message'])} ({plain(waiting['code'])})" if waiting else ""
    return f"{cannot} be placed now{why}"
