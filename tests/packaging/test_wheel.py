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


def sources(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


def test_it_installs_one_package_and_so_overwrites_nobody_elses(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"raftsman"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_of_the_four_folders_is_complete_under_its_full_name(names: list[str], folder: str) -> None:
    inside = {name for name in names if name.startswith(f"raftsman/{folder}/") and name.endswith(".py")}
    assert inside == {f"raftsman/{folder}/{name}" for name in sources(ROOT / folder)}


@pytest.mark.parametrize("folder", ["cli", "wire"])
def test_what_users_import_is_complete(names: list[str], folder: str) -> None:
    assert {f"raftsman/{folder}/{name}" for name in sources(ROOT / "src" / "raftsman" / folder)} <= set(names)


def test_type_checkers_are_told_that_it_is_typed(names: list[str]) -> None:
    assert "raftsman/py.typed" in names


def test_no_file_is_in_it_twice(names: list[str]) -> None:
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_it_holds_code_and_the_words_beside_it_only(names: list[str]) -> None:
    others = [name for name in names if ".dist-info/" not in name and not name.endswith((".py", ".md"))]
    assert others == ["raftsman/py.typed"]


def test_the_command_is_installed(names: list[str]) -> None:
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
