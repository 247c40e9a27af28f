"""Output that is followed through a node that does not keep it."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftsman.node.forward import ANSWER_TIMEOUT_S
from raftsman.node.http.streams import EVENT_STREAM, NDJSON, TEXT
from tests.cluster import shells
from tests.cluster.asking import open_stream
from tests.harness.nodes import NodeGroup, NodeProcess, node_group

pytestmark = pytest.mark.cluster

QUIET_S = ANSWER_TIMEOUT_S + 2


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeGroup]:
    """Three nodes that run commands."""
    with node_group(tmp_path_factory.mktemp("relays"), more_toml=shells.TOML) as nodes:
        nodes.wait_ready()
        yield nodes


def followed(node: NodeProcess, task_id: str, media_type: str) -> bytes:
    """Return all that a follower is given until the connection is closed."""
    with open_stream(node, f"/v1/tasks/{task_id}/logs?follow=true", media_type=media_type) as connection:
        connection.settimeout(QUIET_S + 15)
        with connection.makefile("rb") as answer:
            return answer.read()


def test_a_quiet_output_is_followed_to_its_end_in_every_form(group: NodeGroup) -> None:
    task_id = f"quiet-{uuid.uuid4().hex[:8]}"
    keeper, other = group.leader(), group.follower()
    shells.submit(keeper, task_id, f"echo begun; sleep {QUIET_S:g}; echo over >&2", on=keeper.name)
    shells.until_state(other, task_id, "running")
    with ThreadPoolExecutor() as pool:
        reading = {form: pool.submit(followed, other, task_id, form) for form in (TEXT, NDJSON, EVENT_STREAM)}
        said = {form: each.result() for form, each in reading.items()}
    for form, content in said.items():
        assert b"begun" in content, form
        assert b"over" in content, form
    assert b"\nbegun\n" in said[TEXT].replace(b"\r\n", b"\n")
    assert b'"end": "complete"' in said[NDJSON]


def test_text_is_the_same_at_every_node(group: NodeGroup) -> None:
    task_id = f"text-{uuid.uuid4().hex[:8]}"
    leader = group.leader()
    shells.submit(leader, task_id, r"""printf 'a "quoted" ✓ line\n\n\001\n\377\n'; head -c 40000 /dev/zero; echo""")
    shells.until_ended(leader, task_id)
    group.state_hashes()
    said = {node.request("GET", f"/v1/tasks/{task_id}/logs")[2] for node in group.running()}
    assert len(said) == 1
    assert 'a "quoted" ✓ line\n\n\x01\n\ufffd\n'.encode() in said.pop()
