"""How many descriptors users may hold, of how many there are."""

import pytest

from raftsman.node.descriptors import CONNECTIONS, MOST, shares_of
from raftsman.node.forward import HANDED_ON_AT_ONCE, RELAYS


@pytest.mark.parametrize("limit", [256, 1024, 4096, 65_536])
def test_users_leave_a_good_part_of_the_descriptors_to_the_node_itself(limit: int) -> None:
    shares = shares_of(limit)
    overrun = shares.connections * 9 // 8
    assert overrun + shares.relays <= limit * 0.6
    assert shares.relays > 0


def test_with_the_usual_hard_limit_there_are_as_many_as_there_may_be() -> None:
    shares = shares_of(MOST)
    assert (shares.connections, shares.relays) == (CONNECTIONS, RELAYS)
    assert CONNECTIONS + RELAYS + HANDED_ON_AT_ONCE < MOST / 8
