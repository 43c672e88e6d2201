"""From the instructor's notebook to the students' one: `assign`."""

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.grading.errors import LabError
from labkit.grading.gate import Row, refuse_failures, run_gate
from labkit.grading.lab import INSTRUCTOR, parse, read_lab
from labkit.grading.markers import released
from labkit.grading.model import FORMAT, Cell, Lab
from labkit.grading.notebook import write_json, write_release

RELEASE, ASSIGNMENT = "release.ipynb", "assignment.json"


@dataclass(frozen=True)
class Assigned:
    """What `assign` made: the lab, the two files and the rows of the gate (none if it did not run)."""

    lab: Lab
    release: Path
    assignment: Path
    gate: tuple[Row, ...]


def assign(folder: str | Path, *, gate: bool = True, workers: int = 2) -> Assigned:
    """Write release.ipynb and assignment.json beside a lab's instructor.ipynb.

    Parameters
    ----------
    folder : the lab's folder; see README.md for the format of its files
    gate : score the instructor's notebook, the release and every sample first, and write nothing if one surprises
    workers : processes for the gate

    Raises
    ------
    LabError : a lab that cannot be graded; the text names the cell.
    GateError : a lab whose checks judge a sample wrongly; the text names every such sample.
    """
    lab = read_lab(folder)
    cells = release_cells(lab)
    rows = tuple(run_gate(lab, cells, workers=workers)) if gate else ()
    refuse_failures(lab, rows)
    release, assignment = lab.folder / RELEASE, lab.folder / ASSIGNMENT
    write_release(release, cells, lab=lab.name)
    write_json(assignment, describe_assignment(lab, cells, rows))
    return Assigned(lab, release, assignment, rows)


def release_cells(lab: Lab) -> list[Cell]:
    """Return the students' cells: the same ids and labels, without solutions and hidden tests.

    Raises LabError if what is left is not valid Python or needs the instructor's answers.
    """
    cells = released(lab.cells)
    for cell in cells:
        if cell.role in ("solution", "check"):
            tree = parse(cell)
            if cell.role == "check":
                _refuse_reference(cell, tree)
    return cells


def describe_assignment(lab: Lab, cells: list[Cell], rows: tuple[Row, ...] = ()) -> dict[str, Any]:
    """Return the content of assignment.json: no secret, only what it takes to recognise the cells and to add points."""
    first = next((row for row in rows if row.receipts), None)
    return {
        "format": FORMAT,
        "lab": lab.name,
        "title": lab.title,
        "instructor": sha256((lab.folder / INSTRUCTOR).read_bytes()),
        "questions": [
            {"name": q.name, "points": q.points, "manual": q.manual, "answers": q.answers}
            | ({"checks": [_public(receipt) for receipt in first.receipts[q.name]]} if first and not q.manual else {})
            for q in lab.questions
        ],
        "cells": [
            {"id": c.id, "kind": c.kind, "role": c.role, "question": c.question, "sha256": sha256(c.source.encode())}
            for c in cells
        ],
    }


def sha256(content: bytes) -> str:
    """Return the hex digest of some bytes."""
    return hashlib.sha256(content).hexdigest()


def _public(receipt: Any) -> dict[str, Any]:
    return {"name": receipt.check, "points": receipt.points, "hidden": receipt.hidden}


def _refuse_reference(cell: Cell, tree: ast.Module) -> None:
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "reference"]
    if used:
        raise LabError(
            f"{cell}: line {used[0].lineno} of the release uses reference, which students do not have; hide it"
        )
