"""File systems of a size of their own, for processes that are to meet a full disk, made in both ways."""

import subprocess
from pathlib import Path

import pytest

from tests.harness.small_disks import NoSmallDisks, small_disk

WRITE = 'head -c 100000 /dev/zero > "$0"'


def write(file: Path, *within: str) -> str:
    """Write *file*, inside; return what was said about it."""
    done = subprocess.run([*within, "sh", "-c", WRITE, str(file)], capture_output=True, text=True, check=False)
    return done.stderr


@pytest.mark.parametrize("as_root", [True, False])
def test_a_small_disk_is_full_until_room_is_made(tmp_path: Path, as_root: bool) -> None:
    folder = tmp_path / "disk"
    try:
        with small_disk(folder, 1, as_root=as_root) as disk:
            assert write(folder / "first", *disk.within) == ""
            disk.fill()
            assert "No space left" in write(folder / "second", *disk.within)
            disk.make_room()
            assert write(folder / "second", *disk.within) == ""
            assert (disk.seen_at / "second").stat().st_size == 100_000
    except NoSmallDisks as error:
        pytest.skip(str(error))
    assert list(folder.iterdir()) == []
