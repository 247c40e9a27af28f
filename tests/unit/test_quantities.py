"""Kubernetes quantities: exact, bounded, and the same after a round trip."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.wire.quantities import CORES, MEMORY_BYTES, format_cpu, format_memory, parse_cpu, parse_memory


@pytest.mark.parametrize(
    ("value", "millis"),
    [
        ("500m", 500),
        ("0.5", 500),
        (0.5, 500),
        (".5", 500),
        ("+1.", 1000),
        (0.1, 100),  # The nearest double is above a tenth; it must not round up to 101.
        ("1.1", 1100),
        (2, 2000),
        ("2k", 2_000_000),
        ("1e3", 1_000_000),
        ("1E0", 1000),
        ("1Ki", 1_024_000),
        ("100n", 1),
        ("0.0001", 1),
        (1e-07, 1),
        ("1001u", 2),
        (4096, 4_096_000),
    ],
)
def test_cpu_is_read_exactly_and_rounded_up_to_a_thousandth(value: object, millis: int) -> None:
    assert parse_cpu(value) == millis


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ("4Gi", 4294967296),
        (4294967296, 4294967296),
        (4294967296.0, 4294967296),
        ("4096Mi", 4294967296),
        ("1.5Gi", 1610612736),
        ("128974848", 128974848),
        ("129e6", 129_000_000),
        ("129M", 129_000_000),
        ("128974848000m", 128974848),
        ("1Pi", 1 << 50),
        (1, 1),
    ],
)
def test_memory_is_read_exactly(value: object, size_bytes: int) -> None:
    assert parse_memory(value) == size_bytes


NO_QUANTITY = [
    "NaN",
    "Infinity",
    "inf",
    "100 Mi",
    "1_000",
    "",
    " 1",
    "1\n",
    "1mi",
    "4gb",
    "1e",
    "1e1.5",
    "0x10",
    "٣",
    "1/2",
]
NO_QUANTITY += ["--1", "1Zi", ".", "+", "9" * 41, "1e999", "1" * 10_000]


@pytest.mark.parametrize("value", [*NO_QUANTITY, True, False, [], {}, None, b"1", math.nan, math.inf])
def test_what_is_no_quantity_is_refused(value: object) -> None:
    for parse in (parse_cpu, parse_memory):
        complaint = parse(value)
        assert isinstance(complaint, str)
        assert "must be a quantity such as" in complaint


@pytest.mark.parametrize("value", ["-1", "-1Gi", "0", "0.0", "0e5", "-0", 0, -1, 0.0, -0.5])
def test_nothing_and_less_than_nothing_are_refused(value: object) -> None:
    for parse in (parse_cpu, parse_memory):
        assert "must be greater than 0" in str(parse(value))


@pytest.mark.parametrize("value", ["1e99", "5T", 4096.001, 10**300, 1e300])
def test_more_cores_than_any_machine_has_are_refused(value: object) -> None:
    assert f"at most {CORES} cores" in str(parse_cpu(value))


@pytest.mark.parametrize("value", ["1e99", "1E", "2Pi", (1 << 50) + 1])
def test_more_memory_than_any_machine_has_is_refused(value: object) -> None:
    assert "at most 1024Ti" in str(parse_memory(value))


def test_a_number_of_more_digits_than_python_prints_is_only_too_large() -> None:
    assert "at most" in str(parse_cpu(10**5000))
    assert "at most" in str(parse_memory(10**5000))


@pytest.mark.parametrize("value", ["1500m", "0.5", 1.5, "1n"])
def test_fractions_of_a_byte_are_refused(value: object) -> None:
    assert "whole bytes" in str(parse_memory(value))


@given(st.integers(1, CORES * 1000))
def test_formatted_cpu_reads_back_as_the_same(millis: int) -> None:
    assert parse_cpu(format_cpu(millis)) == millis
    assert parse_cpu(f"{millis}m") == millis


@given(st.integers(1, MEMORY_BYTES) | st.integers(1, 1 << 30).map(lambda mebibytes: mebibytes << 20))
def test_formatted_memory_reads_back_as_the_same(size_bytes: int) -> None:
    assert parse_memory(format_memory(size_bytes)) == size_bytes


@given(st.decimals(min_value="0.0001", max_value="4096", places=4))
def test_cpu_never_loses_a_part_of_what_was_asked(cores: object) -> None:
    millis = parse_cpu(str(cores))
    assert isinstance(millis, int)
    assert 0 <= Fraction(millis, 1000) - Fraction(str(cores)) < Fraction(1, 1000)


@given(st.text(max_size=20))
def test_no_text_makes_the_readers_raise(text: str) -> None:
    assert isinstance(parse_cpu(text), int | str)
    assert isinstance(parse_memory(text), int | str)


def test_canonical_quantities_are_the_shortest_familiar_ones() -> None:
    assert [format_cpu(millis) for millis in (500, 1000, 2000, 2500)] == ["500m", "1", "2", "2500m"]
    assert [format_memory(size) for size in (1 << 32, 1 << 20, 1000)] == ["4096Mi", "1Mi", "1000"]
