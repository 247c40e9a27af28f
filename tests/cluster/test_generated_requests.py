"""Thousands of requests made from the API's own description: every answer is one that it speaks of, none is a bug.

2,000 requests by default; ``RAFTSMAN_TEST_REQUESTS=20000`` for the long run (``make fuzz``).
"""

import http.client
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from raftsman.node.http.openapi import PROBLEM
from tests.cluster.asking import CONTEXT, Answer, ask, get, submit
from tests.harness.contract import check_answer, contract
from tests.harness.generated import Request, World, requests
from tests.harness.nodes import NodeGroup, NodeProcess

REQUESTS = int(os.environ.get("RAFTSMAN_TEST_REQUESTS", "2000"))
PROBES = ("getLivez", "getReadyz")
"""Their 503 has a form of its own; a node that is catching up says it."""
SILENCE_S = 0.1
"""A stream that has said nothing for so long is left."""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120 + REQUESTS // 10)]


@dataclass
class Asker:
    """Sends what was generated, over one connection to each node, and remembers which operations succeeded."""

    group: NodeGroup
    world: World
    connections: dict[str, http.client.HTTPConnection] = field(default_factory=dict)
    succeeded: set[str] = field(default_factory=set)

    def send(self, node: NodeProcess, request: Request) -> Answer:
        connection = self.connections.get(node.name) or self._connect(node)
        connection.request(request.method, request.target, request.body, dict(request.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, self._read(node, response))

    def _connect(self, node: NodeProcess) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(urlsplit(node.url).netloc, timeout=30)
        connection.connect()
        self.connections[node.name] = connection
        return connection

    def _read(self, node: NodeProcess, response: http.client.HTTPResponse) -> bytes:
        connection = self.connections[node.name]
        if response.will_close or connection.sock is None or not response.chunked:
            return response.read()
        connection.sock.settimeout(SILENCE_S)
        received = b""
        try:
            while chunk := response.read1():
                received += chunk
            connection.sock.settimeout(30)
        except TimeoutError:
            self.connections.pop(node.name).close()
        return received


@pytest.fixture(scope="module")
def asker(group: NodeGroup) -> Iterator[Asker]:
    """A cluster with a few tasks, one of them ended."""
    ids = [f"known-{uuid.uuid4().hex[:6]}" for _ in range(3)]
    for task_id in ids:
        submit(group.leader(), task_id)
    assert ask(group.leader(), "POST", f"/v1/tasks/{ids[0]}/cancel").status == 200
    group.state_hashes()
    asker = Asker(group, World(tasks=ids, contexts=[CONTEXT]))
    yield asker
    for connection in asker.connections.values():
        connection.close()


def test_every_answer_is_a_documented_one_and_none_is_a_bug(asker: Asker) -> None:
    @settings(
        max_examples=REQUESTS,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(requests(asker.world), st.sampled_from(asker.group.running()))
    def holds(request: Request, node: NodeProcess) -> None:
        answer = asker.send(node, request)
        assert answer.status not in (500, 501, 502), answer
        check_answer(request.method, request.target, answer.status, answer.headers, answer.body)
        if answer.status >= 400:
            is_problem = answer.headers["content-type"].partition(";")[0] == PROBLEM
            assert is_problem or (answer.status == 503 and request.operation in PROBES)
        else:
            asker.succeeded.add(request.operation)

    holds()


def test_what_was_generated_met_every_operation(asker: Asker) -> None:
    """The test before has asked; a generator that misses an operation proves nothing about it."""
    operations = {each["operationId"] for path in contract()["paths"].values() for each in path.values()}
    assert asker.succeeded == operations


def test_nothing_that_was_asked_broke_a_table_or_a_route(asker: Asker) -> None:
    assert len({state_hash for _, state_hash in asker.group.state_hashes().values()}) == 1
    for node in asker.group.running():
        page = get(node, "/metrics").body.decode()
        samples = [each for family in text_string_to_metric_families(page) for each in family.samples]
        assert [each.value for each in samples if each.name == "raftsman_apply_errors_total"] == [0]
        assert [each for each in samples if each.labels.get("code", "").startswith("500")] == []
