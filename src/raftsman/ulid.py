"""Task ids made before the first try, so that a submission can be repeated without submitting twice.

A ULID (https://github.com/ulid/spec) in lower case: 48 bits of milliseconds, then 80 random bits, in Crockford's
base 32. Lower case because a task id becomes part of a Kubernetes name; sorted ids are in the order of their making.
"""

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: without i, l, o and u.
_CHARS = 26  # ceil(128 / 5)
_RANDOM_BYTES = 10


def new_task_id() -> str:
    """Return a new ULID: 26 lower-case characters."""
    return encode_ulid(time.time_ns() // 1_000_000, os.urandom(_RANDOM_BYTES))


def encode_ulid(unix_ms: int, random: bytes) -> str:
    """Return the ULID of an instant (Unix milliseconds, 48 bits of them) and ten random bytes."""
    number = (unix_ms & (2**48 - 1)) << 80 | int.from_bytes(random[:_RANDOM_BYTES])
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_CHARS - 1), -1, -5))
