"""Quantities of Kubernetes: ``500m``, ``8Gi``, ``1e3``, exactly, and in the form in which the API server returns them.

Pure. Source: ``k8s.io/apimachinery/pkg/api/resource``. ``fields`` finds what is none, ``defaults`` normalises,
``validation`` compares.
"""

import re
from fractions import Fraction

PATTERN = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
"""The pattern that the API server names in its refusal."""

_GRAMMAR = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]+)?", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_MILLI = Fraction(1, 1000)
MOST_CHARS = 64  # Nobody writes more, and an exponent of a thousand digits would take the process with it.
MOST_EXPONENT = 30


def parse(text: str) -> Fraction:
    """Return the value of a quantity. Raises ValueError."""
    found = _GRAMMAR.fullmatch(text) if len(text) <= MOST_CHARS else None
    if found is None:
        raise ValueError(f"no quantity: {text!r}")
    number, suffix = Fraction(found.group(1)), found.group(2) or ""
    if suffix in _BINARY:
        return number * Fraction(1024 ** _BINARY[suffix])
    if suffix in _DECIMAL:
        return number * Fraction(10) ** _DECIMAL[suffix]
    exponent = int(suffix[1:])
    if abs(exponent) > MOST_EXPONENT:
        raise ValueError(f"no quantity: {text!r}")
    return number * Fraction(10) ** exponent


def canonical(text: str) -> str:
    """Return the quantity as the API server writes it, rounded up to thousandths as it does with resources."""
    value = parse(text)
    steps = value / _MILLI
    value = -(-steps.numerator // steps.denominator) * _MILLI
    if text[-1:] == "i" and abs(value) >= 1024:
        return _with_suffix(value, {suffix: Fraction(1024**power) for suffix, power in _BINARY.items()})
    return _with_suffix(value, {suffix: Fraction(10) ** power for suffix, power in _DECIMAL.items()})


def _with_suffix(value: Fraction, suffixes: dict[str, Fraction]) -> str:
    """Return the value with the largest suffix that leaves a whole number."""
    if value == 0:
        return "0"
    for suffix, size in sorted({"": Fraction(1), **suffixes}.items(), key=lambda item: -item[1]):
        if (value / size).denominator == 1:
            return f"{(value / size).numerator}{suffix}"
    return canonical(f"{value / _MILLI}m")
