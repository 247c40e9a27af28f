"""The generated pages of ``docs/`` say what the code says, and their examples are what they claim."""

import re
import tomllib

import pytest

from raftsman.node.settings.schema import SCHEMA, Kind, Setting
from raftsman.node.settings.values import parse_value
from raftsman.raft.lifecycle import Cause, Signal, State
from tests.harness import generate_docs
from tests.harness.generate_docs import DOCS, PAGES, SPELLINGS, causes_page, settings_page, states_page

LOGGED = (
    "no leader is known: nothing can be accepted; silent: ",
    " is lost: it does not answer the leader",
    " is back",
    " waits: ",
    "no link: ",
    "a snapshot holds everything up to entry ",
    " gets the snapshot of everything up to entry ",
    "this node accepts nothing new until there is some",
    "takes no part in the log until there is room",
    "the log has ended: ",
    "joins a cluster that there is already",
    "counts as a member now",
    "cannot listen on raft.bind ",
    "another process uses ",
    " is no other member of this cluster",
    "the log cannot be kept in ",
)


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run: make docs"


def test_every_state_signal_and_cause_is_on_its_page() -> None:
    assert [each for each in [*State, *Signal] if str(each) not in states_page()] == []
    assert [each for each in Cause if f"| `{each}` |" not in causes_page()] == []


def test_every_setting_is_on_its_page() -> None:
    variables = [f"RAFTSMAN_{setting.key.upper().replace('.', '__').replace('*', 'NAME')}" for setting in SCHEMA]
    assert [each for each in variables if f"`{each}`" not in settings_page()] == []


def test_every_metric_that_operators_are_to_watch_is_one_of_the_api() -> None:
    watched = set(re.findall(r"raftsman_(\w+?)(?:_bucket)?\b", (DOCS / "operating.md").read_text()))
    api = (DOCS / "api.md").read_text()
    assert [name for name in watched if not re.search(rf"`{name}[`{{]", api)] == []


def test_what_operators_are_to_find_in_a_log_is_said_by_the_code() -> None:
    code = "".join(file.read_text() for folder in ("raft", "node") for file in (DOCS.parent / folder).rglob("*.py"))
    for words in LOGGED:
        assert words in code
        assert words in (DOCS / "operating.md").read_text()


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.CHOICE}))
def test_the_example_of_a_kind_is_a_value_of_it(kind: Kind) -> None:
    parse_value(Setting("any", kind, None, ""), SPELLINGS[kind])


@pytest.mark.parametrize("value", [*SPELLINGS.values(), *(setting.default for setting in SCHEMA)], ids=repr)
def test_a_value_on_the_page_is_toml(value: object) -> None:
    read = tomllib.loads(f"value = {generate_docs._toml(value)}")["value"]
    assert read == ([*value] if isinstance(value, tuple) else value)
