"""What counts as JSON: one fault with a place for whatever does not, and never an exception."""

import json
import math
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.wire.document import DEPTH, VALUES, flaws, parse_json
from raftsman.wire.faults import Fault, clipped, pointer, subject

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def _bad(raw: bytes) -> Fault:
    fault = parse_json(raw)
    assert isinstance(fault, Fault)
    assert fault.code == "malformed-json"
    return fault


@pytest.mark.parametrize(
    ("raw", "where", "words"),
    [
        (b'{"a": \xff}', "", "byte 6 is 0xff"),
        (b"", "", "line 1, column 1"),
        (b'{\n  "a": 1,\n}', "", "line 3, column 1"),
        (b"{'a': 1}", "", "line 1, column 2"),
        (b'{"a": 1} x', "", "Extra data"),
        (b"\xef\xbb\xbf{}", "", "BOM"),
        (b'{"a": [{"b": 1, "c": 2, "b": 3}]}', "/a/0", 'key "b" stands twice'),
        (b'{"a": NaN}', "/a", "not finite"),
        (b'{"a": [-Infinity]}', "/a/0", "not finite"),
        (b'{"a~/b": 1e999}', "/a~0~1b", "not finite"),
        (b'{"a": -1e999}', "/a", "not finite"),
        (b'{"a": ' + b"9" * 400 + b"}", "/a", "larger than"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "/a", "not finite"),
        (b'{"a": "\\ud800"}', "/a", "surrogate"),
        (b'{"a": {"\\udc00": 1}}', "/a", "surrogate"),
        (b"[" * 100_000, "", "deeper than 64"),
        (b'{"a":' * 100_000, "", "deeper than 64"),
        (b"[" * 65 + b"]" * 65, "/0" * 64, "deeper than 64"),
    ],
)
def test_malformed_json_says_where_and_why(raw: bytes, where: str, words: str) -> None:
    fault = _bad(raw)
    assert (fault.pointer, words in fault.detail) == (where, True), fault


def test_what_is_allowed_at_the_edge() -> None:
    assert parse_json(b"[" * DEPTH + b"]" * DEPTH) is not None
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert parse_json(b"1e308") == 1e308
    assert parse_json(b"-" + b"9" * 300) == -int("9" * 300)


@given(JSON_VALUES)
def test_every_json_value_is_read_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ud8019eE.-NaIfty \n', max_size=60).map(str.encode))
def test_no_bytes_make_the_reader_raise(raw: bytes) -> None:
    fault = parse_json(raw)
    if isinstance(fault, Fault):
        assert fault.detail.encode()
        assert fault.pointer.encode() or not fault.pointer


def _cycle() -> object:
    cycle: list[object] = []
    cycle.append(cycle)
    return cycle


def _laughs() -> object:
    laughs: object = "ha"
    for _ in range(12):
        laughs = [laughs] * 10
    return laughs


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: {"a": date(2026, 1, 1)}, "no value of the kind date"),
        (lambda: {"a": (1, 2)}, "no value of the kind tuple"),
        (lambda: {1: 2}, 'the key "1" is not a string'),
        (lambda: {"a": math.nan}, "not finite"),
        (lambda: {"a": 10**5000}, "larger than"),
        (_cycle, "deeper than 64"),
        (_laughs, f"more than {VALUES} values"),
    ],
)
def test_documents_from_elsewhere_take_the_same_checks(make: Callable[[], object], words: str) -> None:
    assert any(words in sentence for _, sentence in flaws(make()))


def test_pointers_and_sentences_can_always_be_sent() -> None:
    assert pointer("a/b", 0, "~", "\ud800") == "/a~1b/0/~0/?"
    assert subject("k8sJob", "args", 0) == "k8sJob.args[0]"
    assert subject("labels", "a/b") == 'labels["a/b"]'
    assert subject() == "the task"
    assert clipped("a\nb\ud800") == '"a\\nb\\ud800"'
    assert len(clipped("x" * 1000)) < 100
