"""The client's configuration lent to ``raftsman dev``: selected while it runs, and afterwards as it was."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.cli.profile import InvalidConfig
from raftsman.cli.selection import deselected, selected_profile, selecting

TABLE = ["[profiles.dev]", 'addresses = ["http://127.0.0.1:1"]', 'token_file = "/x/token"']
LINES = st.sampled_from(["# a comment", "", 'profile = "prod"', "  profile='x' # why", "other = 1"])
TABLES = st.sampled_from(
    [
        '[profiles.prod]\naddresses = ["http://h:1"]',
        "[profiles.dev]  # mine\naddresses = ['http://h:2']",
        "[unrelated]\nprofile = 3",
    ]
)


@st.composite
def configs(draw: st.DrawFn) -> str:
    tops = draw(st.lists(LINES, unique_by=lambda line: line.partition("=")[0].strip(), max_size=4))
    return "".join(f"{part}\n" for part in [*tops, *draw(st.lists(TABLES, unique=True))])


@given(configs())
def test_whatever_the_file_says_it_comes_back_as_it_was(text: str) -> None:
    lent = selecting(text, "dev", TABLE)
    assert deselected(lent) == text
    assert selecting(lent, "dev", TABLE) == lent


@given(configs())
def test_the_lent_file_selects_the_profile_and_keeps_the_others(text: str) -> None:
    before, lent = tomllib.loads(text), tomllib.loads(selecting(text, "dev", TABLE))
    assert lent["profile"] == "dev"
    assert lent["profiles"]["dev"] == {"addresses": ["http://127.0.0.1:1"], "token_file": "/x/token"}
    assert lent["profiles"].get("prod") == before.get("profiles", {}).get("prod")


def test_a_file_that_hides_its_profiles_is_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('profiles = {dev = {addresses = ["http://h:1"]}}\n')
    with pytest.raises(InvalidConfig), selected_profile({"RAFTSMAN_CONFIG": str(config)}, "dev", TABLE):
        pass
    assert config.read_text() == 'profiles = {dev = {addresses = ["http://h:1"]}}\n'


def test_a_file_that_was_not_there_is_gone_afterwards_with_its_folders(tmp_path: Path) -> None:
    with selected_profile({"XDG_CONFIG_HOME": str(tmp_path / "a" / "b")}, "dev", TABLE) as path:
        assert path == tmp_path / "a" / "b" / "raftsman" / "config.toml"
        assert tomllib.loads(path.read_text())["profile"] == "dev"
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_into_the_file_meanwhile_stays(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('profile = "prod"\n[profiles.prod]\naddresses = []\n')
    with selected_profile({"RAFTSMAN_CONFIG": str(config)}, "dev", TABLE) as path:
        path.write_text(path.read_text() + "[profiles.new]\naddresses = []\n")
    assert config.read_text() == ('profile = "prod"\n[profiles.prod]\naddresses = []\n[profiles.new]\naddresses = []\n')


def test_two_at_a_time_do_not_take_each_others_profile_away(tmp_path: Path) -> None:
    environment = {"RAFTSMAN_CONFIG": str(tmp_path / "config.toml")}
    other = [TABLE[0], 'addresses = ["http://127.0.0.1:2"]', TABLE[2]]
    with selected_profile(environment, "dev", TABLE) as path:
        with selected_profile(environment, "dev", other):
            pass
        assert not path.exists()
        with selected_profile(environment, "dev", other):
            assert "127.0.0.1:2" in path.read_text()
