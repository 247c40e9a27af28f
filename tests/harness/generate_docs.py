"""The pages of ``docs/`` that are made from the code, so that they cannot say anything else than the code does.

``make docs`` writes them; ``tests/unit/test_docs.py`` fails when they differ from what would be written. The words about
states are comments in ``raft.lifecycle``, those about causes ``cli.faults.BLAME``, those about settings
``node.settings_schema.SCHEMA``; here are only the frames around them.
"""

import inspect
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from raftsman.cli.faults import BLAME
from raftsman.executor import causes
from raftsman.executor.causes import Patience
from raftsman.node.settings_schema import ANY, SCHEMA, Kind, Setting
from raftsman.node.settings_sources import PREFIX
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
        [
            "What is ordered is (attempt, state): within an attempt a state only goes forward, and a task that has ended",
            "never changes again. A change that is not in the table below is refused.",
        ],
        ["```mermaid", *_diagram(), "```"],
        ["## Every legal change", "", *lines_of_table(["from", "signal", "to"], _changes())],
        ["A stop keeps the state and sets the condition `stopping`; where `gone` leads depends on the stop:"],
        lines_of_table(["stop", "what for", "ends as"], _stops()),
        ["## Signals", "", *lines_of_table(["signal", "meaning"], _commented(Signal))],
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


def _changes() -> Iterator[list[str]]:
    for (before, signal), after in TRANSITIONS.items():
        yield [before, f"`{signal}`", after]


def _stops() -> Iterator[list[str]]:
    meanings = dict(_commented(StopKind))
    for kind, state in AFTER_STOP.items():
        yield [f"`{kind}`", meanings[f"`{kind}`"], state]


def _commented(kind: type[StrEnum]) -> Iterator[tuple[str, str]]:
    """Yield each value of *kind*, and the comment behind it."""
    source = inspect.getsource(kind)
    for each in kind:
        comment = re.search(rf'{each.name} = "{each.value}"(?:  # (.+))?$', source, re.MULTILINE)
        assert comment is not None, each
        yield f"`{each}`", comment[1] or ""


# --- causes -----------------------------------------------------------------------------------


def causes_page() -> str:
    """Return ``docs/causes.md``."""
    return _page(
        "Why an attempt failed",
        [
            "`cause` is one word of this closed list, so that programs can decide on it; null when a task completed or was",
            "cancelled. Whose matter it is: the user's, who can submit something else; the configuration's, of raftsman or of",
            "the namespace; the infrastructure's, where submitting again may be all there is to do.",
        ],
        lines_of_table(["cause", "meaning", "a matter of the", "first look"], _blames()),
        [
            "## What Kubernetes says",
            "",
            "The words of Kubernetes that give a cause by themselves. A wait becomes one when it has lasted as long as is said",
            "here, or when the start timeout passes. The other causes follow from more than one word (exit codes, the",
            "answers to a create, what is missing) or are raftsman's own.",
        ],
        lines_of_table(["cause", "evidence"], _evidences()),
    )


def _blames() -> Iterator[list[str]]:
    for cause in Cause:
        blame = BLAME[cause]
        yield [f"`{cause}`", blame.meaning, blame.party, blame.advice.format(id="ID")]


def _evidences() -> Iterator[list[str]]:
    evidence: dict[Cause, list[str]] = defaultdict(list)
    for cause, words in _words_of_kubernetes():
        if cause is not None:
            evidence[cause].append(words)
    yield from ([f"`{cause}`", "; ".join(evidence[cause])] for cause in Cause if cause in evidence)


def _words_of_kubernetes() -> Iterator[tuple[Cause | None, str]]:
    yield from ((cause, f"Pod reason `{reason}`") for reason, cause in causes.POD_REASONS.items())
    yield causes.of_pod_reason("OutOf"), "Pod reason `OutOf…`"
    yield from ((cause, f"Pod disrupted, `{reason}`") for reason, cause in causes.DISRUPTIONS.items())
    yield from ((cause, f"container ended, `{reason}`") for reason, cause in causes.TERMINATIONS.items())
    for reason, patience in causes.WAITS.items():
        yield patience.cause, f"container waits, `{reason}`{_grace(patience)}"
    yield from ((cause, f"event `{reason}` of the Pod") for reason, cause in causes.POD_EVENTS.items())
    for pattern, patience in causes.REFUSALS:
        yield patience.cause, f"refused, `{pattern}`{_grace(patience)}"


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
        [
            "One TOML file (`raftsman serve --config FILE`); every key can also be set by a variable of the environment or by",
            "`--set KEY=VALUE`. A flag goes before the environment, the environment before the file, the file before the",
            "default. A key that does not exist stops the start and names its line; secrets are given by file only.",
        ],
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
    what = " \\| ".join(setting.choices) if setting.choices else setting.kind.value
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
