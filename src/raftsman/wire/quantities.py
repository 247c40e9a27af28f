"""Kubernetes quantities ("500m", "8Gi") read exactly, into thousandths of a core and whole bytes, and written back.

The official client's ``parse_quantity`` takes NaN, Infinity, "100 Mi" and "1_000"; here a pattern comes first and
fractions keep every digit. Standard library only: the read path of the command line uses it.
"""

import math
import re
from fractions import Fraction

from raftsman.wire.faults import Complaint, clipped

CORES = 4096
"""Most cores of one container: twice the largest machine one can rent; more is a slip of the unit."""

CPU_MILLIS = CORES * 1000

MEMORY_BYTES = 1 << 50
"""Most memory of one container, 1 PiB: by the same reasoning."""

_MIB = 1 << 20
_QUANTITY = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_SUFFIXES: dict[str, Fraction] = {
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate("mun", 1)},
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)},
}
"""https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""


def parse_cpu(value: object) -> int | Complaint:
    """Return the thousandths of a core, rounded up, that a quantity or a number of cores asks for."""
    cores = _amount(value, example="500m or 2")
    if not isinstance(cores, Fraction):
        return cores
    if cores > CORES:
        return Complaint(f"must be at most {CORES} cores; write 500m for half a core")
    return -(-cores.numerator * 1000 // cores.denominator)  # Rounded up, as Kubernetes rounds below one milli.


def parse_memory(value: object) -> int | Complaint:
    """Return the bytes that a quantity or a number asks for."""
    size = _amount(value, example="512Mi or 8Gi")
    if not isinstance(size, Fraction):
        return size
    if size.denominator != 1:
        return Complaint("must be whole bytes; the suffix m means thousandths, Mi means mebibytes")
    if size > MEMORY_BYTES:
        return Complaint(f"must be at most {MEMORY_BYTES >> 40}Ti")
    return size.numerator


def format_cpu(millis: int) -> str:
    """Return the canonical quantity: "2" for whole cores, else "500m"."""
    return f"{millis}m" if millis % 1000 else str(millis // 1000)


def format_memory(size_bytes: int) -> str:
    """Return the canonical quantity: "4096Mi" for whole mebibytes, else plain bytes."""
    return str(size_bytes) if size_bytes % _MIB else f"{size_bytes // _MIB}Mi"


def _amount(value: object, *, example: str) -> Fraction | Complaint:
    """Return the positive amount that *value* spells."""
    amount = None
    match value:
        case bool():
            pass
        case int():
            amount = Fraction(value)
        case float() if math.isfinite(value):
            amount = Fraction(repr(value))  # The decimal that was written: 0.1 is a tenth, not the nearest double.
        case str():
            amount = _spelled(value)
        case _:
            pass
    if amount is None:
        return Complaint(f"must be a quantity such as {example}{_not(value)}")
    return amount if amount > 0 else Complaint("must be greater than 0; leave it out to ask for nothing")


def _spelled(text: str) -> Fraction | None:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    amount = Fraction(found["number"]) * _SUFFIXES.get(found["suffix"], 1) * Fraction(10) ** int(found["exponent"] or 0)
    return -amount if found["sign"] == "-" else amount


def _not(value: object) -> str:
    return f", not {clipped(value)}" if isinstance(value, str) else ""
