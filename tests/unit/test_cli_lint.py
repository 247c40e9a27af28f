"""``raftsman lint``: every fault of a task file, with its place, and no node asked."""

import json
from pathlib import Path

import pytest

from raftsman.cli.lint import check_file
from raftsman.cli.main import main
from raftsman.cli.places import places_in

GOOD = "type: k8s_job\nk8sJob: {clusterContext: dev-a, image: busybox}\n"


def found(folder: Path, text: str, name: str = "t.yaml") -> list[tuple[int, int, str]]:
    file = folder / name
    file.write_text(text)
    return [(each.line, each.column, each.pointer) for each in check_file(str(file))[1]]


def test_a_fault_is_found_at_its_key(tmp_path: Path) -> None:
    text = "# a task\ntype: k8s_job\nk8sJob:\n  clusterContext: ''\n  image: x\n  resources: {cpu: 1, memroy: 2}\n"
    assert found(tmp_path, text) == [(4, 3, "/k8sJob/clusterContext"), (6, 23, "/k8sJob/resources/memroy")]


def test_a_fault_in_a_list_is_found_at_its_entry(tmp_path: Path) -> None:
    text = "type: k8s_job\nk8sJob:\n  clusterContext: a\n  image: x\n  args:\n    - ok\n    - 3\n"
    assert found(tmp_path, text) == [(7, 7, "/k8sJob/args/1")]


def test_what_is_missing_is_said_where_it_should_stand(tmp_path: Path) -> None:
    assert found(tmp_path, "type: k8s_job\nk8sJob:\n  image: x\n") == [(2, 1, "/k8sJob/clusterContext")]
    assert found(tmp_path, "\ntaskId: a\n") == [(2, 1, "/type")]


def test_every_document_of_a_file_is_checked_at_its_own_place(tmp_path: Path) -> None:
    text = f"---\n{GOOD}---\n---\n{GOOD}priority: x\n---\n{GOOD}nonsense: 1\n"
    assert found(tmp_path, text) == [(8, 1, "/priority"), (12, 1, "/nonsense")]


def test_json_has_places_too_also_behind_tabs(tmp_path: Path) -> None:
    text = '{\n\t"type": "k8s_job",\n\t"k8sJob": {"clusterContext": 7,\n\t\t"image": "x"}\n}'
    assert found(tmp_path, text, "t.json") == [(3, 13, "/k8sJob/clusterContext")]


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("t.yaml", "type: [a\n", (2, 1, "")),
        ("t.json", '{"type": "a",\n "type": "b"}', (2, 2, "")),
        ("t.yaml", "# nothing\n", (0, 0, "")),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault(
    tmp_path: Path, name: str, text: str, place: tuple[int, int, str]
) -> None:
    assert found(tmp_path, text, name) == [place]


def test_a_key_with_a_slash_is_found() -> None:
    (places,) = places_in('labels:\n  "a/b~c": 1\n')
    assert places.find("/labels/a~1b~0c") == (2, 3)


def test_an_alias_that_contains_itself_ends() -> None:
    (places,) = places_in("a: &a\n  b: *a\n")
    assert places.find("/a/b/b") == (2, 3)


def test_the_exit_code_says_whether_there_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(f"{GOOD}priority: 1000\n")
    assert main(["lint", str(good)]) == 0
    assert capsys.readouterr() == ("", "1 task in 1 file: no faults\n")
    assert main(["lint", str(good), str(bad)]) == 10
    out, err = capsys.readouterr()
    assert out.startswith(f"{bad}:3:1: priority must be at most 100")
    assert err == "2 tasks in 2 files: 1 fault\n"


def test_json_output_holds_every_part_of_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"{GOOD}priority: 1000\n")
    assert main(["lint", "-o", "json", str(bad)]) == 10
    (item,) = json.loads(capsys.readouterr().out)["items"]
    assert (item["file"], item["line"], item["column"], item["pointer"]) == (str(bad), 3, 1, "/priority")
    assert item["code"] == "invalid-spec"


def test_the_example_is_sound() -> None:
    assert main(["lint", str(Path(__file__).parents[2] / "examples" / "hello.yaml")]) == 0
