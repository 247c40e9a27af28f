"""Where a task would run, what is in the way and what would help, as a person reads it."""

from collections.abc import Iterator

from raftsman.cli.words import plain
from raftsman.wire.views import ContextReasonView, ExplainView, NodeReasonView


def explanation_lines(explanation: ExplainView, *, name: str) -> Iterator[str]:
    """Yield the lines that explain where the task called *name* would run."""
    yield f"{name} {_verdict(explanation)}"
    yield from reason_lines(explanation["nodes"], explanation["contexts"])
    if explanation["help"]:
        yield "  what would help:"
        yield from (f"    {plain(each)}" for each in explanation["help"])


def reason_lines(nodes: list[NodeReasonView], contexts: list[ContextReasonView]) -> Iterator[str]:
    """Yield a line for each node and context that is excluded."""
    yield from (f"  node {plain(each['node'])}: {plain(each['message'])} ({plain(each['code'])})" for each in nodes)
    yield from (
        f"  context {plain(each['context'])}: {plain(each['message'])} ({plain(each['code'])})" for each in contexts
    )


def _verdict(explanation: ExplainView) -> str:
    best, waiting = explanation["best"], explanation["waiting"]
    if best is not None:
        context = f", context {plain(best['context'])}" if best["context"] else ""
        return f"can be placed: node {plain(best['node'])}{context}"
    why = f": {plain(waiting['message'])} ({plain(waiting['code'])})" if waiting else ""
    return f"cannot be placed now{why}"
