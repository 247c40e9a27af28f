"""Lines out of chunks, wherever the chunks were cut, in the middle of a character too."""

from raftsman.executor.jobs import Unreachable

LINE_BYTES = 32 * 1024 * 1024
"""Of one watch event: etcd holds objects up to 1.5 MiB, of which JSON makes a multiple; the rest is not Kubernetes."""


class Lines:
    """Collects bytes and gives out the complete lines."""

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._pending: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that *chunk* completes, without their ends, empty ones left out. Raises Unreachable."""
        head, end, rest = chunk.rpartition(b"\n")
        if not end:
            self._keep(chunk)
            return []
        whole = b"".join((*self._pending, head))
        self._pending, self._size = [], 0
        self._keep(rest)
        return [line for line in whole.split(b"\n") if line.strip()]

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise Unreachable(f"a line of more than {self._limit} bytes is nothing Kubernetes sends", reason="TooLarge")
        self._pending.append(part)
