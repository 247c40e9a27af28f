"""The pages of ``docs/`` that are made from the code, so that they cannot say anything else than the code does.

``make docs`` writes them; ``tests/unit/test_docs.py`` fails when they differ from what would be written. The words
about states are comments in ``raft.lifecycle``, those about causes ``cli.faults.BLAME``, those about settings
``node.settings.SCHEMA``; here are only the frames around them.
"""

import inspect
import json
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from raftsman.cli.faults import BLAME
from raftsman.executor import causes
from raftsman.executor.causes import Patience
from raftsman.node.settings.schema import ANY, SCHEMA, Kind, Setting
from raftsman.node.settings.sources import PREFIX
from raftsman.raft.lifecycle import AFTER_STOP, TRANSITIONS, Cause, Signal, State, StopKind

DOCS = Path(__file__).parents[2] / "docs"

GENERATED = "<!-- Made by `make docs`; change the code instead. -->"


def lines_of_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield a table in Markdown."""
    names = [*header]
    yield _row(names)
    yield _row("---" for _ in names)
    yield from (_row(row) for row in rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _page(title: str, *parts: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", GENERATED, *(line for part in parts for line in ["", *part])]) + "\n"


def _prose(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 120)


# --- states -----------------------------------------------------------------------------------

CONDITIONS: Mapping[str, str] = {
    "waiting": "queued, and no node can take it now; `waiting` says why, per node and context",
    "stopping": "cancelled, timed out or given up, and not proved yet that its Job is gone; `reason` says which",
    "unreachable": "its context or its node does not answer; the attempt may be running, which nobody can tell now",
}
"""What else may be true of a task that has not ended; ``Task.conditions`` and the planner know when."""


def states_page() -> str:
    """Return ``docs/states.md``."""
    return _page(
        "The states of a task",
        _prose(
            """What is ordered is (attempt, state): within an attempt a state only goes forward, and a task that has
            ended never changes again. A change that is not in the table below is refused."""
        ),
        ["```mermaid", *_diagram(), "```"],
        ["## Every legal change", "", "Where a signal leads, by the state it meets; none leads out of an end."],
        lines_of_table(["signal", "meaning", *(f"in {state}" for state in _OPEN)], _changes()),
        ["A stop keeps the state and sets the condition `stopping`. Where `gone` leads then depends on the stop:"],
        lines_of_table(["stop", "why", "ends as"], _stops()),
        ["## Conditions", "", "While a task has not ended, it may have conditions beside its state:"],
        lines_of_table(["condition", "meaning"], ([f"`{name}`", meaning] for name, meaning in CONDITIONS.items())),
    )


def _diagram() -> Iterator[str]:
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (before, signal), after in TRANSITIONS.items():
        arrows[before, after].append(signal)
    for state in (State.ASSIGNED, State.RUNNING):
        for after in dict.fromkeys(AFTER_STOP.values()):
            arrows[state, after].append(Signal.GONE)
    yield "stateDiagram-v2"
    yield f"    [*] --> {State.QUEUED}: submit"
    yield from (f"    {before} --> {after}: {', '.join(signals)}" for (before, after), signals in arrows.items())
    yield from (f"    {state} --> [*]" for state in State if state.ended)


_OPEN = [state for state in State if not state.ended]


def _changes() -> Iterator[list[str]]:
    for signal in Signal:
        yield [f"`{signal}`", comment_of(signal), *(_led_to(state, signal) for state in _OPEN)]


def _led_to(state: State, signal: Signal) -> str:
    if signal is Signal.GONE and state is not State.QUEUED:
        return "the end, see below"
    return TRANSITIONS.get((state, signal), "–")


def _stops() -> Iterator[list[str]]:
    for kind, state in AFTER_STOP.items():
        yield [f"`{kind}`", comment_of(kind), state]


def comment_of(value: Signal | StopKind) -> str:
    """Return the comment behind *value* in ``raft.lifecycle``."""
    source = inspect.getsource(type(value))
    comment = re.search(rf'    {value.name} = "{value.value}"  # (.+)$', source, re.MULTILINE)
    assert comment is not None, f"{value!r} has no comment"
    return comment[1]


# --- causes -----------------------------------------------------------------------------------


def causes_page() -> str:
    """Return ``docs/causes.md``."""
    return _page(
        "Why an attempt failed",
        _prose(
            """`cause` is one word of this closed list, so that programs can decide on it; null when a task completed
            or was cancelled. It lies with the task, when its user can submit something else; with the
            configuration, of raftsman or of the namespace; or with the infrastructure, where submitting again may
            be all there is to do."""
        ),
        lines_of_table(["cause", "meaning", "lies with the", "first look"], _blames()),
        ["## What Kubernetes says"],
        _prose(
            f"""The words of Kubernetes that give a cause by themselves; those of a refusal are patterns for its
            message. A wait or a refusal fails the attempt after the time that is said here, without one at the
            start timeout; a failed pull already after {causes.DEFINITE_PULL_GRACE_MS // 1000} s when the registry
            says no. The other causes follow from several facts together (exit codes, answers to requests, what is
            missing), or are raftsman's own."""
        ),
        lines_of_table(["cause", "where", "words"], _evidences()),
    )


def _blames() -> Iterator[list[str]]:
    for cause in Cause:
        blame = BLAME[cause]
        yield [f"`{cause}`", blame.meaning, blame.party, blame.advice.format(id="ID")]


def _evidences() -> Iterator[list[str]]:
    evidence: dict[tuple[Cause, str], list[str]] = defaultdict(list)
    for where, cause, word in _words_of_kubernetes():
        if cause is not None:
            evidence[cause, where].append(word)
    order = [*Cause]
    for (cause, where), words in sorted(evidence.items(), key=lambda item: order.index(item[0][0])):
        yield [f"`{cause}`", where, ", ".join(words)]


def _words_of_kubernetes() -> Iterator[tuple[str, Cause | None, str]]:
    """Yield every word that ``executor.causes`` knows: where it stands, what it means, the word."""
    yield from (("reason of the Pod", cause, f"`{word}`") for word, cause in causes.POD_REASONS.items())
    yield "reason of the Pod", causes.of_pod_reason("OutOf"), "`OutOf…`"
    yield from (("disruption of the Pod", cause, f"`{word}`") for word, cause in causes.DISRUPTIONS.items())
    yield from (("end of a container", cause, f"`{word}`") for word, cause in causes.TERMINATIONS.items())
    for word, patience in causes.WAITS.items():
        yield "wait of a container", patience.cause, f"`{word}`{_grace(patience)}"
    yield from (("event of the Pod", cause, f"`{word}`") for word, cause in causes.POD_EVENTS.items())
    for word, patience in causes.REFUSALS:
        yield "refusal", patience.cause, f"`{word.strip()}`{_grace(patience)}"


def _grace(patience: Patience) -> str:
    if patience.grace_ms is None:
        return ""
    return f" ({patience.grace_ms // 1000} s)" if patience.grace_ms else " (at once)"


# --- settings ---------------------------------------------------------------------------------

SPELLINGS: Mapping[Kind, object] = {
    Kind.NAME: "alpha",
    Kind.TEXT: "admin@prod-eu",
    Kind.PATH: "/var/lib/raftsman",
    Kind.OPTIONAL_PATH: "/etc/raftsman/prod-eu.yaml",
    Kind.ADDRESS: "127.0.0.1:7117",
    Kind.ADVERTISED: "10.0.0.1:7118",
    Kind.URL: "http://10.0.0.1:7117",
    Kind.MEMBERS: ["alpha=10.0.0.1:7118", "beta=10.0.0.2:7118"],
    Kind.SIZE: "256Ki",
    Kind.DURATION: "1h30m",
    Kind.DURATION_RANGE: "300ms..600ms",
    Kind.WHOLE: 64,
    Kind.NUMBER: 12.5,
    Kind.SWITCH: True,
    Kind.NAMESPACE: "batch",
    Kind.LABELS: {"region": "eu"},
}
"""An example of each kind of value; ``test_docs`` reads them all."""


def settings_page() -> str:
    """Return ``docs/settings.md``."""
    return _page(
        "The settings of a node",
        _prose(
            """One TOML file (`raftsman serve --config FILE`); every key can also be set by a variable of the
            environment or by `--set KEY=VALUE`. A flag goes before the environment, the environment before the
            file, the file before the default. A key that does not exist stops the start and names its line;
            secrets are given by file only."""
        ),
        *(_section(name, settings) for name, settings in _sections().items()),
        ["## How values are written", "", *lines_of_table(["kind", "for example"], _spellings())],
    )


def _sections() -> dict[str, list[Setting]]:
    sections: dict[str, list[Setting]] = defaultdict(list)
    for setting in SCHEMA:
        name = ".".join("NAME" if part == ANY else part for part in setting.path[: 2 if ANY in setting.path else 1])
        sections[name if len(setting.path) > 1 else ""].append(setting)
    return sections


def _section(name: str, settings: Iterable[Setting]) -> Iterator[str]:
    yield f"## [{name}]" if name else "## At the top of the file"
    yield ""
    if "NAME" in name:
        yield "A table for each context, called what you like. Without any, a node has every context of its kubeconfig."
        yield ""
    yield from lines_of_table(["key", "default", "what", "meaning", "variable"], map(_setting_cells, settings))


def _setting_cells(setting: Setting) -> list[str]:
    key = ".".join(setting.path[2 if ANY in setting.path else 1 if len(setting.path) > 1 else 0 :])
    variable = PREFIX + "__".join("NAME" if part == ANY else part.upper() for part in setting.path)
    what = " | ".join(setting.choices) if setting.choices else setting.kind.value
    return [f"`{key}`", f"`{_toml(setting.default)}`", what, setting.help, f"`{variable}`"]


def _spellings() -> Iterator[list[str]]:
    yield from ([kind.value, f"`{_toml(value)}`"] for kind, value in SPELLINGS.items())


def _toml(value: object) -> str:
    """Return *value* as TOML writes it."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {_toml(each)}" for key, each in value.items())
        return f"{{{pairs}}}"
    return json.dumps(value)


PAGES: Mapping[str, Callable[[], str]] = {
    "states.md": states_page,
    "causes.md": causes_page,
    "settings.md": settings_page,
}
"""The pages by the names of their files."""


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
