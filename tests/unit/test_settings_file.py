"""The edge of the settings: files, the environment, the token."""

import os
from pathlib import Path

import pytest

from raftsman.node.settings import Loaded, SettingsError
from raftsman.node.settings import file as settings_file


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [each for each in os.environ if each.startswith("RAFTSMAN_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("RAFTSMAN_NAME", "alpha")


@pytest.mark.usefixtures("bare_environment")
def test_the_file_and_the_environment_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "raftsman.toml"
    path.write_text("[executor]\nslots = 1\n")
    monkeypatch.setenv("RAFTSMAN_CLUSTER", "other")
    loaded = settings_file.read_settings(path, overrides={"logging.level": "debug"})
    assert loaded.settings.executor.slots == 1
    assert (loaded.settings.cluster, loaded.settings.logging.level) == ("other", "debug")
    assert settings_file.read_settings(None).settings.executor.slots == 64


@pytest.mark.usefixtures("bare_environment")
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "\xe4"')
    for path, reason in ((tmp_path / "none.toml", "No such file"), (tmp_path, "directory"), (latin, "not UTF-8")):
        with pytest.raises(SettingsError, match=reason) as refusal:
            settings_file.read_settings(path)
        assert str(path) in str(refusal.value)


@pytest.mark.usefixtures("bare_environment")
def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "raftsman.toml"
    path.write_text("slots = 1\n")
    with pytest.raises(SettingsError, match=r"raftsman\.toml have 1 fault") as refusal:
        settings_file.read_settings(path)
    assert refusal.value.file == str(path)


def with_token(path: Path) -> Loaded:
    return settings_file.read_settings(None, overrides={"auth.admin_token_file": path})


@pytest.mark.usefixtures("bare_environment")
def test_the_token_is_read_without_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("abc-123\n")
    path.chmod(0o600)
    loaded = with_token(path)
    assert settings_file.token(loaded.settings) == "abc-123"
    assert loaded.warnings == ()
    assert settings_file.token(settings_file.read_settings(None).settings) is None


@pytest.mark.usefixtures("bare_environment")
def test_a_token_that_others_can_read_warns(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("abc")
    path.chmod(0o640)
    (warning,) = with_token(path).warnings
    assert "others can read" in warning


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("content", "reason"),
    [(b" \n", "is empty"), (b"two words", "visible characters"), (b"\xff", "ASCII"), (b"x" * 5000, "at most 4096")],
)
def test_a_token_that_no_header_can_carry_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=reason) as refusal:
        settings_file.token(with_token(path).settings)
    assert refusal.value.faults[0].key == "auth.admin_token_file"


@pytest.mark.usefixtures("bare_environment")
def test_a_missing_token_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        settings_file.token(with_token(tmp_path / "none").settings)
