"""The proxies that cut connections between nodes: each direction by itself, and what arrives when it is healed."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.harness.cuts import Cut, Cuts

SILENCE_S = 0.2


class Pair:
    """A connection from alpha to beta, through the proxies."""

    def __init__(self, cuts: Cuts, listening: socket.socket) -> None:
        host, _, port = cuts.members_of("alpha")["beta"].rpartition(":")
        self.alpha = socket.create_connection((host, int(port)), timeout=5)
        self.beta, _ = listening.accept()
        self.beta.settimeout(5)

    def close(self) -> None:
        self.alpha.close()
        self.beta.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


@pytest.fixture
def cuts(listening: socket.socket) -> Iterator[Cuts]:
    port = listening.getsockname()[1]
    with Cuts({"alpha": "127.0.0.1:1", "beta": f"127.0.0.1:{port}"}) as proxies:
        yield proxies


@pytest.fixture
def pair(cuts: Cuts, listening: socket.socket) -> Iterator[Pair]:
    with closing(Pair(cuts, listening)) as connected:
        yield connected


def hears(end: socket.socket) -> bytes:
    """Return what comes within a moment; nothing is b"", an end as well."""
    end.settimeout(SILENCE_S)
    try:
        return end.recv(100)
    except TimeoutError:
        return b""
    finally:
        end.settimeout(5)


def is_over(end: socket.socket) -> bool:
    try:
        return end.recv(100) == b""
    except ConnectionError:
        return True


def test_a_node_is_told_its_own_address_and_proxies_for_the_others(cuts: Cuts) -> None:
    assert cuts.members_of("alpha")["alpha"] == "127.0.0.1:1"
    assert cuts.members_of("alpha")["beta"] != cuts.members_of("beta")["beta"]


def test_bytes_pass_in_both_directions(pair: Pair) -> None:
    pair.alpha.sendall(b"there")
    assert pair.beta.recv(100) == b"there"
    pair.beta.sendall(b"and back")
    assert pair.alpha.recv(100) == b"and back"


def test_a_direction_that_is_held_keeps_its_bytes_until_it_is_healed_and_the_other_goes_on(
    cuts: Cuts, pair: Pair
) -> None:
    cuts.cut("alpha", "beta", Cut.HOLD)
    pair.alpha.sendall(b"one")
    assert hears(pair.beta) == b""
    pair.beta.sendall(b"two")
    assert pair.alpha.recv(100) == b"two"
    cuts.heal()
    assert pair.beta.recv(100) == b"one"


def test_swallowed_bytes_are_lost_and_the_connection_with_them(cuts: Cuts, pair: Pair) -> None:
    cuts.cut("alpha", "beta", Cut.SWALLOW)
    pair.alpha.sendall(b"one")
    pair.beta.sendall(b"two")
    assert pair.alpha.recv(100) == b"two"
    assert hears(pair.beta) == b""
    cuts.heal()
    assert is_over(pair.alpha)
    assert is_over(pair.beta)


def test_a_reset_ends_connections_and_new_ones_until_it_is_healed(
    cuts: Cuts, pair: Pair, listening: socket.socket
) -> None:
    cuts.cut("beta", "alpha", Cut.RESET)
    assert is_over(pair.alpha)
    assert is_over(pair.beta)
    host, _, port = cuts.members_of("alpha")["beta"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as new:
        assert is_over(new)
    cuts.heal()
    with closing(Pair(cuts, listening)) as healed:
        healed.alpha.sendall(b"again")
        assert healed.beta.recv(100) == b"again"


def test_the_end_of_a_connection_is_news_that_a_cut_keeps_back(cuts: Cuts, pair: Pair) -> None:
    cuts.cut("alpha", "beta", Cut.HOLD)
    pair.alpha.close()
    pair.beta.sendall(b"nobody is there")
    assert hears(pair.beta) == b""
    cuts.heal()
    assert is_over(pair.beta)


def test_nobody_behind_a_proxy_is_a_connection_that_ends(cuts: Cuts) -> None:
    host, _, port = cuts.members_of("beta")["alpha"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        assert is_over(connection)
