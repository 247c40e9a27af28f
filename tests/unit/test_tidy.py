"""What is promised about the shape of the code and no linter here can see. There is no list of exemptions.

Ruff holds complexity, statements and branches; import-linter holds which module may import which, but can name
neither a part of somebody else's package nor "inside its function".
"""

import ast
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("executor", "node", "raft", "scheduler")
PRODUCT = sorted(path for folder in (*FOLDERS, "src") for path in (ROOT / folder).rglob("*.py"))
OWN = [*PRODUCT, *sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))]

FILE_LINES = 500
FUNCTION_LINES = 60
NESTING = 3
POSITIONAL = 5

HTTP_SERVERS = ("node/http/", "executor/sandbox/")
SERVER_COMMANDS = {
    f"src/raftsman/cli/{name}.py"
    for name in ("serve", "dev", "demo", "playing", "context", "config", "doctor", "log", "pki", "fsck")
}
"""Those that run a server, and those that read what one on this machine would read: its settings, its disk."""
CODE_FROM_BYTES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
CODE_FROM_TEXT = {"eval", "exec", "compile", "__import__"}
INDEX_HOSTS = re.compile(r"\bpy[p]i\.|python[h]osted|(?<!emit-)index[-]url|/[s]imple/")
"""Written so that this file does not name what it looks for."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=name_of(path))


def functions() -> Iterator[tuple[str, Function]]:
    """Yield every function of ours, with where it is."""
    for path in OWN:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, Function):
                yield f"{name_of(path)}:{node.lineno} {node.name}", node


def imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the dotted names that are imported: ``from a import b`` is ``a.b``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def all_imports(path: Path) -> list[str]:
    return [*imports(ast.walk(tree_of(path)))]


def lies_in(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


# --- shape ------------------------------------------------------------------------------------


def test_a_file_is_short_enough_to_be_read() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in OWN}
    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}


def test_a_function_fits_on_a_screen() -> None:
    lines = {where: (function.end_lineno or 0) - function.lineno + 1 for where, function in functions()}
    assert {where: count for where, count in lines.items() if count > FUNCTION_LINES} == {}


def test_nothing_is_nested_deeply() -> None:
    depths = {where: _depth(function.body) for where, function in functions()}
    assert {where: depth for where, depth in depths.items() if depth > NESTING} == {}


def test_nobody_has_to_remember_the_order_of_many_arguments() -> None:
    counts = {where: len(_positional(function)) for where, function in functions()}
    assert {where: count for where, count in counts.items() if count > POSITIONAL} == {}


def _depth(body: Iterable[ast.stmt]) -> int:
    """Return how many blocks lie in each other; a function inside begins anew."""
    return max((_depth_of(statement) for statement in body if not isinstance(statement, Function)), default=0)


def _depth_of(statement: ast.stmt) -> int:
    own = int(isinstance(statement, _BLOCKS))
    others = getattr(statement, "orelse", [])
    is_elif = isinstance(statement, ast.If) and len(others) == 1 and isinstance(others[0], ast.If)
    parts = [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
    inside = [getattr(statement, "body", []), getattr(statement, "finalbody", []), *(part.body for part in parts)]
    return max(own + _depth(chain(*inside)), (0 if is_elif else own) + _depth(others))


def _positional(function: Function) -> list[str]:
    names = [each.arg for each in [*function.args.posonlyargs, *function.args.args]]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


# --- borders ----------------------------------------------------------------------------------


def test_the_four_folders_are_seen_through_relative_links() -> None:
    links = {folder: (ROOT / "src" / "raftsman" / folder).readlink().as_posix() for folder in FOLDERS}
    assert links == {folder: f"../../{folder}" for folder in FOLDERS}


def test_the_four_folders_are_imported_by_their_full_name_only() -> None:
    bare = {name_of(path): [name for name in all_imports(path) if lies_in(name, FOLDERS)] for path in OWN}
    assert {name: names for name, names in bare.items() if names} == {}


def test_only_the_http_folders_know_aiohttps_server() -> None:
    servers = [name_of(path) for path in PRODUCT if any(lies_in(each, ["aiohttp.web"]) for each in all_imports(path))]
    assert [name for name in servers if not name.startswith(HTTP_SERVERS)] == []


def test_what_users_import_never_imports_the_server_unless_it_is_one_and_then_inside_its_function() -> None:
    packages = [f"raftsman.{folder}" for folder in FOLDERS]
    for path in (ROOT / "src" / "raftsman").rglob("*.py"):
        types = {*chain(*(imports(ast.walk(node)) for node in ast.walk(tree_of(path)) if _is_for_types_only(node)))}
        everywhere = [name for name in all_imports(path) if lies_in(name, packages) and name not in types]
        inside = [*chain(*(imports(ast.walk(node)) for node in ast.walk(tree_of(path)) if isinstance(node, Function)))]
        assert not everywhere or name_of(path) in SERVER_COMMANDS, f"{name_of(path)} imports {everywhere}"
        assert set(everywhere) <= set(inside), f"{name_of(path)} imports {everywhere} outside of its function"


def _is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_nothing_turns_bytes_or_text_into_code() -> None:
    for path in OWN:
        assert [name for name in all_imports(path) if lies_in(name, CODE_FROM_BYTES)] == [], name_of(path)
        calls = [node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
        called = {each.id for each in calls if isinstance(each, ast.Name)}
        assert called.isdisjoint(CODE_FROM_TEXT), name_of(path)


# --- files ------------------------------------------------------------------------------------


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in OWN if path.is_relative_to(ROOT / "tests")}
    assert [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_no_file_names_the_host_of_a_package_index() -> None:
    named = [name_of(path) for path in _texts() if INDEX_HOSTS.search(path.read_text(errors="replace"))]
    assert named == []


def test_the_lock_files_hold_versions_and_hashes_and_nothing_else() -> None:
    for lock in ROOT.glob("*.lock"):
        lines = [line.strip() for line in lock.read_text().splitlines()]
        assert [line for line in lines if line.startswith("-") and not line.startswith("--hash=sha256:")] == []
        assert [line for line in lines if "://" in line] == []


def _texts() -> Iterator[Path]:
    """Yield the files of the project: what lies hidden (tools' caches, the environment) is not of it, but for CI."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [each for each in folders if each in (".ci", ".github") or not each.startswith((".", "__pyc"))]
        yield from (Path(folder, file) for file in files)
