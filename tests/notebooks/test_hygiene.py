"""Every notebook in the repository is committed clean: no widget state, no noise, no surprise exception."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.paths import ROOT

MAX_BYTES = 300_000
MAX_CELL_LINES = 12
MAX_CHECK_LINES = 15  # of a lab: they list their cases
SKIPPED_FOLDERS = {"_build", ".venv", ".git", ".ipynb_checkpoints", "node_modules"}
TIMING = {"execution", "ExecuteTime", "papermill"}  # keys that record when a cell ran
MACHINE_PATH = re.compile(r"/(?:home|Users|root|tmp|work|opt|mnt)/[\w.-]+|[A-Z]:\\\\?Users")


def notebook_paths() -> list[Path]:
    """Return the notebooks that git tracks or would add; outside a clone, all that lie in the tree."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.ipynb"]
    try:
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        found = [ROOT / name for name in names]
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in ROOT.rglob("*.ipynb") if not SKIPPED_FOLDERS & set(path.parts)]
    return sorted(path for path in found if path.exists())


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(notebook: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yield (number, cell, source) of the code cells that hold anything."""
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and source.strip():
            yield number, cell, source


def problems(notebook: dict[str, Any]) -> list[str]:
    """List what is wrong with a notebook, one sentence each."""
    return [*notebook_problems(notebook), *cell_problems(notebook)]


def notebook_problems(notebook: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the file as a whole."""
    if "widgets" in notebook["metadata"]:
        yield "metadata.widgets holds widget state: clear it (it grows to megabytes)"
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not python3"
    if (notebook["nbformat"], notebook["nbformat_minor"]) < (4, 5):
        yield "the format is older than 4.5, which has no cell ids"
    ids = [cell.get("id") for cell in notebook["cells"]]
    if None in ids or len(set(ids)) < len(ids):
        yield "cell ids are missing or double"


def cell_problems(notebook: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with single code cells."""
    for number, cell, source in code_cells(notebook):
        most = MAX_CHECK_LINES if is_check(cell) else MAX_CELL_LINES
        if lines_to_read(source) > most:
            yield f"cell {number} is longer than {most} lines"
        if TIMING & set(cell["metadata"]):
            yield f"cell {number} records when it ran"
        if has_error(cell) and "raises-exception" not in cell["metadata"].get("tags", []):
            yield f"cell {number} stores an exception without the tag raises-exception"
        if found := MACHINE_PATH.search(source + json.dumps(cell["outputs"])):
            yield f"cell {number} names a path of one machine: {found.group()}"


def lines_to_read(source: str) -> int:
    """Count the lines of a cell without the grader's markers, such as `### BEGIN SOLUTION`."""
    return sum(not line.lstrip().startswith("### ") for line in source.strip().splitlines())


def is_check(cell: dict[str, Any]) -> bool:
    """Whether the cell holds checks of a lab's question; a question may have several such cells."""
    return cell["metadata"].get("labkit", {}).get("role") == "check"


def has_error(cell: dict[str, Any]) -> bool:
    return any(output["output_type"] == "error" for output in cell["outputs"])


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_notebook_is_clean(path):
    assert problems(load(path)) == []
    assert path.stat().st_size <= MAX_BYTES


@pytest.mark.parametrize(
    "path",
    [path for path in notebook_paths() if path.is_relative_to(ROOT / "book")],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_chapter_was_run_in_order(path):
    counts = [cell["execution_count"] for _, cell, _ in code_cells(load(path))]
    assert counts == list(range(1, len(counts) + 1)), "restart the kernel and run all cells before committing"


def clean_notebook() -> dict[str, Any]:
    """Return a notebook without a problem; the tests below each break one thing in it."""
    cell = {
        "cell_type": "code",
        "id": "a",
        "source": ["x = 1"],
        "metadata": {},
        "outputs": [],
        "execution_count": 1,
    }
    return {"cells": [cell], "metadata": {"kernelspec": {"name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}


def test_clean_notebook_has_no_problem():
    assert problems(clean_notebook()) == []


def break_cell(**changes: Any) -> dict[str, Any]:
    notebook = clean_notebook()
    notebook["cells"][0].update(changes)
    return notebook


@pytest.mark.parametrize(
    ("notebook", "problem"),
    [
        (clean_notebook() | {"metadata": {"kernelspec": {"name": "python3"}, "widgets": {}}}, "metadata.widgets"),
        (clean_notebook() | {"metadata": {}}, "not python3"),
        (clean_notebook() | {"nbformat_minor": 4}, "older than 4.5"),
        (clean_notebook() | {"cells": clean_notebook()["cells"] * 2}, "missing or double"),
        (break_cell(source=["x = 1\n"] * 13), "longer than 12 lines"),
        (break_cell(source=["x = 1\n"] * 16, metadata={"labkit": {"role": "check"}}), "longer than 15 lines"),
        (break_cell(metadata={"execution": {"iopub.status.busy": "2020"}}), "records when it ran"),
        (break_cell(outputs=[{"output_type": "error"}]), "without the tag raises-exception"),
        (break_cell(source=["open('/home/ada/x.csv')"]), "/home/ada"),
        (break_cell(outputs=[{"output_type": "stream", "text": [r"C:\Users\ada"]}]), "Users"),
    ],
)
def test_each_problem_is_found(notebook, problem):
    assert [found for found in problems(notebook) if problem in found]


def test_announced_exception_is_allowed():
    tagged = break_cell(outputs=[{"output_type": "error"}], metadata={"tags": ["raises-exception"]})
    assert problems(tagged) == []
