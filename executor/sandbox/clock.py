"""Instants as Kubernetes writes them.

Pure. Objects carry whole seconds in UTC, Events of the newer kind microseconds, log lines nanoseconds.
"""

from datetime import UTC, datetime

NS = 1_000_000_000


def stamp(seconds: float) -> str:
    """Return a Unix time in whole seconds: ``2026-11-26T03:01:47Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp(seconds: float) -> str:
    """Return a Unix time in microseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def nano_stamp(nanoseconds: int) -> str:
    """Return a Unix time, given in nanoseconds, in all its digits, so that texts sort like instants."""
    seconds, rest = divmod(nanoseconds, NS)
    return f"{stamp(seconds)[:-1]}.{rest:09d}Z"


def unix(text: str) -> float:
    """Return the Unix time of a stamp, 0 when there is none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
