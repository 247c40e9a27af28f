"""The spellings that a submission may use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor.jobs import LABEL_DOMAIN
from raftsman.raft import limits
from raftsman.wire import grammar, models

SHA256 = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "text",
    [
        "busybox",
        "busybox:1.36",
        "acme/train",
        "ghcr.io/acme/train:7",
        "localhost/a",
        "localhost:5000/a/b/c:v1",
        "GHCR.io/acme/train",
        "[::1]:5000/a",
        "10.0.0.1:5000/a",
        "a__b/c.d/e---f_g",
        f"busybox@{SHA256}",
        f"ghcr.io/acme/train:7@{SHA256}",
        "a:" + "t" * 128,
    ],
)
def test_an_image_reference_is_accepted(text: str) -> None:
    assert grammar.image(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1 to 1024"),
        ("a" * 1025, "1 to 1024"),
        ("HTTP://x y", "scheme"),
        ("https://ghcr.io/acme/train", "scheme"),
        ("x y", "without spaces"),
        ("busybox ", "without spaces"),
        ("busybox\n", "without spaces"),
        ("Busybox", 'lower case: "busybox"'),
        ("Acme/train", "lower case"),
        ("ghcr.io/Acme/train:V1", "lower case"),
        ("busybox:", "tag"),
        ("busybox:-1", "tag"),
        ("busybox:a b", "tag"),
        ("a:" + "t" * 129, "tag"),
        ("busybox@sha256:abc", "digest"),
        ("busybox@", "digest"),
        (f"busybox@{SHA256}@{SHA256}", "digest"),
        (f"busybox@{SHA256.upper()}", "digest"),
        ("-a.b/c", "registry"),
        ("a..b/c", "registry"),
        ("ghcr.io:port/a", "registry"),
        ("a/", "image reference"),
        ("/a", "image reference"),
        ("a//b", "image reference"),
        ("a___b", "image reference"),
        ("-a", "image reference"),
        ("ä", "image reference"),
        ("a" * 256, "at most 255"),
        ("a" * 64, "not an image id"),
        ("a-" * 500 + "!", "at most 255"),
    ],
)
def test_what_is_no_image_reference_is_refused_with_its_reason(text: str, words: str) -> None:
    assert words in str(grammar.image(text))


RULES: tuple[grammar.Rule, ...] = (
    grammar.task_id,
    grammar.context_name,
    grammar.node_name,
    grammar.dns_label,
    grammar.dns_subdomain,
    grammar.label_key,
    grammar.label_value,
    grammar.unreserved,
    grammar.variable_name,
    grammar.no_nul,
    grammar.image,
)


@given(st.text(max_size=40))
def test_every_complaint_ends_a_sentence(text: str) -> None:
    complaints = [complaint for rule in RULES if (complaint := rule(text))]
    assert all(complaint.startswith("must ") for complaint in complaints)


def test_no_rule_takes_a_line_break_at_the_end() -> None:
    spelled = {grammar.no_nul, grammar.unreserved}
    assert all(rule("a\n") for rule in RULES if rule not in spelled)


@pytest.mark.parametrize("key", ["a", "A.b_c-9", "example.com/a", "a" * 63, f"{'a.' * 126}a/b"])
def test_a_label_key_is_accepted(key: str) -> None:
    assert grammar.label_key(key) is None


@pytest.mark.parametrize("key", ["", "-a", "a-", "a" * 64, "/a", "a/", "a/b/c", "Ab/c", f"{'a.' * 127}a/b", "ä"])
def test_what_is_no_label_key_is_refused(key: str) -> None:
    assert grammar.label_key(key)


@pytest.mark.parametrize("name", ["A", "_", "a.b-c", "-", ".a"])
def test_a_variable_name_is_accepted(name: str) -> None:
    assert grammar.variable_name(name) is None


@pytest.mark.parametrize("name", ["", ".", "..", "..a", "1", "a b", "a=b", "ä", "a\0"])
def test_what_is_no_variable_name_is_refused(name: str) -> None:
    assert grammar.variable_name(name)


@pytest.mark.parametrize("key", ["x.raftsman.dev/a", "batch.example.com/a", "my-job-name", "app.kubernetes.io/name"])
def test_neighbours_of_reserved_labels_are_the_users(key: str) -> None:
    assert grammar.unreserved(key) is None


def test_the_reserved_domain_is_the_one_that_jobs_carry() -> None:
    assert grammar.LABEL_DOMAIN == LABEL_DOMAIN


def test_the_bounds_are_those_of_the_table() -> None:
    assert (grammar.TASK_ID_CHARS, models.NODES) == (limits.TASK_ID_CHARS, limits.MEMBERS)
