"""The house rules that a program can check: floors, lengths of modules and functions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.paths import ROOT

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 25  # the aim is 15; docstrings are not counted
PACKAGE = ROOT / "labkit"
MODULES = sorted(PACKAGE.rglob("*.py"))
FREE = {"__init__", "conftest"}  # labkit/__init__.py belongs to no floor: it must import nothing of labkit


def floors() -> dict[str, int]:
    """Read the table of CONTRIBUTING.md: name of a module or package -> its floor."""
    rows = re.findall(r"^\| (\d|top) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    heights = {"top": 99}
    return {name: heights.get(floor) or int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}


FLOORS = floors()


def top_name(path: Path) -> str:
    """Return the name below labkit that a file belongs to: labkit/cost/count.py -> cost."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(path: Path, tree: ast.AST) -> Iterator[str]:
    """Yield the names below labkit that a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("labkit."))
        elif isinstance(node, ast.ImportFrom):
            yield from names_of_from_import(path, node)


def names_of_from_import(path: Path, node: ast.ImportFrom) -> list[str]:
    """Resolve `from labkit import a, b`, `from labkit.a import x` and `from ..a import x`."""
    parts = (node.module or "").split(".") if node.module else []
    if node.level:
        package = ["labkit", *path.relative_to(PACKAGE).parts[:-1]]
        parts = package[: len(package) - node.level + 1] + parts
    if parts[:1] != ["labkit"]:
        return []
    return [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names if alias.name in FLOORS]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its decorators and docstring."""
    docstring = ast.get_docstring(function, clean=False)
    first = function.body[0]
    spent = (first.end_lineno or 0) - first.lineno + 1 if docstring is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - spent


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_module_has_a_floor():
    strangers = {top_name(path) for path in MODULES} - set(FLOORS) - FREE
    assert not strangers, f"add to the table in CONTRIBUTING.md: {sorted(strangers)}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down_only(path):
    own = FLOORS.get(top_name(path), -1)
    imported = set(imported_names(path, ast.parse(path.read_text(encoding="utf-8")))) - {top_name(path), "__version__"}
    upward = {other for other in imported if FLOORS[other] > own}
    assert not upward, f"{name(path)} is on floor {own} and imports from above: {sorted(upward)}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_private_parts_stay_private(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    others = [node for node in imports if names_of_from_import(path, node) not in ([], [top_name(path)])]
    private = [alias.name for node in others for alias in node.names if re.match("_[^_]", alias.name)]
    assert not private, f"private names of another package: {private}"


def test_grading_imports_no_method():
    methods = {module for module, floor in FLOORS.items() if floor == 1}
    files = [path for path in MODULES if top_name(path) == "grading"]
    used = {other for path in files for other in imported_names(path, ast.parse(path.read_text(encoding="utf-8")))}
    assert not used & methods


@pytest.mark.parametrize("path", [*MODULES, ROOT / "run.py", ROOT / "conftest.py"], ids=name)
def test_modules_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    long = {f.name: body_lines(f) for f in functions(ast.parse(text)) if body_lines(f) > MAX_FUNCTION_LINES}
    assert not long, f"functions longer than {MAX_FUNCTION_LINES} lines: {long}"


def test_imports_are_found_in_every_form():
    lines = ["import labkit.cost", "from labkit import nets", "from labkit.sparse.csr import x", "from ..cost import y"]
    tree = ast.parse("\n".join([*lines, "from . import z", "import numpy"]))
    found = list(imported_names(PACKAGE / "decomposition" / "svd.py", tree))
    assert found == ["cost", "nets", "sparse", "cost", "decomposition"]
