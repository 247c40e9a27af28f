"""``raftsman config show`` and ``raftsman completion``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.cli.main import COMMANDS, main
from raftsman.node.settings.loading import load
from raftsman.node.settings.schema import SCHEMA, Kind
from raftsman.node.settings.showing import spell, toml_lines

TEXT = """name = "alpha"
[raft]
members = ["alpha=127.0.0.1:7127", "beta=127.0.0.1:7128"]
[contexts."prod.eu"]
labels = {region = "eu"}
qps = 2.5
"""


def test_what_is_shown_is_a_settings_file_that_means_the_same() -> None:
    loaded = load(TEXT, environment={}, host_name="host")
    again = load("\n".join(toml_lines(loaded.shown, comments={})), environment={}, host_name="other")
    assert again.settings == loaded.settings


CONTEXT_KEYS: dict[str, st.SearchStrategy[object]] = {
    "kubeconfig": st.sampled_from(["/x", '/with "quotes"', ""]),
    "context": st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5),
    "labels": st.dictionaries(st.sampled_from(["region", "example.org/a"]), st.sampled_from(["eu", ""])),
    "max_jobs": st.integers(1, 9),
    "allow_host": st.booleans(),
    "qps": st.floats(1, 1e6),
}
NAMES = st.sampled_from(["dev-a", "dev-b", "prod.eu", "Z_9", "\N{CLOUD}", "\N{ROCKET}"])


@given(st.dictionaries(NAMES, st.fixed_dictionaries({}, optional=CONTEXT_KEYS)))
def test_what_is_shown_of_any_contexts_can_be_read_and_means_the_same(contexts: dict[str, dict[str, object]]) -> None:
    flags = {f'contexts."{name}".{key}': value for name, keys in contexts.items() for key, value in keys.items()}
    loaded = load('name = "alpha"', environment={}, overrides=flags, host_name="host")
    again = load("\n".join(toml_lines(loaded.shown, comments={})), environment={}, host_name="other")
    assert again.settings == loaded.settings


def test_the_keys_of_a_context_stand_together() -> None:
    text = 'name = "alpha"\n[contexts.dev-b]\nqps = 2\n[contexts.dev-a]\nqps = 3\n'
    lines = [*toml_lines(load(text, environment={}, host_name="host").shown, comments={})]
    assert [line for line in lines if line.startswith("[c")] == ["[contexts.dev-a]", "[contexts.dev-b]"]


@given(st.integers(1, 1 << 45))
def test_a_size_and_a_duration_are_spelled_so_that_they_are_read_again(number: int) -> None:
    from raftsman.node.settings.values import LONGEST_MS, parse_value

    size = next(each for each in SCHEMA if each.kind == Kind.SIZE)
    span = next(each for each in SCHEMA if each.kind == Kind.DURATION and not each.minimum)
    assert parse_value(size, json.loads(spell(Kind.SIZE, number))) == number
    assert parse_value(span, json.loads(spell(Kind.DURATION, number % LONGEST_MS))) == number % LONGEST_MS


def test_every_key_says_who_has_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "node.toml"
    config.write_text(TEXT)
    monkeypatch.setenv("RAFTSMAN_SCHEDULER__MAX_QUEUED", "7")
    assert main(["config", "show", "--config", str(config), "--set", "executor.slots=3", "--origin"]) == 0
    lines = capsys.readouterr().out.splitlines()
    origins = {line.partition(" = ")[0]: line.rpartition("# ")[2] for line in lines if " = " in line}
    assert origins["name"] == f"{config}:1"
    assert origins["max_queued"] == "RAFTSMAN_SCHEDULER__MAX_QUEUED"
    assert origins["slots"] == "--set"
    assert origins["data_dir"] == "default"
    assert '[contexts."prod.eu"]' in lines
    assert [line for line in lines if line.startswith("bind") and "follows from other keys" in line]


def test_settings_that_a_node_would_refuse_are_exit_code_10(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "node.toml"
    config.write_text('nmae = "alpha"\n')
    assert main(["config", "show", "--config", str(config)]) == 10
    assert "did you mean name?" in capsys.readouterr().err


def test_the_json_form_holds_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--set", "name=x", "-o", "json"]) == 0
    items = {item["key"]: item for item in json.loads(capsys.readouterr().out)["items"]}
    assert items["name"] == {"key": "name", "value": "x", "origin": "flag", "line": None, "variable": None}
    assert items["raft.members"]["value"] == ["x=127.0.0.1:7118"]
    values = [items[key]["value"] for key in ("scheduler.max_queued", "executor.allow_shell", "http.max_body")]
    assert values == [100_000, False, "1Mi"]
    assert len(items) == len([setting for setting in SCHEMA if "*" not in setting.key])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_calls_raftsman(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_RAFTSMAN_COMPLETE={shell}_complete" in capsys.readouterr().out


def completions(*words: str) -> tuple[list[str], set[str]]:
    """Return what bash is offered behind *words*, the last of them unfinished, and the modules that took."""
    script = (
        "import atexit, sys; from raftsman.cli.main import main;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); sys.exit(main([]))"
    )
    asked = {"COMP_WORDS": " ".join(["raftsman", *words]), "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked, "_RAFTSMAN_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()], set(done.stderr.split())


def test_commands_are_completed_from_the_table_alone() -> None:
    names, modules = completions("c")
    assert names == [name for name in COMMANDS if name.startswith("c")]
    assert not modules & {lazy.module for lazy in COMMANDS.values()}


def test_options_of_a_command_are_completed() -> None:
    names, _ = completions("get", "tasks", "--st")
    assert names == ["--state"]
