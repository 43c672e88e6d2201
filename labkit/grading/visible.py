"""`python -m labkit check NOTEBOOK`: what a student can find out alone, the visible checks of a notebook."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from labkit.grading.errors import LabError
from labkit.grading.model import Cell
from labkit.grading.notebook import read_submission

_CHECKS = re.compile(r"^@question\(", re.MULTILINE)
_RESULT = re.compile(r"^  (pass|FAIL)  ", re.MULTILINE)
_OPEN = re.compile(r"^(\w+): (?:not answered yet|.*the checks stopped)", re.MULTILINE)


@dataclass(frozen=True)
class Visible:
    """The visible checks of one notebook: the text they printed, how many passed, and the cells that raised."""

    text: str
    n_passed: int
    n_failed: int
    n_open: int
    raised: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if every question is answered and every visible check passes."""
        return not (self.n_failed or self.n_open or self.raised)


def check_notebook(path: str | Path, *, timeout: int = 300) -> Visible:
    """Run a student's own notebook in a fresh kernel and return what its visible checks say.

    `timeout` is in seconds for each cell. Hidden checks are not in the notebook and do not run. The file is not
    changed. Raises LabError if the file is no notebook or holds no checks.
    """
    path = Path(path)
    cells = read_submission(path)
    if not any(_CHECKS.search(cell.source) for cell in cells):
        raise LabError(f"{path} holds no check cells; give a released notebook")
    outputs = _execute(cells, path, timeout)
    text = "".join(_printed(output) for cell, output in zip(cells, outputs, strict=True) if _CHECKS.search(cell.source))
    found = _RESULT.findall(text)
    raised = tuple(f"{cell}: {error}" for cell, output in zip(cells, outputs, strict=True) if (error := _error(output)))
    return Visible(text, found.count("pass"), found.count("FAIL"), len(set(_OPEN.findall(text))), raised)


def _execute(cells: list[Cell], path: Path, timeout: int) -> list[list[dict[str, Any]]]:
    new = {
        "code": nbformat.v4.new_code_cell,
        "markdown": nbformat.v4.new_markdown_cell,
        "raw": nbformat.v4.new_raw_cell,
    }
    notebook = nbformat.v4.new_notebook(cells=[new[cell.kind](cell.source) for cell in cells])
    resources = {"metadata": {"path": str(path.resolve().parent)}}
    quiet = ["--IPKernelApp.log_level=ERROR"]  # a student need not know how the kernel is reached
    options: dict[str, Any] = {"timeout": timeout, "allow_errors": True, "extra_arguments": quiet}
    NotebookClient(notebook, resources=resources, kernel_name="python3", **options).execute()
    return [cell.get("outputs", []) for cell in notebook.cells]


def _printed(outputs: list[dict[str, Any]]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def _error(outputs: list[dict[str, Any]]) -> str:
    return "".join(f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error")
