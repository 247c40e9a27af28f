"""Readers of records: what they make, and that threads that begin together may use them."""

import subprocess
import sys

import msgspec
import pytest

from raftsman.raft.structs import reader


class Point(msgspec.Struct, frozen=True):
    x: int
    raw: bytes = b""


def test_a_reader_makes_the_record_and_names_what_is_wrong() -> None:
    read = reader(Point)
    assert read({"x": 1, "raw": b"\0"}) == Point(1, b"\0")
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$.x`"):
        read({"x": "1"})


THREADS = """
import sys, threading
import msgspec
from raftsman.raft.structs import reader

sys.setswitchinterval(1e-6)
for number in range(400):
    class Inner(msgspec.Struct):
        a: int
        b: "dict[str, int]"

    class Outer(msgspec.Struct):
        inner: Inner
        more: "tuple[Inner, ...]"

    begin = threading.Barrier(4)
    read = {read}
    value = {{"inner": {{"a": 1, "b": {{}}}}, "more": []}}

    def use():
        begin.wait()
        read(value)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
print("ended")
"""


def test_threads_that_begin_together_read_one_type() -> None:
    """With ``msgspec.convert`` alone this program is ended by a segmentation fault in its first rounds."""
    program = THREADS.format(read="reader(Outer)")
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ended\n", "")
