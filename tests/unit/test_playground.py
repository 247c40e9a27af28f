"""The parts of a playground that need no process: its files, and what the nodes' answers mean."""

import socket
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raftsman.node.playground.contexts import find_contexts
from raftsman.node.playground.layout import (
    NAMES,
    ContextPlace,
    addresses_in_use,
    client_text,
    lay_out,
    settings_text,
    write_files,
)
from raftsman.node.playground.looking import leader_among
from raftsman.node.settings.loading import load

CONTEXT = ContextPlace(name="dev-a", kubeconfig="/x/kubeconfig")


def view(leader: str | None, term: int = 1) -> dict[str, Any]:
    return {"leader": leader, "term": term}


def test_what_is_written_for_a_node_are_sound_settings(tmp_path: Path) -> None:
    layout = lay_out(tmp_path / 'with "quotes"', 3)
    for node in layout.nodes:
        settings = load(settings_text(layout, node, [CONTEXT]), environment={}, host_name="host").settings
        assert (settings.name, settings.executor.allow_shell) == (node.name, True)
        assert settings.auth.admin_token_file == layout.token_file
        assert [name for name, _ in settings.raft.members] == ["alpha", "beta", "gamma"]
        assert [(each.name, str(each.kubeconfig)) for each in settings.contexts] == [("dev-a", "/x/kubeconfig")]


def test_the_clients_configuration_selects_the_profile(tmp_path: Path) -> None:
    layout = lay_out(tmp_path, 2)
    config = tomllib.loads(client_text(layout))
    assert config["profiles"][config["profile"]]["addresses"] == list(layout.addresses)


def test_a_second_layout_of_a_folder_keeps_addresses_and_token(tmp_path: Path) -> None:
    first = lay_out(tmp_path, 3)
    write_files(first, [CONTEXT])
    assert lay_out(tmp_path, 3) == first
    with pytest.raises(ValueError, match="of a playground of 3 nodes, not 4"):
        lay_out(tmp_path, 4)


def test_an_address_on_which_somebody_listens_is_noticed(tmp_path: Path) -> None:
    node = lay_out(tmp_path, 1).nodes[0]
    assert addresses_in_use(node) == []
    host, _, port = node.raft.rpartition(":")
    with socket.create_server((host, int(port))):
        assert addresses_in_use(node) == [node.raft]


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:x", "", "[::1]:1", "no such host:1"])
def test_an_address_that_is_none_is_left_to_the_node_to_refuse(tmp_path: Path, address: str) -> None:
    assert addresses_in_use(replace(lay_out(tmp_path, 1).nodes[0], http=address)) == []


def test_only_its_owner_can_read_the_files(tmp_path: Path) -> None:
    layout = lay_out(tmp_path, 1)
    write_files(layout, [])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()}
    assert set(modes.values()) == {0o600}


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alpha.toml").write_text("name = 'alpha'\n")
    with pytest.raises(ValueError, match="not a playground's"):
        lay_out(tmp_path, 1)


def test_there_are_names_for_as_many_nodes_as_may_be_asked_for() -> None:
    from raftsman.cli.dev import MOST_NODES

    assert len(set(NAMES)) == MOST_NODES


@pytest.mark.parametrize(
    ("views", "running", "leader"),
    [
        ([view("a"), view("a"), view("a")], "abc", "a"),
        ([view("a"), view("a")], "bc", None),  # Its followers have not noticed yet that it is dead.
        ([view("b"), view("b")], "bc", "b"),
        ([view("b"), view(None)], "bc", None),
        ([view("a"), view("b")], "abc", None),
        ([], "abc", None),
    ],
)
def test_a_leader_runs_and_has_a_majority_behind_it(
    views: list[dict[str, Any]], running: str, leader: str | None
) -> None:
    assert leader_among(views, list(running), of=3)[0] == leader


def test_the_term_is_the_latest() -> None:
    assert leader_among([view("a", 2), view("a", 3)], ["a", "b"], of=2) == ("a", 3)


def test_a_context_of_the_users_kubeconfig_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text('{"contexts": [{"name": "mine", "context": {}}, {"name": "dev-a", "context": {}}]}')
    monkeypatch.setenv("KUBECONFIG", f"{config}:/nowhere")
    assert find_contexts(["mine"]) == [ContextPlace(name="mine", kubeconfig=str(config))]
    for name, words in (("other", "has no context"), ("dev-a", "one of the playground's own")):
        with pytest.raises(ValueError, match=words):
            find_contexts([name])
    assert find_contexts([]) == []
