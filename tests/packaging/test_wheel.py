"""What the wheel holds: one import package, everything once, nothing beside it."""

import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("executor", "node", "raft", "scheduler")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a wheel built from this checkout, as its archive lists them."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = target.glob("raftsman-*-py3-none-any.whl")
    return zipfile.ZipFile(wheel).namelist()


def files_of(folder: Path) -> set[str]:
    """Return what lies in *folder*, by relative name; a link is not what lies behind it."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix() for path in paths}


def test_it_installs_one_package_and_so_overwrites_nobody_elses(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"raftsman"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_of_the_four_folders_is_complete_under_its_full_name(names: list[str], folder: str) -> None:
    inside = {name for name in names if name.startswith(f"raftsman/{folder}/")}
    assert inside == {f"raftsman/{folder}/{name}" for name in files_of(ROOT / folder)}


def test_what_users_import_is_complete(names: list[str]) -> None:
    of_the_folders = tuple(f"raftsman/{folder}/" for folder in FOLDERS)
    inside = {name for name in names if name.startswith("raftsman/") and not name.startswith(of_the_folders)}
    assert inside == {f"raftsman/{name}" for name in files_of(ROOT / "src" / "raftsman")}


def test_type_checkers_are_told_that_it_is_typed(names: list[str]) -> None:
    assert "raftsman/py.typed" in names


def test_no_file_is_in_it_twice(names: list[str]) -> None:
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_the_command_is_installed(names: list[str]) -> None:
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
