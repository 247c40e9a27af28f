"""Which cluster a command talks to."""

from pathlib import Path

import pytest

from raftsman.cli.profile import Connection, InvalidConfig, resolve
from raftsman.client import DEFAULT_ADDRESS

CONFIG = """
profile = "dev"
[profiles.dev]
addresses = ["http://dev:1", "http://dev:2"]
token_file = "{folder}/dev.token"
[profiles.prod]
addresses = ["https://prod:1"]
ca = "/ca.pem"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.toml").write_text(CONFIG.replace("{folder}", str(tmp_path)))
    (tmp_path / "dev.token").write_text("s3cret\n")
    return {"RAFTSMAN_CONFIG": str(tmp_path / "config.toml")}


def test_without_anything_it_is_this_machine(tmp_path: Path) -> None:
    assert resolve({"XDG_CONFIG_HOME": str(tmp_path)}) == Connection(addresses=(DEFAULT_ADDRESS,))


def test_the_file_names_its_own_profile(environment: dict[str, str]) -> None:
    assert resolve(environment) == Connection(addresses=("http://dev:1", "http://dev:2"), token="s3cret")


def test_a_flag_names_another_profile(environment: dict[str, str]) -> None:
    assert resolve(environment, profile="prod") == Connection(addresses=("https://prod:1",), ca="/ca.pem")


def test_the_environment_goes_before_the_file_and_the_flag_before_both(environment: dict[str, str]) -> None:
    environment |= {"RAFTSMAN_ADDRESS": "http://env:1, http://env:2", "RAFTSMAN_TOKEN": "other"}
    assert resolve(environment) == Connection(addresses=("http://env:1", "http://env:2"), token="other")
    assert resolve(environment, address="http://flag:1").addresses == ("http://flag:1",)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("x = 1\nprofile = x", "line 2"),
        ('profile = "x"', "no profile 'x'"),
        ('profile = "x"\n[profiles.x]\nadresses = []', "unknown keys: adresses"),
        ('profile = "x"\n[profiles.x]\naddresses = "http://x"', r"config.toml: \[profiles.x\] addresses: .* a list"),
        ('profile = "x"\n[profiles.x]\naddresses = ["x:1"]', r"config.toml: \[profiles.x\] addresses: 'x:1' is not"),
        ('profile = "x"\n[profiles.x]\ntoken_file = "/absent"', "/absent cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_used_says_why(tmp_path: Path, config: str, words: str) -> None:
    (tmp_path / "config.toml").write_text(config)
    with pytest.raises(InvalidConfig, match=words):
        resolve({"RAFTSMAN_CONFIG": str(tmp_path / "config.toml")})


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no such file"):
        resolve({"RAFTSMAN_CONFIG": str(tmp_path / "absent.toml")})


def test_a_wrong_token_is_not_shown() -> None:
    with pytest.raises(InvalidConfig) as caught:
        resolve({"RAFTSMAN_TOKEN": "two words", "RAFTSMAN_ADDRESS": "http://x:1"})
    assert "two words" not in str(caught.value)
