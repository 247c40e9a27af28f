"""How this program's records are read from plain values: what each type needs is worked out when its reader is made.

msgspec works out how a type is read at its first use, and while one thread does so, a second one that reads the
same type finds it half done and ends the process: a segmentation fault, seen in msgspec 0.22.0 with
``msgspec.convert`` and ``decode(…, type=…)``. So types are read through a reader, or a ``Decoder``, that a module makes
when it is imported, where only one thread is; the linter refuses the functions that would do it later.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def reader(kind: type[S]) -> Callable[[object], S]:
    """Return what makes a *kind* of plain values (dicts, lists, texts, numbers, bytes), in any thread.

    Make readers when a module is imported. What they return raises ``msgspec.ValidationError``.
    """
    msgspec.msgpack.Decoder(kind)  # For its effect on *kind* alone: it stays worked out.

    def read(value: object) -> S:
        return msgspec.convert(value, kind, builtin_types=(bytes,))  # noqa: TID251 — the one place where it is prepared.

    return read
