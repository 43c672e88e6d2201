"""The lab that the corpus of submissions answers: a number, an array, an object and a value, and nothing slow."""

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from labkit.grading.markers import as_released
from labkit.grading.model import Cell

ANSWERS = {
    "q1": "def double(x):\n    return 2 * x",
    "q2": "def scale(A):\n    return A / np.linalg.norm(A)",
    "q3": "class Counter:\n    def __init__(self):\n        self.total = 0\n\n    def add(self, n):\n"
    "        self.total += n\n        return self.total",
    "q4": "best = {'rank': 7, 'ratio': 0.25}",
}
STUBS = {
    "q1": "def double(x):\n    ...",
    "q2": "def scale(A):\n    ...",
    "q3": "class Counter:\n    ...",
    "q4": "best = ...",
}
FULL = {"q1": 3.0, "q2": 3.0, "q3": 2.0, "q4": 1.0}
ESSAY = "Half of it fits, so I would ask first."
SETUP = "import numpy as np\n\nfrom labkit.grading import answered, probe, question"
CHECKS = {
    "q1": """@question("q1")
def _(check, rng, reference):
    with check("double(3) is 6", points=1):
        assert double(3) == 6
    ### BEGIN HIDDEN TESTS
    with check("any number", points=2):
        x = int(rng.integers(10, 99_999))
        assert double(x) == reference.double(x)
    ### END HIDDEN TESTS
""",
    "q2": """@question("q2")
def _(check, rng, reference):
    A = rng.standard_normal((4, 3))
    with check("the norm is one", points=1):
        np.testing.assert_allclose(np.linalg.norm(scale(A)), 1)
    ### BEGIN HIDDEN TESTS
    with check("the same direction", points=2):
        np.testing.assert_allclose(scale(A), reference.scale(A))
    ### END HIDDEN TESTS
""",
    "q3": """@probe
def count(numbers):
    counter = Counter()
    return [counter.add(n) for n in numbers] + [counter.total]


@question("q3")
def _(check, rng):
    with check("it counts", points=1):
        assert count([1, 2]) == [1, 3, 3]
    ### BEGIN HIDDEN TESTS
    with check("any numbers", points=1):
        numbers = rng.integers(1, 99, size=5).tolist()
        assert count(numbers) == [*np.cumsum(numbers).tolist(), sum(numbers)]
    ### END HIDDEN TESTS
""",
    "q4": """@question("q4")
def _(check, reference):
    with check("a rank and a ratio", points=0.5):
        assert sorted(best) == ["rank", "ratio"]
    ### BEGIN HIDDEN TESTS
    with check("their values", points=0.5):
        assert best == reference.best
    ### END HIDDEN TESTS
""",
}

Raw = dict[str, Any]


def write(folder: Path) -> Path:
    """Write the instructor's notebook into a new folder and return it."""
    folder.mkdir(parents=True)
    cells = released(SOLVED)
    for cell in cells:
        question = cell["metadata"].get("labkit", {}).get("question")
        if cell["id"] == f"{question}-check":
            cell["source"] = CHECKS[question]
        if cell["id"] == "why":
            cell["source"] = f"<!-- BEGIN SOLUTION -->\n{ESSAY}\n<!-- END SOLUTION -->"
    (folder / "instructor.ipynb").write_bytes(as_file(cells))
    return folder


def released(answers: dict[str, str] | None = None) -> list[Raw]:
    """Return the cells that students get, with some questions answered."""
    answers = STUBS | (answers or {})
    cells = [_cell("title", "markdown", "# Four small questions"), _cell("setup", "code", SETUP, role="setup")]
    for question, points in FULL.items():
        cells += [
            _cell(f"{question}-text", "markdown", f"Answer {question}.", role="description", question=question),
            _cell(f"{question}-answer", "code", answers[question], role="solution", question=question),
            _cell(f"{question}-check", "code", visible(question), role="check", question=question, points=points),
        ]
    cells.append(_cell("use", "code", "if answered(double):\n    print(double(2))"))
    cells.append(_cell("why", "markdown", ESSAY, role="manual", question="q5", points=1))
    return copy.deepcopy(cells)


def visible(question: str) -> str:
    """Return a check cell without its hidden tests."""
    return as_released(Cell("", "code", CHECKS[question])).source


def solved(**changes: str) -> list[Raw]:
    """Return the cells of a notebook with every question right, but for the changes."""
    return released(ANSWERS | changes)


def code(source: str) -> Raw:
    """Return a code cell of a student's own."""
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}


def as_file(cells: Iterable[Raw], **metadata: Any) -> bytes:
    """Return cells as the bytes of a notebook."""
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"cells": list(cells), "metadata": kernel | metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1).encode()


def _cell(name: str, kind: str, source: str, **label: Any) -> Raw:
    cell: Raw = {"id": name, "cell_type": kind, "source": source, "metadata": {"labkit": label} if label else {}}
    return cell | ({"outputs": [], "execution_count": None} if kind == "code" else {})


SOLVED = {name: "\n".join(["### BEGIN SOLUTION", source, "### END SOLUTION"]) for name, source in ANSWERS.items()}
