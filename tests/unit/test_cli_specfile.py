"""Task files: what is read, and where a fault is said to be."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from raftsman.cli.specfile import InvalidFile, read_tasks


def read(folder: Path, text: str, name: str = "task.yaml") -> list[dict[str, Any]]:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return [task.spec for task in read_tasks(str(file))]


def complaint(folder: Path, text: str, name: str = "task.yaml") -> str:
    with pytest.raises(InvalidFile) as caught:
        read(folder, text, name)
    return str(caught.value).removeprefix(f"{folder}/")


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    wanted = [{"type": "k8s_job", "k8sJob": {"command": ["a", "b"]}}]
    assert read(tmp_path, "type: k8s_job\nk8sJob: {command: [a, b]}\n") == wanted
    assert read(tmp_path, '{"type": "k8s_job",\n\t"k8sJob": {"command": ["a", "b"]}}', "task.json") == wanted


def test_a_file_may_hold_several_tasks(tmp_path: Path) -> None:
    assert read(tmp_path, "---\ntype: a\n---\ntype: b\n---\n") == [{"type": "a"}, {"type": "b"}]


def test_words_stay_the_text_that_was_written(tmp_path: Path) -> None:
    text = "labels: {country: NO, time: 22:22, day: 2026-01-31, on: off, version: '1.10'}"
    labels = {"country": "NO", "time": "22:22", "day": "2026-01-31", "on": "off", "version": "1.10"}
    assert read(tmp_path, text) == [{"labels": labels}]


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("t.yaml", "type: a\nk8sJob:\n  image: x\n  image: y\n", "t.yaml:4:3: "),
        ("t.json", '{"type": "a",\n "type": "b"}', "t.json:2:2: "),
        ("t.json", '{"type": "a",\n', "t.json:2:1: "),
        ("t.yaml", "type: [a\n", "t.yaml:2:1: "),
    ],
)
def test_a_fault_of_writing_has_its_line_and_column(tmp_path: Path, name: str, text: str, place: str) -> None:
    assert complaint(tmp_path, text, name).startswith(place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "a task is a mapping, not a list"),
        ("environment: {1: a}", "the key 1 must be a string"),
        ("priority: .nan", "/priority: nan is not a number in JSON"),
        ("a: !!binary aGVsbG8=", "/a: a bytes has no place in a task"),
        ("a: &a [*a]", "nested too deeply"),
        ("", "there is no task in it"),
        ("a: !unknown x", "t.yaml"),
    ],
)
def test_what_json_cannot_say_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in complaint(tmp_path, text, "t.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"absent\.yaml: No such file"):
        read_tasks(str(tmp_path / "absent.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InvalidFile, match="not UTF-8"):
        read_tasks(str(tmp_path / "latin.yaml"))


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"type": "a"}')))
    assert [task.spec for task in read_tasks("-")] == [{"type": "a"}]
