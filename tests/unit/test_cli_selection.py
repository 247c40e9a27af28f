"""The client's configuration lent to ``raftsman dev``: selected while it runs, and afterwards as it was."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.cli.playing import held
from raftsman.cli.profile import InvalidConfig
from raftsman.cli.selection import ProfileTaken, deselected, holder, selected_profile, selecting

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


def table(folder: Path) -> list[str]:
    """Return the lines of the profile of a ``dev`` in *folder*."""
    return ["[profiles.dev]", 'addresses = ["http://127.0.0.1:1"]', f'token_file = "{folder}/token"']


@contextmanager
def running(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Do with the client's configuration what a ``dev`` in *folder* does; yield what the file says then."""
    with held(folder), selected_profile(environment, "dev", table(folder)) as path:
        yield path.read_text()


@pytest.mark.parametrize("before", [None, 'profile = "prod"\n[profiles.prod]\naddresses = []\n'])
@pytest.mark.parametrize("first_to_end", ["a", "b"])
def test_the_first_of_two_keeps_the_profile_and_the_file_comes_back_in_either_order(
    tmp_path: Path, before: str | None, first_to_end: str
) -> None:
    config = tmp_path / "config.toml"
    if before is not None:
        config.write_text(before)
    environment = {"RAFTSMAN_CONFIG": str(config)}
    with ExitStack() as a, ExitStack() as b:
        lent = a.enter_context(running(tmp_path / "a", environment))
        b.enter_context(held(tmp_path / "b"))
        with pytest.raises(ProfileTaken, match=f"of the raftsman dev in {tmp_path}/a"):
            b.enter_context(selected_profile(environment, "dev", table(tmp_path / "b")))
        if first_to_end == "b":
            b.close()
            assert config.read_text() == lent
    assert (config.read_text() if config.exists() else None) == before


def test_after_one_that_was_killed_the_next_has_the_profile_and_puts_the_file_back(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(selecting('profile = "prod"\n', "dev", table(tmp_path / "killed")))
    with running(tmp_path / "next", {"RAFTSMAN_CONFIG": str(config)}) as lent:
        assert holder(lent, "dev") == tmp_path / "next"
    assert config.read_text() == 'profile = "prod"\n'


def test_one_whose_profile_another_has_taken_over_leaves_it(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with running(tmp_path / "a", {"RAFTSMAN_CONFIG": str(config)}):
        config.write_text(other := selecting("", "dev", table(tmp_path / "b")))
    assert config.read_text() == other


@pytest.mark.parametrize(
    ("edit", "after"),
    [
        (lambda text: text.replace("http://127.0.0.1:1", "http://127.0.0.1:2"), 'profile = "prod"\n[profiles.prod]\n'),
        (
            lambda text: text.replace("[profiles.prod]", "[profiles.prod]  # x"),
            'profile = "prod"\n[profiles.prod]  # x\n',
        ),
        (lambda _: 'profile = "mine"\n', 'profile = "mine"\n'),
        (lambda text: text.partition("\n")[2], 'profile = "prod"\n[profiles.prod]\n'),
        (
            lambda text: text.replace('profile = "dev"  # raftsman dev', 'profile = "mine"'),
            'profile = "mine"\n[profiles.prod]\n',
        ),
        (lambda text: f"{text}[profiles.new]\n", 'profile = "prod"\n[profiles.prod]\n[profiles.new]\n'),
        (lambda _: "", ""),
    ],
)
def test_what_a_user_does_to_the_file_meanwhile_is_respected(
    tmp_path: Path, edit: Callable[[str], str], after: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('profile = "prod"\n[profiles.prod]\n')
    with running(tmp_path / "a", {"RAFTSMAN_CONFIG": str(config)}) as lent:
        config.write_text(edit(lent))
    assert config.read_text() == after


def test_a_file_that_a_user_removes_meanwhile_stays_away(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with running(tmp_path / "a", {"RAFTSMAN_CONFIG": str(config)}):
        config.unlink()
    assert not config.exists()


def test_a_profile_of_the_same_name_that_a_user_writes_meanwhile_is_not_made_twice(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[profiles.dev]\naddresses = []\n")
    with running(tmp_path / "a", {"RAFTSMAN_CONFIG": str(config)}) as lent:
        kept = [line for line in lent.splitlines() if not line.endswith("# raftsman dev")]
        config.write_text("\n".join([*kept, "[profiles.dev]", 'addresses = ["http://h:1"]']) + "\n")
    assert tomllib.loads(config.read_text()) == {"profiles": {"dev": {"addresses": ["http://h:1"]}}}
    assert "#raftsman dev# addresses = []" in config.read_text()
