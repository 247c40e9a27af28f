"""Durations as people write them (``30s``, ``10m``, ``1h30m``, ``300ms``, ``7d``), in settings, queries and options.

Nothing here knows a clock: durations are whole milliseconds.
"""

import re

_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""The units, the largest first: the order in which a duration must name them."""

_WHOLE = re.compile(
    "".join(rf"(?:(?P<{unit}>\d{{1,12}}(?:\.\d{{1,6}})?){unit}{'(?!s)' if unit == 'm' else ''})?" for unit in _UNIT_MS),
    re.ASCII,
)


def parse_duration_ms(text: str) -> int:
    """Return the milliseconds that *text* means; "0" needs no unit.

    Raises ValueError, with a sentence for its writer, when *text* is no duration.
    """
    stripped = text.strip()
    if stripped == "0":
        return 0
    match = _WHOLE.fullmatch(stripped)
    if not stripped or match is None:
        raise ValueError(f"{text!r} is not a duration: write it like 30s, 10m, 1h30m or 300ms")
    return sum(round(float(number) * _UNIT_MS[unit]) for unit, number in match.groupdict().items() if number)


def format_duration_ms(duration_ms: int) -> str:
    """Return the shortest exact writing of a duration of zero or more milliseconds; ``parse_duration_ms`` reads it."""
    rest = duration_ms
    parts = []
    for unit, unit_ms in _UNIT_MS.items():
        count, rest = divmod(rest, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
